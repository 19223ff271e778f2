"""One file of an upload: what is sent of it, and what became of it."""

from __future__ import annotations

import mimetypes
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from vertexkit._transfer.checksums import crc32c, encoded, file_crc32c
from vertexkit._transfer.content import read_whole
from vertexkit._transfer.count import Count
from vertexkit._transfer.engine import Engine
from vertexkit._transfer.jobs import LARGE_BYTES, Job, attempted, words
from vertexkit._transfer.local_tree import LocalFile
from vertexkit._transfer.objects_api import ObjectsApi
from vertexkit._transfer.patience import Patience
from vertexkit._transfer.resumable import ResumableUpload
from vertexkit._transfer.upload_sessions import UploadSessions
from vertexkit._transfer.values import ObjectInfo
from vertexkit.errors import ChecksumMismatch, VertexkitError


@dataclass(frozen=True)
class Route:
    """What takes files to a bucket."""

    api: ObjectsApi
    engine: Engine
    sessions: UploadSessions


class FileUpload(Job):
    """One file on its way to one object.

    Args:
        file: The file.
        name: The object's name.
        there: What is under that name now, if anything.
        route: How it gets there.
        count: Where to tell the progress.
    """

    def __init__(
        self, file: LocalFile, name: str, there: ObjectInfo | None, route: Route, count: Count
    ) -> None:
        self.file = file
        self.name = name
        self.size = file.size
        """Bytes; once it is sent, of what was sent."""
        self.crc32c = ""
        """Of what was sent."""
        self.generation: int | None = None
        """Of what was written, if the service said so."""
        self.is_sent = False
        self.is_skipped = False
        self.is_verified = False
        """Whether the service has said its checksum, and it was right."""
        self.is_damaged = False
        self.failure: str | None = None
        self.error: VertexkitError | OSError | None = None
        self._there = there
        self._route = route
        self._count = count

    def run(self, patience: Patience) -> None:
        """See `Job.run`."""
        if self.file.size >= LARGE_BYTES:
            self._send_large(patience)
        else:
            self._send_small(patience)
        self._count.file_done()

    def failed(self, error: VertexkitError | OSError) -> None:
        """See `Job.failed`."""
        self.failure, self.error = words(error), error
        self.is_damaged = isinstance(error, ChecksumMismatch)
        self._count.file_done()

    def disproved(self, why: str, *, is_damaged: bool = False) -> None:
        """What the service has is not what was sent, or cannot be known."""
        self.failure, self.is_damaged, self.is_sent = why, is_damaged, False

    def reset(self) -> None:
        """Forget that it was damaged: it is sent again."""
        self.failure, self.is_damaged, self._there = None, False, None
        self._count.tracker.advance(-self.file.size)
        self._count.file_done(-1)

    def _send_small(self, patience: Patience) -> None:
        data = read_whole(self.file.path)
        self.size = len(data)
        self.crc32c = encoded(crc32c(data))
        if self._is_there():
            self._skip()
            return
        kind, put = content_type_of(self.file.path), self._route.engine.put
        self.generation = attempted(lambda: put(self.name, data, kind), patience)
        self.is_sent = True
        self._count.tracker.advance(self.file.size)

    def _send_large(self, patience: Patience) -> None:
        if self._there is not None and self._there.size == self.size:
            self.crc32c = encoded(file_crc32c(self.file.path, check=patience.check))
            if self._is_there():
                self._skip()
                return
        upload = ResumableUpload(
            self._route.api,
            self.file.path,
            self.name,
            content_type_of(self.file.path),
            patience=patience,
            progress=self._count.tracker.advance,
        )
        stored = upload.run(self._route.sessions)
        self.size, self.crc32c, self.generation = stored.size, stored.crc32c, stored.generation
        self.is_sent = self.is_verified = True

    def _is_there(self) -> bool:
        there = self._there
        return there is not None and (there.size, there.crc32c) == (self.size, self.crc32c)

    def _skip(self) -> None:
        self.is_skipped = self.is_verified = True
        self._count.tracker.advance(self.file.size)


def content_type_of(path: str | Path) -> str:
    """The media type that goes with a file's name."""
    return _content_type(os.path.splitext(path)[1].lower())  # noqa: PTH122 - a Path costs ten times as much


@lru_cache(maxsize=256)
def _content_type(suffix: str) -> str:
    kind, encoding = mimetypes.guess_type(f"x{suffix}")
    # A `.tar.gz` is not a tar archive to whoever reads it.
    return kind if kind is not None and encoding is None else "application/octet-stream"
