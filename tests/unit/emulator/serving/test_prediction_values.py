"""Protobuf values to JSON and back, against protobuf's own way."""

import json

import numpy as np
import pytest
from google.protobuf import json_format, struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from vertexkit.emulator.services.prediction_values import from_values, to_value_bytes

JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.lists(st.floats(-10, 10)),
    max_leaves=20,
)


def value_of(plain):
    return json_format.ParseDict(plain, struct_pb2.Value())


def body_of(*plain, parameters=None):
    return from_values([value_of(one) for one in plain], None if parameters is None else value_of(parameters))


@given(JSON)
def test_a_value_becomes_the_json_that_it_stands_for(plain):
    assert json.loads(body_of(plain)) == {"instances": [plain]}


@given(JSON)
def test_json_becomes_the_value_that_protobuf_would_make(plain):
    assert struct_pb2.Value.FromString(to_value_bytes(plain)) == value_of(plain)


def test_whole_numbers_are_written_as_integers_for_a_value_knows_only_doubles():
    assert body_of([1.0, 2.0], 3.0, {"a": 4.0}) == b'{"instances":[[1,2],3,{"a":4}]}'


def test_a_list_with_one_decimal_is_written_as_decimals():
    assert body_of([1.0, 2.5]) == b'{"instances":[[1.0,2.5]]}'


@pytest.mark.parametrize("number", [-0.0, 2.0**60, 1e300])
def test_a_whole_number_that_is_no_exact_integer_stays_a_decimal(number):
    assert repr(json.loads(body_of([number]))["instances"][0][0]) == repr(number)
    assert repr(json.loads(body_of(number))["instances"][0]) == repr(number)


def test_numbers_that_are_not_finite_keep_their_names_and_their_neighbours():
    value = struct_pb2.Value()
    for number in (float("nan"), float("inf"), 1.0, 0.5):
        value.list_value.values.add().number_value = number
    assert from_values([value], None) == b'{"instances":[[NaN,Infinity,1,0.5]]}'


def test_parameters_are_passed_where_there_are_any():
    assert json.loads(body_of(1, parameters={"top": 3})) == {"instances": [1], "parameters": {"top": 3}}
    assert b"parameters" not in body_of(1)


def test_numbers_of_a_reply_are_doubles():
    assert struct_pb2.Value.FromString(to_value_bytes(1)).number_value == 1.0
    image = np.arange(784).reshape(28, 28).tolist()
    assert struct_pb2.Value.FromString(to_value_bytes(image)) == value_of(image)
