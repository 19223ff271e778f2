"""The objects that a batch prediction job reads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final

from vertexkit._core.names import GcsUri, parse_gcs_uri
from vertexkit.emulator.batch.types import InputMissing
from vertexkit.emulator.gcs.errors import StorageError
from vertexkit.emulator.gcs.globs import Glob
from vertexkit.emulator.gcs.records import ObjectInfo
from vertexkit.emulator.gcs.store import ObjectStore
from vertexkit.emulator.services.batch_spec import not_found

_WILDCARD: Final = re.compile(r"[*?\[]")
_NOT_WILDCARD: Final = re.compile(r"[{}\\]")
"""What means something to the API's globs, and nothing in URIs, whose wildcards are those of gsutil."""


@dataclass(frozen=True)
class Input:
    """One object, as it was when the job was created."""

    uri: str
    generation: int


def find_inputs(objects: ObjectStore, uris: Iterable[str]) -> list[Input]:
    """The objects that URIs name, by name or by a pattern, in the order of the URIs and by name.

    Source: https://cloud.google.com/storage/docs/wildcards

    Raises:
        ApiError: INVALID_ARGUMENT, one of them names nothing.
    """
    found: list[Input] = []
    for index, uri in enumerate(uris):
        parsed = parse_gcs_uri(uri)
        if not objects.bucket_exists(parsed.bucket):
            raise not_found(index, f"The bucket gs://{parsed.bucket} of {uri} does not exist.")
        matching = _matching(objects, parsed)
        if not matching:
            kind = "matches no object" if _WILDCARD.search(parsed.name) else "does not exist"
            raise not_found(index, f"{uri} {kind}.")
        found += matching
    return found


def _matching(objects: ObjectStore, uri: GcsUri) -> list[Input]:
    named = objects.find(uri.bucket, uri.name)
    if named is not None:
        return [Input(str(uri), named.generation)]
    wildcard = _WILDCARD.search(uri.name)
    if wildcard is None:
        return []
    prefix = uri.name[: wildcard.start()]
    try:
        glob = Glob(_NOT_WILDCARD.sub(r"\\\g<0>", uri.name))
        return [
            Input(str(GcsUri(uri.bucket, found.name)), found.generation)
            for found in objects.list(uri.bucket, prefix)
            # What ends in a slash and holds nothing marks an empty folder.
            if glob.matches(found.name) and not (found.name.endswith("/") and not found.size)
        ]
    except StorageError:
        # A malformed pattern matches nothing.
        return []


class InputObjects:
    """Opens what a job reads. Safe to use from any thread.

    Args:
        objects: The local Cloud Storage.
        inputs: The job's inputs, which have to be as they were when it was created.
    """

    def __init__(self, objects: ObjectStore, inputs: Iterable[Input]) -> None:
        self._objects = objects
        self._generations: Mapping[str, int] = {one.uri: one.generation for one in inputs}

    def open(self, uri: str) -> BinaryIO:
        """An object's content, whatever becomes of the object meanwhile.

        Raises:
            InputMissing: It is not there, or is an input that has been replaced.
        """
        return self._reached(uri)[1]

    def size(self, uri: str) -> int:
        """An object's bytes.

        Raises:
            InputMissing: It is not there, or is an input that has been replaced.
        """
        info, file = self._reached(uri)
        file.close()
        return info.size

    def _reached(self, uri: str) -> tuple[ObjectInfo, BinaryIO]:
        try:
            parsed = parse_gcs_uri(uri)
        except ValueError as error:
            raise InputMissing(f"{error}") from None
        generation = self._generations.get(uri)
        try:
            info, descriptor = self._objects.open(parsed.bucket, parsed.name, generation=generation)
        except StorageError as error:
            if generation is None:
                raise InputMissing(f"{uri}: {error.message}") from None
            raise InputMissing(f"{uri} was replaced or deleted while the job ran.") from None
        except (OSError, ValueError) as error:
            raise InputMissing(f"{uri}: {error}") from None
        return info, os.fdopen(descriptor, "rb")
