"""What batch prediction takes for a line of a file of instances, and how long that and any record may be."""

from __future__ import annotations

from typing import Final

__all__ = ["BLANKS", "BOM", "MOST_RECORD_BYTES"]

BOM: Final = b"\xef\xbb\xbf"
"""What is in front of the first line of some files."""
BLANKS: Final = b" \t\r\n"
"""What is no part of a line at its ends; a line of nothing else is none."""
MOST_RECORD_BYTES: Final = 64 * 2**20
"""A longer line or record is refused: it would have to be held several times over."""
