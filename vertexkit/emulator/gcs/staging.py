"""Bytes on their way into an object: a temporary file, with its checksums."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from vertexkit.emulator.gcs.checksums import Hasher
from vertexkit.emulator.gcs.records import Identity, identity_of

_COPY_BYTES = 8 << 20
_READ_BYTES = 1 << 20


class Staged:
    """A temporary file that becomes an object by one rename, or vanishes."""

    __slots__ = ("_crc32c", "_fd", "_hasher", "_md5", "is_placed", "path", "size")

    def __init__(self, path: str, flags: int = os.O_CREAT | os.O_EXCL) -> None:
        self.path = path
        self.is_placed = False
        """Whether it has been renamed, and is no longer temporary."""
        self.size = 0
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o644)
        self._hasher = Hasher()
        self._crc32c: str | None = None
        self._md5: str | None = None

    @classmethod
    def resumed(cls, path: str) -> Staged:
        """A temporary file of an earlier process, to append to.

        Raises:
            FileNotFoundError: It has gone, or has become an object.
        """
        staged = cls(path, flags=0)
        while data := os.read(staged._fd, _READ_BYTES):
            staged._hasher.update(data)
            staged.size += len(data)
        return staged

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            OSError: The disk is full, say. ``size`` and the checksums are then those of the bytes that are
                on it, so that an upload can go on from there.
        """
        written = os.pwrite(self._fd, data, self.size)
        while written < len(data):
            self._append(data[:written])
            data = data[written:]
            written = os.pwrite(self._fd, data, self.size)
        self._append(data)

    def _append(self, written: bytes) -> None:
        self._hasher.update(written)
        self.size += len(written)

    def write_all(self, pieces: Iterable[bytes]) -> None:
        """Append pieces of bytes, one after the other."""
        for piece in pieces:
            self.write(piece)

    def append_file(self, source: int, size: int) -> None:
        """Append ``size`` bytes of an open file; the checksums are then the caller's to give.

        Raises:
            OSError: The file is shorter.
        """
        offset = 0
        while offset < size:
            copied = _copy(source, self._fd, offset, min(_COPY_BYTES, size - offset), self.size)
            if not copied:
                raise OSError(f"the file ends {size - offset} bytes early")
            offset += copied
            self.size += copied

    def declare(self, crc32c: str, md5: str | None) -> None:
        """Give the checksums of bytes that ``append_file`` copied unread."""
        self._crc32c, self._md5 = crc32c, md5

    @property
    def crc32c(self) -> str:
        """crc32c in base64."""
        return self._hasher.crc32c if self._crc32c is None else self._crc32c

    @property
    def md5(self) -> str | None:
        """MD5 in base64; None for bytes that were copied unread."""
        return self._hasher.md5 if self._crc32c is None else self._md5

    def close(self) -> Identity:
        """Close the file, which is whole now.

        Raises:
            OSError: It does not hold the bytes that its checksums are of.
        """
        held = os.fstat(self._fd).st_size
        if held != self.size:
            raise OSError(errno.EIO, f"{held} bytes are on the disk, and {self.size} were written", self.path)
        # The kernel's times stand still for milliseconds. One of our own making is never that of a
        # later write from outside, so that a change in place does not go unnoticed.
        now = time.time_ns()
        os.utime(self._fd, ns=(now, now))
        identity = identity_of(os.fstat(self._fd))
        self._close()
        return identity

    def suspend(self) -> None:
        """Close the file for now; its checksums stay in memory."""
        self._close()

    def resume(self) -> None:
        """Open the file again.

        Raises:
            FileNotFoundError: It has gone.
        """
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)

    def discard(self) -> None:
        """Remove the file, if it has not become an object."""
        self._close()
        if not self.is_placed:
            os.unlink(self.path)  # noqa: PTH108 (the path is a string, to spare the hot path a Path)

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _copy(source: int, target: int, offset: int, size: int, at: int) -> int:
    """Copy up to ``size`` bytes between open files, in the kernel where it can."""
    if sys.platform == "linux":
        # Some file systems refuse it.
        with contextlib.suppress(OSError):
            return os.copy_file_range(source, target, size, offset, at)
    return os.pwrite(target, os.pread(source, size, offset), at)


class StagingArea:
    """The folder of bytes that are not yet an object. It holds nothing that a restart needs."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in folder.iterdir():
            left.unlink()
        self._folder = str(folder)
        self._numbers = itertools.count()

    def new(self) -> Staged:
        """A new, empty temporary file."""
        return Staged(f"{self._folder}/{next(self._numbers)}")
