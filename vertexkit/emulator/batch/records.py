"""Files taken apart into records: lines, and the framing of TFRecord files.

A broken record is a record with a fault; where nothing behind it can be told apart any more, it is the
last of its file. Memory is that of the longest record, which is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import BinaryIO, NamedTuple

from google.rpc import code_pb2

from vertexkit.batch_lines import BLANKS, BOM, MOST_RECORD_BYTES
from vertexkit.tf_record import CHECK_BYTES, LENGTH_BYTES, is_intact, length_of

_FRAME_BYTES = LENGTH_BYTES + CHECK_BYTES
_SHOWN_BYTES = 200
_BROKEN_OFF = "the file ends in the middle of it"
_PIECE_BYTES = 2**20


class Fault(NamedTuple):
    """Why something has no prediction."""

    code: int
    """Of ``google.rpc.Code``."""
    message: str
    of_file: bool = False
    """Whether it is all that follows in the file that cannot be read, too."""


class Record(NamedTuple):
    """A line without its end, or the content of a TFRecord."""

    payload: bytes
    number: int
    """In its file, from 1."""
    end: int
    """The byte of the (unpacked) file where the next one begins."""
    fault: Fault | None = None


class Block(NamedTuple):
    """Good records of a TFRecord file that follow on each other: to make a Record of each takes time."""

    payloads: list[bytes]
    number: int
    """Of the last one."""
    end: int
    """The byte of the (unpacked) file behind the last one."""

    def records(self) -> Iterator[Record]:
        """Them all, each by itself."""
        sizes = [_FRAME_BYTES + len(payload) for payload in self.payloads]
        ends = accumulate(sizes[1:], initial=self.end - sum(sizes[1:]))
        for number, (payload, end) in enumerate(
            zip(self.payloads, ends, strict=True), self.number - len(sizes) + 1
        ):
            yield Record(payload, number, end)


@dataclass
class Room:
    """How much a block may hold; whoever takes the blocks sets it anew before each."""

    count: int = 1
    size: int = 0
    """Bytes; a block ends with the record that reaches it."""


def read_lines(file: BinaryIO, offset: int, number: int) -> Iterator[Record]:
    """The lines of a file that are not blank, whatever ends them, without the blanks around them.

    Args:
        file: Open for reading, and there already.
        offset: The byte where it is.
        number: How many lines are before.
    """
    while line := file.readline(MOST_RECORD_BYTES + 1):
        number += 1
        begins, offset = offset, offset + len(line)
        fault = None
        if len(line) > MOST_RECORD_BYTES:
            line, rest = line[:_SHOWN_BYTES], line
            while not rest.endswith(b"\n") and (rest := file.readline(MOST_RECORD_BYTES)):
                offset += len(rest)
            fault = _invalid(f"the line is longer than {MOST_RECORD_BYTES >> 20} MiB")
        elif not begins:
            line = line.removeprefix(BOM)
        line = line.strip(BLANKS)
        if line:
            yield Record(line, number, offset, fault)


def read_tf_records(file: BinaryIO, offset: int, number: int, room: Room) -> Iterator[Block | Record]:
    """The records of an (unpacked) TFRecord file: good ones in blocks, and each broken one by itself.

    Args:
        file: Open for reading, and there already.
        offset: The byte where it is.
        number: How many records are before.
        room: Of each block.
    """
    length, right_head, wrong = 0, b"", ""
    payloads: list[bytes] = []
    size = 0
    while head := file.read(LENGTH_BYTES):
        if head != right_head:
            # Many records have the length of the one before.
            length, wrong = _checked_length(head)
            if wrong:
                break
            right_head = head
        content = file.read(length + CHECK_BYTES)
        if len(content) < length + CHECK_BYTES:
            wrong = _BROKEN_OFF
            break
        payload = content[:length]
        if not is_intact(payload, content[length:]):
            if payloads:
                yield Block(payloads, number, offset)
                payloads, size = [], 0
            number, offset = number + 1, offset + _FRAME_BYTES + length
            yield Record(payload, number, offset, _lost("its content has a wrong checksum"))
            continue
        number, offset = number + 1, offset + _FRAME_BYTES + length
        payloads.append(payload)
        size += length
        if len(payloads) >= room.count or size >= room.size:
            yield Block(payloads, number, offset)
            payloads, size = [], 0
    if payloads:
        yield Block(payloads, number, offset)
    if wrong:
        yield Record(b"", number + 1, offset, _lost(wrong, of_file=True))


def _checked_length(head: bytes) -> tuple[int, str]:
    """A record's bytes, and what is wrong with what says so; empty for nothing."""
    if len(head) < LENGTH_BYTES:
        return 0, _BROKEN_OFF
    length = length_of(head)
    if length is None:
        return 0, "its length has a wrong checksum: this is no TFRecord file, or damaged from here on"
    if length > MOST_RECORD_BYTES:
        return 0, f"it has {length} bytes, and at most {MOST_RECORD_BYTES >> 20} MiB are read"
    return length, ""


def count_lines(file: BinaryIO) -> Iterator[int]:
    """How many lines of a file are not blank, a piece of it after the other: in a tenth of the time."""
    # Whether the line that the pieces so far end in has more to it than blanks.
    begun, piece = False, file.read(_PIECE_BYTES).removeprefix(BOM)
    while piece:
        *lines, rest = piece.split(b"\n")
        count = 0
        if lines:
            lines[0] = b"1" if begun else lines[0]
            count, begun = sum(1 for line in lines if line.strip(BLANKS)), False
        begun = begun or bool(rest.strip(BLANKS))
        yield count
        piece = file.read(_PIECE_BYTES)
    yield int(begun)


def count_tf_records(file: BinaryIO) -> Iterator[int]:
    """A 1 for every record of an (unpacked) TFRecord file, whatever it holds."""
    length, right_head = 0, b""
    while head := file.read(LENGTH_BYTES):
        yield 1
        if head != right_head:
            length, wrong = _checked_length(head)
            if wrong:
                return
            right_head = head
        file.read(length + CHECK_BYTES)


def _lost(message: str, *, of_file: bool = False) -> Fault:
    return Fault(code_pb2.DATA_LOSS, message, of_file)


def _invalid(message: str) -> Fault:
    return Fault(code_pb2.INVALID_ARGUMENT, message)
