"""Objects in memory, for what is sent to a bucket and read back from it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from vertexkit import (
    batch_about,
    batch_remote,
    batch_source,
    batch_staging,
    batch_uris,
    bucket_checks,
    errors,
)
from vertexkit._core.context import Context
from vertexkit._transfer.checksums import crc32c, encoded
from vertexkit._transfer.values import ObjectInfo


class Objects:
    """The objects of all buckets, by their URIs."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.locations = {"my-bucket": "us-central1"}
        self.encodings: dict[str, str] = {}
        """How objects are said to be stored, by their URIs."""
        self.refuses: str | None = None
        """Part of the names that cannot be written."""
        self.damages = False
        """Whether what is written arrives as something else."""

    def get(self, name: str) -> Bucket:
        if name not in self.locations:
            raise errors.NotFound("the bucket does not exist")
        return Bucket(self, name)

    def default(self) -> Bucket:
        return self.get("my-bucket")

    def matching(self, pattern: str) -> list[bytes]:
        """The contents of those that a URI with wildcards names, in order."""
        wanted = re.compile(re.escape(pattern).replace(r"\*", "[^/]*"))
        return [data for uri, data in sorted(self.content.items()) if wanted.fullmatch(uri)]


class Bucket:
    """One bucket, in place of `vertexkit.storage.Bucket`."""

    def __init__(self, objects: Objects, name: str) -> None:
        self._objects = objects
        self.name, self.uri, self.location = name, f"gs://{name}", objects.locations[name]

    def delete(self, prefix: str) -> int:
        below = f"{self.uri}/{prefix}"
        gone = [uri for uri in self._objects.content if uri == below or uri.startswith(f"{below}/")]
        if not gone:
            raise errors.NotFound(below)
        for uri in gone:
            del self._objects.content[uri]
        return len(gone)


class Api:
    """In place of `vertexkit._transfer.objects_api.ObjectsApi`."""

    def __init__(self, objects: Objects, bucket: str) -> None:
        self._objects = objects
        self.bucket = bucket

    def uri(self, name: str) -> str:
        return f"gs://{self.bucket}/{name}"

    def insert(self, name: str, data: bytes, content_type: str, *, overwrite: bool = True) -> ObjectInfo:
        if self._objects.refuses is not None and self._objects.refuses in name:
            raise errors.PermissionDenied("may not be written", resource=self.uri(name))
        self._objects.content[self.uri(name)] = data[1:] if self._objects.damages else data
        return self._info(self.uri(name))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        if self.bucket not in self._objects.locations:
            raise errors.NotFound("the bucket does not exist")
        start = self.uri(prefix)
        return iter([self._info(uri) for uri in sorted(self._objects.content) if uri.startswith(start)])

    def find(self, name: str) -> ObjectInfo | None:
        if self.bucket not in self._objects.locations:
            raise errors.NotFound("the bucket does not exist")
        return self._info(self.uri(name)) if self.uri(name) in self._objects.content else None

    def read(self, name: str) -> bytes:
        if self.uri(name) not in self._objects.content:
            raise errors.NotFound("there is no such object")
        return self._objects.content[self.uri(name)]

    def stream(
        self, name: str, *, start: int, stop: int, generation: int, block: int = 1024
    ) -> Iterator[bytes]:
        data = self._objects.content[self.uri(name)]
        return (data[at : min(at + block, stop)] for at in range(start, stop, block))

    def _info(self, uri: str) -> ObjectInfo:
        data = self._objects.content[uri]
        name = uri.removeprefix(f"gs://{self.bucket}/")
        encoding = self._objects.encodings.get(uri)
        return ObjectInfo(name, len(data), encoded(crc32c(data)), 1, uri, encoding)


def objects_in_memory(monkeypatch: pytest.MonkeyPatch) -> Objects:
    """What instances are sent to, and read from, from now on."""
    objects = Objects()

    def api(_: Context, bucket: str) -> Api:
        return Api(objects, bucket)

    for module in (batch_about, batch_remote, batch_source, batch_staging, batch_uris):
        monkeypatch.setattr(module, "ObjectsApi", api)
    for module in (bucket_checks, batch_staging):
        monkeypatch.setattr(module, "Buckets", lambda _: objects)
    return objects
