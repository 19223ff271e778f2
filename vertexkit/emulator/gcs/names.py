"""Object names, and which of them a plain path can hold.

Source: https://cloud.google.com/storage/docs/objects#naming
"""

from __future__ import annotations

import hashlib

from vertexkit.emulator.gcs import errors

MAX_NAME_BYTES = 1024
_MAX_COMPONENT_BYTES = 255
_ACME = ".well-known/acme-challenge/"


def name_problem(name: str) -> str | None:
    """What is wrong with an object's name, or None if the service would take it."""
    if not name:
        return "an object's name is not empty"
    if name.isascii():
        size = len(name)
    else:
        try:
            size = len(name.encode())
        except UnicodeEncodeError:
            return "an object's name is valid UTF-8"
    if size > MAX_NAME_BYTES:
        return f"an object's name has at most {MAX_NAME_BYTES} bytes in UTF-8, not {size}"
    if "\n" in name or "\r" in name:
        return "an object's name has no carriage return or line feed"
    if name in {".", ".."} or name.startswith(_ACME):
        return f"an object's name is not '.' or '..', and does not start with {_ACME}"
    return None


def checked_name(name: str) -> str:
    """``name``, if the service would take it.

    Raises:
        StorageError: 400, saying what is wrong with it.
    """
    problem = name_problem(name)
    if problem is not None:
        raise errors.invalid(f"Invalid object name: {problem}.", xml_code="InvalidObjectName")
    return name


def path_components(name: str) -> list[str] | None:
    """The path of an object below its bucket's folder, or None if no plain path can hold the name.

    ``a/b`` is the file ``b`` in the folder ``a``. Empty components (``/a``, ``a//b``, ``a/``), ``.``,
    ``..``, NUL and components too long for a file name cannot be written that way.
    """
    components = name.split("/")
    for component in components:
        if not component or component in {".", ".."} or "\0" in component:
            return None
        if len(component) > _MAX_COMPONENT_BYTES // 4 and len(component.encode()) > _MAX_COMPONENT_BYTES:
            return None
    return components


def odd_file_name(bucket: str, name: str) -> str:
    """The file, in the folder of odd names, of an object that no plain path can hold."""
    return hashlib.sha256(f"{bucket}/{name}".encode()).hexdigest()
