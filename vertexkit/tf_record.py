"""The framing of TFRecord files: before each record its length, with a checksum of that, behind it its own.

Source: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

from __future__ import annotations

import struct
from typing import Final

import google_crc32c

__all__ = ["CHECK_BYTES", "LENGTH_BYTES", "is_intact", "length_of", "masked_crc"]

_LENGTH: Final = struct.Struct("<QI")
LENGTH_BYTES: Final = _LENGTH.size
"""What is in front of a record: its length, and the checksum of that."""
CHECK_BYTES: Final = 4
"""What is behind it: its checksum."""


def length_of(head: bytes, most: int | None = None) -> int | None:
    """The bytes of a record.

    Args:
        head: What is in front of it.
        most: How many it may have; None for any.

    Returns:
        None if that is no length, or one of more.
    """
    if len(head) < LENGTH_BYTES:
        return None
    length, check = _LENGTH.unpack(head)
    is_one = check == masked_crc(head[:8]) and (most is None or length <= most)
    return length if is_one else None


def is_intact(record: bytes, check: bytes) -> bool:
    """Whether a record is the one that is told by what is behind it."""
    return masked_crc(record) == int.from_bytes(check, "little")


def masked_crc(data: bytes) -> int:
    """The checksum as TFRecord files mask it, lest that of data with checksums in them be special."""
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
