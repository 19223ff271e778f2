"""Writing of replies: TensorFlow Serving's JSON."""

import base64
import json

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from vertexkit.emulator.serving.model_server.errors import RequestError
from vertexkit.emulator.serving.model_server.replies import encode


def strings(*values):
    return np.array(values, dtype=object)


def test_one_output_is_written_bare_and_compact():
    assert encode({"y": np.array([[1, 2], [3, 4]])}, row_format=True) == b'{"predictions":[[1,2],[3,4]]}'


def test_several_outputs_are_written_as_objects():
    outputs = {"a": np.array([1, 2]), "b": np.array([[0.5], [1.5]], np.float32)}
    assert orjson.loads(encode(outputs, row_format=True)) == {
        "predictions": [{"a": 1, "b": [0.5]}, {"a": 2, "b": [1.5]}]
    }


def test_columnar_outputs_are_whole_tensors():
    assert encode({"y": np.array([1, 2])}, row_format=False) == b'{"outputs":[1,2]}'
    both = encode({"a": np.array(1), "b": np.array([2])}, row_format=False)
    assert orjson.loads(both) == {"outputs": {"a": 1, "b": [2]}}


def test_a_whole_decimal_keeps_its_point():
    assert encode({"y": np.array([1.0], np.float32)}, row_format=True) == b'{"predictions":[1.0]}'


def test_a_float32_is_written_with_its_own_digits():
    assert encode({"y": np.array([0.2], np.float32)}, row_format=True) == b'{"predictions":[0.2]}'


@pytest.mark.parametrize("value", [2**53 + 1, -(2**63), 2**63 - 1])
def test_an_int64_is_written_exactly(value):
    assert orjson.loads(encode({"y": np.array([value])}, row_format=True))["predictions"] == [value]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numbers_that_are_not_finite_have_names(dtype):
    values = np.array([[np.nan, 0.5], [np.inf, -np.inf]], dtype)
    assert encode({"y": values}, row_format=True) == b'{"predictions":[[NaN,0.5],[Infinity,-Infinity]]}'


def test_a_finite_float32_among_others_keeps_its_own_digits():
    assert encode({"y": np.array([np.nan, 0.2], np.float32)}, row_format=True) == b'{"predictions":[NaN,0.2]}'


def test_text_is_written_as_text_and_bytes_as_base64():
    outputs = {"image_bytes": strings(b"\xff\x00"), "label": strings('é"null'.encode())}
    assert orjson.loads(encode(outputs, row_format=True))["predictions"] == [
        {"image_bytes": {"b64": base64.b64encode(b"\xff\x00").decode()}, "label": 'é"null'}
    ]


def test_bytes_under_a_name_of_text_are_refused_by_name():
    with pytest.raises(RequestError, match=r"label.*_bytes"):
        encode({"label": strings(b"\xff")}, row_format=True)


def test_booleans_and_bfloat16_are_written():
    import ml_dtypes

    assert encode({"y": np.array([True])}, row_format=True) == b'{"predictions":[true]}'
    assert encode({"y": np.array([1.5], ml_dtypes.bfloat16)}, row_format=True) == b'{"predictions":[1.5]}'


def test_complex_numbers_are_refused():
    with pytest.raises(RequestError, match="complex64"):
        encode({"y": np.array([1j], np.complex64)}, row_format=True)


def test_an_output_without_rows_is_refused():
    with pytest.raises(RequestError, match="Tensor name: y has no shape information"):
        encode({"y": np.array(1.0)}, row_format=True)


def test_outputs_of_different_batch_sizes_are_refused():
    with pytest.raises(RequestError, match="b has inconsistent batch size: 3 expecting: 2"):
        encode({"a": np.zeros(2), "b": np.zeros(3)}, row_format=True)


def test_an_array_that_does_not_lie_in_one_piece_is_written():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert orjson.loads(encode({"y": array.T}, row_format=True))["predictions"] == array.T.tolist()


@given(
    npst.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]),
        npst.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4),
    )
)
def test_every_array_reads_back_as_it_was(array):
    found = json.loads(encode({"y": array}, row_format=True))["predictions"]
    np.testing.assert_array_equal(np.array(found, array.dtype).reshape(array.shape), array)
