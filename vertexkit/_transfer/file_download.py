"""One object of a download: what is fetched of it, and how it becomes a file."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from vertexkit._transfer.checksums import crc32c, encoded, file_crc32c
from vertexkit._transfer.count import Count
from vertexkit._transfer.engine import Engine
from vertexkit._transfer.gzipped import expanded
from vertexkit._transfer.jobs import LARGE_BYTES, Job, attempted, words
from vertexkit._transfer.local_tree import UNFINISHED_PREFIX, UNFINISHED_SUFFIX
from vertexkit._transfer.objects_api import ObjectsApi
from vertexkit._transfer.patience import Patience
from vertexkit._transfer.values import ObjectInfo
from vertexkit.errors import ChecksumMismatch, VertexkitError

_BLOCK = 1024 * 1024


class FileDownload(Job):
    """One object on its way to one file.

    The bytes go to a file of another name beside it, which is renamed once its checksum has been found
    right. What an interrupted download has written of a large object stays, and is gone on from.

    Args:
        found: The object.
        path: The file that it becomes.
        api: The bucket that it is in.
        engine: What fetches it if it is small.
        count: Where to tell the progress.
    """

    def __init__(
        self, found: ObjectInfo, path: Path, api: ObjectsApi, engine: Engine | None, count: Count
    ) -> None:
        self.found = found
        self.path = path
        self.is_done = False
        self.is_skipped = False
        self.is_damaged = False
        self.failure: str | None = None
        self.error: VertexkitError | OSError | None = None
        self._api = api
        self._engine = engine
        self._count = count
        # A name of its own for each generation: what is gone on from must be the same object. The
        # file's own name is not in it, because that may have the greatest length already.
        digest = hashlib.sha256(os.fsencode(f"{found.uri}#{found.generation}#{path.name}")).hexdigest()[:32]
        self._part = path.with_name(f"{UNFINISHED_PREFIX}{digest}{UNFINISHED_SUFFIX}")

    def run(self, patience: Patience) -> None:
        """See `Job.run`."""
        if self._is_there():
            self.is_skipped = True
            self.advance(self.found.size)
        elif self.found.size >= LARGE_BYTES or self._engine is None:
            with self._open_part() as descriptor:
                _Stream(self, self._api, patience, descriptor).run()
                self._finish()
            self.is_done = True
        else:
            self._fetch_small(self._engine, patience)
            self.is_done = True
        self._count.file_done()

    def failed(self, error: VertexkitError | OSError) -> None:
        """See `Job.failed`."""
        self.failure, self.error = words(error), error
        self.is_damaged = isinstance(error, ChecksumMismatch)
        self._count.file_done()

    def _is_there(self) -> bool:
        """Whether the file is there already, and equal."""
        if self.found.content_encoding is not None:
            # What is stored compressed is a file uncompressed, and cannot be compared.
            return False
        try:
            if self.path.stat().st_size != self.found.size:
                return False
            return encoded(file_crc32c(self.path)) == self.found.crc32c
        except OSError:
            # It is not there, or cannot be read; if it cannot be written either, that will be told.
            return False

    def _fetch_small(self, engine: Engine, patience: Patience) -> None:
        found = self.found
        data = attempted(lambda: engine.get(found.name, found.generation, found.size), patience)
        if not self.is_right(len(data), checksum := crc32c(data)):
            raise damaged(found, len(data), checksum)
        with self._open_part() as descriptor:
            os.ftruncate(descriptor, 0)
            _write_all(descriptor, data)
            self._finish()
        self.advance(found.size)

    def advance(self, n: int) -> None:
        """Tell the progress of ``n`` bytes."""
        self._count.tracker.advance(n)

    def is_right(self, size: int, checksum: int) -> bool:
        """Whether these are the size and the CRC-32C of the object."""
        # Objects composed or encrypted in some ways have no crc32c to compare with; all have a size.
        return size == self.found.size and self.found.crc32c in ("", encoded(checksum))

    def _finish(self) -> None:
        """Give the complete part its name."""
        if self.found.content_encoding == "gzip":
            self._expand()
        self._part.replace(self.path)

    def _expand(self) -> None:
        """Replace the part by what it holds compressed, as the service itself would have sent it."""
        target = self._part.with_name(f"{self._part.stem}-expanded{UNFINISHED_SUFFIX}")
        try:
            with self._part.open("rb") as source, target.open("wb") as file:
                for block in expanded(source):
                    file.write(block)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        target.replace(self._part)

    @contextlib.contextmanager
    def _open_part(self) -> Iterator[int]:
        """The part, open and locked; it goes when it is not worth keeping."""
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._part, flags, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                raise OSError("another download of it is running") from None
            # Another download may have finished, and renamed it, just before it was locked here.
            if _is_same(self._part, descriptor):
                break
            os.close(descriptor)
        try:
            yield descriptor
        except BaseException as error:
            worth_keeping = self.found.size >= LARGE_BYTES and not isinstance(error, ChecksumMismatch)
            if not worth_keeping:
                self._part.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)


class _Stream:
    """The bytes of one large object, in order, into its part."""

    def __init__(self, file: FileDownload, api: ObjectsApi, patience: Patience, descriptor: int) -> None:
        self._file = file
        self._api = api
        self._patience = patience
        self._descriptor = descriptor
        self._written = 0
        self._checksum = 0

    def run(self) -> None:
        """Fetch what is missing.

        Raises:
            ChecksumMismatch: The bytes are not the object's.
        """
        gone_on = self._go_on()
        self._fetch()
        if not self._is_right() and gone_on:
            # What was there already may be what is wrong.
            self._begin_anew()
            self._fetch()
        if not self._is_right():
            raise damaged(self._file.found, self._written, self._checksum)

    def _is_right(self) -> bool:
        return self._file.is_right(self._written, self._checksum)

    def _go_on(self) -> bool:
        """Take in what an earlier download has left; whether there was anything."""
        held = os.fstat(self._descriptor).st_size
        if held > self._file.found.size:
            os.ftruncate(self._descriptor, 0)
            return False
        while self._written < held:
            self._patience.check()
            self._take(os.pread(self._descriptor, _BLOCK, self._written))
        return held > 0

    def _begin_anew(self) -> None:
        os.ftruncate(self._descriptor, 0)
        self._file.advance(-self._written)
        self._written = self._checksum = 0

    def _fetch(self) -> None:
        if self._written < self._file.found.size:
            attempted(self._attempt, self._patience)

    def _attempt(self) -> None:
        """Fetch from where the file ends."""
        found = self._file.found
        blocks = self._api.stream(
            found.name, start=self._written, stop=found.size, generation=found.generation
        )
        for block in blocks:
            self._patience.check()
            os.lseek(self._descriptor, self._written, os.SEEK_SET)
            _write_all(self._descriptor, block)
            self._take(block)
            self._patience.renew()

    def _take(self, block: bytes) -> None:
        self._checksum = crc32c(block, self._checksum)
        self._written += len(block)
        self._file.advance(len(block))


def damaged(found: ObjectInfo, size: int, checksum: int) -> ChecksumMismatch:
    """The error for bytes that are not the object's."""
    why = f"{size} bytes arrived with the crc32c {encoded(checksum)}; it has {found.size}, and {found.crc32c}"
    return ChecksumMismatch("An object arrived damaged:", {found.uri: why})


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _is_same(path: Path, descriptor: int) -> bool:
    try:
        there, held = path.lstat(), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)
