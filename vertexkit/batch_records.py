"""The instances of a batch prediction job, read again from its inputs, in their order.

Reads what the service reads, and as it does: what it takes for an instance is one here, and so is what it
cannot read, by the name or text under which it fails there. But lines longer than it takes are read whole.
"""

from __future__ import annotations

import base64
import gzip
import heapq
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from vertexkit._core.names import is_gcs_uri
from vertexkit.batch_csv import cell_values, cells
from vertexkit.batch_input import InstanceConfig, is_own_key
from vertexkit.batch_lines import BLANKS, BOM, MOST_RECORD_BYTES
from vertexkit.json_text import dumps, loads
from vertexkit.tf_record import CHECK_BYTES, LENGTH_BYTES, is_intact, length_of

__all__ = [
    "NO_KEY",
    "Record",
    "by_position",
    "csv_cells",
    "csv_columns",
    "read_records",
    "unsent",
]

_MOST_ROW_BYTES: Final = 512 * 2**20
"""Of results: an instance, and what was predicted of it."""
_POSITION: Final = re.compile(rb'\{"vertexkit_key\d*":"(\d+)"')


NO_KEY: Final[Any] = object()
"""In place of the key of an instance that has none."""


@dataclass(slots=True)
class Record:
    """One instance."""

    text: bytes
    """As the results give it, as JSON: how it was written, as far as that is known."""
    read: Callable[[], Any]
    """Makes its value, as a user has it."""
    key: Any = NO_KEY
    """Its key, which may be None as well."""
    sent: Callable[[], list[Any]] | None = None
    """Makes further values that the results may give for it; None where there are none."""

    def values(self) -> list[Any]:
        """The values under which the results may name it."""
        return [_json(self.text), *(self.sent() if self.sent is not None else ())]

    def texts(self) -> list[str]:
        """The texts under which the errors may name it, should the service not take it for an instance."""
        return [_text(self.text), *(value for value in self.values() if isinstance(value, str))]


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
                yield from _of_csv(file, uri, config)
            elif kind == "file-list":
                yield from map(_of_list, _lines(file))
            else:
                yield from _of_frames(file, uri, packed=kind == "tf-record-gzip")


def unsent(index: int, text: str) -> Record:
    """What is in the input, and was not sent."""
    return Record(dumps(text), partial(_given, text), key=index)


def by_position(*sources: Iterable[Record]) -> Iterator[Record]:
    """The records of several sources, each in order, by their positions; of what is missing, empty ones."""
    expected = 0
    for record in heapq.merge(*sources, key=lambda record: int(record.key)):
        for missing in range(expected, record.key):
            yield Record(b"null", partial(_given, None), key=missing)
        expected = record.key + 1
        yield record


def csv_columns(path: Path) -> list[str]:
    """The names in the first row of a CSV file; none where nothing of it is read."""
    with path.open("rb") as file:
        names = [text for text, _ in _row(next(_lines(file), b""))]
    return names if len(set(names)) == len(names) else []


def csv_cells(file: BinaryIO) -> Iterator[list[tuple[str, bool]]]:
    """The rows of a file of results: the text of every cell, and whether it was in quotation marks.

    There, unlike in the input, a line break may be within them.

    Raises:
        ValueError: It is no CSV.
    """
    held: list[bytes] = []
    size, is_open, first = 0, False, True
    while line := file.readline(_MOST_ROW_BYTES):
        held.append(line.removeprefix(BOM) if first else line)
        first = False
        size += len(line)
        is_open ^= bool(line.count(b'"') % 2)  # and the line break is within quotes
        if size >= _MOST_ROW_BYTES:
            raise ValueError(f"a quotation mark is missing, or a row has {_MOST_ROW_BYTES:,} bytes and more")
        if not is_open:
            if row := b"".join(held).strip(BLANKS):
                yield cells(row)
            held, size = [], 0
    if held:
        yield cells(b"".join(held).strip(BLANKS))


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
                # It is no instance, and fails under its text.
                yield Record(dumps(_text(line)), partial(_given, value), sent=partial(_alone, value))


def _of_csv(file: BinaryIO, uri: str, config: InstanceConfig) -> Iterator[Record]:
    lines = _lines(file)
    header = next(lines, None)
    if header is None:
        return
    names = [text for text, _ in _row(header)]
    if not names or len(set(names)) < len(names):
        yield _named(uri)  # nothing of it is read
        return
    # A row is a line, as Vertex AI has it.
    for line in lines:
        row = _row(line)
        values = cell_values(row)
        named = dict(zip(names, values, strict=False))
        if len(row) != len(names) or any(
            isinstance(value, str) and not quoted for (_, quoted), value in zip(row, values, strict=True)
        ):
            text = _text(line)
            yield Record(dumps(text), partial(_given, named or text), sent=partial(_both, values, named))
            continue
        key = named.pop(config.key_field, NO_KEY) if config.key_field else NO_KEY
        read = partial(_given, named)
        if config.key_field and key is NO_KEY:
            yield Record(dumps(_text(line)), read)  # no row of the file is an instance
            continue
        if config.instance_type == "object":
            yield Record(dumps(named), read, key=key)
            continue
        # As it is written: numbers may have come from elsewhere with any number of digits.
        parts = [orjson.dumps(text) if quoted else text.encode() for text, quoted in row]
        array = b"[" + (line if b'"' not in line else b",".join(parts)) + b"]"
        yield Record(array, read, key=key, sent=partial(_both, values, named))


def _of_frames(file: BinaryIO, uri: str, *, packed: bool) -> Iterator[Record]:
    """The records of a TFRecord file; where it breaks off, its URI stands for the rest."""
    source: Any = gzip.GzipFile(fileobj=file) if packed else file
    while True:
        try:
            head = source.read(LENGTH_BYTES)
            if not head:
                return
            size = length_of(head, MOST_RECORD_BYTES)
            content = source.read(size) if size else b""
            check = source.read(CHECK_BYTES)
            if size is None or len(content) < size or len(check) < CHECK_BYTES:
                yield _named(uri)
                return
        except (OSError, EOFError, zlib.error):
            yield _named(uri)
            return
        if is_intact(content, check):
            yield Record(b'{"b64":"' + base64.b64encode(content) + b'"}', partial(_given, content))
        else:
            # It fails under its text, as all do that are no instances.
            yield Record(dumps(_text(content)), partial(_given, content))


def _alone(value: Any) -> list[Any]:
    return [value]


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Every line that is not empty, without what surrounds it."""
    first = True
    for raw in file:
        line = (raw.removeprefix(BOM) if first else raw).strip(BLANKS)
        first = False
        if line:
            yield line


def _of_list(line: bytes) -> Record:
    uri = _text(line)
    bare = uri.strip('"') if is_gcs_uri(uri.strip('"')) else uri
    # A file that is not there fails under the line as it is.
    return (
        Record(dumps(bare), partial(_given, bare), sent=partial(_alone, uri)) if bare != uri else _named(uri)
    )


def _named(uri: str) -> Record:
    return Record(dumps(uri), partial(_given, uri))


def _json(text: bytes) -> Any:
    """The value of a line; of one that is no JSON, its text."""
    try:
        return loads(text)
    except (ValueError, RecursionError):
        return _text(text)


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


def _both(values: list[str | float], named: dict[str, Any]) -> list[Any]:
    return [values, named]


def _row(line: bytes) -> list[tuple[str, bool]]:
    """The cells of a line; none of what is no row."""
    try:
        return cells(line)
    except ValueError:
        return []


def _given(value: Any) -> Any:
    return value


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")
