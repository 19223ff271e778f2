"""Gzip files, read as far as they can be."""

from __future__ import annotations

import io
import zlib
from typing import BinaryIO, cast

# What a piece unpacks to, a thousand times as much at worst, is held at once.
_PIECE_BYTES = 16 * 1024
_GZIP_WINDOW = 31


class Unpacked(io.RawIOBase):
    """What a gzip file of any number of members holds.

    Where the file breaks off or is damaged, so does this, after all that can be read; ``broken`` says why.

    Args:
        file: The gzip file, which is closed with this.

    Attributes:
        broken: Why the file's end is not the right one, known when it is reached; empty where it is.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._unpacker = zlib.decompressobj(_GZIP_WINDOW)
        self._in_member = False
        self._packed = b""
        self._ready = memoryview(b"")
        self.broken = ""

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: object) -> int:
        """Fill a buffer, as ``io.RawIOBase`` has it."""
        view = memoryview(cast(bytearray, buffer))
        while not self._ready and not self.broken:
            if not self._packed:
                self._packed = self._file.read(_PIECE_BYTES)
            if not self._packed:
                if self._in_member:
                    self.broken = "the gzip file breaks off"
                break
            self._unpack()
        size = min(len(view), len(self._ready))
        view[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def close(self) -> None:
        """Close the packed file too."""
        if not self.closed:
            self._file.close()
        super().close()

    def _unpack(self) -> None:
        if not self._in_member:
            # Padding with zeros may follow a member.
            self._packed = self._packed.lstrip(b"\0")
            if not self._packed:
                return
            self._unpacker = zlib.decompressobj(_GZIP_WINDOW)
            self._in_member = True
        try:
            self._ready = memoryview(self._unpacker.decompress(self._packed))
        except zlib.error as error:
            self.broken = f"the gzip file is damaged ({error})"
            return
        self._in_member = not self._unpacker.eof
        self._packed = self._unpacker.unused_data
