"""The bytes of a file that must hold still while it is sent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from vertexkit._transfer.checksums import crc32c, file_crc32c

_BLOCK = 1024 * 1024
_READS = 3


class FileChanged(OSError):
    """The file changed while it was read."""

    def __init__(self) -> None:
        super().__init__("it changed while it was read")


class LocalFailure(Exception):
    """Carries an OSError of the file out of an HTTP request, whose client would take it for the network's."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class Content:
    """A file's bytes from some offset on, with the checksum of all that has been read in order."""

    def __init__(self, file: BinaryIO, check: Callable[[], None], tell: Callable[[int], None]) -> None:
        self._file = file
        self._check = check
        self._tell = tell
        self._status = os.fstat(file.fileno())
        self.size = self._status.st_size
        self._checksum = 0
        self._hashed = 0

    def blocks(self, offset: int) -> Iterator[bytes]:
        """Read from ``offset`` to the end.

        Raises:
            LocalFailure: The file cannot be read, or changed.
        """
        try:
            yield from self._blocks(offset)
        except OSError as error:
            raise LocalFailure(error) from None

    def _blocks(self, offset: int) -> Iterator[bytes]:
        self._hash_up_to(offset)
        self._file.seek(offset)
        while offset < self.size:
            self._check()
            block = self._file.read(min(_BLOCK, self.size - offset))
            if not block:
                raise FileChanged
            if offset + len(block) > self._hashed:
                # What is sent again after a failure has been counted already.
                self._checksum = crc32c(block[self._hashed - offset :], self._checksum)
                self._hashed = offset + len(block)
            offset += len(block)
            if offset == self.size:
                # Before the last block: without it, the service has no object, rather than a torn one.
                self._check_unchanged()
            self._tell(offset)
            yield block

    def checksum(self, path: Path) -> int:
        """The CRC-32C of the whole file."""
        if self._hashed < self.size:
            return file_crc32c(path, check=self._check)
        return self._checksum

    def _hash_up_to(self, offset: int) -> None:
        """Take in the bytes that an earlier process has sent."""
        self._file.seek(self._hashed)
        while self._hashed < offset:
            self._check()
            block = self._file.read(min(_BLOCK, offset - self._hashed))
            if not block:
                raise FileChanged
            self._checksum = crc32c(block, self._checksum)
            self._hashed += len(block)
        self._tell(offset)

    def _check_unchanged(self) -> None:
        now = os.fstat(self._file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self._status.st_size, self._status.st_mtime_ns):
            raise FileChanged


class Body:
    """What ``requests`` streams: it has a length, and can be read again when a token has expired."""

    def __init__(self, content: Content, offset: int) -> None:
        self._content = content
        self._offset = offset

    def __len__(self) -> int:
        return self._content.size - self._offset

    def __iter__(self) -> Iterator[bytes]:
        return self._content.blocks(self._offset)


def read_whole(path: Path) -> bytes:
    """The bytes of a file that held still while they were read.

    Raises:
        OSError: It cannot be read, or changed each time it was.
    """
    for _ in range(_READS):
        # The file that is read must be the one whose time is compared, so everything is by descriptor.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            before = os.fstat(descriptor)
            blocks = []
            while block := os.read(descriptor, before.st_size + 1):
                blocks.append(block)
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        data = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        if len(data) == after.st_size and before.st_mtime_ns == after.st_mtime_ns:
            return data
    raise FileChanged
