"""The codec: what may be predicted, what the wire carries, and what comes back."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vertexkit.codec import check_count, decode_replies, encode, encode_for_all, read_reply
from vertexkit.errors import InvalidArgument, PredictionFailed
from vertexkit.prediction import SHARED_LIMIT
from vertexkit.types import Signature, TensorSpec

IMAGES = TensorSpec("images", "uint8", (None, 28, 28))
PROBABILITIES = TensorSpec("output_0", "float32", (None, 10))

NUMBERS = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
]


def signature(*inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = (PROBABILITIES,)) -> Signature:
    return Signature({spec.name: spec for spec in inputs}, {spec.name: spec for spec in outputs})


def taking(dtype: str, shape: tuple[int | None, ...] | None = None) -> Signature:
    """A model that gives back what it takes."""
    spec = TensorSpec("x", dtype, shape)
    return signature(spec, outputs=(spec,))


def sent(instances: Any, model: Signature | None = None, **options: Any) -> Any:
    """The instances of the one request that they make, as a server reads them."""
    [request] = encode(instances, model, **options)
    return json.loads(request.body)["instances"]


def reply(predictions: Any) -> bytes:
    return json.dumps({"predictions": predictions}).encode()


def decode(bodies: Sequence[bytes], model: Signature | None = None, *, counts: Sequence[int] = ()) -> Any:
    """What comes of replies that are all of one model."""
    replies = [read_reply(body) for body in bodies]
    for answer, count in zip(replies, counts, strict=False):
        check_count(answer, range(count))
    return decode_replies(replies, [model] * len(replies))


def echoed(instances: Any, model: Signature | None, **options: Any) -> Any:
    """What comes back from a model that gives what it takes."""
    requests = encode(instances, model, **options)
    bodies = [b'{"predictions":' + request.body.removeprefix(b'{"instances":') for request in requests]
    return decode(bodies, model, counts=[request.stop - request.start for request in requests])


def refusal(instances: Any, model: Signature | None = None, **options: Any) -> str:
    with pytest.raises(InvalidArgument) as caught:
        encode(instances, model, **options)
    return str(caught.value)


# Round trips -------------------------------------------------------------------------------------


def arrays(dtype: str) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    finite: dict[str, Any] = {}
    if dtype.startswith("float"):
        finite = {"allow_nan": False, "allow_infinity": False}
    shapes = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5)
    return hnp.arrays(dtype, shapes, elements=hnp.from_dtype(np.dtype(dtype), **finite))


def layouts(array: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """The same values, otherwise laid out in memory."""
    return [
        array,
        np.asfortranarray(array),
        array[::-1][::-1],
        np.repeat(array, 2, axis=-1)[..., ::2],
        array.astype(array.dtype.newbyteorder()),
    ]


@given(st.data(), st.sampled_from(NUMBERS))
def test_numbers_of_every_dtype_and_shape_survive_the_round_trip(data: st.DataObject, dtype: str) -> None:
    array = data.draw(arrays(dtype))
    layout = data.draw(st.sampled_from(layouts(array)))
    back = echoed(layout, taking(dtype, (None, *array.shape[1:])))
    assert back.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(back, array)


@given(st.data(), st.sampled_from(NUMBERS))
def test_nested_lists_survive_the_round_trip_as_their_array_does(data: st.DataObject, dtype: str) -> None:
    array = data.draw(arrays(dtype))
    back = echoed(array.tolist(), taking(dtype, (None, *array.shape[1:])))
    assert back.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(back, array)


@given(st.data(), st.sampled_from(["float32", "float64", "bool"]))
def test_without_a_signature_numbers_come_back_as_float64_and_booleans_as_bool(
    data: st.DataObject, dtype: str
) -> None:
    array = data.draw(arrays(dtype))
    back = echoed(array, None)
    assert back.dtype == ("bool" if dtype == "bool" else "float64")
    np.testing.assert_array_equal(back.astype(dtype), array)


@given(
    hnp.arrays(
        object,
        hnp.array_shapes(max_dims=3, max_side=4),
        elements=st.one_of(st.binary(), st.text(st.characters(exclude_categories=["Cs"]))),
    )
)
def test_text_and_bytes_survive_the_round_trip(array: np.ndarray[Any, Any]) -> None:
    back = echoed(array, taking("string", (None,) * array.ndim))
    assert back.dtype == object
    assert back.tolist() == array.tolist()


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_large_integers_in_lists_are_not_rounded(values: list[int]) -> None:
    assert echoed(values, taking("int64", (None,))).tolist() == values


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1))
def test_large_unsigned_integers_in_lists_are_not_rounded(values: list[int]) -> None:
    assert echoed(values, taking("uint64", (None,))).tolist() == values


def test_floats_of_ml_dtypes_survive_the_round_trip() -> None:
    array = np.array([0.1, -2.5, 3e38], ml_dtypes.bfloat16)
    back = echoed(array, taking("bfloat16", (None,)))
    np.testing.assert_array_equal(back.astype(ml_dtypes.bfloat16), array)


def test_float32_goes_with_its_own_digits_and_into_float64_with_all_of_them() -> None:
    tenth = np.array([0.1], np.float32)
    assert encode(tenth, taking("float32", (None,)))[0].body == b'{"instances":[0.1]}'
    assert sent(tenth, taking("float64", (None,))) == [float(tenth[0])]


def test_the_largest_float32_goes_in_digits_that_are_not_above_it() -> None:
    largest = float(np.finfo(np.float32).max)
    for value in (largest, -largest):
        assert sent(np.array([value], np.float32), taking("float32", (None,))) == [value]


def test_integers_go_as_integers() -> None:
    assert encode(np.array([1, 255], np.uint8))[0].body == b'{"instances":[1,255]}'
    assert encode([1, 2.5])[0].body == b'{"instances":[1,2.5]}'


def test_bytes_go_as_b64() -> None:
    assert sent([b"\xff\x00"], taking("string", (None,))) == [{"b64": base64.b64encode(b"\xff\x00").decode()}]
    assert sent([b"\xff"]) == [{"b64": "/w=="}]
    assert sent([{"b64": "/w=="}], taking("string", (None,))) == [{"b64": "/w=="}]


def test_parameters_go_with_every_request() -> None:
    requests = encode(np.zeros((100, 10)), limit=1000, parameters={"top": np.int64(3)})
    assert len(requests) > 1
    assert {json.dumps(json.loads(request.body)["parameters"]) for request in requests} == {'{"top": 3}'}


# What may be passed ------------------------------------------------------------------------------

PERSON = signature(TensorSpec("age", "float32", (None, 1)), TensorSpec("name", "string", (None, 1)))
NAMED = [{"age": [30.0], "name": ["Ada"]}, {"age": [40.0], "name": ["Bo"]}]


@pytest.mark.parametrize(
    "instances",
    [
        {"age": np.array([[30.0], [40.0]]), "name": np.array([["Ada"], ["Bo"]])},
        {"age": [[30], [40]], "name": [["Ada"], ["Bo"]]},
        [{"age": [30.0], "name": ["Ada"]}, {"name": ["Bo"], "age": [40.0]}],
        pd.DataFrame({"name": ["Ada", "Bo"], "age": [30.0, 40.0]}),
    ],
    ids=["arrays", "lists", "rows", "frame"],
)
def test_named_inputs_may_come_as_arrays_lists_rows_or_a_frame(instances: Any) -> None:
    assert sent(instances, PERSON) == NAMED


def test_a_frame_is_rows_of_features_for_a_model_of_one_input() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})
    assert sent(frame, taking("float32", (None, 2))) == [[1, 0.5], [2, 1.5]]


def test_a_frame_is_rows_of_named_values_for_a_model_without_signature() -> None:
    assert sent(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


def test_a_series_is_an_array() -> None:
    assert sent(pd.Series([1.5, 2.5]), taking("float32", (None,))) == [1.5, 2.5]


def test_whatever_numpy_reads_is_an_array() -> None:
    class Tensor:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
            return np.array([1.0, 2.0])

    assert sent(Tensor()) == [1.0, 2.0]


def test_a_single_input_may_be_named() -> None:
    assert sent({"x": np.array([1, 2])}, taking("int32", (None,))) == [{"x": 1}, {"x": 2}]


def test_casts_that_keep_every_value_are_made() -> None:
    assert sent(np.array([1.0, 2.0]), taking("uint8", (None,))) == [1, 2]
    assert sent(np.array([True, False]), taking("float32", (None,))) == [1, 0]
    assert sent(np.array([1, 0]), taking("bool", (None,))) == [True, False]
    assert sent(np.array([0.1]), taking("float32", (None,))) == [0.1]
    assert sent(np.array([1, 2], np.int64), taking("float32", (None,))) == [1, 2]


@pytest.mark.parametrize(
    ("instances", "model", "place", "words"),
    [
        (np.array([[1.0, 0.5]]), taking("uint8", (None, 2)), "instances[0, 1]=0.5", "np.rint"),
        (np.array([1, 300]), taking("uint8", (None,)), "instances[1]=300", "from 0 to 255"),
        (np.array([-1]), taking("uint64", (None,)), "instances[0]=-1", "uint64"),
        (np.array([2.0**64]), taking("uint64", (None,)), "instances[0]=1.8446744073709552e+19", "uint64"),
        ([0, 2**64], taking("uint64", (None,)), "instances=18446744073709551616", "uint64"),
        (np.array([2]), taking("bool", (None,)), "instances[0]=2", "bool"),
        (np.array([1e300]), taking("float32", (None,)), "instances[0]=1e+300", "3.403e+38"),
        (np.array([70000]), taking("float16", (None,)), "instances[0]=70000", "6.55e+04"),
        (["1"], taking("float32", (None,)), "instances='1'", "float32"),
        (np.array(["1"]), taking("float32", (None,)), "'1'", "float32"),
        ([1.0, None], taking("float32", (None,)), "instances[1]=None", "float32"),
        ([1, "b"], taking("string", (None,)), "instances[0]=1", "text or bytes"),
        (np.array([1.0]), taking("complex64", (None,)), "complex64", "that JSON cannot carry"),
    ],
)
def test_casts_that_would_change_a_value_are_refused_naming_it(
    instances: Any, model: Signature, place: str, words: str
) -> None:
    message = refusal(instances, model)
    assert place in message
    assert words in message


@pytest.mark.parametrize("model", [None, taking("float32", (None, 3))], ids=["unchecked", "checked"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("form", [np.array, list], ids=["array", "list"])
def test_the_first_number_that_json_lacks_is_named(model: Any, value: float, form: Any) -> None:
    message = refusal(form([[1.0, 2.0, 3.0], [4.0, value, value]]), model)
    assert message.startswith(f"instances[1, 1]={value!r}: is NaN or infinity, which JSON cannot carry")


@pytest.mark.parametrize(
    ("shape", "model", "words"),
    [
        ((28, 28), signature(IMAGES), "pass instances[None]"),
        ((5, 28), signature(IMAGES), "3 axes, not 2"),
        ((5, 28, 27), signature(IMAGES), "axis 2 has length 28, not 27"),
        ((0, 28, 28), signature(IMAGES), "holds nothing"),
        ((5, 28, 28), taking("uint8", (None, 28, 28, 1)), "pass instances[..., None]"),
        ((), taking("uint8"), "axis of the instances"),
        ((5, 0), taking("uint8"), "holds nothing"),
        ((5,), taking("uint8", ()), "batch axis"),
        ((3, 2), taking("uint8", (2, 2)), "a multiple of 2"),
    ],
)
def test_shapes_that_the_model_does_not_take_are_refused_with_what_would_do(
    shape: tuple[int, ...], model: Signature, words: str
) -> None:
    assert words in refusal(np.zeros(shape, np.uint8), model)


@pytest.mark.parametrize(
    ("instances", "words"),
    [
        ({"age": [[1]]}, "missing: name"),
        ({"age": [[1]], "name": [["a"]], "nmae": [["a"]]}, "unknown: nmae"),
        ({"age": [[1]], "name": [["a"], ["b"]]}, "lengths"),
        ({"age": [1, 2], "name": [["a"], ["b"]]}, "pass instances['age'][..., None]"),
        ([{"age": [1], "name": ["a"]}, {"age": [1]}], "instances[1]"),
        ([{"age": [1], "name": ["a"]}, 3], "instances[1]=3"),
        (np.zeros((2, 2)), "'age': ..."),
        (pd.DataFrame({"age": [1]}), "missing: name"),
        (pd.DataFrame({"age": [1.0, None], "name": ["a", "b"]}), "instances['age'][1, 0]=nan"),
        (pd.DataFrame({"age": [1.0, 2.0], "name": ["a", None]}), "instances['name'][1, 0]"),
    ],
)
def test_names_that_the_model_does_not_have_are_refused(instances: Any, words: str) -> None:
    assert words in refusal(instances, PERSON)


@pytest.mark.parametrize(
    ("instances", "words"),
    [
        ("text", "pass [instance]"),
        (b"bytes", "pass [instance]"),
        (3, "pass [instance]"),
        (None, "pass [instance]"),
        ([], "holds nothing"),
        ({}, "not names of inputs"),
        ({1: [1]}, "not names of inputs"),
        (iter([1, 2]), "pass list(instances)"),
        ({1, 2}, "pass list(instances)"),
        (object(), "not an array"),
        ([object()], "instances[0]"),
        ([{"a": {1: 2}}], "instances[0]['a']"),
        ([2**64], "64 bits"),
        (np.array([1j]), "complex128"),
        (np.array(["2020-01-01"], "datetime64[D]"), "datetime64"),
        (np.ma.masked_array([1.0, 2.0], [False, True]), "instances[1]='--'"),
        (["\ud800"], "cannot be written as JSON"),
    ],
)
def test_what_no_wire_carries_is_refused_without_a_signature_too(instances: Any, words: str) -> None:
    assert words in refusal(instances)


def test_every_model_that_gets_traffic_must_take_the_instances() -> None:
    small, large = taking("uint8", (None, 2)), taking("uint8", (None, 3))
    with pytest.raises(InvalidArgument) as caught:
        encode_for_all(np.zeros((1, 2), np.uint8), {"1": small, "2": large}, limit=1000, parameters=None)
    assert "deployed model 2" in "".join(caught.value.__notes__)
    [request] = encode_for_all([[1, 2]], {"1": small, "2": None}, limit=1000, parameters=None)
    assert request.body == b'{"instances":[[1,2]]}'


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.complex_numbers(),
    arrays("float32"),
    arrays("int64"),
)
anything = st.recursive(
    leaves,
    lambda children: st.one_of(
        st.lists(children),
        st.tuples(children),
        st.dictionaries(st.one_of(st.text(), st.integers()), children),
    ),
)
models = st.sampled_from(
    [None, taking("float32"), taking("string", (None,)), taking("int8", (None, 2)), PERSON]
)


@given(anything, models)
def test_whatever_is_passed_is_json_on_the_wire_or_refused(instances: Any, model: Signature | None) -> None:
    try:
        requests = encode(instances, model, limit=2000)
    except InvalidArgument:
        return
    carried = [json.loads(request.body)["instances"] for request in requests]
    assert [len(part) for part in carried] == [request.stop - request.start for request in requests]


# Splitting ---------------------------------------------------------------------------------------


@given(
    st.lists(st.text("ab", max_size=60), min_size=1, max_size=200),
    st.integers(90, 2000),
    st.sampled_from([None, taking("string", (None,))]),
)
def test_no_request_is_above_the_limit_and_each_instance_goes_once(
    instances: list[str], limit: int, model: Signature | None
) -> None:
    requests = encode(instances, model, limit=limit)
    assert all(len(request.body) <= limit for request in requests)
    assert [text for request in requests for text in json.loads(request.body)["instances"]] == instances
    assert [request.start for request in requests] == [0, *(request.stop for request in requests[:-1])]


@given(st.integers(1, 3000), st.integers(60, 5000), st.booleans())
def test_rows_of_equal_size_make_as_few_requests_as_possible(count: int, limit: int, named: bool) -> None:
    rows: Any = np.full((count, 5), 7, np.uint8)
    requests = encode({"x": rows} if named else rows, limit=limit)
    row = len(b'{"x":[7,7,7,7,7]}' if named else b"[7,7,7,7,7]")
    fitting = (limit - len(b'{"instances":[]}') + 1) // (row + 1)
    assert len(requests) == -(-count // fitting)


def test_a_thousand_images_make_two_requests_of_equal_length() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1000, 28, 28)).astype(np.uint8)
    requests = encode(images, signature(IMAGES))
    assert [(request.start, request.stop) for request in requests] == [(0, 500), (500, 1000)]
    assert max(len(request.body) for request in requests) <= SHARED_LIMIT


def test_an_instance_above_the_limit_is_refused_with_its_size_and_what_would_do() -> None:
    rows = ["a", "b" * 2000, "c"]
    message = refusal(rows, limit=1000)
    assert "instances[1]='2018 bytes'" in message
    assert "more than the 1000 bytes" in message
    assert "dedicated endpoint, which takes 10 MB" in message
    assert "batch prediction" in message
    assert "dedicated" not in refusal(["b" * 11_000_000])


def test_requests_are_kept_small_where_the_reply_would_be_too_large() -> None:
    wide = signature(TensorSpec("x", "int8", (None,)), outputs=(TensorSpec("y", "float32", (None, 1000)),))
    requests = encode(np.zeros(500, np.int8), wide)
    longest = len("-0.12345678901234567e-100,") * 1000
    assert all((request.stop - request.start) * longest <= SHARED_LIMIT for request in requests)
    assert len(encode(np.zeros(500, np.int8))) == 1


def test_a_model_of_fixed_batch_size_gets_whole_batches() -> None:
    requests = encode(np.zeros((40, 10)), taking("float32", (4, 10)), limit=500)
    assert len(requests) > 1
    assert all((request.stop - request.start) % 4 == 0 for request in requests)
    assert "instances[0:4]" in refusal(np.zeros((40, 10)), taking("float32", (4, 10)), limit=100)


# Replies -----------------------------------------------------------------------------------------


def gives(*outputs: TensorSpec) -> Signature:
    return signature(IMAGES, outputs=outputs)


def test_several_outputs_come_as_arrays_by_name() -> None:
    model = gives(TensorSpec("label", "int64", (None,)), TensorSpec("score", "float32", (None, 2)))
    bodies = [
        reply([{"label": 1.0, "score": [0.5, 0.5]}]),
        reply([{"label": 2.0, "score": [0.25, 0.75]}, {"label": 3, "score": [1, 0]}]),
    ]
    predicted = decode(bodies, model)
    assert isinstance(predicted, dict)
    assert predicted["label"].dtype == np.int64
    assert predicted["label"].tolist() == [1, 2, 3]
    assert predicted["score"].dtype == np.float32
    assert predicted["score"].tolist() == [[0.5, 0.5], [0.25, 0.75], [1, 0]]
    assert decode([reply([{"a": 1, "b": "x"}])])["a"].tolist() == [1.0]


def test_a_named_prediction_of_a_model_of_one_output_is_an_array() -> None:
    predicted = decode([reply([{"output_0": [0.5] * 10}])], gives(PROBABILITIES))
    assert isinstance(predicted, np.ndarray)
    assert predicted.shape == (1, 10)


@pytest.mark.parametrize("written", ["NaN", '"NaN"', "null"])
def test_nan_is_read_however_a_server_writes_it(written: str) -> None:
    body = f'{{"predictions": [[{written}, 1.5]]}}'.encode()
    predicted = decode([body], gives(TensorSpec("y", "float32", (None, 2))))
    assert isinstance(predicted, np.ndarray)
    assert np.isnan(predicted[0, 0])
    assert predicted[0, 1] == 1.5


def test_ragged_predictions_come_one_by_one() -> None:
    predicted = decode([reply([[1, 2], [3]])])
    assert isinstance(predicted, np.ndarray)
    assert predicted.dtype == object
    assert [row.tolist() for row in predicted] == [[1.0, 2.0], [3.0]]


def test_predictions_padded_differently_by_each_request_come_one_by_one() -> None:
    model = gives(TensorSpec("y", "int32", (None, None)))
    predicted = decode([reply([[1, 2]]), reply([[1, 2, 3]])], model)
    assert isinstance(predicted, np.ndarray)
    assert [row.tolist() for row in predicted] == [[1, 2], [1, 2, 3]]


def test_predictions_without_numbers_keep_the_axes_that_json_drops() -> None:
    predicted = decode([reply([[], []])], gives(TensorSpec("boxes", "float32", (None, None, 4))))
    assert isinstance(predicted, np.ndarray)
    assert predicted.shape == (2, 0, 4)


def test_objects_that_no_array_holds_stay_as_they_are() -> None:
    rows = [{"boxes": [{"x": 1}]}, {"other": 2}]
    assert decode([reply(rows)]).tolist() == rows


@pytest.mark.parametrize(
    ("body", "model", "words"),
    [
        (b"<html>502</html>", None, "not JSON: '<html>502</html>'"),
        (b"[1, 2]", None, "no list of predictions"),
        (b'{"predictions": {"a": 1}}', None, "no list of predictions"),
        (b'{"outputs": []}', None, "no list of predictions"),
        (reply([[0.5] * 9]), gives(PROBABILITIES), "shape (1, 9)"),
        (reply([0.5]), gives(PROBABILITIES), "shape (1,)"),
        (reply([["a"] * 10]), gives(PROBABILITIES), "not output_0: float32[?, 10]"),
        (reply([[0.5], [0.5, 0.5]]), gives(TensorSpec("y", "float32", (None, None))), "not y: float32"),
        (reply([0.5]), gives(TensorSpec("y", "int32", (None,))), "not y: int32"),
        (reply([300]), gives(TensorSpec("y", "uint8", (None,))), "not y: uint8"),
        (reply([None]), gives(TensorSpec("y", "int32", (None,))), "not y: int32"),
        (reply([2]), gives(TensorSpec("y", "bool", (None,))), "not y: bool"),
        (reply([{"b64": "?"}]), gives(TensorSpec("y", "string", (None,))), "not base64"),
        (reply([1]), gives(IMAGES, PROBABILITIES), "no names"),
        (reply([{"images": 1}]), gives(IMAGES, PROBABILITIES), "'output_0'"),
    ],
)
def test_a_reply_that_is_not_what_the_signature_promises_is_refused(
    body: bytes, model: Signature | None, words: str
) -> None:
    with pytest.raises(PredictionFailed) as caught:
        decode([body], model)
    assert words in str(caught.value)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_number_of_predictions_is_that_of_the_instances(count: int) -> None:
    with pytest.raises(PredictionFailed, match=f"{count} predictions for 2 instances"):
        decode([reply([1.0] * count)], counts=[2])


def test_models_that_name_their_outputs_differently_are_not_mixed() -> None:
    first = gives(TensorSpec("a", "float32", (None,)), TensorSpec("b", "float32", (None,)))
    second = gives(TensorSpec("a", "float32", (None,)), TensorSpec("c", "float32", (None,)))
    replies = [read_reply(reply([{"a": 1, "b": 1}])), read_reply(reply([{"a": 1, "c": 1}]))]
    with pytest.raises(PredictionFailed, match="different outputs"):
        decode_replies(replies, [first, second])
    with pytest.raises(PredictionFailed, match="different outputs"):
        decode_replies([replies[0], read_reply(reply([1.0]))], [first, None])


def test_each_reply_is_read_by_the_signature_of_the_model_that_gave_it() -> None:
    narrow, wide = gives(TensorSpec("y", "float32", (None,))), gives(TensorSpec("y", "float64", (None,)))
    replies = [read_reply(reply([0.5])), read_reply(reply([0.1]))]
    predicted = decode_replies(replies, [narrow, wide])
    assert isinstance(predicted, np.ndarray)
    assert predicted.dtype == np.float64
    assert predicted.tolist() == [0.5, 0.1]


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda children: st.one_of(
        st.lists(children), st.dictionaries(st.one_of(st.text(), st.just("b64")), children)
    ),
)
output_models = st.sampled_from(
    [
        None,
        gives(PROBABILITIES),
        gives(TensorSpec("y", "int64", None)),
        gives(TensorSpec("y", "bool", (None,))),
        gives(TensorSpec("y", "string", None)),
        gives(TensorSpec("y", "complex64", None)),
        gives(IMAGES, PROBABILITIES),
    ]
)


@given(st.lists(json_values), output_models)
def test_whatever_a_server_answers_is_an_array_or_refused(values: list[Any], model: Signature | None) -> None:
    try:
        predicted = decode([reply(values)], model)
    except PredictionFailed:
        return
    for array in predicted.values() if isinstance(predicted, dict) else [predicted]:
        assert len(array) == len(values)


@given(st.binary())
def test_whatever_bytes_come_back_are_read_or_refused(body: bytes) -> None:
    try:
        decode([body])
    except PredictionFailed:
        return
