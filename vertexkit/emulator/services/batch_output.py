"""The objects that a batch prediction job writes: a folder of its own, filled at the end."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vertexkit._core.names import GcsUri, parse_gcs_uri
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.gcs.checksums import crc32c_of_file
from vertexkit.emulator.gcs.errors import StorageError
from vertexkit.emulator.gcs.store import Attributes, ObjectStore

_UNWELCOME: Final = re.compile(r"[/\x00-\x1f\x7f#*?\[\]]")
"""What would make another folder of a folder's name, or what tools take for a pattern."""
_CONTENT_TYPES: Final = {".csv": "text/csv"}


@dataclass(frozen=True)
class Written:
    """A file that is to become an object."""

    file: Path
    name: str
    """What the object is called in the job's folder."""


class Folders:
    """Names the folders of outputs, each of them once. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def new(self, prefix: str, model_display_name: str) -> str:
        """``<prefix>/prediction-<model>-2023_03_07T19_20_33_219Z``, as Vertex AI spells it.

        Args:
            prefix: The job's ``output_uri_prefix``, checked.
            model_display_name: The display name of its model.
        """
        with self._lock:
            # Two jobs of one model may begin in the same millisecond.
            self._last = max(self._last + 1, time.time_ns() // 10**6)
            milliseconds = self._last
        moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
        stamp = f"{moment:%Y_%m_%dT%H_%M_%S}_{milliseconds % 1000:03d}Z"
        return str(parse_gcs_uri(prefix) / f"prediction-{_UNWELCOME.sub('_', model_display_name)}-{stamp}")


def publish(objects: ObjectStore, folder: str, files: Iterable[Written]) -> None:
    """Make files objects of a folder: each is there as a whole, or not at all.

    What was there of those names, from a publication that was cut short, is replaced.

    Raises:
        ApiError: FAILED_PRECONDITION, the bucket takes none; RESOURCE_EXHAUSTED, the disk is full. None of
            the files is there then.
    """
    target = parse_gcs_uri(folder)
    done: list[GcsUri] = []
    try:
        for written in files:
            done.append(target / written.name)
            _publish(objects, done[-1], written.file)
    except (StorageError, OSError) as error:
        for uri in done:
            with contextlib.suppress(StorageError, OSError):
                objects.delete(uri.bucket, uri.name)
        if isinstance(error, OSError):
            raise disk_failure(error) from error
        raise ApiError(
            Code.FAILED_PRECONDITION,
            f"Cannot write the output to {folder}: {error.message} The predictions are lost with it: create "
            "the job again, with its output in a bucket that is there and can be written until it has ended.",
        ) from error


def disk_failure(error: OSError) -> ApiError:
    """What a job says that the machine's disk failed."""
    return ApiError(
        Code.RESOURCE_EXHAUSTED,
        f"Cannot write to the disk: {error.strerror or error}. Until a job has ended, the local Vertex AI "
        "keeps its model and its predictions there, below the data folder.",
    )


def _publish(objects: ObjectStore, uri: GcsUri, file: Path) -> None:
    attributes = Attributes(_CONTENT_TYPES.get(Path(uri.name).suffix, "text/plain"))
    staged = objects.stage()
    try:
        with file.open("rb") as source:
            descriptor = source.fileno()
            # An MD5 would take longer than all the rest; objects need none, and composed ones never have it.
            staged.declare(crc32c_of_file(descriptor), None)
            staged.append_file(descriptor, os.fstat(descriptor).st_size)
        objects.commit(uri.bucket, uri.name, staged, attributes)
    finally:
        staged.discard()
