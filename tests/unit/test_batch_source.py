"""What a caller passes to batch prediction: what it is taken for, what is refused, and what is sent of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from doubles import Doubles
from objects import Objects
from understood import good, told

from vertexkit import errors
from vertexkit._core.context import Context
from vertexkit._transfer import shards
from vertexkit.batch_about import refused
from vertexkit.batch_input import BatchInput, InstanceConfig, is_own_key
from vertexkit.batch_source import understand_source
from vertexkit.types import Signature, TensorSpec

OUT = {"y": TensorSpec("y", "float32", (None, 2))}
PIXELS = Signature({"x": TensorSpec("x", "uint8", (None, 3))}, OUT)
TWO = Signature({"a": TensorSpec("a", "float32", (None, 2)), "b": TensorSpec("b", "string", (None,))}, OUT)
ENCODED = Signature({"image": TensorSpec("image", "string", (None,))}, OUT)


@pytest.fixture
def context(objects: Objects) -> Context:
    return Doubles().context


def lines(objects: Objects, given: BatchInput) -> list[Any]:
    """The instances that a job would read."""
    (uri,) = given.uris
    every = objects.matching(uri)
    assert every
    return [json.loads(line) for data in every for line in data.splitlines()]


def staged(context: Context, source: Any, **options: Any) -> BatchInput:
    return good(understand_source(context, source, **options)).stage(context, "jobs/1/input")


# What a program passes ---------------------------------------------------------------------------


def test_an_array_is_written_by_the_name_of_the_input_and_with_positions(
    context: Context, objects: Objects
) -> None:
    given = staged(context, np.arange(6).reshape(2, 3), signature=PIXELS)
    assert lines(objects, given) == [
        {"vertexkit_key": "0", "x": [0, 1, 2]},
        {"vertexkit_key": "1", "x": [3, 4, 5]},
    ]
    assert given.config.has_positions
    assert (given.format, given.count) == ("jsonl", 2)


def test_the_key_comes_first_so_that_it_can_be_taken_off_unread(context: Context, objects: Objects) -> None:
    given = staged(context, [{"a": [1, 2], "b": "x"}], signature=TWO)
    assert objects.content[given.uris[0]].startswith(b'{"vertexkit_key":"0","')


@pytest.mark.parametrize(
    "source",
    [
        {"a": np.array([[1, 2], [3, 4]], np.float32), "b": ["x", b"\xff"]},
        [{"a": [1, 2], "b": "x"}, {"b": b"\xff", "a": (3, 4)}],
        ({"a": np.array([1.0 + n, 2.0 + n]), "b": ["x", b"\xff"][n // 2]} for n in (0, 2)),
    ],
    ids=["mapping", "dicts", "generator"],
)
def test_inputs_by_name_come_out_by_name(source: Any, context: Context, objects: Objects) -> None:
    assert lines(objects, staged(context, source, signature=TWO)) == [
        {"vertexkit_key": "0", "a": [1, 2], "b": "x"},
        {"vertexkit_key": "1", "a": [3, 4], "b": {"b64": "/w=="}},
    ]


def test_a_frame_without_a_known_model_is_written_as_objects(context: Context, objects: Objects) -> None:
    frame = pd.DataFrame({"height": [1.5, 2.5], "kind": ["oak", "elm"]})
    assert lines(objects, staged(context, frame)) == [
        {"vertexkit_key": "0", "height": 1.5, "kind": "oak"},
        {"vertexkit_key": "1", "height": 2.5, "kind": "elm"},
    ]


def test_values_without_a_known_model_have_no_place_for_a_key(context: Context, objects: Objects) -> None:
    given = staged(context, [[1, 2], [3]])
    assert lines(objects, given) == [[1, 2], [3]]
    assert not given.config.has_positions
    assert given.config.is_default


def test_a_model_with_an_input_of_the_keys_name_gets_another(context: Context, objects: Objects) -> None:
    signature = Signature({"vertexkit_key": TensorSpec("vertexkit_key", "int32", (None,))}, OUT)
    given = staged(context, [7], signature=signature)
    assert lines(objects, given) == [{"vertexkit_key2": "0", "vertexkit_key": 7}]
    assert is_own_key("vertexkit_key2")
    assert not is_own_key("vertexkit_keys")


def test_positions_can_be_left_out(context: Context, objects: Objects) -> None:
    given = staged(context, np.zeros((1, 3), np.uint8), signature=PIXELS, keyed=False)
    assert lines(objects, given) == [[0, 0, 0]]


def test_a_stream_is_read_no_further_than_to_look_at_it_before_it_is_sent(
    context: Context, objects: Objects
) -> None:
    taken = 0

    def stream() -> Iterator[np.ndarray[Any, Any]]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield np.full(3, number % 256, np.uint8)

    understood = good(understand_source(context, stream(), signature=PIXELS))
    assert taken < 100
    assert understood.count is None
    given = understood.stage(context, "jobs/1/input")
    assert given.count == 1000
    assert [one["x"][0] for one in lines(objects, given)] == [number % 256 for number in range(1000)]


def test_much_is_written_as_many_objects_behind_one_pattern(
    context: Context, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 100_000)
    values = np.arange(90_000, dtype=np.uint32).reshape(-1, 3) % 256
    given = staged(context, values, signature=PIXELS)
    assert given.uris == ("gs://my-bucket/jobs/1/input/instances-*.jsonl",)
    assert len(objects.content) > 5
    assert [int(one["vertexkit_key"]) for one in lines(objects, given)] == list(range(30_000))
    assert [one["x"] for one in lines(objects, given)] == values.tolist()


def test_instances_of_different_lengths_go_each_by_itself(context: Context, objects: Objects) -> None:
    signature = Signature({"tokens": TensorSpec("tokens", "int32", (None, None))}, OUT)
    given = staged(context, [[1, 2], [3], [4, 5, 6]], signature=signature)
    assert [one["tokens"] for one in lines(objects, given)] == [[1, 2], [3], [4, 5, 6]]


def test_a_saved_array_is_a_source(context: Context, objects: Objects, tmp_path: Path) -> None:
    np.save(tmp_path / "digits.npy", np.arange(6, dtype=np.uint8).reshape(2, 3))
    understood = good(understand_source(context, str(tmp_path / "digits.npy"), signature=PIXELS))
    assert (understood.stem, understood.count) == ("digits", 2)
    assert [one["x"] for one in lines(objects, understood.stage(context, "p"))] == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (np.zeros((4, 2), np.uint8), r"source.shape=\(4, 2\): is not what the model takes, x: uint8"),
        (np.zeros(3, np.uint8), r"source.shape=\(3,\): .*without the axis.*pass source\[None\]"),
        ([[1, 2, 3], [1, 2]], r"source\[1\].shape=\(2,\): is not what the model takes"),
        ([[1, 2, 3], [1, 2, 300]], r"source\[1, 2\]=300: .*numbers from 0 to 255"),
        ([[1, 2], [1, 2], [1]], r"source\[0\].shape=\(2,\): .*\(the first of 2 like it\)"),
        ({"y": [[1, 2, 3]]}, r"source=\['y'\]: are not the model's inputs"),
        ([], r"source=\[\]: holds no instances"),
        (iter([]), r"source='...': holds no instances"),
        (np.zeros((0, 3)), r"source.shape=\(0, 3\): holds no instances"),
        (7, r"source=7: is a int, and no source of instances"),
        (None, r"source=None: .*pass an array, a list"),
        ({"x": 3}, r"is a mapping, and not from the names of inputs"),
        (np.float32(3), r"is one number, not an array"),
        ((n for n in "abc"), r"source\[0\]"),
    ],
)  # fmt: skip
def test_what_the_model_cannot_take_is_refused_by_place(source: Any, words: str, context: Context) -> None:
    assert re.search(words, told(understand_source(context, source, signature=PIXELS)))


def test_a_bad_value_far_behind_is_told_before_anything_is_sent(context: Context, objects: Objects) -> None:
    values = np.zeros((20_000, 3))
    values[12_345, 1] = np.nan
    found = told(understand_source(context, values, signature=PIXELS))
    assert "source[12345, 1]=nan" in found
    assert "source[12345, 1]=nan" in told(
        understand_source(context, {"x": values}, signature=PIXELS)
    ).replace("source['x']", "source")
    listed = np.zeros((5000, 3), int).tolist()
    listed[4999] = [1]
    assert "source[4999].shape=(1,)" in told(understand_source(context, listed, signature=PIXELS))
    assert objects.content == {}


def test_inputs_of_different_lengths_are_refused(context: Context) -> None:
    source = {"a": np.zeros((3, 2)), "b": ["x"]}
    assert "different lengths" in told(understand_source(context, source, signature=TWO))


def test_a_frame_with_two_columns_of_one_name_is_refused(context: Context) -> None:
    frame = pd.DataFrame([[1, 2]], columns=["a", "a"])
    assert "are the names of more than one column" in told(understand_source(context, frame))


def test_a_frame_whose_one_column_has_another_name_is_told_so(context: Context) -> None:
    scalar = Signature({"x": TensorSpec("x", "float32", (None,))}, OUT)
    wrong = told(understand_source(context, pd.DataFrame({"foo": [1.0, 2.0]}), signature=scalar))
    assert "rename the column 'foo' to 'x'" in wrong
    assert "axes" not in wrong


def test_a_stream_that_goes_wrong_leaves_nothing_behind(context: Context, objects: Objects) -> None:
    def stream() -> Iterator[list[int]]:
        yield from ([1, 2, 3] for _ in range(5000))
        yield [1]

    understood = good(understand_source(context, stream(), signature=PIXELS))
    with pytest.raises(errors.InvalidArgument, match=r"source\[5000\].shape=\(1,\)") as caught:
        understood.stage(context, "jobs/1/input")
    assert caught.value.__notes__ == ["There is no job; what was sent before is deleted again."]
    assert objects.content == {}
    assert context.created.names == ()


def test_what_a_stream_raises_is_raised(context: Context, objects: Objects) -> None:
    def stream() -> Iterator[list[int]]:
        yield from ([1, 2, 3] for _ in range(100))
        raise OSError("the database has gone")

    with pytest.raises(OSError, match="the database has gone"):
        staged(context, stream(), signature=PIXELS)
    assert objects.content == {}


def test_a_stream_is_sent_once(context: Context) -> None:
    understood = good(understand_source(context, iter([[1, 2, 3]] * 20), signature=PIXELS))
    assert understood.stage(context, "p").count == 20
    with pytest.raises(errors.InvalidArgument, match="gone through already"):
        understood.stage(context, "q")


@pytest.mark.parametrize("refused", ["instances", "_refused"])
def test_a_bucket_that_cannot_be_written_leaves_nothing_behind(
    context: Context, objects: Objects, tmp_path: Path, refused: str
) -> None:
    objects.refuses = refused
    path = tmp_path / "digits.jsonl"
    path.write_bytes(b"[1,2,3]\n{oops\n")
    understood = understand_source(context, path, signature=PIXELS)
    with pytest.raises(errors.PermissionDenied):
        understood.stage(context, "p")
    assert objects.content == {}


def test_what_arrives_damaged_is_noticed(context: Context, objects: Objects) -> None:
    objects.damages = True
    with pytest.raises(errors.ChecksumMismatch):
        staged(context, np.zeros((2, 3), np.uint8), signature=PIXELS)
    assert objects.content == {}


def test_what_was_sent_can_be_taken_back(context: Context, objects: Objects) -> None:
    given = staged(context, np.zeros((2, 3), np.uint8), signature=PIXELS)
    assert context.created.names == ("gs://my-bucket/jobs/1/input",)
    given.undo()
    given.undo()
    assert objects.content == {}
    assert context.created.names == ()


def test_a_bucket_in_another_region_is_refused(context: Context, objects: Objects) -> None:
    understood = good(understand_source(context, np.zeros((2, 3), np.uint8), signature=PIXELS))
    objects.locations["my-bucket"] = "asia-east1"
    with pytest.raises(errors.PreflightFailed, match="asia-east1"):
        understood.stage(context, "p")


# Fields ------------------------------------------------------------------------------------------


def test_a_key_of_the_users_own_goes_along_and_is_not_checked_as_an_input(
    context: Context, objects: Objects
) -> None:
    frame = pd.DataFrame({"id": ["p", "q"], "b": ["x", "y"]})
    frame["a"] = [[1.0, 2.0], [3.0, 4.0]]
    given = staged(context, frame, signature=TWO, config=InstanceConfig(key_field="id"))
    assert lines(objects, given)[0] == {"id": "p", "b": "x", "a": [1.0, 2.0]}
    assert not given.config.has_positions
    assert given.config.body() == {"keyField": "id"}


def test_a_key_that_two_instances_have_is_warned_of(context: Context) -> None:
    rows = [{"id": key, "a": [1, 2], "b": "x"} for key in (1, 2, 1)]
    config = InstanceConfig(key_field="id")
    for source in (rows, pd.DataFrame(rows), {"id": [1, 2, 1], "a": np.zeros((3, 2)), "b": ["x"] * 3}):
        understood = understand_source(context, source, signature=TWO, config=config)
        assert told(understood) == ""
        assert "has the value 1 for several instances" in told(understood, warnings=True)
    good(understand_source(context, rows[:2], signature=TWO, config=config))


def test_fields_that_are_not_there_are_refused(context: Context) -> None:
    rows = [{"id": "p", "a": [1, 2], "b": "x"}]
    config = InstanceConfig(key_field="name")
    assert "has no field 'name'" in told(understand_source(context, rows, signature=TWO, config=config))
    config = InstanceConfig(included_fields=("a", "c"))
    assert "has no field 'c'" in told(understand_source(context, rows, signature=TWO, config=config))
    config = InstanceConfig(included_fields=("a",))
    assert "missing: b" in told(understand_source(context, rows, signature=TWO, config=config))
    assert "is no JSON object" in told(understand_source(context, [[1]], signature=TWO, config=config))
    config = InstanceConfig(instance_type="array", excluded_fields=("id",))
    assert "needs included_fields" in told(understand_source(context, rows, config=config))


def test_fields_that_the_model_does_not_take_are_to_be_named(context: Context) -> None:
    frame = pd.DataFrame({"id": ["p"], "a": [[1.0, 2.0]], "b": ["x"], "day": [3]})
    assert "add excluded_fields=['id', 'day']" in told(understand_source(context, frame, signature=TWO))
    rows = [{"id": 1, "a": [1, 2], "b": "x"}]
    assert "add key_field='id'" in told(understand_source(context, rows, signature=TWO))
    rows = [{"a": [1, 2], "b": "x"}, *rows]
    wrong = told(understand_source(context, rows, signature=TWO))
    assert "unknown: id" in wrong
    assert "key_field" not in wrong


# A model of a fixed batch ------------------------------------------------------------------------


def test_a_model_of_a_fixed_batch_is_told_and_the_count_must_fit(context: Context) -> None:
    signature = Signature({"x": TensorSpec("x", "uint8", (4, 3))}, OUT)
    understood = good(understand_source(context, np.zeros((8, 3), np.uint8), signature=signature))
    assert understood.batch_size == 4
    wrong = understand_source(context, np.zeros((6, 3), np.uint8), signature=signature)
    assert "are not a multiple of 4" in told(wrong)
    stream = understand_source(context, iter(np.zeros((6, 3), np.uint8)), signature=signature)
    assert told(stream) == ""
    assert "must hold a multiple of 4" in told(stream, warnings=True)


# Refused lines -----------------------------------------------------------------------------------


def test_lines_that_are_no_json_are_kept_apart_with_their_positions(
    context: Context, objects: Objects, tmp_path: Path
) -> None:
    path = tmp_path / "digits.jsonl"
    path.write_bytes(b'\xef\xbb\xbf[1,2,3]\r\n\n{oops\n1,"x":[1,2,3]\n{"x": [4,5,6]}\n[7,8,9]')
    understood = understand_source(context, path, signature=PIXELS)
    assert told(understood) == ""
    assert "line 3" in told(understood, warnings=True)
    given = understood.stage(context, "p")
    assert lines(objects, given) == [
        {"vertexkit_key": "0", "x": [1, 2, 3]},
        {"vertexkit_key": "3", "x": [4, 5, 6]},
        {"vertexkit_key": "4", "x": [7, 8, 9]},
    ]
    assert given.count == 5
    assert [(one.index, one.text) for one in refused(context, given.uris)] == [
        (1, "{oops"),
        (2, '1,"x":[1,2,3]'),
    ]


def test_of_what_others_wrote_nothing_is_known(context: Context, objects: Objects) -> None:
    objects.content["gs://my-bucket/f/_refused-000000.jsonl"] = b'{"index":0,"text":"x","reason":"y"}\n'
    assert len(list(refused(context, ["gs://my-bucket/f/instances-000000.jsonl"]))) == 1
    for uris in (["f/a.jsonl"], ["f/instances-000000.jsonl", "b"], ["g/instances-000000.jsonl"]):
        assert list(refused(context, [f"gs://my-bucket/{uri}" for uri in uris])) == []
