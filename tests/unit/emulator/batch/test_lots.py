"""Records answered together: nobody can tell from the files that they were not answered one by one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from batch_memory import ANY_FOLDER, A, B, Model, Objects, answer, errors, fresh, results, spec, tf_record
from hypothesis import given
from hypothesis import strategies as st

from vertexkit.emulator.batch.inputs import Inputs, Position
from vertexkit.emulator.batch.lots import LotAnswerer
from vertexkit.emulator.batch.records import Block
from vertexkit.emulator.batch.types import Answer, BatchEnd, InputFormat, Instances, OutputFormat

JSON_LINES = ["[1,2]", "3", '"s"', "[[4],[5]]", '{"k":"a-1","x":[1]}', '{"k":7,"x":{"y":"z"}}', '{"x":1}']
KEYED_LINES = ['{"k":"a","x":[1,2]}', '{"k":"b","x":3}', '{"k":"c","x":"s"}', '{"x":4,"k":"d"}']
CHANGES = st.lists(
    st.tuples(
        st.integers(0, 400), st.integers(0, 3), st.sampled_from([b"", b"\n", b"]", b'"', b"\xff", b"1"])
    ),
    max_size=3,
)


def damaged(content: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """Some bytes taken out, and others put in their places."""
    for place, cut, put in changes:
        place %= len(content) + 1
        content = content[:place] + put + content[place + cut :]
    return content


def written(end: BatchEnd) -> list[bytes]:
    """All that is in the files."""
    return [path.read_bytes() for path in (*end.results, *end.errors)]


class Miscounting(Model):
    """Gives one prediction too few where some instance is among those asked for."""

    def __call__(self, body: bytes) -> Answer:
        came = super().__call__(body)
        if came.status != 200 or b"s" not in body.replace(b'"instances"', b""):
            return came
        return Answer(200, json.dumps({"predictions": json.loads(came.body)["predictions"][1:]}).encode())


@ANY_FOLDER
@given(
    data=st.data(),
    name=st.sampled_from(
        [InputFormat.JSONL, InputFormat.TF_RECORD, InputFormat.TF_RECORD_GZIP, InputFormat.CSV]
    ),
    changes=CHANGES,
    batch_size=st.integers(1, 9),
    shards=st.integers(1, 3),
    most=st.sampled_from([3, 40, 10_000]),
    model=st.sampled_from(["good", "refuses", "miscounts"]),
)
def test_files_are_the_same_as_one_by_one(
    tmp_path: Path,
    data: st.DataObject,
    name: InputFormat,
    changes: list[tuple[int, int, bytes]],
    batch_size: int,
    shards: int,
    most: int,
    model: str,
) -> None:
    instances = Instances()
    if name is InputFormat.JSONL:
        keyed = data.draw(st.booleans())
        lines = data.draw(st.lists(st.sampled_from(KEYED_LINES if keyed else JSON_LINES), max_size=20))
        whole, instances = "\n".join(lines).encode(), Instances(key_field="k" if keyed else "")
    elif name is InputFormat.CSV:
        rows = data.draw(st.lists(st.sampled_from(["1,2", '3,"s"', "-1.5,.5"]), max_size=20))
        whole = "\n".join(["k,x", *rows]).encode()
    else:
        contents = st.sampled_from([b"", b"one", b"two", b"s" * 9])
        whole = tf_record(*data.draw(st.lists(contents, max_size=20)))
    files = [damaged(whole, changes), whole]
    if name is InputFormat.TF_RECORD_GZIP:
        files = [damaged(gzip.compress(whole), changes), gzip.compress(whole)]
    sources = Objects(dict(zip((A, B), files, strict=True)), most=most)
    what = spec([A, B], name, instances=instances, batch_size=batch_size, shards=shards, in_flight=1)
    makers = {
        "good": Model,
        "refuses": lambda: Model(lambda instance: "3" in str(instance) or "b25l" in str(instance)),
        "miscounts": Miscounting,
    }
    quick_model, slow_model = makers[model](), makers[model]()
    quick = answer(what, sources, fresh(tmp_path), quick_model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LotAnswerer, "_together", lambda self, taken: None)
        slow = answer(what, sources, fresh(tmp_path), slow_model)
    assert written(quick) == written(slow)
    assert quick.progress == slow.progress
    # Nothing is asked twice to find out what is odd.
    assert quick_model.bodies == slow_model.bodies


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (InputFormat.JSONL, b"[1]\n[2]\n\n[3]"),
        (InputFormat.JSONL, b'"a"\n{"x":1}\n3'),
        (InputFormat.CSV, b"a,b\n1,2\n3,4\n5,6"),
        (InputFormat.TF_RECORD, tf_record(b"one", b"two", b"three")),
        (InputFormat.TF_RECORD_GZIP, gzip.compress(tf_record(b"one", b"two", b"three"))),
    ],
)
def test_good_records_are_answered_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: InputFormat, content: bytes
) -> None:
    def unexpected(self: Any, *_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(LotAnswerer, "_one_by_one", unexpected)
    # A lot holds what is left of one file and the first of the next.
    came = answer(spec([A, B], name, batch_size=2), Objects({A: content, B: content}), tmp_path)
    assert len(results(came)) == 6
    assert errors(came) == []


def test_rows_of_csv_are_written_one_by_one(tmp_path: Path) -> None:
    what = spec([A], output_format=OutputFormat.CSV)
    came = answer(what, Objects({A: b"[1]\n2"}), tmp_path)
    assert came.results[0].read_bytes().splitlines()[1:] == [b'"[1]","[[1]]"', b'2,"[2]"']


def test_after_a_broken_record_the_good_ones_come_together_again() -> None:
    whole = bytearray(tf_record(*[b"record"] * 10))
    size = len(whole) // 10
    whole[3 * size + 12] ^= 1
    inputs = Inputs(spec([A], InputFormat.TF_RECORD), Objects({A: bytes(whole)}), [len(whole)], Position())
    lots = list(iter(lambda: inputs.take(4), None))
    inputs.close()
    assert [[type(part) is Block for part, _ in lot.parts] for lot in lots] == [[True, False], [True], [True]]
    records = [record for lot in lots for record, _ in lot.records]
    assert [(record.number, record.end) for record in records] == [(n, n * size) for n in range(1, 11)]
