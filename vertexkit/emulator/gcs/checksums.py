"""crc32c and MD5 as Cloud Storage writes them: big-endian bytes in base64."""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache

import google_crc32c

from vertexkit.emulator.gcs import errors

_READ_BYTES = 1 << 20
_CASTAGNOLI = 0x82F63B78
"""The crc32c polynomial, bits reversed."""


class Hasher:
    """Both checksums of a stream of bytes."""

    __slots__ = ("_md5", "crc")

    def __init__(self) -> None:
        self.crc: int = 0
        self._md5 = hashlib.md5(usedforsecurity=False)

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take in the next bytes."""
        self.crc = google_crc32c.extend(self.crc, bytes(data) if isinstance(data, bytearray) else data)
        self._md5.update(data)

    @property
    def crc32c(self) -> str:
        """The crc32c so far, in base64."""
        return encode_crc32c(self.crc)

    @property
    def md5(self) -> str:
        """The MD5 so far, in base64."""
        return base64.b64encode(self._md5.digest()).decode("ascii")


def crc32c_of_file(fd: int) -> str:
    """The crc32c, in base64, of an open file from where it stands to its end."""
    crc = 0
    while data := os.read(fd, _READ_BYTES):
        crc = google_crc32c.extend(crc, data)
    return encode_crc32c(crc)


def encode_crc32c(crc: int) -> str:
    """A crc32c as the API writes it."""
    return base64.b64encode(crc.to_bytes(4, "big")).decode("ascii")


def decode_crc32c(text: str) -> int:
    """A crc32c as a number."""
    return int.from_bytes(base64.b64decode(text), "big")


def combine_crc32c(first: int, second: int, second_size: int) -> int:
    """The crc32c of two byte strings one after the other, without reading either.

    Args:
        first: crc32c of the first string.
        second: crc32c of the second string.
        second_size: Size of the second string in bytes.
    """
    return _multiply(_power_of_x(8 * second_size), first) ^ second


def _multiply(a: int, b: int) -> int:
    """The product of two polynomials over GF(2), bits reversed, modulo the crc32c polynomial."""
    product = 0
    bit = 1 << 31
    while bit:
        if a & bit:
            product ^= b
        b = (b >> 1) ^ (_CASTAGNOLI if b & 1 else 0)
        bit >>= 1
    return product


@lru_cache(maxsize=1024)
def _power_of_x(exponent: int) -> int:
    """``x ** exponent`` modulo the crc32c polynomial, bits reversed."""
    result, square = 1 << 31, 1 << 30
    while exponent:
        if exponent & 1:
            result = _multiply(result, square)
        square = _multiply(square, square)
        exponent >>= 1
    return result


@dataclass(frozen=True)
class Announced:
    """The checksums that a client says its bytes have; None for one that it does not give."""

    crc32c: str | None = None
    md5: str | None = None

    def verify(self, crc32c: str, md5: str | None) -> None:
        """Compare with the checksums of the bytes that came.

        Raises:
            StorageError: 400; they differ.
        """
        if self.crc32c is not None and not _same(self.crc32c, crc32c):
            raise errors.bad_digest(
                f'Provided CRC32C "{self.crc32c}" doesn\'t match calculated CRC32C "{crc32c}".'
            )
        if self.md5 is not None and md5 is not None and not _same(self.md5, md5):
            raise errors.bad_digest(
                f'Provided MD5 hash "{self.md5}" doesn\'t match calculated MD5 hash "{md5}".'
            )

    def also(self, other: Announced) -> Announced:
        """Both announcements in one; where both speak, the later one wins."""
        return Announced(other.crc32c or self.crc32c, other.md5 or self.md5)


NOTHING_ANNOUNCED = Announced()


def parse_goog_hash(value: str) -> Announced:
    """Read an ``x-goog-hash`` header: ``crc32c=n03x6A==,md5=Ojk9c3dhfxgoKVVHYwFbHQ==``."""
    found: dict[str, str] = {}
    for item in value.split(","):
        algorithm, _, digest = item.strip().partition("=")
        found[algorithm.lower()] = digest
    return Announced(found.get("crc32c"), found.get("md5"))


def _same(given: str, calculated: str) -> bool:
    """Whether two checksums agree; base64 leaves room for differences in writing."""
    if given == calculated:
        return True
    try:
        return base64.b64decode(given, validate=True) == base64.b64decode(calculated)
    except ValueError:  # also what is not ASCII
        return False
