"""One file of an upload: what is sent of it, and what became of it."""

from __future__ import annotations

import mimetypes
import os
import threading
from functools import lru_cache
from pathlib import Path, PurePosixPath

from vertexkit._transfer.checksums import crc32c, encoded, file_crc32c
from vertexkit._transfer.engine import Put
from vertexkit._transfer.local_tree import LocalFile, reason
from vertexkit._transfer.objects_api import ObjectsApi
from vertexkit._transfer.patience import Patience, Stopped
from vertexkit._transfer.resumable import FileChanged, ResumableUpload
from vertexkit._transfer.upload_sessions import UploadSessions
from vertexkit._transfer.values import ObjectInfo
from vertexkit.errors import ServiceError, TransferFailed, VertexkitError
from vertexkit.progress import Tracker

_READS = 3


class Count:
    """Counts the files of a transfer for its progress. Thread-safe."""

    def __init__(self, tracker: Tracker, description: str, files: int) -> None:
        self.tracker = tracker
        self._description = description
        self._files = files
        self._done = 0
        self._lock = threading.Lock()

    def file_done(self, by: int = 1) -> None:
        """One file has come to its end."""
        with self._lock:
            self._done += by
            done = self._done
        if self._files > 1:
            self.tracker.describe(f"{self._description} ({done:,} of {self._files:,} files)")


class FileUpload(Put):
    """One file on its way to one object.

    Args:
        file: The file.
        name: The object's name.
        there: What is under that name now, if anything.
        count: Where to tell the progress.
    """

    def __init__(self, file: LocalFile, name: str, there: ObjectInfo | None, count: Count) -> None:
        self.file = file
        self.name = name
        self.size = file.size
        self.content_type = content_type_of(file.path)
        self.crc32c = ""
        """Of what was sent."""
        self.generation: int | None = None
        """Of what was written, if the service said so."""
        self.is_sent = False
        self.is_skipped = False
        self.is_verified = False
        """Whether the service has said its checksum, and it was right."""
        self.failure: str | None = None
        self.error: VertexkitError | OSError | None = None
        self.is_damaged = False
        self._there = there
        self._count = count

    def data(self) -> bytes | None:
        """The file's bytes; None if the object has the same."""
        data = read_whole(self.file.path)
        self.size = len(data)
        self.crc32c = encoded(crc32c(data))
        there = self._there
        if there is not None and (there.size, there.crc32c) == (self.size, self.crc32c):
            self._skip()
            return None
        return data

    def sent(self, generation: int | None) -> None:
        """See `Put.sent`."""
        self.generation = generation
        self.is_sent = True
        self._count.tracker.advance(self.file.size)
        self._count.file_done()

    def failed(self, error: VertexkitError | OSError) -> None:
        """See `Job.failed`."""
        self.failure, self.error = words(error), error
        self._count.file_done()

    def damaged(self, why: str) -> None:
        """What arrived is not what was sent."""
        self.failure, self.is_damaged, self.is_sent = why, True, False

    def reset(self) -> None:
        """Forget that it was damaged: it is sent again."""
        self.failure, self.is_damaged, self._there = None, False, None
        self._count.tracker.advance(-self.file.size)
        self._count.file_done(-1)

    def send_large(self, api: ObjectsApi, sessions: UploadSessions, patience: Patience) -> None:
        """Send the file so that it can be interrupted; like an engine, tell the outcome only here."""
        try:
            there = self._there
            if there is not None and there.size == self.file.size:
                self.crc32c = encoded(file_crc32c(self.file.path, check=patience.check))
                if there.crc32c == self.crc32c:
                    self._skip()
                    return
            upload = ResumableUpload(
                api,
                self.file.path,
                self.name,
                self.content_type,
                patience=patience,
                progress=self._count.tracker.advance,
            )
            stored = upload.run(sessions)
        except Stopped:
            return
        except (VertexkitError, OSError) as error:
            self.failed(error)
            return
        self.size, self.crc32c, self.generation = stored.size, stored.crc32c, stored.generation
        self.is_sent = self.is_verified = True
        self._count.file_done()

    def _skip(self) -> None:
        self.is_skipped = self.is_verified = True
        self._count.tracker.advance(self.file.size)
        self._count.file_done()


def read_whole(path: Path) -> bytes:
    """The bytes of a file that held still while they were read.

    Raises:
        OSError: It cannot be read, or changed each time it was.
    """
    for _ in range(_READS):
        # Not Path.read_bytes: the file that is read must be the one whose time is compared.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - of a descriptor, not a path
            before = os.fstat(descriptor)
            data = file.readall()
            after = os.fstat(descriptor)
        if len(data) == after.st_size and before.st_mtime_ns == after.st_mtime_ns:
            return data
    raise FileChanged


def words(error: VertexkitError | OSError) -> str:
    """Why one file failed, in a line: what the service said, or the operating system."""
    if isinstance(error, ServiceError):
        return error.service_message.strip() or type(error).__name__
    if isinstance(error, TransferFailed):
        return "; ".join(error.failures.values())
    return str(error) if isinstance(error, VertexkitError) else reason(error)


def content_type_of(path: str | Path) -> str:
    """The media type that goes with a file's name."""
    return _content_type(PurePosixPath(path).suffix.lower())


@lru_cache(maxsize=256)
def _content_type(suffix: str) -> str:
    kind, encoding = mimetypes.guess_type(f"x{suffix}")
    # A `.tar.gz` is not a tar archive to whoever reads it.
    return kind if kind is not None and encoding is None else "application/octet-stream"
