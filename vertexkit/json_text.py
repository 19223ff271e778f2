"""JSON read and written whatever is in it: also what orjson does not take, such as integers of 65 bits."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson

__all__ = ["dumps", "loads"]


def loads(text: bytes) -> Any:
    """The value of a JSON text, in which ``NaN`` and ``Infinity`` may be.

    Raises:
        ValueError: It is no JSON.
        RecursionError: It is nested too deeply.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def dumps(value: Any) -> bytes:
    """The shortest JSON of a value, on one line; numbers that are not finite as ``NaN`` and ``Infinity``.

    Raises:
        RecursionError: It is nested too deeply.
    """
    try:
        text = orjson.dumps(value)
    except TypeError:
        # Integers of more than 64 bits, and halves of surrogate pairs.
        return _dumps_slowly(value)
    # orjson writes null for what is not finite.
    return text if b"null" not in text or not _has_wonders(value) else _dumps_slowly(value)


def _dumps_slowly(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _has_wonders(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return False
    return any(map(_has_wonders, value))
