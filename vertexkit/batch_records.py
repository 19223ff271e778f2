"""The instances of a batch prediction job, read again from its inputs, in their order.

Reads what the service reads, and as it does: what it takes for an instance is one here, and so is what it
cannot read, by the name or text under which it fails there.
"""

from __future__ import annotations

import base64
import gzip
import heapq
import io
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from vertexkit.batch_input import InstanceConfig, is_own_key
from vertexkit.batch_matching import loads

__all__ = ["Record", "by_position", "csv_columns", "csv_rows", "read_records", "unsent"]

_BLANKS: Final = b" \t\r\n"
_MARK: Final = b"\xef\xbb\xbf"
_FRAME = struct.Struct("<QI")
_CRC_BYTES: Final = 4
_POSITION: Final = re.compile(rb'\{"vertexkit_key\d*":"(\d+)"')


@dataclass(slots=True)
class Record:
    """One instance."""

    text: bytes
    """As the results give it, as JSON: how it was written, as far as that is known."""
    read: Callable[[], Any]
    """Makes its value, as a user has it."""
    key: Any = None
    """Its key, where it has one."""
    sent: Callable[[], list[Any]] | None = None
    """Makes further values that the results may give for it; None where there are none."""

    def values(self) -> list[Any]:
        """The values under which the results may name it."""
        first = _json(self.text)
        return [first] if self.sent is None else [first, *self.sent()]


def read_records(kind: str, config: InstanceConfig, files: Iterable[tuple[str, Path]]) -> Iterator[Record]:
    """The instances of some files, one after another.

    Args:
        kind: The format of the files, by the service's name.
        config: How the job makes instances of them.
        files: Their URIs, and where they are on this machine.
    """
    for uri, path in files:
        with path.open("rb") as file:
            if kind == "jsonl":
                yield from _of_lines(file, config)
            elif kind == "csv":
                yield from _of_csv(file, config)
            elif kind == "file-list":
                yield from (_named(line.decode("utf-8", "replace")) for line in _lines(file))
            else:
                yield from _of_frames(file, uri, packed=kind == "tf-record-gzip")


def unsent(index: int, text: str) -> Record:
    """What is in the input, and was not sent."""
    return Record(_dumped(text), partial(_given, text), key=index)


def by_position(*sources: Iterable[Record]) -> Iterator[Record]:
    """The records of several sources, each in order, by their positions; of what is missing, empty ones."""
    expected = 0
    for record in heapq.merge(*sources, key=lambda record: int(record.key)):
        for missing in range(expected, record.key):
            yield Record(b"null", partial(_given, None), key=missing)
        expected = record.key + 1
        yield record


def csv_columns(path: Path) -> list[str]:
    """The names in the first row of a CSV file; empty for one without rows."""
    with path.open("rb") as file:
        return [str(cell) for cell in next(csv_rows(file), [])]


def csv_rows(file: BinaryIO) -> Iterator[list[Any]]:
    """The rows of a CSV file: what is quoted is text, and a number what is not and reads as one.

    The csv module does not tell what was quoted.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline="")
    try:
        for row in _whole_rows(text):
            if row.strip():
                yield _cells(row)
    finally:
        text.detach()


def _of_lines(file: BinaryIO, config: InstanceConfig) -> Iterator[Record]:
    key_field = config.key_field
    selects = bool(config.included_fields or config.excluded_fields)
    for line in _lines(file):
        if key_field is not None and is_own_key(key_field):
            yield Record(line, partial(_unkeyed, line, key_field), key=_position(line, key_field))
        elif key_field is None:
            yield Record(
                line, partial(_json, line), sent=partial(_selected, line, config) if selects else None
            )
        else:
            value = _json(line)
            if isinstance(value, dict) and key_field in value:
                yield Record(line, partial(_without, value, key_field), key=value[key_field])
            else:
                yield Record(
                    _dumped(value if isinstance(value, str) else line.decode()), partial(_json, line)
                )


def _of_csv(file: BinaryIO, config: InstanceConfig) -> Iterator[Record]:
    rows = csv_rows(file)
    names = [str(name) for name in next(rows, [])]
    for row in rows:
        named = dict(zip(names, row, strict=False))
        key = named.pop(config.key_field, None) if config.key_field else None
        sent: Any = named
        if config.instance_type != "object":
            sent = [cell for name, cell in zip(names, row, strict=False) if name != config.key_field]
        yield Record(_dumped(sent), partial(_given, named), key=key, sent=partial(_both, sent, row, named))


def _of_frames(file: BinaryIO, uri: str, *, packed: bool) -> Iterator[Record]:
    """The records of a TFRecord file; where it breaks off, its URI stands for the rest."""
    source: Any = gzip.GzipFile(fileobj=file) if packed else file
    while True:
        try:
            head = source.read(_FRAME.size)
            if not head:
                return
            size = _FRAME.unpack(head)[0]
            content = source.read(size) if size < 1 << 31 else b""
            if len(content) < size or len(source.read(_CRC_BYTES)) < _CRC_BYTES:
                yield _named(uri)
                return
        except (OSError, EOFError, zlib.error, struct.error):
            yield _named(uri)
            return
        text = b'{"b64":"' + base64.b64encode(content) + b'"}'
        yield Record(text, partial(_given, content))


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Every line that is not empty, without what surrounds it."""
    first = True
    for raw in file:
        line = (raw.removeprefix(_MARK) if first else raw).strip(_BLANKS)
        first = False
        if line:
            yield line


def _named(uri: str) -> Record:
    return Record(_dumped(uri), partial(_given, uri))


def _json(text: bytes) -> Any:
    """The value of a line; of one that is no JSON, its text."""
    try:
        return loads(text)
    except (ValueError, RecursionError):
        return text.decode("utf-8", "replace")


def _unkeyed(line: bytes, key_field: str) -> Any:
    return _without(_json(line), key_field)


def _position(line: bytes, key_field: str) -> int:
    # It comes first, and the line may be long.
    found = _POSITION.match(line)
    return int(found[1] if found is not None else _json(line)[key_field])


def _without(value: Mapping[str, Any], key_field: str) -> dict[str, Any]:
    return {name: item for name, item in value.items() if name != key_field}


def _selected(line: bytes, config: InstanceConfig) -> list[Any]:
    value = _json(line)
    if not isinstance(value, dict):
        return []
    if config.included_fields:
        kept = {name: value[name] for name in config.included_fields if name in value}
    else:
        kept = {name: item for name, item in value.items() if name not in config.excluded_fields}
    return [kept, [*kept.values()]]


def _both(sent: Any, row: list[Any], named: dict[str, Any]) -> list[Any]:
    return [value for value in (row, named) if value != sent]


def _given(value: Any) -> Any:
    return value


def _dumped(value: Any) -> bytes:
    return orjson.dumps(value)


def _whole_rows(lines: Iterable[str]) -> Iterator[str]:
    """Rows of which a quoted cell may have line breaks in it."""
    held = ""
    for line in lines:
        held += line
        if held.count('"') % 2 == 0:
            yield held
            held = ""
    if held:
        yield held


def _cells(row: str) -> list[Any]:
    cells: list[Any] = []
    text, quoted, before = "", False, ","
    for place, part in enumerate(row.rstrip("\r\n").split('"')):
        if place % 2:
            # Two quotes in quotes are one, and part of the text.
            text += f'"{part}' if quoted and not before else part
            quoted = True
        else:
            first, *rest = part.split(",")
            text += first
            for piece in rest:
                cells.append(text if quoted else _cell(text))
                text, quoted = piece, False
        before = part
    return [*cells, text if quoted else _cell(text)]


def _cell(cell: str) -> str | float:
    try:
        number = float(cell)
    except ValueError:
        return cell
    return number if math.isfinite(number) and "_" not in cell else cell
