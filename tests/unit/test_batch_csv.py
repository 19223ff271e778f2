"""Rows of CSV are here what the service takes them for."""

from __future__ import annotations

import io
import json
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vertexkit.batch_csv import cell_values, cells
from vertexkit.batch_records import csv_cells
from vertexkit.emulator.batch.csv_rows import BadRow, parse_header, row_values

ROWS = st.text(st.sampled_from('a1.-e_" ,\t\xa0\u0661'), max_size=12) | st.text(
    st.characters(exclude_characters="\n", codec="utf-8"), max_size=12
)


@settings(deadline=None)
@given(row=ROWS)
@example(row="nan,inf,1_000,1e999")
@example(row='"a""b" , 1 ,"",')
@example(row='1,"a" x')
def test_rows_are_what_the_service_takes_them_for(row: str) -> None:
    line = row.encode()
    try:
        found = cells(line)
    except ValueError:
        with pytest.raises(BadRow, match="quotation mark"):
            row_values(line, 1)
        return
    names = [text for text, _ in found]
    if len(set(names)) == len(names):
        assert parse_header(line).names == tuple(names)
    read = cell_values(found)
    if all(quoted or isinstance(one, float) for (_, quoted), one in zip(found, read, strict=True)):
        assert [json.loads(one) for one in row_values(line, len(found))] == read
    else:
        with pytest.raises(BadRow, match="is not a number"):
            row_values(line, len(found))


def test_many_blanks_cost_no_more_than_other_text() -> None:
    begun = time.perf_counter()
    with pytest.raises(ValueError, match="quotation mark"):
        cells(b"1," + b" " * 50_000 + b'x"')
    assert time.perf_counter() - begun < 1


def test_rows_of_results_may_hold_line_breaks_in_quotation_marks() -> None:
    file = io.BytesIO(b'\xef\xbb\xbf"a",b\r\n\n"x\n""y""\r\nz",1\r\n2,"\n"')
    assert list(csv_cells(file)) == [
        [("a", True), ("b", False)],
        [('x\n"y"\r\nz', True), ("1", False)],
        [("2", False), ("\n", True)],
    ]


def test_a_quotation_mark_that_is_missing_costs_no_more_than_a_row_may_be_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = b'a\n"1' + b"\n12345678" * 400_000
    begun = time.perf_counter()
    with pytest.raises(ValueError, match="quotation mark"):
        list(csv_cells(io.BytesIO(content)))
    assert time.perf_counter() - begun < 5
    monkeypatch.setattr("vertexkit.batch_records._MOST_ROW_BYTES", 1000)
    file = io.BytesIO(content)
    with pytest.raises(ValueError, match="a quotation mark is missing, or a row has 1,000 bytes"):
        list(csv_cells(file))
    assert file.tell() < 2000
