"""Rows of CSV as a batch prediction job reads and writes them. The csv module would not tell what was quoted.

What is in double quotes is text, and anything else must be a number. A row of the input is a line.

Source: https://cloud.google.com/vertex-ai/docs/predictions/get-batch-predictions#input_data_requirements
"""

from __future__ import annotations

import math
import re
from typing import Final

__all__ = ["cell_values", "cells"]

# Possessive, lest a row of many blanks be tried in as many ways.
_CELL: Final = re.compile(r'\s*+(?:"((?:[^"]|"")*+)"\s*+|([^",]*+))(,|\Z)')


def cells(row: bytes) -> list[tuple[str, bool]]:
    """The text of every cell, and whether it was in quotation marks.

    Raises:
        UnicodeDecodeError: It is not UTF-8.
        ValueError: It is no row.
    """
    text, at = row.decode(), 0
    found: list[tuple[str, bool]] = []
    while (cell := _CELL.match(text, at)) is not None:
        quoted, bare, delimiter = cell.groups()
        found.append((bare.strip(), False) if quoted is None else (quoted.replace('""', '"'), True))
        if not delimiter:
            return found
        at = cell.end()
    raise ValueError("there is text beside a quotation mark, or one is missing")


def cell_values(row: list[tuple[str, bool]]) -> list[str | float]:
    """What is quoted is text, and a number what is not and reads as one."""
    return [text if quoted else _number(text) for text, quoted in row]


def _number(text: str) -> str | float:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) and "_" not in text else text
