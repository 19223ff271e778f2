"""Files of instances and predictions: what is read, what is refused, what comes back unchanged."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vertexkit.cli.formats import FORMATS, format_of, read_instances, write_predictions
from vertexkit.errors import InvalidArgument


def read(data: bytes, kind: str) -> Any:
    return read_instances(io.BytesIO(data), kind, f"file.{kind}")


def written(predictions: Any, kind: str) -> bytes:
    target = io.BytesIO()
    write_predictions(predictions, target, kind, f"out.{kind}")
    return target.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_the_name_says_the_format(kind: str) -> None:
    assert format_of(f"some.folder/images.{kind.upper()}", "FILE") == kind


@pytest.mark.parametrize("name", ["images", "images.txt", ".npy/images"])
def test_a_name_that_says_no_format_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(InvalidArgument, match="npz"):
        format_of(name, "FILE")


def test_json_is_a_list_or_the_api_s_request() -> None:
    assert read(b"[[1, 2], [3, 4]]", "json") == [[1, 2], [3, 4]]
    assert read(b'{"instances": [{"a": 1}]}', "json") == [{"a": 1}]


def test_jsonl_is_one_instance_a_line_whatever_the_blank_lines() -> None:
    assert read(b'{"a": 1}\n\n{"a": 2}\r\n', "jsonl") == [{"a": 1}, {"a": 2}]


def test_npz_of_one_array_is_the_array_and_of_several_the_inputs_by_name() -> None:
    one, two = io.BytesIO(), io.BytesIO()
    np.savez(one, x=np.arange(3))
    np.savez(two, x=np.arange(3), y=np.ones(3))
    assert read(one.getvalue(), "npz").tolist() == [0, 1, 2]
    assert sorted(read(two.getvalue(), "npz")) == ["x", "y"]


def test_csv_of_numbers_is_an_array_and_with_names_the_inputs_by_name() -> None:
    assert read(b"1,2\n3,4.5\n", "csv").tolist() == [[1.0, 2.0], [3.0, 4.5]]
    columns = read('age,height,name\r\n3,1.5,Äh\r\n4,2,"b,c"\r\n'.encode(), "csv")
    assert columns["age"].tolist() == [3, 4]
    assert columns["age"].dtype.kind == "i"
    assert columns["height"].tolist() == [1.5, 2.0]
    assert columns["name"].tolist() == ["Äh", "b,c"]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("json", b"{"),
        ("json", b'{"a": 1}'),
        ("json", b"[]"),
        ("json", b"\xff"),
        ("jsonl", b'{"a": 1}\n{'),
        ("jsonl", b"\n"),
        ("npy", b"no array"),
        ("npy", b""),
        ("npz", b"no archive"),
        ("npz", b"PK\x03\x04"),
        ("csv", b"1,2\n3\n"),
        ("csv", b"1,2\n3,x\n"),
        ("csv", b"a,b\n"),
        ("csv", b""),
        ("csv", b"\xff,1\n"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused_by_name(kind: str, data: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read(data, kind)
    assert caught.value.value == f"file.{kind}"


def test_a_pickle_is_never_opened() -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("the pickle was run",))

    data = io.BytesIO()
    np.save(data, np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidArgument):
        read(data.getvalue(), "npy")


@given(
    hnp.arrays(
        st.sampled_from(["float32", "float64", "int64", "uint8", "bool"]),
        hnp.array_shapes(min_dims=1, max_dims=3, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False},
    )
)
def test_predictions_come_back_as_they_were_written(array: Any) -> None:
    np.testing.assert_array_equal(read(written(array, "npy"), "npy"), array)
    np.testing.assert_array_equal(read(written(array, "npz"), "npz"), array)
    np.testing.assert_array_equal(np.array(json.loads(written(array, "json"))["predictions"]), array)
    np.testing.assert_array_equal(np.array(read(written(array, "jsonl"), "jsonl")), array)


def test_several_outputs_are_objects_in_json_columns_in_csv_and_arrays_in_npz() -> None:
    outputs = {"score": np.array([0.5, 0.25]), "box": np.array([[1, 2], [3, 4]])}
    assert written(outputs, "jsonl").splitlines() == [
        b'{"score": 0.5, "box": [1, 2]}',
        b'{"score": 0.25, "box": [3, 4]}',
    ]
    assert written(outputs, "csv") == b"score,box_0,box_1\n0.5,1,2\n0.25,3,4\n"
    assert sorted(read(written(outputs, "npz"), "npz")) == ["box", "score"]
    with pytest.raises(InvalidArgument, match="several outputs"):
        written(outputs, "npy")


def test_bytes_are_written_as_the_api_writes_them() -> None:
    assert written(np.array([b"\xff\x00"], dtype=object), "jsonl") == b'{"b64": "/wA="}\n'


def test_csv_cannot_hold_images() -> None:
    with pytest.raises(InvalidArgument, match="npz"):
        written(np.zeros((2, 3, 3)), "csv")
