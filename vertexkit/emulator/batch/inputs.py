"""The inputs of a job, one file after the other, as records; from any record on."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import BinaryIO, cast

from google.rpc import code_pb2

from vertexkit.emulator.batch.csv_rows import BadRow, CsvHeader, parse_header
from vertexkit.emulator.batch.records import (
    Block,
    Fault,
    Record,
    Room,
    count_lines,
    count_tf_records,
    read_lines,
    read_tf_records,
)
from vertexkit.emulator.batch.types import BatchSpec, InputFormat, InputMissing, Sources
from vertexkit.emulator.batch.unpacking import Unpacked

_BUFFER_BYTES = 2**20
_TAKEN_BYTES = 8 * 2**20
"""Records that are together longer than this are not taken together, however few they are."""


@dataclass(frozen=True)
class Position:
    """A place between two records."""

    file: int = 0
    """Index among the inputs."""
    offset: int = 0
    """The byte of the (unpacked) file."""
    number: int = 0
    """How many lines or records of the file are before."""


@dataclass(frozen=True)
class InputFile:
    """Where a record comes from."""

    uri: str
    header: CsvHeader | None = None
    """Of a CSV file."""


@dataclass(frozen=True)
class Taken:
    """Records that belong together."""

    parts: list[tuple[Block | Record, InputFile]]
    end: Position
    """Behind the last of them."""
    begin_fraction: float
    """How much of all input is before the first of them, 0 to 1."""

    @property
    def records(self) -> Iterator[tuple[Record, InputFile]]:
        """One by one."""
        for part, file in self.parts:
            if isinstance(part, Block):
                yield from ((record, file) for record in part.records())
            else:
                yield part, file

    def payloads(self) -> tuple[list[bytes], InputFile] | None:
        """What they hold, and a file that stands for all of theirs; None where one is not good."""
        payloads: list[bytes] = []
        _, file = self.parts[0]
        for part, its in self.parts:
            if its.header != file.header:
                return None
            if isinstance(part, Block):
                payloads += part.payloads
            elif part.fault is None:
                payloads.append(part.payload)
            else:
                return None
        return payloads, file


class Inputs:
    """Reads the inputs. For one thread at a time.

    Args:
        spec: Says which, and how they are written.
        sources: Opens them.
        sizes: Bytes of each.
        start: Where to begin.
    """

    def __init__(self, spec: BatchSpec, sources: Sources, sizes: Sequence[int], start: Position) -> None:
        self._format = spec.input_format
        self._uris = spec.uris
        self._sources = sources
        self._bytes_before = list(accumulate(sizes, initial=0))
        self._all_bytes = max(1, self._bytes_before[-1])
        self._start = self._here = start
        self._last: tuple[int, Block | Record] | None = None
        """Which file the record is from that was read last; None where `_here` is known better."""
        self._file = InputFile("")
        self._packed: BinaryIO | None = None
        self._room = Room()
        self._records = self._read()

    def take(self, count: int) -> Taken | None:
        """The next records, ``count`` at most; None where there are no more.

        Raises:
            OSError: A file cannot be read.
        """
        taken: list[tuple[Block | Record, InputFile]] = []
        begin_fraction, room = self._fraction(), self._room
        room.count, room.size = count, _TAKEN_BYTES
        for part in self._records:
            taken.append((part, self._file))
            if isinstance(part, Block):
                room.count -= len(part.payloads)
                room.size -= sum(map(len, part.payloads))
            else:
                room.count -= 1
                room.size -= len(part.payload)
            if room.count <= 0 or room.size <= 0:
                break
        return Taken(taken, self._position(), begin_fraction) if taken else None

    def count(self) -> Iterator[int]:
        """How many records there are in all, a few at a time; about, where the inputs are damaged.

        Raises:
            OSError: A file cannot be read.
        """
        for uri in self._uris:
            try:
                opened = self._sources.open(uri)
            except InputMissing:
                yield 1
                continue
            with contextlib.closing(opened):
                yield from self._count(opened)

    def close(self) -> None:
        """Close what is open."""
        self._records.close()

    def _position(self) -> Position:
        """Behind what was read."""
        if self._last is None:
            return self._here
        index, part = self._last
        if isinstance(part, Record) and part.fault is not None and part.fault.of_file:
            return Position(index + 1)
        return Position(index, part.end, part.number)

    def _fraction(self) -> float:
        place = self._position()
        # Of a packed file, the unpacked bytes say nothing.
        if self._format is InputFormat.TF_RECORD_GZIP:
            here = self._packed.tell() if self._packed is not None else 0
        else:
            here = place.offset
        return min(1.0, (self._bytes_before[place.file] + here) / self._all_bytes)

    def _count(self, opened: BinaryIO) -> Iterator[int]:
        packed = self._format is InputFormat.TF_RECORD_GZIP
        file = io.BufferedReader(Unpacked(opened) if packed else cast(io.RawIOBase, opened), _BUFFER_BYTES)
        if packed or self._format is InputFormat.TF_RECORD:
            return count_tf_records(file)
        lines = count_lines(file)
        return _but_one(lines) if self._format is InputFormat.CSV else lines

    def _read(self) -> Generator[Block | Record, None, None]:
        for index in range(self._start.file, len(self._uris)):
            begin = self._start if index == self._start.file else Position(index)
            self._file = InputFile(self._uris[index])
            try:
                opened = self._sources.open(self._file.uri)
            except InputMissing as error:
                record = Record(b"", 0, 0, Fault(code_pb2.NOT_FOUND, str(error), of_file=True))
                self._last = index, record
                yield record
                continue
            with contextlib.closing(opened):
                for part in self._read_file(opened, begin):
                    self._last = index, part
                    yield part
                self._packed = None
                self._last, self._here = None, Position(index + 1)

    def _read_file(self, opened: BinaryIO, begin: Position) -> Iterator[Block | Record]:
        if self._format is InputFormat.TF_RECORD_GZIP:
            self._packed = opened
            return self._read_packed(opened, begin)
        buffered = io.BufferedReader(cast(io.RawIOBase, opened), _BUFFER_BYTES)
        if self._format is InputFormat.TF_RECORD:
            buffered.seek(begin.offset)
            return read_tf_records(buffered, begin.offset, begin.number, self._room)
        if self._format is InputFormat.CSV:
            first = next(read_lines(buffered, 0, 0), None)
            if first is None:
                return iter(())
            if first.fault is not None:
                return iter([first._replace(fault=first.fault._replace(of_file=True))])
            try:
                self._file = InputFile(self._file.uri, parse_header(first.payload))
            except BadRow as error:
                return iter(
                    [first._replace(fault=Fault(code_pb2.INVALID_ARGUMENT, str(error), of_file=True))]
                )
            if not begin.offset:
                begin = Position(begin.file, first.end, first.number)
        buffered.seek(begin.offset)
        return read_lines(buffered, begin.offset, begin.number)

    def _read_packed(self, opened: BinaryIO, begin: Position) -> Iterator[Block | Record]:
        unpacked = Unpacked(opened)
        buffered = io.BufferedReader(unpacked, _BUFFER_BYTES)
        to_skip = begin.offset
        while to_skip and (skipped := len(buffered.read(min(to_skip, _BUFFER_BYTES)))):
            to_skip -= skipped
        number, told = begin.number, False
        for part in read_tf_records(buffered, begin.offset, begin.number, self._room):
            number = part.number
            told = isinstance(part, Record) and part.fault is not None and part.fault.of_file
            yield part
        if unpacked.broken and not told:
            yield Record(b"", number + 1, 0, Fault(code_pb2.DATA_LOSS, unpacked.broken, of_file=True))


def _but_one(counts: Iterator[int]) -> Iterator[int]:
    """The counts without the header, which an empty file has not."""
    header = 1
    for count in counts:
        yield count - min(header, count)
        header -= min(header, count)
