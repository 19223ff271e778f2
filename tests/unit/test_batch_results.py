"""Results in the order of the input, whole, however the service wrote them."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tf_records import record

from vertexkit.batch_input import InstanceConfig
from vertexkit.batch_matching import DigestIndex, digest, key_digest, value_digest
from vertexkit.batch_records import Record, by_position, read_records, unsent
from vertexkit.batch_results import BatchResults, located_by_instance, located_by_position
from vertexkit.batch_spool import Spool, prediction_of
from vertexkit.emulator.batch.inputs import Inputs, Position
from vertexkit.emulator.batch.instances import BadInstance, InstanceMaker, raw_instance
from vertexkit.emulator.batch.types import BatchSpec, InputFormat, InputMissing, Instances
from vertexkit.errors import BatchPredictionFailed

PLAIN = InstanceConfig()
JOB = "projects/p/locations/l/batchPredictionJobs/1"

numbers = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False), st.just(-0.0)
)
leaves = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=5), st.just("prediction"))
values = st.recursive(
    leaves,
    lambda below: st.one_of(
        st.lists(below, max_size=4),
        st.dictionaries(st.sampled_from(["a", "b", "prediction", "error", "é"]), below, max_size=3),
        st.lists(numbers, max_size=6),
    ),
    max_leaves=8,
)


def equal(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON value, which Python's ``True == 1`` is not."""
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
    return (type(one) in (int, float) and type(other) in (int, float) and one == other) or (
        isinstance(one, str) and one == other
    )


def respelled(value: Any, chance: random.Random) -> Any:
    """The same value, as another program may write it."""
    if isinstance(value, list):
        return [respelled(item, chance) for item in value]
    if isinstance(value, dict):
        items = [*value.items()]
        chance.shuffle(items)
        return {name: respelled(item, chance) for name, item in items}
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
        return float(value)
    return value


def spooled(files: list[tuple[list[bytes], bool]], *, positions: bool = False) -> Spool:
    spool = Spool(positions=positions)
    for lines, errors in files:
        spool.add([line + b"\n" for line in lines], errors=errors)
    return spool


def records_of(path: Path, config: InstanceConfig = PLAIN, kind: str = "jsonl") -> Iterator[Record]:
    return read_records(kind, config, [("gs://b/input", path)])


def ordered(spool: Spool, path: Path, config: InstanceConfig = PLAIN, kind: str = "jsonl") -> BatchResults:
    keyed = config.key_field is not None
    entries = located_by_instance(spool, records_of(path, config, kind), keyed=keyed, job=JOB)
    return BatchResults(
        spool,
        entries,
        lambda: records_of(path, config, kind),
        otherwise="nothing was written",
        key_field=config.key_field,
    )


@settings(deadline=None)
@given(one=values, other=values, seed=st.integers(0, 9))
def test_what_stands_for_a_value_is_the_same_for_equal_values_only(one: Any, other: Any, seed: int) -> None:
    assert value_digest(one) == value_digest(respelled(one, random.Random(seed)))
    assert (value_digest(one) == value_digest(other)) == equal(one, other)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), instances=st.lists(values, max_size=30), seed=st.integers(0, 2**20))
def test_any_instances_come_back_in_order_and_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, instances: list[Any], seed: int
) -> None:
    chance = random.Random(seed)
    # Duplicates, near one another and far.
    instances += chance.choices(instances, k=len(instances) // 2) if instances else []
    written = [
        json.dumps(instance, separators=chance.choice([(",", ":"), (", ", ": ")])) for instance in instances
    ]
    path = tmp_path_factory.mktemp("input") / "in.jsonl"
    path.write_text("\n".join(written) + chance.choice(["", "\n", "\n\n"]))
    alike = data.draw(st.booleans())
    lines: list[tuple[bytes, bool]] = []
    for index, instance in enumerate(instances):
        text = written[index] if alike else json.dumps(respelled(instance, chance))
        name = f'{{"instance":{text},'
        if chance.random() < 0.2:
            lines.append((f'{name}"error": {{"code": 3, "message": "no {index}"}}}}'.encode(), True))
        else:
            lines.append((f'{name}"prediction":{json.dumps({"prediction": index})}}}'.encode(), False))
    chance.shuffle(lines)
    files: list[tuple[list[bytes], bool]] = []
    for shard in range(3):
        files.append(([line for line, error in lines[shard::3] if not error], False))
        files.append(([line for line, error in lines[shard::3] if error], True))
    chance.shuffle(files)
    results = ordered(spooled(files), path)
    rows = list(results.rows())
    assert [row.index for row in rows] == list(range(len(instances)))
    said = []
    for row, instance in zip(rows, instances, strict=True):
        assert equal(row.instance, instance)
        answered = int(row.error.split()[1]) if row.error is not None else row.prediction["prediction"]
        assert (row.error is None) == (row.prediction is not None)
        # Its own answer, or that of an equal one.
        assert equal(instances[answered], instance)
        said.append(answered)
    assert sorted(said) == list(range(len(instances)))
    assert [failure.index for failure in results.failures()] == [
        row.index for row in rows if row.error is not None
    ]
    assert [one["prediction"] for chunk in results.predictions() for one in chunk] == [
        row.prediction["prediction"] for row in rows if row.error is None
    ]


@settings(max_examples=100, deadline=None)
@given(count=st.integers(0, 40), seed=st.integers(0, 2**20), lost=st.booleans())
def test_positions_as_keys_restore_any_order(count: int, seed: int, lost: bool) -> None:
    chance = random.Random(seed)
    good, bad = [], []
    fate = [chance.choice("gggb" + ("-" if lost else "")) for _ in range(count)]
    for index, what in enumerate(fate):
        spelled = chance.choice([f'"{index}"', str(index)])
        space = chance.choice(["", " "])
        if what == "g":
            good.append(f'{{"key":{space}{spelled},{space}"prediction":{space}[{index}, 0.5]}}'.encode())
        elif what == "b":
            bad.append(f'{{"key": {spelled}, "error": {{"code": 13, "message": "no {index}"}}}}'.encode())
    chance.shuffle(good)
    spool = spooled([(good[1::2], False), (bad, True), (good[::2], False)], positions=True)
    entries = located_by_position(spool, count, job=JOB)
    results = BatchResults(spool, entries, lambda: iter(()), otherwise="nothing was written")
    for index, row in enumerate(results.rows()):
        assert row.prediction == ([index, 0.5] if fate[index] == "g" else None)
        assert row.error == {"g": None, "b": f"no {index}", "-": "nothing was written"}[fate[index]]
    assert len(results) == count
    assert results.failed.tolist() == [index for index, what in enumerate(fate) if what != "g"]


def test_keys_of_the_users_own_restore_the_order(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"id": "b", "x": 1}\n{"id": 7, "x": 2}\nnot json\n{"id": "a", "x": 3}\n')
    lines = [
        b'{"key": "a", "prediction": 3}',
        b'{"prediction": 2, "key": 7.0}',
        b'{"key": "b", "prediction": 1}',
    ]
    errors = [b'{"instance": "not json", "error": {"code": 3, "message": "is no JSON"}}']
    rows = list(
        ordered(spooled([(lines, False), (errors, True)]), path, InstanceConfig(key_field="id")).rows()
    )
    assert [(row.instance, row.prediction, row.error) for row in rows] == [
        ({"x": 1}, 1, None),
        ({"x": 2}, 2, None),
        ("not json", None, "is no JSON"),
        ({"x": 3}, 3, None),
    ]


def test_instances_with_one_key_fail_where_their_results_differ(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"id": "a", "x": 1}\n{"id": "b", "x": 2}\n{"id": "a", "x": 3}\n')
    config = InstanceConfig(key_field="id")
    b = b'{"key": "b", "prediction": 2}'
    one, other = b'{"key": "a", "prediction": 1}', b'{"key": "a", "prediction": 3}'
    lost = b'{"key": "a", "error": {"code": 14, "message": "lost"}}'
    for lines, errors in (([one, b, other], []), ([one, b], [lost]), ([b, one], [])):
        results = ordered(spooled([(lines, False), (errors, True)]), path, config)
        assert [row.prediction for row in results.rows()] == [None, 2, None]
        for failure in results.failures():
            assert failure.key == "a"
            assert "several instances have the key 'a'" in failure.reason
    same = ordered(spooled([([one, b, one], False)]), path, config)
    assert [(row.key, row.prediction) for row in same.rows()] == [("a", 1), ("b", 2), ("a", 1)]


def test_a_key_may_be_null(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"id": "a", "x": 1}\n{"id": null, "x": 2}\n{"x": 3}\n')
    lines = [b'{"key": null, "prediction": 2}', b'{"key": "a", "prediction": 1}']
    errors = [
        orjson.dumps({"instance": '{"x": 3}', "error": {"code": 3, "message": "there is no field 'id'"}})
    ]
    results = ordered(spooled([(lines, False), (errors, True)]), path, InstanceConfig(key_field="id"))
    rows = list(results.rows())
    assert [(row.key, row.prediction) for row in rows] == [("a", 1), (None, 2), (None, None)]
    assert rows[2].error == "there is no field 'id'"


def test_a_line_that_was_too_long_to_be_read_has_its_position() -> None:
    cut = orjson.dumps(f'{{"vertexkit_key":"1","s":"{"x" * 170}')
    errors = [b'{"instance": %b, "error": {"code": 3, "message": "it is too long"}}' % cut]
    spool = spooled([([b'{"key": "0", "prediction": 1}'], False), (errors, True)], positions=True)
    results = BatchResults(spool, located_by_position(spool, 2, job=JOB), lambda: iter(()), otherwise="?")
    assert results.reasons(9) == {1: "it is too long"}


def test_a_result_of_something_that_was_not_sent_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("[1]\n[2]\n")
    lines = [b'{"instance": [1], "prediction": 1}', b'{"instance": [3], "prediction": 3}']
    with pytest.raises(
        BatchPredictionFailed, match=r"1 of 2 results fit none of the instances.*\[3\]"
    ) as caught:
        ordered(spooled([(lines, False)]), path)
    assert caught.value.job == JOB
    assert "key_field=" in str(caught.value)


def test_integers_that_a_float_cannot_tell_apart_are_not_mixed_up(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(f"[{2**53}]\n[{2**53 + 1}]\n")
    exact = [f'{{"instance": [ {n} ], "prediction": {n}}}'.encode() for n in (2**53 + 1, 2**53)]
    assert [row.prediction for row in ordered(spooled([(exact, False)]), path).rows()] == [2**53, 2**53 + 1]
    rounded = [b'{"instance": [9007199254740992.0], "prediction": 1}'] * 2
    with pytest.raises(BatchPredictionFailed, match="1 of 2 results fit none"):
        ordered(spooled([(rounded, False)]), path)


def test_what_the_cloud_says_of_failures_is_the_reason_of_what_has_no_result(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("[1]\n[2]\n[3]\n")
    lines = [b'{"instance": [2.0], "prediction": 1}']
    errors = [b"('Post request fails. Cannot get predictions. Error: Timed out.', 2)"]
    results = ordered(spooled([(errors, True), (lines, False)]), path)
    said = "Post request fails. Cannot get predictions. Error: Timed out."
    assert [(one.index, one.instance, one.reason) for one in results.failures()] == [
        (0, [1], said),
        (2, [3], said),
    ]
    assert results.reasons(1) == {0: said}
    several = ordered(spooled([([*errors, b"other"], True), (lines, False)]), path)
    assert "does not say which of these: Post" in next(several.failures()).reason
    assert "other" in next(several.failures()).reason


def test_included_fields_are_found_again_when_results_hold_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"x": 1, "y": 2, "who": "a"}\n{"x": 3, "y": 4, "who": "b"}\n')
    config = InstanceConfig(included_fields=("y", "x"))
    for spelled in ('{"x": %d, "y": %d}', "[%d.0, %d.0]"):
        pairs = [(3, 4), (1, 2)]
        if spelled.startswith("["):
            pairs = [(y, x) for x, y in pairs]
        lines = [f'{{"instance": {spelled % pair}, "prediction": {sum(pair)}}}'.encode() for pair in pairs]
        rows = list(ordered(spooled([(lines, False)]), path, config).rows())
        assert [row.prediction for row in rows] == [3, 7]
        assert rows[0].instance == {"x": 1, "y": 2, "who": "a"}


def test_two_predictions_for_one_position_must_agree() -> None:
    line, other = b'{"key": "0", "prediction": 1}', b'{"key": "0", "prediction": 2}'
    error = b'{"key": "0", "error": {"code": 14, "message": "a replica died"}}'
    agree = spooled([([line, line], False), ([error], True)], positions=True)
    assert located_by_position(agree, 1, job=JOB).tolist() != [-1]
    assert not agree.is_error[located_by_position(agree, 1, job=JOB)[0]]
    with pytest.raises(BatchPredictionFailed, match="two predictions for instance 0"):
        located_by_position(spooled([([line, other], False)], positions=True), 1, job=JOB)
    with pytest.raises(BatchPredictionFailed, match="there were 0 instances"):
        located_by_position(spooled([([line], False)], positions=True), 0, job=JOB)


def test_rows_of_csv_are_columns_by_name(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(b'\xef\xbb\xbfname,"size",note\r\n"5",5,"a ""b"", c"\r\n\r\n"x",1e3,""\r\n')
    first, second = records_of(path, kind="csv")
    assert json.loads(first.text) == ["5", 5.0, 'a "b", c']
    assert second.read() == {"name": "x", "size": 1000.0, "note": ""}
    (keyed, _) = records_of(path, InstanceConfig(key_field="size"), "csv")
    assert (keyed.key, keyed.read()) == (5.0, {"name": "5", "note": 'a "b", c'})
    lines = [
        b'{"instance": ["x", 1000, ""], "prediction": 2}',
        b'{"instance": ["5", 5.0, "a \\"b\\", c"], "prediction": 1}',
    ]
    assert [row.prediction for row in ordered(spooled([(lines, False)]), path, kind="csv").rows()] == [1, 2]


def test_records_of_a_broken_file_end_with_one_for_the_rest(tmp_path: Path) -> None:
    whole = record(b"first") + record(b"second")
    path = tmp_path / "in.tfrecord"
    path.write_bytes(whole[:-3])
    rest = [record.read() for record in records_of(path, kind="tf-record")]
    assert rest == [b"first", "gs://b/input"]
    path.write_bytes(whole)
    lines = [
        b'{"instance": {"b64": "c2Vjb25k"}, "prediction": 2}',
        b'{"instance":{"b64":"Zmlyc3Q="},"prediction": 1}',
    ]
    rows = list(ordered(spooled([(lines, False)]), path, kind="tf-record").rows())
    assert [(row.instance, row.prediction) for row in rows] == [(b"first", 1), (b"second", 2)]


def test_files_of_a_list_are_found_by_their_uris(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("gs://b/1.png\n\ngs://b/2.png\ngs://b/1.png\n")
    lines = [b'{"instance": "gs://b/1.png", "prediction": [1]}'] * 2
    errors = [b'{"instance": "gs://b/2.png", "error": {"code": 5, "message": "there is no such object"}}']
    results = ordered(spooled([(lines, False), (errors, True)]), path, kind="file-list")
    assert [(row.instance, row.error is None) for row in results.rows()] == [
        ("gs://b/1.png", True),
        ("gs://b/2.png", False),
        ("gs://b/1.png", True),
    ]
    assert str(next(results.failures())) == "instance 1: there is no such object"


class Local:
    """One object, for the local Vertex AI's own reader."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def open(self, uri: str) -> io.BytesIO:
        if uri != "gs://b/input":
            raise InputMissing(f"there is no {uri}")
        return io.BytesIO(self._content)

    def size(self, uri: str) -> int:
        return len(self._content)


cells = st.sampled_from(["1", "-1.50", "1e3", '"a"', '"a ""b"", c"', "x", "", " 2 ", '"', "1_0", "NaN", '""'])
pieces = st.one_of(
    st.sampled_from([b"\n", b"\r\n", b"[1,", b"[1, 2]", b'{"id": 1, "x": [1]}', b'{"x": 2}', b" ", b"\xff"]),
    st.sampled_from([b"\xef\xbb\xbf", b'"gs://b/1.png"', b"gs://b/2.png", b"a,b\n", b"a,a\n", b"NaN"]),
    st.lists(cells, min_size=1, max_size=3).map(lambda row: ",".join(row).encode() + b"\n"),
    st.binary(max_size=20),
    st.binary(max_size=20).map(record),
    st.binary(min_size=1, max_size=20).map(lambda content: record(content)[:-1] + b"?"),
)


@settings(max_examples=300, deadline=None)
@given(
    content=st.lists(pieces, max_size=8).map(b"".join),
    kind=st.sampled_from(list(InputFormat)),
    config=st.sampled_from([PLAIN, InstanceConfig(key_field="id"), InstanceConfig(instance_type="object")]),
    cut=st.integers(0, 30),
)
@example(b"a,b\n1,2\n", InputFormat.CSV, InstanceConfig(key_field="id"), 0)
@example(b'\n\xef\xbb\xbf""', InputFormat.JSONL, InstanceConfig(key_field="id"), 0)
@example(b'{"id":1}\n{"id":1}\n{"id":2}', InputFormat.JSONL, InstanceConfig(key_field="id"), 0)
@example(b'""\n"1"\n1', InputFormat.JSONL, InstanceConfig(key_field="id"), 0)
def test_the_client_reads_what_the_local_service_reads(
    tmp_path_factory: pytest.TempPathFactory,
    content: bytes,
    kind: InputFormat,
    config: InstanceConfig,
    cut: int,
) -> None:
    if kind is InputFormat.TF_RECORD_GZIP:
        content = gzip.compress(content)
        content = content[: len(content) - cut] if cut > 20 else content
    if kind not in (InputFormat.JSONL, InputFormat.CSV):
        config = PLAIN
    path = tmp_path_factory.mktemp("read") / "input"
    path.write_bytes(content)
    asked = Instances(instance_type=config.instance_type or "", key_field=config.key_field or "")
    spec = BatchSpec(input_format=kind, uris=("gs://b/input",), instances=asked)
    sources = Local(content)
    inputs, maker = Inputs(spec, sources, [len(content)], Position()), InstanceMaker(spec, sources)
    lines = []
    while taken := inputs.take(100):
        for one, file in taken.records:
            try:
                made = maker.make(one.payload, file) if one.fault is None else None
                if made is not None and made.unchecked:
                    maker.check(one)
            except BadInstance:
                made = None
            if made is None:
                lines.append((b'{"instance":%b,"error":{"message":"no"}}' % raw_instance(one, file), True))
            else:
                lines.append((b'{"%b":%b,"prediction":%d}' % (made.member, made.shown, len(lines)), False))
    spool = spooled(
        [([line for line, wrong in lines if wrong is errors], errors) for errors in (True, False)]
    )
    try:
        results = ordered(spool, path, config, str(kind))
    except BatchPredictionFailed as error:
        assert "have the key" in str(error)
        return
    assert len(results) == len(lines)
    assert spool.reasons == {}
    members = Counter(line.rpartition(b",")[0] for line, wrong in lines if not wrong)
    for row, (line, wrong) in zip(results.rows(), lines, strict=True):
        if row.error is not None and not wrong:
            # Whose is whose is not told by a key that several have.
            assert config.key_field is not None and "instances have the key" in row.error
            assert members[line.rpartition(b",")[0]] > 1
            continue
        assert row.error == ("no" if wrong else None)
        if not wrong:
            # Its own prediction, or that of an equal instance.
            assert lines[row.prediction][0].rpartition(b",")[0] == line.rpartition(b",")[0]


def test_own_keys_are_not_part_of_an_instance(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"vertexkit_key":"1","x":[1]}\n{"vertexkit_key":"4","x":[4]}\n')
    records = by_position(
        records_of(path, InstanceConfig(key_field="vertexkit_key")), [unsent(0, "[0,"), unsent(2, "[2,")]
    )
    assert [record.read() for record in records] == ["[0,", {"x": [1]}, "[2,", None, {"x": [4]}]


@settings(deadline=None)
@given(prediction=values, instance=values)
def test_a_prediction_is_read_whatever_is_in_line_with_it(prediction: Any, instance: Any) -> None:
    for line in (
        {"instance": instance, "prediction": prediction},
        {"prediction": prediction, "instance": instance},
        {"key": "1", "prediction": prediction, "explanation": {"prediction": instance}},
    ):
        assert equal(prediction_of(json.dumps(line).encode()), prediction)
    assert prediction_of(b'{"key":"1","prediction":[NaN,Infinity]}')[1] == float("inf")


@settings(deadline=None)
@given(
    digests=st.lists(st.sampled_from([bytes([n]) * 8 + bytes([m]) * 8 for n in range(2) for m in range(3)]))
)
def test_equals_are_taken_in_turn_though_half_of_what_stands_for_them_collides(digests: list[bytes]) -> None:
    taken = bytearray(len(digests))
    index = DigestIndex(b"".join(digests), taken)
    places: dict[bytes, list[int]] = {}
    for place, one in enumerate(digests):
        places.setdefault(one, []).append(place)
    assert sorted(index.repeated()) == sorted(group for group in places.values() if len(group) > 1)
    assert index.take(digests) == list(range(len(digests)))
    assert index.take(digests) == [-1] * len(digests)
    assert all(taken)


def test_a_key_is_the_same_as_text_and_as_a_number() -> None:
    assert key_digest("17") == key_digest(17) == key_digest(17.0)
    assert key_digest(str(2**60 + 1)) == key_digest(2**60 + 1) != key_digest(2**60)
    assert key_digest("-1.5") == key_digest(-1.5)
    assert key_digest("a") != key_digest("b")
    assert len(digest(b"")) == 16


def test_half_a_surrogate_pair_and_what_is_no_number_are_found_again(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('"\\ud800"\n[NaN]\n{"x": null, "y": "\\udc00"}\n"\\udfff"\n')
    lines = [
        b'{"prediction": 2, "instance": {"y": "\\udc00", "x": null}}',
        b'{"prediction": 1, "instance": [NaN]}',
    ]
    errors = [
        b'{"error": {"message": "\\ud800"}, "instance": "\\ud800"}',
        b'{"error": ["\\ud800"], "instance": "\\udfff"}',
        b"{[]: 1}",
    ]
    spool = spooled([(lines, False), (errors, True)])
    rows = list(ordered(spool, path).rows())
    assert [row.prediction for row in rows] == [None, 1, 2, None]
    assert [row.error for row in rows] == ["\ud800", None, None, '["\\ud800"]']
    assert [*spool.reasons] == ["{[]: 1}"]
    keyed = InstanceConfig(key_field="id")
    path.write_text('{"id": 1, "x": 2}\n"\\ud800"\n')
    lines = [b'{"key": 1, "prediction": 2}']
    (_, lost) = ordered(spooled([(lines, False), ([errors[0]], True)]), path, keyed).rows()
    assert lost.error == "\ud800"


def test_keys_that_only_look_like_numbers_are_keys_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    keys = [
        "12e45678",
        "98e76543",
        "007",
        "7",
        " 7",
        "1_000",
        "1000",
        "1e3",
        "inf",
        "Infinity",
        "-0",
        "0",
        "1.0",
    ]
    keys += ["1", "1.10", "1.1", "\u0667", "1" * 5000, "2" * 5000]
    path.write_text("".join(json.dumps({"id": key, "x": 1}) + "\n" for key in keys))
    lines = [orjson.dumps({"key": key, "prediction": place}) for place, key in enumerate(keys)]
    lines.reverse()
    results = ordered(spooled([(lines, False)]), path, InstanceConfig(key_field="id"))
    assert [row.prediction for row in results.rows()] == list(range(len(keys)))
