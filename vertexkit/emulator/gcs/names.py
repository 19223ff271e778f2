"""Object names, and which of them a plain path can hold.

Source: https://cloud.google.com/storage/docs/objects#naming
"""

from __future__ import annotations

import hashlib

from vertexkit._core.names import object_name_problem
from vertexkit.emulator.gcs import errors

_MAX_COMPONENT_BYTES = 255


def checked_name(name: str) -> str:
    """``name``, if the service would take it.

    Raises:
        StorageError: 400, saying what is wrong with it.
    """
    problem = object_name_problem(name)
    if problem is not None:
        raise errors.invalid(f"Invalid object name: it {problem}.", xml_code="InvalidObjectName")
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
