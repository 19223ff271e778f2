"""Replies taken apart: every prediction as it was written, or one refusal for the whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
import simdjson
from hypothesis import given, settings
from hypothesis import strategies as st

from vertexkit.emulator.batch.predictions import NoPredictions, split_predictions

NUMBERS = st.recursive(
    st.integers(-9, 99) | st.floats(), lambda inner: st.lists(inner, max_size=3), max_leaves=9
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=400)
@given(
    predictions=st.lists(NUMBERS, min_size=1, max_size=6) | st.lists(JSON, min_size=1, max_size=4),
    style=st.sampled_from([{"separators": (",", ":")}, {}, {"indent": 1}]),
)
def test_every_prediction_comes_back_on_a_line_of_its_own(
    predictions: list[Any], style: dict[str, Any]
) -> None:
    body = json.dumps({"predictions": predictions}, **style).encode()
    parts = split_predictions(body, len(predictions), simdjson.Parser())
    assert not any(b"\n" in part for part in parts)
    assert repr([json.loads(part) for part in parts]) == repr(predictions)


def test_numbers_stay_as_they_are_written() -> None:
    body = b'{"predictions":[[[1.50],[NaN]],[[1e-7],[-0.0]]]}'
    assert split_predictions(body, 2, simdjson.Parser()) == [b"[[1.50],[NaN]]", b"[[1e-7],[-0.0]]"]


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b'{"predictions":[[[1],[2,[[3]],[[4]]]],[5]]}', 2),
        (b'{"predictions":[[1],[[2]]]}', 2),
        (b'{"predictions":[1,[2]]}', 2),
        (b'{"predictions":[[],[]]}', 2),
        (b'{"predictions":[{"a":[1,2]},{"a":[3,4]}]}', 2),
    ],
)
def test_what_is_not_alike_is_told_apart_all_the_same(body: bytes, count: int) -> None:
    parts = split_predictions(body, count, simdjson.Parser())
    assert [json.loads(part) for part in parts] == json.loads(body)["predictions"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "is not JSON"),
        (b'{"predictions":[[1],[2]', "is not JSON"),
        (b'{"predictions":[1],[2]]}', "is not JSON"),
        (b'{"predictions":[1,]}', "is not JSON"),
        (b'{"outputs":[1,2]}', "no list of predictions"),
        (b'{"predictions":{"a":1}}', "no list of predictions"),
        (b"[1,2]", "no list of predictions"),
        (b'{"predictions":[]}', "answered 2 instances with 0 predictions"),
        (b'{"predictions":[1]}', "answered 2 instances with 1 predictions"),
        (b'{"predictions":[[1],[2],[3]]}', "answered 2 instances with 3 predictions"),
    ],
)
def test_a_reply_without_two_predictions_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(NoPredictions, match=message):
        split_predictions(body, 2, simdjson.Parser())
