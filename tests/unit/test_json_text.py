"""JSON of any values, whatever orjson makes of them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vertexkit.json_text import dumps, loads

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=10,
)


@given(value=VALUES)
@example(value=[None, math.nan])
@example(value={"a": [True, -math.inf]})
@example(value="\ud800")
def test_values_come_back_as_they_were_from_one_line(value: Any) -> None:
    text = dumps(value)
    assert b"\n" not in text
    # NaN is not equal to itself, and 1.0 is to 1.
    assert repr(loads(text)) == repr(json.loads(text)) == repr(value)


@given(value=st.integers(-(2**70), 2**70))
def test_integers_are_written_whole_and_read_as_near_as_can_be(value: int) -> None:
    assert json.loads(dumps(value)) == value
    assert loads(dumps(value)) == (value if -(2**63) <= value < 2**64 else float(value))


def test_it_is_as_short_as_can_be_whoever_writes_it() -> None:
    assert dumps([1, {"a": None}]) == b'[1,{"a":null}]'
    assert dumps([2**64, {"a": math.nan}]) == b'[18446744073709551616,{"a":NaN}]'


@pytest.mark.parametrize("text", [b"", b"[1,", b"nan", b"'a'", b"\xff", b"[1] 2"])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        loads(text)
