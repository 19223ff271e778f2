"""What Vertex AI allows as display names, ids, version aliases and labels.

Source: the fields' descriptions at https://cloud.google.com/vertex-ai/docs/reference/rest (``modelId``,
``endpointId``, ``versionAliases``, ``displayName``) and https://cloud.google.com/vertex-ai/docs/general/labels
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from vertexkit.errors import Finding

__all__ = [
    "check_alias",
    "check_display_name",
    "check_endpoint_id",
    "check_labels",
    "check_model_id",
]

MAX_DISPLAY_NAME: Final = 128
MAX_LABELS: Final = 64
MAX_LABEL: Final = 63

_MODEL_ID = re.compile(r"[a-z_][a-z0-9_-]{0,62}")
_ENDPOINT_ID = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?|[1-9][0-9]{0,8}|0")
_ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")


def check_display_name(name: object, argument: str = "name") -> list[Finding]:
    """Whether a model, endpoint or deployed model can be called ``name``."""
    if not isinstance(name, str):
        return [Finding(argument, name, "A display name is text.")]
    if not name.strip():
        return [Finding(argument, name, "A display name is not empty.")]
    if len(name) > MAX_DISPLAY_NAME:
        return [
            Finding(
                argument,
                name,
                f"A display name has at most {MAX_DISPLAY_NAME} characters, and this has {len(name)}.",
                f"For example {name[:MAX_DISPLAY_NAME]!r}.",
            )
        ]
    return []


def check_model_id(model_id: str, argument: str = "model_id") -> list[Finding]:
    """Whether a model can be given this id."""
    if _MODEL_ID.fullmatch(model_id):
        return []
    return [
        Finding(
            argument,
            model_id,
            "A model's id has up to 63 of a-z, 0-9, '_' and '-', and starts with a letter or '_'.",
            _suggested_id(model_id, r"[^a-z0-9_-]+"),
        )
    ]


def check_endpoint_id(endpoint_id: str, argument: str = "endpoint_id") -> list[Finding]:
    """Whether an endpoint can be given this id."""
    if _ENDPOINT_ID.fullmatch(endpoint_id):
        return []
    return [
        Finding(
            argument,
            endpoint_id,
            "An endpoint's id has up to 63 of a-z, 0-9 and '-', starts with a letter and ends with a letter "
            "or digit; or it is a number of up to 9 digits without leading zeros.",
            _suggested_id(endpoint_id, r"[^a-z0-9-]+"),
        )
    ]


def check_alias(alias: str, argument: str = "aliases") -> list[Finding]:
    """Whether a version of a model can be given this alias."""
    if _ALIAS.fullmatch(alias):
        return []
    return [
        Finding(
            argument,
            alias,
            "A version's alias has 2 to 128 of a-z, A-Z, 0-9 and '-', starts with a lower-case letter and "
            "ends with a lower-case letter or digit (so that it cannot be taken for a version number).",
        )
    ]


def check_labels(labels: Mapping[str, str], argument: str = "labels") -> list[Finding]:
    """Whether a resource can carry these labels."""
    findings = []
    if len(labels) > MAX_LABELS:
        findings.append(Finding(argument, len(labels), f"A resource carries at most {MAX_LABELS} labels."))
    for key, value in labels.items():
        for part, text in (("key", key), ("value", value)):
            problem = _label_problem(part, text)
            if problem is not None:
                findings.append(
                    Finding(
                        f"{argument}[{key!r}]",
                        value,
                        problem,
                        "Labels are made of lower-case letters, digits, '_' and '-'.",
                    )
                )
    return findings


def _label_problem(part: str, text: object) -> str | None:
    if not isinstance(text, str):
        return f"The {part} of a label is text."
    if len(text) > MAX_LABEL:
        return f"The {part} of a label has at most {MAX_LABEL} characters, and this has {len(text)}."
    if part == "key" and not text:
        return "The key of a label is not empty."
    # International letters are allowed, capital ones of any script are not.
    wrong = sorted(
        {char for char in text if char not in "_-" and (not char.isalnum() or char != char.lower())}
    )
    if wrong:
        return f"The {part} of a label cannot contain {', '.join(map(repr, wrong))}."
    if part == "key" and not text[0].isalpha():
        return "The key of a label starts with a lower-case letter."
    return None


def _suggested_id(text: str, forbidden: str) -> str | None:
    suggestion = re.sub(forbidden, "-", text.lower()).strip("-")[:63].lstrip("0123456789-").rstrip("-")
    return f"For example {suggestion!r}." if suggestion else None
