"""Rows of CSV files as JSON: what is in quotation marks is a string, and all else a number.

A row is a line: cells that hold line breaks are not accepted, as Vertex AI has it.

Source: https://cloud.google.com/vertex-ai/docs/predictions/get-batch-predictions#input_data_requirements
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import orjson
import simdjson

from vertexkit.batch_csv import cells

_JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
# What JSON that is no number needs: strings, lists, objects, and one of true, false and null.
_NO_NUMBERS = re.compile(rb'["\[{rl]')
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True)
class CsvHeader:
    """The first row of a CSV file."""

    names: tuple[str, ...]


class BadRow(ValueError):
    """A row that is none; the message says why."""


def parse_header(line: bytes) -> CsvHeader:
    """The names of the columns, with or without quotation marks.

    Raises:
        BadRow: It is no row, or two columns have the same name.
    """
    names = tuple(text for text, _ in _cells(line))
    if len(set(names)) < len(names):
        raise BadRow("the header row must give every column a name of its own")
    return CsvHeader(names)


def row_values(line: bytes, columns: int) -> list[bytes]:
    """The JSON of every cell.

    Raises:
        BadRow: A cell is neither number nor string, or there are not as many as columns.
    """
    row = _cells(line)
    if len(row) != columns:
        raise BadRow(f"the row has {len(row)} cells, and the header row {columns}")
    return [orjson.dumps(text) if quoted else _number(text) for text, quoted in row]


def row_array(line: bytes, columns: int, parser: simdjson.Parser) -> bytes:
    """The JSON array of a row, quickly where all cells are numbers as JSON writes them.

    Raises:
        BadRow: As :func:`row_values`.
    """
    if line.count(b",") == columns - 1 and not _NO_NUMBERS.search(line):
        array = b"[%b]" % line
        try:
            parser.parse(array)
            return array
        except (ValueError, RuntimeError):
            # Numbers can be written in more ways than JSON knows.
            pass
    return b"[%b]" % b",".join(row_values(line, columns))


def _number(text: str) -> bytes:
    if _JSON_NUMBER.fullmatch(text):
        return text.encode()
    try:
        number = float(text) if "_" not in text else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BadRow(
            f"{text[:_SHOWN_CHARACTERS] or 'an empty cell'} is not a number; "
            "strings must be in double quotation marks"
        )
    return repr(number).encode()


def _cells(line: bytes) -> list[tuple[str, bool]]:
    """The text of every cell, and whether it was in quotation marks."""
    try:
        return cells(line)
    except UnicodeDecodeError:
        raise BadRow("the row is not UTF-8 text") from None
    except ValueError:
        raise BadRow(
            "a quotation mark is missing, or there is text beside one; line breaks in cells are not accepted"
        ) from None
