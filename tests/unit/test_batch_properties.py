"""Whatever is passed to batch prediction comes out of what is sent as the same instances, in order."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from doubles import Doubles
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from objects import Objects, objects_in_memory
from tf_records import record

from vertexkit._core.context import Context
from vertexkit._transfer import shards
from vertexkit.batch_about import refused
from vertexkit.batch_files import blocks, find_files
from vertexkit.batch_samples import samples
from vertexkit.batch_source import understand_source
from vertexkit.emulator.batch.records import read_lines
from vertexkit.types import Signature, TensorSpec

OUT = {"y": TensorSpec("y", "float32", (None, 2))}
KINDS = ("jsonl", "csv", "tf-record", "tf-record-gzip", "file-list")
OFTEN = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
words = texts.filter(lambda text: not set(text) & set("\r\n"))
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def objects() -> Iterator[Objects]:
    with pytest.MonkeyPatch.context() as patch:
        # Small, so that there are many of each.
        patch.setattr(shards, "SHARD_BYTES", 50)
        patch.setattr("vertexkit.batch_rows._BLOCK_BYTES", 40)
        patch.setattr("vertexkit.batch_files._BLOCK_BYTES", 40)
        yield objects_in_memory(patch)


Sent = Callable[..., tuple[list[Any], dict[int, str]]]


@pytest.fixture(scope="module")
def context(objects: Objects) -> Context:
    return Doubles().context


@pytest.fixture(scope="module")
def sent(context: Context, objects: Objects) -> Sent:
    """What a job reads of a source, in order, and the positions of what it is not given."""

    def send(source: Any, **options: Any) -> tuple[list[Any], dict[int, str]]:
        objects.content.clear()
        understood = understand_source(context, source, **options)
        assert [str(found) for found in understood.findings if not found.warning] == []
        found = understood.stage(context, "p")
        apart = {one.index: one.text for one in refused(context, found.uris)}
        read = [
            json.loads(line)
            for name, data in sorted(objects.content.items())
            if "/instances-" in name
            for line in data.split(b"\n")
            if line
        ]
        assert found.count == len(read) + len(apart)
        if found.config.has_positions:
            key = found.config.key_field
            wanted = [str(index) for index in range(found.count) if index not in apart]
            assert [one.pop(key) for one in read] == wanted
        return read, apart

    return send


@OFTEN
@given(
    values=arrays.arrays(
        st.sampled_from(["uint8", "int16", "int64", "uint64", "bool", "float16", "float32", "float64"]),
        arrays.array_shapes(min_dims=1, max_dims=3, max_side=20),
        elements={"allow_nan": False, "allow_infinity": False},
    )
)  # fmt: skip
def test_an_array(values: np.ndarray[Any, Any], sent: Sent) -> None:
    spec = TensorSpec("x", values.dtype.name, (None, *values.shape[1:]))
    read, _ = sent(values, signature=Signature({"x": spec}, OUT))
    assert np.array_equal(np.array([one["x"] for one in read], values.dtype), values)
    backwards, _ = sent(values[::-1], signature=Signature({"x": spec}, OUT))
    assert backwards == read[::-1]
    unknown, _ = sent(values)
    assert np.array_equal(np.array(unknown, values.dtype), values)


@OFTEN
@given(
    rows=st.lists(st.tuples(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False),
                                     min_size=2, max_size=2),
                            texts | st.binary(max_size=6)), min_size=1, max_size=60),
    how=st.sampled_from(["dicts", "mapping", "frame", "stream"]),
)  # fmt: skip
def test_inputs_by_name(rows: list[tuple[list[float], Any]], how: str, sent: Sent) -> None:
    signature = Signature(
        {"a": TensorSpec("a", "float32", (None, 2)), "b": TensorSpec("b", "string", (None,))}, OUT
    )
    dicts = [{"a": pair, "b": text} for pair, text in rows]
    source: Any = {
        "dicts": dicts,
        "mapping": {"a": np.array([pair for pair, _ in rows], np.float32), "b": [text for _, text in rows]},
        "frame": pd.DataFrame(dicts),
        "stream": iter(dicts),
    }[how]
    read, _ = sent(source, signature=signature)
    assert [np.float32(one["a"]).tolist() for one in read] == [np.float32(pair).tolist() for pair, _ in rows]
    assert [_text(one["b"]) for one in read] == [text for _, text in rows]


@OFTEN
@given(rows=st.lists(json_values, min_size=1, max_size=60))
def test_values_for_a_model_that_is_not_known(rows: list[Any], sent: Sent) -> None:
    if isinstance(rows[0], dict) and set(rows[0]) != {"b64"}:
        rows = [row for row in rows if isinstance(row, dict)]
    assert sent(rows)[0] == rows
    assert sent(iter(rows))[0] == rows


@OFTEN
@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=40),
)
def test_instances_of_any_lengths(lengths: list[int], sent: Sent) -> None:
    signature = Signature({"x": TensorSpec("x", "int32", (None, None))}, OUT)
    rows = [[position] * length for position, length in enumerate(lengths)]
    assert [one["x"] for one in sent(rows, signature=signature)[0]] == rows
    streamed = (np.array(row) for row in rows)
    assert [one["x"] for one in sent(streamed, signature=signature)[0]] == rows


lines = st.one_of(
    json_values.map(lambda value: (json.dumps(value).encode(), value)),
    json_values.map(lambda value: (f" {json.dumps(value, ensure_ascii=False)}\t".encode(), value)),
    st.lists(numbers, max_size=3).map(lambda value: (json.dumps({"x": value}).encode(), {"x": value})),
    st.binary(max_size=12).map(lambda data: (data.replace(b"\n", b" ").replace(b"\xef", b"?"), ...)),
    st.sampled_from([b"", b" ", b"\t\r"]).map(lambda data: (data, ...)),
)


@OFTEN
@given(
    parts=st.lists(st.lists(st.tuples(lines, st.sampled_from([b"\n", b"\r\n"])), max_size=12), min_size=1,
                   max_size=3),
    mark=st.booleans(),
    ended=st.booleans(),
)  # fmt: skip
def test_files_of_json_lines(
    parts: list[list[tuple[tuple[bytes, Any], bytes]]],
    mark: bool,
    ended: bool,
    sent: Sent,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("lines")
    first = (b"[1.5]", [1.5])
    expected: list[Any] = [first[1]]
    for number, part in enumerate([[(first, b"\n")], *parts]):
        content = b"".join(line + end for (line, _), end in part)
        (folder / f"{number}.jsonl").write_bytes(
            (b"\xef\xbb\xbf" if mark else b"") + content[: None if ended else -1]
        )
        expected += [_parsed(line, value) for (line, value), _ in part if line.strip(b" \t\r\n") and number]
    signature = Signature({"x": TensorSpec("x", "float32", (None, None))}, OUT)
    read, apart = sent(folder, signature=signature)
    good = [value for value in expected if value is not ...]
    assert [index for index, value in enumerate(expected) if value is ...] == sorted(apart)
    for one, value in zip(read, good, strict=True):
        is_named = isinstance(value, dict) and not (set(value) == {"b64"} and isinstance(value["b64"], str))
        assert one == (value if is_named else {"x": value})


@OFTEN
@given(
    rows=st.lists(st.lists(words | st.floats(allow_nan=False),
                           min_size=2, max_size=2), min_size=1, max_size=30),
    end=st.sampled_from(["\n", "\r\n"]),
)  # fmt: skip
def test_files_of_csv(
    rows: list[list[Any]],
    end: str,
    context: Context,
    objects: Objects,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.csv"
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator=end).writerows([["p", "q"], *rows])
    path.write_bytes(text.getvalue().encode())
    objects.content.clear()
    given = understand_source(context, path).stage(context, "p")
    read = []
    for _, data in sorted(objects.content.items()):
        if data.startswith(b'"p"'):
            part = io.StringIO(data.decode(), newline="")
            read += list(csv.reader(part, quoting=csv.QUOTE_NONNUMERIC))[1:]
    assert read == rows
    assert given.count == len(rows)


@OFTEN
@given(
    records=st.lists(st.binary(max_size=30), min_size=1, max_size=30),
    tail=st.binary(max_size=20),
    cut=st.integers(0, 3),
)
def test_files_of_records(
    records: list[bytes],
    tail: bytes,
    cut: int,
    context: Context,
    objects: Objects,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("records") / "a.tfrecord"
    framed = [record(data) for data in records]
    whole = b"".join(framed)
    # Either whole, or broken in one of two ways at its end.
    end = [b"", tail, framed[-1][:-1], framed[-1][:5]][cut]
    path.write_bytes(whole + end)
    objects.content.clear()
    given = understand_source(context, path).stage(context, "p")
    parts = [data for name, data in sorted(objects.content.items()) if "/instances-" in name]
    assert b"".join(parts).startswith(whole)
    assert (b"".join(parts) == whole) == (not end)
    assert given.count == len(records) + bool(end)
    assert end.startswith(b"".join(parts)[len(whole) :])
    starts = {0, *(sum(map(len, framed[:number])) for number in range(len(framed) + 1))}
    assert {sum(map(len, parts[:number])) for number in range(len(parts))} <= starts


@OFTEN
@given(content=st.binary(max_size=200), block=st.integers(1, 50))
@example(content=b"\x0c\n \r\n\x0b", block=1)
def test_lines_of_a_file_are_the_same_however_it_is_read(
    content: bytes, block: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("block") / "a.jsonl"
    path.write_bytes(b"1\n" + content)
    files, findings = find_files("source", path, None)
    assert files is not None, findings
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vertexkit.batch_files._BLOCK_BYTES", block)
        read = list(blocks(files.files[0]))
    whole = b"".join(one.data for one in read)
    wanted = [record.payload for record in read_lines(io.BytesIO(b"1\n" + content), 0, 0)]
    assert [record.payload for record in read_lines(io.BytesIO(whole), 0, 0)] == wanted
    assert sum(one.count for one in read) == len(wanted)


@OFTEN
@given(kind=st.sampled_from(KINDS), content=st.binary(max_size=100), is_whole=st.booleans())
def test_no_bytes_can_break_the_look_at_them(kind: str, content: bytes, is_whole: bool) -> None:
    for one in samples(kind, content, is_whole=is_whole):
        assert one.place


@OFTEN
@given(
    source=st.recursive(
        json_values | st.binary() | st.just(object()) | st.complex_numbers() | st.just(Path("nowhere")),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
        | st.sets(st.integers(), max_size=2) | st.tuples(inner, inner) | inner.map(lambda one: iter([one])),
        max_leaves=5,
    ),
    known=st.booleans(),
)  # fmt: skip
def test_nothing_that_is_passed_raises_but_it_is_told(source: Any, known: bool, context: Context) -> None:
    signature = Signature({"x": TensorSpec("x", "float32", (None, 2))}, OUT) if known else None
    for found in understand_source(context, source, signature=signature).findings:
        assert found.argument
        assert str(found)


def _text(value: Any) -> Any:
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def _parsed(line: bytes, value: Any) -> Any:
    """The value of a line; ``...`` for what is none."""
    if value is ...:
        try:
            return json.loads(line, parse_constant=lambda name: 1 / 0)
        except (ValueError, ZeroDivisionError):
            return ...
    return value
