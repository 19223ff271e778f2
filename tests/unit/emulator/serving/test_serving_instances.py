"""Decoding of predict requests: TensorFlow Serving's formats, refusals and words."""

import base64
import json

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from vertexkit.emulator.serving.model_server import instances
from vertexkit.emulator.serving.model_server.dense import decode_dense
from vertexkit.emulator.serving.model_server.errors import RequestError
from vertexkit.emulator.serving.model_server.signature import NUMPY_DTYPES, Signature, TensorSpec
from vertexkit.emulator.serving.types import Source


def signature(name="serving_default", **dtypes):
    return Signature(name, {n: TensorSpec(n, d, None) for n, d in sorted(dtypes.items())}, {})


def decode(body, **dtypes):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    one = signature(**dtypes)
    other = signature("other", z="float")
    return instances.decode(body, {"serving_default": one, "other": other}, "serving_default")


def refusal(body, **dtypes):
    with pytest.raises(RequestError) as caught:
        decode(body, **dtypes)
    assert caught.value.status == 400
    return caught.value.message


def test_a_single_input_takes_bare_values():
    request = decode({"instances": [[1, 2], [3, 4]]}, x="float")
    assert request.row_format
    assert request.inputs["x"].dtype == np.float32
    assert request.inputs["x"].tolist() == [[1, 2], [3, 4]]


def test_a_single_input_takes_objects_too():
    request = decode({"instances": [{"x": [1, 2]}, {"x": [3, 4]}]}, x="int32")
    assert request.inputs["x"].tolist() == [[1, 2], [3, 4]]


def test_several_inputs_take_objects_with_keys_in_any_order():
    request = decode({"instances": [{"a": 1, "b": [2]}, {"b": [4], "a": 3}]}, a="int64", b="float")
    assert request.inputs["a"].tolist() == [1, 3]
    assert request.inputs["b"].tolist() == [[2], [4]]


def test_columnar_inputs_are_whole_tensors():
    request = decode({"inputs": {"a": [1, 2], "b": 0.5}}, a="int64", b="float")
    assert not request.row_format
    assert request.inputs["a"].tolist() == [1, 2]
    assert request.inputs["b"].shape == ()


def test_a_request_may_name_its_signature():
    assert decode({"signature_name": "other", "instances": [1.5]}, x="int32").signature.name == "other"


def test_parameters_and_unknown_keys_are_ignored():
    request = decode({"instances": [1.5], "parameters": {"a": "e[1,2]"}}, x="float")
    assert request.inputs["x"].tolist() == [1.5]


def rest_refusal(body):
    with pytest.raises(RequestError) as caught:
        instances.decode(body, {"s": signature("s", x="float")}, "s", Source.REST)
    assert caught.value.status == 422
    return caught.value.message


@pytest.mark.parametrize("name", ["signature_name", "inputs", "foo"])
def test_over_rest_a_predict_request_has_its_own_fields_only(name):
    body = json.dumps({"instances": [1.5], name: "s"}).encode()
    assert rest_refusal(body) == (f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')


@pytest.mark.parametrize(
    "body", [b'{"instances": [1.5]}', b'{"instances": [1.5], "parameters": {"a": 1}, "labels": {"b": "c"}}']
)
def test_over_rest_the_fields_of_a_predict_request_are_taken(body):
    found = instances.decode(body, {"s": signature("s", x="float")}, "s", Source.REST)
    assert found.inputs["x"].tolist() == [1.5]


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "nought"])
def test_over_rest_what_is_no_json_is_refused(word):
    words = rest_refusal(b'{"instances": [1.5, %b]}' % word.encode())
    assert words.startswith(f"Invalid JSON payload received. Unexpected token.\n{word}")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"instances": []}', b'{"instances": null, "labels": {}}'])
def test_over_rest_instances_are_required_in_the_words_of_grpc(body):
    assert "Field: instances; Message: Required field is not set." in rest_refusal(body)


def test_over_rest_a_request_is_an_object():
    assert "Root element must be a message" in rest_refusal(b"[1.5]")


def test_over_grpc_numbers_that_are_not_finite_are_taken():
    found = instances.decode(b'{"instances": [NaN]}', {"s": signature("s", x="float")}, "s", Source.GRPC)
    assert np.isnan(found.inputs["x"]).all()


def test_strings_are_text_or_base64():
    raw = bytes(range(256))
    body = {"instances": ["é", {"b64": base64.b64encode(raw).decode()}, {"b64": "YQ"}]}
    assert decode(body, x="string").inputs["x"].tolist() == ["é".encode(), raw, b"a"]


def test_lists_of_base64_become_a_vector_and_malformed_base64_is_refused_by_its_place():
    rows = [{"b64": base64.b64encode(bytes([value]) * value).decode()} for value in range(1, 5)]
    expected = [bytes([value]) * value for value in range(1, 5)]
    assert decode({"instances": rows}, s="string").inputs["s"].tolist() == expected
    assert decode({"instances": [{"s": row} for row in rows]}, s="string").inputs["s"].tolist() == expected
    unpadded = [*rows, {"b64": "AQ"}]
    assert decode({"instances": unpadded}, s="string").inputs["s"].tolist() == [*expected, b"\x01"]
    mixed = [*rows, "true"]
    assert decode({"instances": mixed}, s="string").inputs["s"].tolist() == [*expected, b"true"]
    assert "element: 4 of" in refusal({"instances": [*rows, {"b64": "@"}]}, s="string")


@given(
    texts=st.lists(
        st.binary(max_size=6).map(lambda content: base64.b64encode(content).decode())
        | st.text('YQ=+/_ \\"{}:,', max_size=5)
        | st.sampled_from(['"},{"b64":"', 'YQ=="},{"b64":"YQ==', 'YQ=="},{"x":"YQ==', 'YQ==","b64":"YQ==']),
        min_size=1,
        max_size=4,
    )
)
def test_base64_without_blanks_is_decoded_as_with_them(texts):
    def tried(begins):
        body = begins + b",".join(b'{"b64":"%b"}' % text.encode() for text in texts) + b"]}"
        try:
            found = instances.decode(body, {"s": signature("s", x="string")}, "s").inputs["x"].tolist()
        except RequestError as refused:
            # Where in the text it is no JSON is one character further on.
            found = refused.message.partition(" at offset")[0]
        return found

    assert tried(b'{"instances":[') == tried(b'{"instances": [')


def test_an_object_of_base64_alone_is_a_value_and_not_a_named_input():
    assert decode({"instances": [{"b64": "YWI="}]}, b64="string").inputs["b64"].tolist() == [b"ab"]


def test_numbers_that_json_has_not_are_taken():
    found = decode(b'{"instances": [NaN, Infinity, -Infinity, 1]}', x="float").inputs["x"]
    np.testing.assert_array_equal(found, np.array([np.nan, np.inf, -np.inf, 1], np.float32))


@pytest.mark.parametrize("value", [2**53 + 1, -(2**63), 2**63 - 1])
def test_an_int64_is_exact_beyond_what_a_double_holds(value):
    assert decode({"instances": [value]}, x="int64").inputs["x"].tolist() == [value]


def test_a_uint64_is_exact_to_its_end():
    assert decode({"instances": [0, 2**64 - 1]}, x="uint64").inputs["x"].tolist() == [0, 2**64 - 1]


NOT_OF_TYPE = [
    ("uint8", "300", "JSON Value: 300 Type: Number is not of expected type: uint8"),
    ("uint8", "-1", "JSON Value: -1 Type: Number is not of expected type: uint8"),
    ("int32", "1.5", "JSON Value: 1.5 Type: Number is not of expected type: int32"),
    ("int32", "1.0", "JSON Value: 1.0 Type: Number is not of expected type: int32"),
    ("int64", "9223372036854775808", "is not of expected type: int64"),
    ("float", '"a"', 'JSON Value: "a" Type: String is not of expected type: float'),
    ("float", "null", "JSON Value: null Type: Null is not of expected type: float"),
    ("float", "true", "JSON Value: true Type: True is not of expected type: float"),
    ("int32", "false", "JSON Value: false Type: False is not of expected type: int32"),
    ("bool", "1", "JSON Value: 1 Type: Number is not of expected type: bool"),
    ("string", "1", "JSON Value: 1 Type: Number is not of expected type: string"),
    ("float", "16777217", "Cannot convert JSON value: 16777217 to float without loss of precision."),
    ("float", "1e39", "to float without loss of precision."),
    ("string", '{"b64": "!"}', "Unable to base64 decode"),
]


@pytest.mark.parametrize(("dtype", "value", "words"), NOT_OF_TYPE)
@pytest.mark.parametrize("body", ['{"instances": [%s]}', '{"instances": [{"x": %s}]}', '{"inputs": [%s]}'])
def test_a_value_that_the_type_does_not_hold_is_refused_by_name(dtype, value, words, body):
    assert words in refusal((body % value).encode(), x=dtype)


@pytest.mark.parametrize("body", ['{"instances": [%s]}', '{"instances": [{"x": %s}]}', '{"inputs": [%s]}'])
def test_a_whole_decimal_is_an_integer_where_numbers_are_those_of_values(body):
    """Google's client writes every number of a ``Value`` as a double: 0.0 for a pixel that is 0."""
    signatures = {"s": Signature("s", {"x": TensorSpec("x", "uint8", None)}, {}).fed_with_values()}
    found = instances.decode((body % "[0.0, 255.0, 7, 1e1]").encode(), signatures, "s").inputs["x"]
    assert (found.dtype, found.tolist()) == (np.uint8, [[0, 255, 7, 10]])
    for wrong in ("1.5", "256", "-1"):
        with pytest.raises(RequestError, match=f"{wrong} Type: Number is not of expected type: uint8"):
            instances.decode((body % f"[0.0, {float(wrong)}]").encode(), signatures, "s")


def test_the_dense_way_takes_whole_decimals():
    spec = TensorSpec("x", "uint8", None, whole_decimals=True)
    assert decode_dense(b'{"instances":[[0.0,255.0],[1,2]]}', spec).tolist() == [[0, 255], [1, 2]]


@pytest.mark.parametrize("dtype", ["uint8", "float"])
def test_true_among_numbers_is_not_taken_for_one(dtype):
    assert "Type: True" in refusal(b'{"instances": [0, true]}', x=dtype)


REFUSED = [
    (b"", "JSON Parse error: The document is empty"),
    (b"{", "JSON Parse error: Missing a name for object member. at offset: 1"),
    (b'{"instances": [1,]}', "JSON Parse error: "),
    (b'{"instances": [1]} x', "The document root must not be followed by other values."),
    (b'{"instances": ["\xff"]}', "JSON Parse error: Invalid encoding in string."),
    (b"[1]", "Is not object"),
    (b"{}", "Missing 'inputs' or 'instances' key"),
    (b'{"instances": 1}', "Excepting 'instances' to be an list/array"),
    (b'{"instances": []}', "No values in 'instances' array"),
    (b'{"instances": [1], "inputs": [1]}', "expecting only one of 'inputs' or 'instances'"),
    (b'{"instances": [1], "signature_name": 1}', "'signature_name' key must be a string value."),
    (b'{"instances": [1], "signature_name": "no"}', 'Serving signature name: "no" not found'),
    (b'{"instances": [[1], [2, 3]]}', "Expecting tensor size: 1 but got: 2"),
    (b'{"instances": [[1, 2], [[1], [2]]]}', "Expecting shape [2] but got: [2,1]"),
    (b'{"instances": [[[1], [2, 3]]]}', "unexpected size: 2 at level: 1 expected size: 1"),
    (b'{"instances": [[1, [2]]]}', "Encountered list at unexpected level: 1 expected < 1"),
    (b'{"instances": [[[1], 2]]}', "found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
    (b'{"instances": [{"y": 1}]}', "JSON object: does not have named input: y"),
    (b'{"instances": [{"x": 1, "y": 1}]}', "does not have named input: y"),
    (b'{"instances": [{}]}', "keys must be equal to: x"),
    (b'{"instances": [{"x": 1}, 2]}', "Expecting object but got list at item 1 of input list"),
    (b'{"instances": [1, {"x": 2}]}', "Expecting value/list but got object at item 1 of input list"),
    (b'{"inputs": {"y": 1}}', "Missing named input: x in 'inputs' object."),
]


@pytest.mark.parametrize(("body", "words"), REFUSED)
def test_a_malformed_request_is_refused_in_tensorflow_servings_words(body, words):
    assert words in refusal(body, x="float")


def test_the_refusal_names_the_instance_and_the_input():
    message = refusal({"instances": [{"a": 1, "b": 2}, {"a": 1, "b": "c"}]}, a="float", b="float")
    assert message.startswith(
        "Failed to process element: 1 key: b of 'instances' list. Error: INVALID_ARGUMENT:"
    )


@pytest.mark.parametrize("body", [{"instances": [[1, 2]]}, {"inputs": [1, 2]}])
def test_bare_values_are_refused_where_there_are_several_inputs(body):
    assert "multiple input tensors required" in refusal(body, a="float", b="float")


def test_a_missing_input_is_refused_with_the_names_expected():
    assert refusal({"instances": [{"a": 1}]}, a="float", b="float").endswith("keys must be equal to: a,b")


@pytest.mark.parametrize("depth", [100, 900, 5000])
def test_a_deeply_nested_request_is_refused_and_breaks_nothing(depth):
    # Rectangular, so that it is only its depth that is wrong.
    body = b'{"instances": [' + b"[" * depth + b'"a"' + b"]" * depth + b"]}"
    assert refusal(body, x="float")


def test_a_very_long_value_is_cut_in_the_message():
    assert len(refusal({"instances": ["a" * 100_000]}, x="float")) < 2_000


NUMBERS = sorted(name for name, dtype in NUMPY_DTYPES.items() if dtype.kind in "iuf")


@st.composite
def numeric_arrays(draw):
    name = draw(st.sampled_from(NUMBERS))
    shape = draw(npst.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4))
    limits = {"half": 2**11 - 1, "float": 2**24 - 1, "double": 2**53 - 1}
    elements = None
    if name in limits and draw(st.booleans()):
        elements = st.integers(-limits[name], limits[name]).map(float)
    array = draw(npst.arrays(NUMPY_DTYPES[name], shape, elements=elements))
    return name, array


@given(
    numeric_arrays(), st.booleans(), st.booleans(), st.sampled_from(["x", "e1", "instances", "b64", 'a"b'])
)
def test_every_array_arrives_as_it_was(case, named, compact, name):
    dtype, array = case
    values = array.astype(np.float64).tolist() if array.dtype.kind == "f" else array.tolist()
    document = {"instances": [{name: value} for value in values] if named else values}
    body = json.dumps(document, separators=(",", ":") if compact else None).encode()
    found = decode(body, **{name: dtype}).inputs[name]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def nested(leaves):
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=4), max_leaves=12)


LEAVES = st.one_of(
    st.integers(-300, 300),
    st.floats(allow_nan=False, width=32),
    st.sampled_from([2**24 + 1, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 1e39, 0.5]),
    st.booleans(),
    st.none(),
    st.sampled_from(["", "e", "1", "]", ","]),
)


@given(st.lists(nested(LEAVES), min_size=1, max_size=4), st.sampled_from(NUMBERS), st.booleans())
@example([[1], [2, 3]], "float", False)
@example([[1, 2, 3], [4]], "int32", False)
@example([[[1, 2], [3]], [[4], [5, 6]]], "uint8", False)
@example([[], [1]], "int32", False)
@example([True, 1], "int32", False)
@example([1.0, 2**53 + 1], "int64", True)
@example([1.0, 1.5], "uint8", True)
@example([1.0, 300.0], "uint8", True)
@example([1.0, -1e300], "int64", True)
def test_the_quick_ways_agree_with_looking_at_every_value(values, dtype, whole_decimals):
    """Whatever is sent, the dense and the numpy way either stand back or find what the exact way finds."""
    spec = TensorSpec("x", dtype, None, whole_decimals)
    signatures = {"s": Signature("s", {"x": spec}, {})}
    read = instances._parse(instances_body(values))["instances"]
    named = [{"x": value} for value in values]
    agree_on(instances_body(values), lambda: instances._plain_rows_exactly(read, spec), signatures, spec)
    read_named = [{"x": value} for value in read]
    agree_on(
        instances_body(named),
        lambda: instances._named_rows_exactly(read_named, {"x": spec})["x"],
        signatures,
        spec,
    )


def instances_body(values):
    """Written without blanks where that is possible, as the quick way wants it."""
    document = {"instances": values}
    return orjson.dumps(document) if small(values) else json.dumps(document).encode()


def agree_on(body, exactly, signatures, spec):
    try:
        exact = exactly()
    except RequestError as error:
        assert decode_dense(body, spec) is None
        with pytest.raises(RequestError) as refused:
            instances.decode(body, signatures, "s")
        assert refused.value.message == error.message
    else:
        dense = decode_dense(body, spec)
        if dense is not None:
            np.testing.assert_array_equal(dense, exact)
            assert dense.shape == exact.shape
        found = instances.decode(body, signatures, "s").inputs["x"]
        np.testing.assert_array_equal(found, exact)
        assert found.dtype == spec.numpy_dtype


def small(value):
    if isinstance(value, list):
        return all(map(small, value))
    if isinstance(value, dict):
        return all(map(small, value.values()))
    return not isinstance(value, int) or -(2**63) <= value < 2**64


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances":[[1,2],[3,4]]}',
        b' {"instances" : [ [1, 2.5e3],\n [3, 4] ] } ',
        b'{"instances":[[[0]]]}',
        b'{"instances":[1]}',
        b'{"instances":[{"ex":[1,2]},{"ex":[3, 4]}]}',
        b'{"instances":[{"ex":1} , {"ex":2}]}',
    ],
)
def test_the_dense_way_takes_what_holds_only_numbers(body):
    """The quick way exists at all: without this, the agreement above could hold for want of it."""
    found = decode_dense(body, TensorSpec("ex", "float", None))
    assert found is not None
    rows = [row["ex"] if isinstance(row, dict) else row for row in json.loads(body)["instances"]]
    np.testing.assert_array_equal(found, np.array(rows, np.float32))


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances":[[1,2],[3]]}',
        b'{"instances":[[1],[2,3]]}',
        b'{"instances":[[1,2],[3,4]],"signature_name":"other"}',
        b'{"signature_name":"other","instances":[1]}',
        b'{"instances":[1],"instances":[2]}',
        b'{"insta\\u006eces":[1]}',
        b'{"instances":[[],[]]}',
        b'{"instances":[1,"2"]}',
        b'{"instances":[{"ex":1},2]}',
        b'{"instances":[{"ex":1},{"x":2}]}',
        b'{"instances":[{"ex":1},{"exe":2}]}',
        b'{"instances":[{"ex":1},{"ex":2,"ex":3}]}',
        b'{"instances":[{"ex":1},{"ex":2,"y":3}]}',
        b'{"instances":[{"ex":1},{"ex":{"ex":3}}]}',
        b'{"instances":[{"ex":1},{"ex":}]}',
        b'{"instances":[{"ex":1}2,{"ex":3}]}',
        b'{"instances":[{"ex":[1,2]},{"ex":[3]}]}',
        b'{"instances":[{"ex":1}]}5',
        b'{"instances":[{"ex":1}',
        b'{"instances":[{"ex":',
    ],
)
def test_the_dense_way_stands_back_from_everything_else(body):
    assert decode_dense(body, TensorSpec("ex", "float", None)) is None


def test_the_dense_way_is_open_again_after_a_body_that_it_stood_back_from():
    spec = TensorSpec("x", "int32", None)
    kept = []
    for body in [
        b'{"instances":[1.5]}',
        b'{"instances":[[1],["a"]]}',
        b"{",
        b"[" * 5000,
        b'{"instances":[[1],[2,3]]}',
    ]:
        assert decode_dense(body, spec) is None
        kept.append(decode_dense(b'{"instances":[[1],[2]]}', spec))
        assert kept[-1] is not None, body
    assert all(array.tolist() == [[1], [2]] for array in kept)
