"""The fields of JSON bodies: each is what the API's reference says, or the request is refused.

Source: https://cloud.google.com/storage/docs/json_api/v1
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vertexkit.emulator.gcs import errors

_INT64 = re.compile(r"-?[0-9]{1,19}", re.ASCII)
# A header cannot hold them, so an object that had one in its metadata could not be downloaded.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def text(resource: Mapping[str, Any], field: str) -> str | None:
    """A string; None if there is none. Raises StorageError: 400."""
    value = resource.get(field)
    if not isinstance(value, str | None):
        raise wrong(field, "not a string")
    return value


def header(resource: Mapping[str, Any], field: str) -> str | None:
    """A string that an HTTP header can hold; None if there is none. Raises StorageError: 400."""
    value = text(resource, field)
    if value is not None:
        check_header(field, value)
    return value


def check_header(field: str, value: str) -> None:
    """Refuse control characters. Raises StorageError: 400."""
    if _CONTROL.search(value):
        raise wrong(field, f"a header cannot hold {value!r}")


def flag(resource: Mapping[str, Any], field: str) -> bool | None:
    """True or false; None if there is neither. Raises StorageError: 400."""
    value = resource.get(field)
    if not isinstance(value, bool | None):
        raise wrong(field, "not true or false")
    return value


def integer(resource: Mapping[str, Any], field: str) -> int | None:
    """A whole number, which the API writes as a string; None if there is none. Raises StorageError: 400."""
    value = resource.get(field)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if not isinstance(value, str) or not _INT64.fullmatch(value):
        raise wrong(field, "not a whole number")
    return int(value)


def inner(resource: Mapping[str, Any], field: str) -> dict[str, Any]:
    """An object; an empty one if there is none. Raises StorageError: 400."""
    value = resource.get(field)
    if not isinstance(value, dict | None):
        raise wrong(field, "not an object")
    return value or {}


def inners(resource: Mapping[str, Any], field: str) -> list[dict[str, Any]]:
    """A list of objects; an empty one if there is none. Raises StorageError: 400."""
    value = resource.get(field)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise wrong(field, "not a list of objects")
    return value


def texts(resource: Mapping[str, Any], field: str) -> list[str]:
    """A list of strings; an empty one if there is none. Raises StorageError: 400."""
    value = resource.get(field)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise wrong(field, "not a list of strings")
    return value


def wrong(field: str, problem: str) -> errors.StorageError:
    """The field has a value that it cannot have."""
    return errors.invalid(f"Invalid value for field {field}: {problem}.")
