"""Files taken apart: what was written comes back, and what is damaged costs no more than it must."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
from typing import Any

import pytest
import simdjson
from batch_memory import Objects, tf_record
from hypothesis import given, settings
from hypothesis import strategies as st

from vertexkit.emulator.batch import records
from vertexkit.emulator.batch.csv_rows import BadRow, parse_header, row_array, row_values
from vertexkit.emulator.batch.inputs import Inputs, Position
from vertexkit.emulator.batch.records import Record
from vertexkit.emulator.batch.types import BatchSpec, InputFormat
from vertexkit.emulator.batch.unpacking import Unpacked

A = "gs://bucket/a"
LINES = st.lists(
    st.binary(max_size=20).map(lambda line: line.translate(None, b"\n\xef").strip(b" \t\r")), max_size=8
)
CONTENTS = st.lists(st.binary(max_size=40), max_size=8)


def read(
    content: bytes, name: InputFormat, *, most: int = 2**30, start: Position | None = None, count: int = 3
) -> list[tuple[Record, Position]]:
    """Every record, and where its lot ends."""
    sources = Objects({A: content}, most=most)
    inputs = Inputs(BatchSpec(name, (A,)), sources, [len(content)], start or Position())
    lots = iter(lambda: inputs.take(count), None)
    found = [(record, lot.end) for lot in lots for record, _ in lot.records]
    inputs.close()
    assert all(file.closed for file in sources.opened)
    return found


@settings(deadline=None)
@given(lines=LINES, end=st.sampled_from([b"\n", b"\r\n"]), most=st.integers(1, 30), last=st.booleans())
def test_lines_come_back_with_their_numbers(lines: list[bytes], end: bytes, most: int, last: bool) -> None:
    content = end.join(lines) + (end if last else b"")
    found = [(record.payload, record.number) for record, _ in read(content, InputFormat.JSONL, most=most)]
    assert found == [(line, number) for number, line in enumerate(lines, start=1) if line]


@settings(deadline=None)
@given(
    contents=CONTENTS,
    name=st.sampled_from([InputFormat.TF_RECORD, InputFormat.TF_RECORD_GZIP]),
    most=st.integers(1, 30),
)
def test_tf_records_come_back_from_any_of_them_on(
    contents: list[bytes], name: InputFormat, most: int
) -> None:
    packed = name is InputFormat.TF_RECORD_GZIP
    content = gzip.compress(tf_record(*contents)) if packed else tf_record(*contents)
    found = read(content, name, most=most, count=1)
    assert [record.payload for record, _ in found] == contents
    for index, (_, end) in enumerate(found):
        rest = read(content, name, most=most, start=end, count=2)
        assert [record.payload for record, _ in rest] == contents[index + 1 :]
        assert [record.number for record, _ in rest] == list(range(index + 2, len(contents) + 1))


@settings(deadline=None)
@given(
    name=st.sampled_from([InputFormat.JSONL, InputFormat.CSV, InputFormat.FILE_LIST]), most=st.integers(1, 30)
)
def test_lines_come_back_from_any_of_them_on(name: InputFormat, most: int) -> None:
    content = b"\xef\xbb\xbfa,b\r\n1,2\n\n3,4\n5,6"
    found = read(content, name, most=most, count=1)
    for index, (_, end) in enumerate(found):
        rest = read(content, name, most=most, start=end, count=2)
        assert [record for record, _ in rest] == [record for record, _ in found[index + 1 :]]


def counted(content: bytes, name: InputFormat, most: int) -> int:
    inputs = Inputs(BatchSpec(name, (A,)), Objects({A: content}, most=most), [len(content)], Position())
    return sum(inputs.count())


@settings(deadline=None)
@given(
    lines=st.lists(st.sampled_from([b"", b" ", b"\t\r", b"1", b" 23 ", b"four", bytes(30)]), max_size=12),
    mark=st.booleans(),
    last=st.booleans(),
    piece=st.integers(4, 40),
    most=st.integers(1, 30),
)
def test_lines_are_counted_as_they_are_read(
    lines: list[bytes], mark: bool, last: bool, piece: int, most: int
) -> None:
    content = b"\xef\xbb\xbf" * mark + b"\n".join(lines) + b"\n" * last
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "_PIECE_BYTES", piece)
        assert counted(content, InputFormat.JSONL, most) == len(read(content, InputFormat.JSONL))


@settings(deadline=None)
@given(contents=CONTENTS, packed=st.booleans(), most=st.integers(1, 30))
def test_tf_records_are_counted_as_they_are_read(contents: list[bytes], packed: bool, most: int) -> None:
    content = gzip.compress(tf_record(*contents)) if packed else tf_record(*contents)
    name = InputFormat.TF_RECORD_GZIP if packed else InputFormat.TF_RECORD
    assert counted(content, name, most) == len(contents)


def test_the_header_of_csv_is_not_counted() -> None:
    assert counted(b"a,b\n1,2\n\n3,4", InputFormat.CSV, 2**20) == 2
    assert counted(b"a,b", InputFormat.CSV, 2**20) == counted(b"\n \n", InputFormat.CSV, 1) == 0
    assert counted(b"", InputFormat.CSV, 2**20) == 0


def test_of_a_csv_file_whose_header_is_too_long_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MOST_RECORD_BYTES", 2**20)
    ((record, end),) = read(b"a," * 2**20 + b"b\n1,2\n", InputFormat.CSV)
    assert record.fault is not None
    assert (record.fault.message, record.fault.of_file) == ("the line is longer than 1 MiB", True)
    assert end == Position(1)


@settings(deadline=None)
@given(contents=CONTENTS, cut=st.integers(0, 200), packed=st.booleans())
def test_what_comes_before_the_end_of_a_truncated_file_counts(
    contents: list[bytes], cut: int, packed: bool
) -> None:
    name = InputFormat.TF_RECORD_GZIP if packed else InputFormat.TF_RECORD
    # Stored, so that every byte that is there can be unpacked.
    whole = gzip.compress(tf_record(*contents), compresslevel=0) if packed else tf_record(*contents)
    found = [record for record, _ in read(whole[:cut], name)]
    good = [record.payload for record in found if record.fault is None]
    faults = [record.fault for record in found if record.fault is not None]
    assert good == contents[: len(good)]
    ends = list(itertools.accumulate((len(tf_record(one)) for one in contents), initial=0))
    if cut >= len(whole) or (cut in ends and not packed):
        assert not faults
    elif cut:
        (fault,) = faults
        assert fault.of_file
    if not packed:
        assert len(good) == max(index for index, end in enumerate(ends) if end <= cut)


@settings(deadline=None)
@given(contents=st.lists(st.binary(max_size=20), min_size=1, max_size=5), place=st.integers(0, 500))
def test_a_flipped_bit_is_never_taken_for_content(contents: list[bytes], place: int) -> None:
    whole = bytearray(tf_record(*contents))
    whole[place % len(whole)] ^= 0x10
    found = [record for record, _ in read(bytes(whole), InputFormat.TF_RECORD)]
    assert sum(record.fault is not None for record in found) == 1
    good = [record.payload for record in found if record.fault is None]
    assert all(payload in contents for payload in good)


def test_a_record_with_a_wrong_checksum_is_lost_alone() -> None:
    whole = bytearray(tf_record(b"one", b"two", b"three"))
    whole[len(tf_record(b"one")) + 12] ^= 1
    found = [record for record, _ in read(bytes(whole), InputFormat.TF_RECORD)]
    assert [record.payload for record in found if record.fault is None] == [b"one", b"three"]
    assert found[1].fault is not None
    assert found[1].fault.message == "its content has a wrong checksum"
    assert not found[1].fault.of_file


def test_what_is_no_tf_record_file_says_so() -> None:
    for content in (b"just some text, longer than a head", b"short"):
        ((record, end),) = read(content, InputFormat.TF_RECORD)
        assert record.fault is not None
        assert record.fault.of_file
        assert end == Position(1)


@settings(deadline=None)
@given(
    members=st.lists(st.binary(max_size=200), max_size=4),
    padding=st.sampled_from([b"", bytes(7)]),
    most=st.integers(1, 64),
    size=st.integers(1, 100),
)
def test_gzip_files_of_any_number_of_members_are_unpacked(
    members: list[bytes], padding: bytes, most: int, size: int
) -> None:
    packed = b"".join(gzip.compress(member) for member in members) + (padding if members else b"")
    unpacked = Unpacked(Objects({A: packed}, most=most).open(A))
    assert b"".join(iter(lambda: unpacked.read(size) or b"", b"")) == b"".join(members)
    assert not unpacked.broken


def test_much_that_is_packed_small_is_not_unpacked_at_once() -> None:
    unpacked = Unpacked(io.BytesIO(gzip.compress(bytes(200 * 2**20))))
    largest = 0
    while unpacked.readinto(bytearray(1000)):
        largest = max(largest, len(unpacked._ready))
        if unpacked._file.tell() > 150_000:
            break
    assert 0 < largest < 20 * 2**20


@pytest.mark.parametrize("content", [b"\x1f\x8b damaged", b"no gzip at all"])
def test_a_damaged_gzip_file_says_so(content: bytes) -> None:
    unpacked = Unpacked(io.BytesIO(content))
    assert unpacked.read() == b""
    assert "damaged" in unpacked.broken


@settings(deadline=None)
@given(
    rows=st.lists(
        st.lists(
            st.floats(allow_nan=False, allow_infinity=False)
            | st.integers(-(2**63), 2**63)
            | st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=5),
            min_size=3,
            max_size=3,
        ),
        max_size=5,
    )
)
def test_rows_as_python_writes_them_come_back(rows: list[list[Any]]) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n").writerows(rows)
    for row, line in zip(rows, buffer.getvalue().encode().split(b"\n"), strict=False):
        array = row_array(line, 3, simdjson.Parser())
        assert json.loads(array) == row
        assert json.loads(b"[" + b",".join(row_values(line, 3)) + b"]") == row


@pytest.mark.parametrize(
    ("line", "array"),
    [
        (b'0.1,1.2,"cat1"', b'[0.1,1.2,"cat1"]'),
        (b"1,2,3", b"[1,2,3]"),
        (b" 1 , .5 ,+3", b"[1,0.5,3.0]"),
        (b"007,1.,1e2", b"[7.0,1.0,1e2]"),
        (b'"a,b" , "say ""hi""",3', b'["a,b","say \\"hi\\"",3]'),
        (b'"","1",2', b'["","1",2]'),
    ],
)
def test_what_is_quoted_is_a_string_and_all_else_a_number(line: bytes, array: bytes) -> None:
    assert row_array(line, 3, simdjson.Parser()) == array


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"1,2,cat", "cat is not a number; strings must be in double quotation marks"),
        (b"1,,3", "an empty cell is not a number"),
        (b"1,nan,3", "nan is not a number"),
        (b"1,1_000,3", "1_000 is not a number"),
        (b"1,true,3", "true is not a number"),
        (b"1,[2],3", "is not a number"),
        (b"1,{},3", "is not a number"),
        (b"1,2", "the row has 2 cells, and the header row 3"),
        (b"1,2,3,", "the row has 4 cells, and the header row 3"),
        (b'1,2,"three', "a quotation mark is missing"),
        (b'1,2,"three" four', "a quotation mark is missing"),
        (b"1,2,\xff", "not UTF-8"),
    ],
)
def test_a_row_that_is_none_says_why(line: bytes, message: str) -> None:
    with pytest.raises(BadRow, match=message.replace("[", r"\[")):
        row_array(line, 3, simdjson.Parser())


def test_the_names_of_columns_may_be_quoted() -> None:
    assert parse_header(b'a, "b c" ,"d,e"').names == ("a", "b c", "d,e")
    with pytest.raises(BadRow, match="a name of its own"):
        parse_header(b"a,a")
