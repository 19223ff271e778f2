"""Objects that a job needs as files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from vertexkit._core.names import parse_gcs_uri
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.gcs.errors import StorageError
from vertexkit.emulator.gcs.store import ObjectStore


def fetch(objects: ObjectStore, uri: str, file: Path) -> None:
    """Copy an object to a file.

    Args:
        objects: The local Cloud Storage.
        uri: ``gs://bucket/object``.
        file: What becomes a copy of it; its folder is there.

    Raises:
        ApiError: NOT_FOUND, it is not there (any more).
    """
    source = parse_gcs_uri(uri)
    try:
        _, descriptor = objects.open(source.bucket, source.name)
    except StorageError as error:
        raise ApiError(Code.NOT_FOUND, f"{uri}: {error.message}") from None
    with os.fdopen(descriptor, "rb") as reader, file.open("wb") as writer:
        shutil.copyfileobj(reader, writer)
