"""What every service checks of names, ids, display names and labels."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache

from vertexkit._core.names import ResourceName, parse_resource_name
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.messages import Raw
from vertexkit.emulator.projects import project_number

_LOCATION_NAME = re.compile(r"projects/(?P<project>[^/@]+)/locations/(?P<location>[^/@]+)")
_PROJECT = re.compile(r"[a-z0-9][a-z0-9.:_-]{0,62}")
_LOCATION = re.compile(r"[a-z][a-z0-9-]{0,62}")
_MAX_DISPLAY_NAME = 128
_MAX_LABELS = 64
_MAX_LABEL = 64


def invalid(message: str) -> ApiError:
    """An INVALID_ARGUMENT, to be raised."""
    return ApiError(Code.INVALID_ARGUMENT, message)


def invalid_field(field: str, message: str) -> ApiError:
    """An INVALID_ARGUMENT in the words that Vertex AI has for a wrong field."""
    return invalid_fields([(field, message)])


def invalid_fields(problems: Sequence[tuple[str, str]]) -> ApiError:
    """An INVALID_ARGUMENT in the words that Vertex AI has for wrong fields: each with what is wrong."""
    found = (
        f"{number}.Field: {field}; Message: {message}\t"
        for number, (field, message) in enumerate(problems, start=1)
    )
    return invalid(f"List of found errors:\t{''.join(found)}")


@lru_cache(maxsize=4096)
def canonical_location(name: str) -> str:
    """``projects/NUMBER/locations/LOCATION`` of a location's name.

    Raises:
        ApiError: INVALID_ARGUMENT, ``name`` is not a location's.
    """
    match = _LOCATION_NAME.fullmatch(name)
    if match is None:
        raise invalid(
            f'Invalid location name "{name}": expected projects/{{project}}/locations/{{location}}.'
        )
    return f"projects/{_number(match['project'])}/locations/{_checked_location(match['location'])}"


@lru_cache(maxsize=4096)
def canonical_name(name: str, collection: str) -> ResourceName:
    """A resource's name, with the project's number in place of its id.

    Args:
        name: The name in a request; of a model it may end in ``@version``.
        collection: What it has to be a name of: ``models``, ``endpoints``.

    Raises:
        ApiError: INVALID_ARGUMENT, ``name`` is not such a resource's.
    """
    try:
        parsed = parse_resource_name(name)
    except ValueError:
        parsed = None
    if (
        parsed is None
        or parsed.collection != collection
        or (parsed.version is not None and collection != "models")
    ):
        singular = re.sub("ies$", "y", collection).removesuffix("s")
        raise invalid(
            f'Invalid resource name "{name}": expected '
            f"projects/{{project}}/locations/{{location}}/{collection}/{{{singular}}}."
        )
    return ResourceName(
        _number(parsed.project), _checked_location(parsed.location), collection, parsed.id, parsed.version
    )


def check_display_name(display_name: str, field: str) -> None:
    """Refuse a display name that is missing or too long.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    if not display_name.strip():
        raise invalid_field(field, "Required field is not set.")
    if len(display_name) > _MAX_DISPLAY_NAME:
        raise invalid_field(
            field, f"The display name is {len(display_name)} characters long, and can be up to 128."
        )


def check_labels(labels: Mapping[str, str], field: str) -> None:
    """Refuse labels that Vertex AI refuses.

    Source: https://cloud.google.com/resource-manager/docs/labels-overview#requirements

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    if len(labels) > _MAX_LABELS:
        raise invalid_field(field, f"There are {len(labels)} labels, and can be up to {_MAX_LABELS}.")
    for key, value in labels.items():
        if not key or not key[0].isalpha() or not _is_label(key):
            raise invalid_field(
                field,
                f'Label key "{key}" has to start with a lower-case letter, be at most 64 characters long and '
                "contain only lower-case letters, digits, underscores and dashes.",
            )
        if not _is_label(value):
            raise invalid_field(
                field,
                f'Label value "{value}" of "{key}" has to be at most 64 characters long and contain only '
                "lower-case letters, digits, underscores and dashes.",
            )


def check_supported(message: Raw, supported: frozenset[str], path: str) -> None:
    """Refuse, by name, every field that is set and that nothing here would take notice of.

    Args:
        message: The message of a request, or a part of it.
        supported: Names of the fields that are honoured, or that only the service may set.
        path: What the message is called in the request.

    Raises:
        ApiError: UNIMPLEMENTED.
    """
    for field, _ in message.ListFields():
        if field.name not in supported:
            raise ApiError(Code.UNIMPLEMENTED, f"The local Vertex AI does not support {path}.{field.name}.")


def new_id() -> str:
    """An id as Vertex AI gives them: a decimal number of 19 digits that fits 63 bits."""
    return str(10**18 + secrets.randbelow(8 * 10**18))


def _number(project: str) -> str:
    if not _PROJECT.fullmatch(project):
        raise invalid(f'Invalid project "{project}".')
    return project_number(project)


def _checked_location(location: str) -> str:
    if not _LOCATION.fullmatch(location):
        raise invalid(f'Invalid location "{location}".')
    return location


def _is_label(text: str) -> bool:
    """Whether ``text`` has only what labels may hold; letters without case are allowed."""
    return len(text) <= _MAX_LABEL and all(
        character in "_-" or (character.isalnum() and not character.isupper()) for character in text
    )
