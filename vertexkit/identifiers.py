"""What Vertex AI allows as display names, version aliases, labels, service accounts and places to write to.

Source: the fields' descriptions at https://cloud.google.com/vertex-ai/docs/reference/rest
(``versionAliases``, ``displayName``) and https://cloud.google.com/vertex-ai/docs/general/labels
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from vertexkit._core.names import is_gcs_uri, parse_gcs_uri
from vertexkit.errors import Finding

__all__ = [
    "check_alias",
    "check_display_name",
    "check_gcs_uri",
    "check_labels",
    "check_service_account",
]

MAX_DISPLAY_NAME: Final = 128
MAX_LABELS: Final = 64
MAX_LABEL: Final = 63

_ACCOUNT = re.compile(r"[^@\s/]+@[^@\s/]+\.[^@\s/]+")
_ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")


def check_display_name(name: object, argument: str = "name") -> list[Finding]:
    """Whether a model, endpoint or deployed model can be called ``name``."""
    if not isinstance(name, str):
        return [Finding(argument, name, "is not text")]
    if not name.strip():
        return [Finding(argument, name, "is empty")]
    if len(name) > MAX_DISPLAY_NAME:
        return [
            Finding(
                argument,
                name,
                f"has {len(name)} characters, and a display name at most {MAX_DISPLAY_NAME}",
                f"shorten it, to {name[:MAX_DISPLAY_NAME]!r} for example",
            )
        ]
    return []


def check_alias(alias: object, argument: str = "aliases") -> list[Finding]:
    """Whether a version of a model can be given this alias."""
    if not isinstance(alias, str):
        return [Finding(argument, alias, "is not text")]
    if _ALIAS.fullmatch(alias):
        return []
    return [
        Finding(
            argument,
            alias,
            "is not 2 to 128 of a-z, A-Z, 0-9 and '-', starting with a lower-case letter and ending with a "
            "lower-case letter or digit, as a version's alias is",
        )
    ]


def check_labels(labels: object, argument: str = "labels") -> list[Finding]:
    """Whether a resource can carry these labels, which are a mapping of text to text."""
    if not isinstance(labels, Mapping):
        return [Finding(argument, labels, "is not a mapping")]
    findings = []
    if len(labels) > MAX_LABELS:
        findings.append(
            Finding(argument, len(labels), f"are more labels than the {MAX_LABELS} that a resource carries")
        )
    for key, value in labels.items():
        for part, text in (("key", key), ("value", value)):
            problem = _label_problem(part, text)
            if problem is not None:
                findings.append(
                    Finding(
                        f"{argument}[{key!r}]",
                        value,
                        problem,
                        "make it of lower-case letters, digits, '_' and '-'",
                    )
                )
    return findings


def check_service_account(account: object) -> list[Finding]:
    """Whether this can be the e-mail address of a service account."""
    if isinstance(account, str) and _ACCOUNT.fullmatch(account):
        return []
    return [
        Finding(
            "service_account",
            account,
            "is not the e-mail address of a service account",
            "give one like NAME@PROJECT.iam.gserviceaccount.com",
        )
    ]


def check_gcs_uri(uri: object, argument: str) -> list[Finding]:
    """Whether this can be a place in Cloud Storage to write to."""
    remedy = "write gs://BUCKET/FOLDER"
    if not isinstance(uri, str) or not is_gcs_uri(uri):
        return [Finding(argument, uri, "is not a gs:// URI", remedy)]
    try:
        parse_gcs_uri(uri)
    except ValueError as error:
        return [Finding(argument, uri, str(error), remedy)]
    return []


def _label_problem(part: str, text: object) -> str | None:
    if not isinstance(text, str):
        return f"has a {part} that is not text"
    if len(text) > MAX_LABEL:
        return f"has a {part} of {len(text)} characters, and a label's has at most {MAX_LABEL}"
    if part == "key" and not text:
        return "has an empty key"
    # International letters are allowed, capital ones of any script are not.
    wrong = sorted(
        {char for char in text if char not in "_-" and (not char.isalnum() or char != char.lower())}
    )
    if wrong:
        return f"has {', '.join(map(repr, wrong))} in its {part}, which no label can have"
    if part == "key" and not text[0].isalpha():
        return "has a key that does not start with a lower-case letter"
    return None
