"""Partial responses: the ``fields`` parameter.

Source: https://cloud.google.com/storage/docs/json_api#partial-response
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from vertexkit.emulator.gcs import errors

Selection = dict[str, "Selection | None"]
"""Which fields, and what of each; None for all of it."""

_MAX_DEPTH = 16
"""Deeper than any resource is."""
_TOKEN = re.compile(r"[^,()/\s]+|[,()/]")


def parse_fields(text: str) -> Selection | None:
    """Read ``items(name,size),nextPageToken`` or ``items/name``; None selects everything.

    Raises:
        StorageError: 400; it is malformed.
    """
    tokens = iter([*_TOKEN.findall(text), ""])
    selection, stopped_at = _list(tokens, text, _MAX_DEPTH)
    if stopped_at:
        raise _malformed(text)
    return None if "*" in selection else selection


def select(value: Any, selection: Selection | None) -> Any:
    """The selected fields of a resource, or of each resource of a list."""
    if selection is None:
        return value
    if isinstance(value, list):
        return [select(item, selection) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: select(value[key], inner) for key, inner in selection.items() if key in value}


def selects(selection: Selection | None, *path: str) -> bool:
    """Whether a selection holds the field at ``path``."""
    for step in path:
        if selection is None or "*" in selection:
            return True
        if step not in selection:
            return False
        selection = selection[step]
    return True


def _list(tokens: Iterator[str], text: str, depth: int) -> tuple[Selection, str]:
    """Fields up to the end or a closing parenthesis, and what they ended at."""
    selection: Selection = {}
    while True:
        name = next(tokens)
        if not name or name in ",()/":
            raise _malformed(text)
        inner, after = _inner(tokens, text, depth)
        held = selection.get(name)
        if name in selection and held is not None and inner is not None:
            held.update(inner)
        else:
            selection[name] = inner
        if after != ",":
            return selection, after


def _inner(tokens: Iterator[str], text: str, depth: int) -> tuple[Selection | None, str]:
    """What follows a field's name: ``/inner``, ``(inner,...)`` or nothing; and what comes after."""
    mark = next(tokens)
    if mark and mark in "/(" and not depth:
        raise _malformed(text)
    if mark == "/":
        name = next(tokens)
        if not name or name in ",()/":
            raise _malformed(text)
        inner, after = _inner(tokens, text, depth - 1)
        return (None, after) if name == "*" else ({name: inner}, after)
    if mark == "(":
        selection, closed = _list(tokens, text, depth - 1)
        if closed != ")":
            raise _malformed(text)
        return (None if "*" in selection else selection), next(tokens)
    return None, mark


def _malformed(text: str) -> errors.StorageError:
    return errors.invalid(f"Invalid field selection {text}", reason="invalidParameter")
