"""CRC-32C, the checksum that Cloud Storage keeps of every object."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

_BLOCK = 4 * 1024 * 1024


def crc32c(data: bytes, before: int = 0) -> int:
    """The CRC-32C of ``data``, going on from that of the bytes before it."""
    import google_crc32c

    return int(google_crc32c.extend(before, data))


def encoded(checksum: int) -> str:
    """The checksum as Cloud Storage writes it: big-endian, in base64."""
    return base64.b64encode(checksum.to_bytes(4, "big")).decode("ascii")


def file_crc32c(path: Path, stop: int | None = None, *, check: Callable[[], None] = lambda: None) -> int:
    """The CRC-32C of a file, or of its first ``stop`` bytes.

    Args:
        path: The file.
        stop: How many bytes to read; None for all.
        check: Called for every few megabytes; raises to give up.

    Raises:
        OSError: The file cannot be read, or is shorter than ``stop``.
    """
    checksum, done = 0, 0
    with path.open("rb", buffering=0) as file:
        while stop is None or done < stop:
            check()
            block = file.read(_BLOCK if stop is None else min(_BLOCK, stop - done))
            if not block:
                break
            checksum, done = crc32c(block, checksum), done + len(block)
    if stop is not None and done < stop:
        raise OSError(f"it has {done} bytes, where {stop} were expected")
    return checksum
