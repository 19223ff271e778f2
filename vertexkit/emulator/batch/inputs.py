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
from vertexkit.emulator.batch.records import Fault, Record, read_lines, read_tf_records
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

    records: list[tuple[Record, InputFile]]
    end: Position
    """Behind the last of them."""
    begin_fraction: float
    """How much of all input is before the first of them, 0 to 1."""


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
        self._position = start
        self._packed: BinaryIO | None = None
        self._records = self._read()

    def take(self, count: int) -> Taken | None:
        """The next records, ``count`` at most; None where there are no more.

        Raises:
            OSError: A file cannot be read.
        """
        taken: list[tuple[Record, InputFile]] = []
        begin_fraction, size = self._fraction(), 0
        for record, file in self._records:
            taken.append((record, file))
            size += len(record.payload)
            if len(taken) >= count or size >= _TAKEN_BYTES:
                break
        return Taken(taken, self._position, begin_fraction) if taken else None

    def skim(self) -> Iterator[None]:
        """One for every record that is left, which is passed over."""
        return (None for _ in self._records)

    def close(self) -> None:
        """Close what is open."""
        self._records.close()

    def _fraction(self) -> float:
        place = self._position
        # Of a packed file, the unpacked bytes say nothing.
        if self._format is InputFormat.TF_RECORD_GZIP:
            here = self._packed.tell() if self._packed is not None else 0
        else:
            here = place.offset
        return min(1.0, (self._bytes_before[place.file] + here) / self._all_bytes)

    def _read(self) -> Generator[tuple[Record, InputFile], None, None]:
        start = self._position
        for index in range(start.file, len(self._uris)):
            begin = start if index == start.file else Position(index)
            file = InputFile(self._uris[index])
            try:
                opened = self._sources.open(file.uri)
            except InputMissing as error:
                self._position = Position(index + 1)
                yield Record(b"", 0, 0, Fault(code_pb2.NOT_FOUND, str(error), of_file=True)), file
                continue
            with contextlib.closing(opened):
                for record, where in self._read_file(opened, file, begin):
                    self._position = Position(index, record.end, record.number)
                    if record.fault is not None and record.fault.of_file:
                        self._position = Position(index + 1)
                    yield record, where
                self._packed = None
                self._position = Position(index + 1)

    def _read_file(
        self, opened: BinaryIO, file: InputFile, begin: Position
    ) -> Iterator[tuple[Record, InputFile]]:
        if self._format is InputFormat.TF_RECORD_GZIP:
            self._packed = opened
            yield from self._read_packed(opened, file, begin)
            return
        buffered = io.BufferedReader(cast(io.RawIOBase, opened), _BUFFER_BYTES)
        if self._format is InputFormat.TF_RECORD:
            buffered.seek(begin.offset)
            for record in read_tf_records(buffered, begin.offset, begin.number):
                yield record, file
            return
        if self._format is InputFormat.CSV:
            first = next(read_lines(buffered, 0, 0), None)
            if first is None:
                return
            try:
                file = InputFile(file.uri, parse_header(first.payload))
            except BadRow as error:
                yield first._replace(fault=Fault(code_pb2.INVALID_ARGUMENT, str(error), of_file=True)), file
                return
            if not begin.offset:
                begin = Position(begin.file, first.end, first.number)
        buffered.seek(begin.offset)
        for record in read_lines(buffered, begin.offset, begin.number):
            yield record, file

    def _read_packed(
        self, opened: BinaryIO, file: InputFile, begin: Position
    ) -> Iterator[tuple[Record, InputFile]]:
        unpacked = Unpacked(opened)
        buffered = io.BufferedReader(unpacked, _BUFFER_BYTES)
        to_skip = begin.offset
        while to_skip and (skipped := len(buffered.read(min(to_skip, _BUFFER_BYTES)))):
            to_skip -= skipped
        number, told = begin.number, False
        for record in read_tf_records(buffered, begin.offset, begin.number):
            number, told = record.number, record.fault is not None and record.fault.of_file
            yield record, file
        if unpacked.broken and not told:
            yield (
                Record(b"", number + 1, 0, Fault(code_pb2.DATA_LOSS, unpacked.broken, of_file=True)),
                file,
            )
