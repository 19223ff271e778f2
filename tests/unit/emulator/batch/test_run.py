"""A batch prediction: whatever the input holds and whatever happens, every instance comes out once."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from batch_memory import (
    IMPATIENT,
    Flaky,
    Model,
    Objects,
    answer,
    errors,
    results,
    spec,
    tf_record,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vertexkit.emulator.batch import ledger
from vertexkit.emulator.batch.asking import Patience
from vertexkit.emulator.batch.run import BatchRun
from vertexkit.emulator.batch.types import (
    Answer,
    BatchFailed,
    BatchSpec,
    InputFormat,
    Instances,
    NoAnswer,
    OutputFormat,
    Progress,
)

A, B = "gs://bucket/a.jsonl", "gs://bucket/b.jsonl"
JSON = st.recursive(
    st.none()
    | st.booleans()
    # No tensor holds a larger one, and no model server answers with it.
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
ANY_FOLDER = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def bytes_of(instances: list[Any], end: bytes = b"\n") -> bytes:
    return end.join(json.dumps(instance).encode() for instance in instances)


def fresh(folder: Path) -> Path:
    """A folder for every example: hypothesis gives them all the same tmp_path."""
    return folder / str(len(list(folder.iterdir())))


@ANY_FOLDER
@given(
    files=st.lists(st.lists(JSON, max_size=12), min_size=1, max_size=3),
    end=st.sampled_from([b"\n", b"\r\n", b"\n\n \n"]),
    batch_size=st.integers(1, 7),
    shards=st.integers(1, 4),
    in_flight=st.integers(1, 4),
    most=st.sampled_from([1, 3, 17, 10_000]),
)
def test_any_list_of_instances_comes_back_whole_and_in_order(
    tmp_path: Path,
    files: list[list[Any]],
    end: bytes,
    batch_size: int,
    shards: int,
    in_flight: int,
    most: int,
) -> None:
    uris = [f"gs://b/{index}" for index in range(len(files))]
    sources = Objects({uri: bytes_of(file, end) for uri, file in zip(uris, files, strict=True)}, most=most)
    what = spec(uris, batch_size=batch_size, shards=shards, in_flight=in_flight)
    came = answer(what, sources, fresh(tmp_path))
    instances = [instance for file in files for instance in file]
    assert results(came) == [{"instance": one, "prediction": [one]} for one in instances]
    assert errors(came) == []
    assert came.progress == Progress(len(instances), 0, len(instances))
    assert len(came.results) == len(came.errors) == shards


class Killed(BaseException):
    """The process has just ended, in the middle of a write."""


@ANY_FOLDER
@given(
    count=st.integers(1, 40),
    batch_size=st.integers(1, 6),
    shards=st.integers(1, 3),
    in_flight=st.integers(1, 3),
    output_format=st.sampled_from(OutputFormat),
    kills=st.lists(st.integers(0, 1500), min_size=1, max_size=4),
)
def test_killed_at_any_byte_it_goes_on_with_nothing_lost_or_doubled(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    batch_size: int,
    shards: int,
    in_flight: int,
    output_format: OutputFormat,
    kills: list[int],
) -> None:
    lines = [b"oops" if index % 7 == 3 else str(index).encode() for index in range(count)]
    sources = Objects({A: b"\n".join(lines[: count // 2]), B: b"\n".join(lines[count // 2 :])})
    folder = fresh(tmp_path)
    whole = ledger._append

    def killed_after(left: int) -> Any:
        def append(file: Any, content: bytes) -> None:
            nonlocal left
            whole(file, content[: max(0, left)])
            left -= len(content)
            if left < 0:
                raise Killed

        return append

    monkeypatch.setattr(ledger, "_MOST_LINES", 4)
    what = spec([A, B], shards=shards, in_flight=in_flight, output_format=output_format)
    for kill in kills:
        monkeypatch.setattr(ledger, "_append", killed_after(kill))
        resized = BatchSpec(**{**vars(what), "batch_size": batch_size})
        try:
            BatchRun(resized, sources, Model(), folder, patience=IMPATIENT).run(threading.Event())
        except Killed:
            # It may be restarted with other means.
            batch_size = batch_size % 6 + 1
    monkeypatch.setattr(ledger, "_append", whole)
    came = answer(what, sources, folder)
    good = [int(line) for line in lines if line != b"oops"]
    assert (came.progress.succeeded, came.progress.failed) == (len(good), count - len(good))
    assert [error["instance"] for error in errors(came)] == ["oops"] * (count - len(good))
    assert len(came.progress.failures) == count - len(good)
    if output_format is OutputFormat.JSONL:
        assert results(came) == [{"instance": one, "prediction": [one]} for one in good]
    else:
        files = [path.read_text().splitlines() for path in came.results]
        assert all(file[0] == '"instance","prediction"' for file in files if file)
        assert [row for file in files for row in file[1:]] == [f'{one},"[{one}]"' for one in good]


@ANY_FOLDER
@given(
    instances=st.lists(JSON | st.just({"bad": 1}), max_size=20),
    batch_size=st.integers(1, 9),
    what_fails=st.sampled_from(["nothing", "503", "500", "no answer"]),
    every=st.integers(2, 4),
)
def test_every_good_instance_is_answered_and_every_bad_one_listed(
    tmp_path: Path, instances: list[Any], batch_size: int, what_fails: str, every: int
) -> None:
    model = Model(refuses=lambda instance: instance == {"bad": 1})
    trouble: dict[str, Answer | NoAnswer] = {
        "503": Answer(503, b"busy"),
        "500": Answer(500, b"broken"),
        "no answer": NoAnswer("killed"),
    }
    predict = Flaky(model, every, trouble[what_fails]) if what_fails in trouble else model
    what, sources = spec([A], batch_size=batch_size, in_flight=1), Objects({A: bytes_of(instances)})
    came = answer(what, sources, fresh(tmp_path), predict, Patience((0.0, 0.0, 0.0)))
    good = [one for one in instances if one != {"bad": 1}]
    assert results(came) == [{"instance": one, "prediction": [one]} for one in good]
    assert [error["instance"] for error in errors(came)] == [{"bad": 1}] * (len(instances) - len(good))


FRAGMENTS = st.sampled_from(
    [
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        '"',
        "1",
        "-2.5e3",
        "[1,2]",
        '{"x":1}',
        '"a"',
        "\\",
        "NaN",
        " ",
        "\ufeff",
        "null",
    ]
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(st.lists(FRAGMENTS, min_size=1, max_size=6).map("".join), min_size=1, max_size=8),
    head=st.sampled_from(["", "[", "[1,", '{"k":"7",', '{"k":"7","x":', '{"k":"7","x":[']),
    tail=st.sampled_from(["", "]", "}", "]}"]),
    batch_size=st.integers(1, 8),
)
def test_lines_are_json_one_by_one_or_fail_one_by_one(
    tmp_path: Path, lines: list[str], head: str, tail: str, batch_size: int
) -> None:
    lines = [stripped for line in lines if (stripped := f"{head}{line}{tail}".strip(" "))]
    keyed = head.startswith("{")
    instances = Instances(key_field="k") if keyed else Instances()
    good: list[Any] = []
    bad: list[str] = []
    for line in lines:
        try:
            value = json.loads(line, parse_constant=_refuse)
            good.append((value.pop("k"), [value]) if keyed else (value, [value]))
        except ValueError:
            bad.append(line)
    sources = Objects({A: "\n".join(["0", *lines]).encode()})
    came = answer(spec([A], instances=instances, batch_size=batch_size), sources, fresh(tmp_path))
    if not keyed:
        good.insert(0, (0, [0]))
    else:
        bad.insert(0, "0")
    shown = "key" if keyed else "instance"
    assert [(line[shown], line["prediction"]) for line in results(came)] == good
    assert [line["instance"] for line in errors(came)] == bad


def _refuse(name: str) -> None:
    raise ValueError(name)


def test_a_line_is_spliced_in_as_it_is_written(tmp_path: Path) -> None:
    line = b'{ "x" :\t[1.50, 1e2, 123456789012345678901234567890] , "y": "\\u00e9"}'
    model = Model()
    came = answer(spec([A], parameters=b'{"k": 3}'), Objects({A: line}), tmp_path, model)
    assert model.bodies == [b'{"instances":[' + line + b'],"parameters":{"k": 3}}']
    assert came.results[0].read_bytes().startswith(b'{"instance":' + line + b',"prediction":')


@pytest.mark.parametrize("key_field", ["", "k"])
def test_a_line_that_is_nested_too_deeply_is_listed(tmp_path: Path, key_field: str) -> None:
    deep = [b"[" * depth + b'"x"' + b"]" * depth for depth in (500, 1010, 5000, 200_000)]
    lines = [b'{"x":%b,"k":"a"}' % line if key_field else line for line in deep]

    def predict(body: bytes) -> Answer:
        return Answer(200, b'{"predictions":[7]}')

    what = spec([A], instances=Instances(key_field=key_field), batch_size=1)
    came = answer(what, Objects({A: b"\n".join(lines)}), tmp_path, predict)
    assert came.progress.succeeded in (1, 2)
    assert "nested too deeply" in came.progress.failures[-1].message


def test_a_byte_order_mark_is_skipped_where_a_file_begins_only(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf1\n\xef\xbb\xbf2\n3"
    came = answer(spec([A]), Objects({A: content}), tmp_path)
    assert [line["instance"] for line in results(came)] == [1, 3]
    assert "byte order mark" in errors(came)[0]["error"]["message"]


def test_a_malformed_line_is_listed_with_its_place(tmp_path: Path) -> None:
    came = answer(spec([A]), Objects({A: b'[1]\n\n{"x": \n[2]'}), tmp_path)
    assert [line["instance"] for line in results(came)] == [[1], [2]]
    (error,) = errors(came)
    assert error["instance"] == '{"x":'
    assert error["error"]["code"] == 3
    assert error["error"]["message"] == f"{A}, line 3: Not JSON: Expecting value at character 6"
    assert came.progress.failures[0].message == error["error"]["message"]


def test_a_line_that_is_not_text_is_listed(tmp_path: Path) -> None:
    came = answer(spec([A]), Objects({A: b'["a"]\n["\xff"]\n[NaN]'}), tmp_path)
    assert [error["error"]["message"] for error in errors(came)] == [
        f"{A}, line 2: Not JSON: byte 3 is not UTF-8 text",
        f"{A}, line 3: Not JSON: NaN is not a number of JSON",
    ]


def test_two_broken_lines_do_not_make_up_two_whole_ones(tmp_path: Path) -> None:
    lines = [b'["a', b'b"],3', b"[1", b"2],3", b"1],[2", b"7"]
    came = answer(spec([A]), Objects({A: b"\n".join(lines)}), tmp_path)
    assert [line["instance"] for line in results(came)] == [7]
    assert [line["instance"].encode() for line in errors(came)] == lines[:-1]


def test_two_broken_objects_do_not_make_up_two_whole_ones(tmp_path: Path) -> None:
    pairs = [
        (b'{"k":"1","x":[{"y":2}', b'{"k":"2","x":3}]},4'),
        (b'{"k":"1","x":[1}', b'{"k":"2","x":1]}'),
        (b'{"k":"1","x\\":1}', b'{"k":"2",":\\"}'),
        (b'{"k":"1","x":"}', b'{"k":"2","x":"}'),
    ]
    for number, pair in enumerate(pairs):
        sources = Objects({A: b"\n".join([*pair, b'{"k":"3","x":7}'])})
        came = answer(spec([A], instances=Instances(key_field="k")), sources, tmp_path / str(number))
        assert results(came) == [{"key": "3", "prediction": [{"x": 7}]}]
        assert [line["instance"].encode() for line in errors(came)] == list(pair)


def test_a_line_that_is_too_long_is_listed_and_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vertexkit.emulator.batch.records.MOST_RECORD_BYTES", 1000)
    content = b"1\n" + b"[" + b"2," * 5000 + b"2]\n3"
    came = answer(spec([A]), Objects({A: content}), tmp_path)
    assert [line["instance"] for line in results(came)] == [1, 3]
    assert "line 2: the line is longer" in errors(came)[0]["error"]["message"]


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\n"])
def test_an_input_with_nothing_in_it_has_no_instances(tmp_path: Path, content: bytes) -> None:
    came = answer(spec([A, B]), Objects({A: content, B: content}), tmp_path)
    assert came.progress == Progress(0, 0, 0)


def test_an_object_that_is_gone_is_one_failure(tmp_path: Path) -> None:
    came = answer(spec([A, B]), Objects({B: b"1"}), tmp_path)
    assert [line["instance"] for line in results(came)] == [1]
    assert errors(came) == [{"instance": A, "error": {"code": 5, "message": f"{A} is not there"}}]


def test_a_prediction_that_is_not_finite_stays_so(tmp_path: Path) -> None:
    def predict(body: bytes) -> Answer:
        return Answer(200, b'{"predictions":[[NaN,0.5],[1.0,-Infinity]]}')

    came = answer(spec([A]), Objects({A: b"1\n2"}), tmp_path, predict)
    assert came.results[0].read_bytes() == (
        b'{"instance":1,"prediction":[NaN,0.5]}\n{"instance":2,"prediction":[1.0,-Infinity]}\n'
    )


@pytest.mark.parametrize("reply", [b'{"predictions":[[1,2]]}', b'{"predictions":7}', b"hm", b"[]"])
def test_a_reply_without_a_prediction_for_every_instance_fails_those_alone(
    tmp_path: Path, reply: bytes
) -> None:
    def predict(body: bytes) -> Answer:
        return Answer(200, reply) if b"9" in body else Model()(body)

    came = answer(spec([A]), Objects({A: b"1\n2\n9\n4"}), tmp_path, predict)
    if reply == b'{"predictions":[[1,2]]}':
        # For one instance, that is one prediction.
        assert [line["instance"] for line in results(came)] == [1, 2, 9, 4]
    else:
        assert [line["instance"] for line in results(came)] == [1, 2, 4]
        assert "The model's reply" in errors(came)[0]["error"]["message"]


@pytest.mark.parametrize(("bad", "most"), [((17,), 1 + 3 * 4), (range(64), 1 + 4 + 16 + 64), ((), 1)])
def test_a_bad_instance_is_found_with_few_requests(tmp_path: Path, bad: Sequence[int], most: int) -> None:
    model = Model(refuses=lambda instance: instance in bad)
    came = answer(spec([A]), Objects({A: bytes_of(list(range(64)))}), tmp_path, model)
    assert [error["instance"] for error in errors(came)] == list(bad)
    assert len(model.bodies) == most


def test_an_instance_that_kills_every_replica_is_found_and_listed(tmp_path: Path) -> None:
    def predict(body: bytes) -> Answer:
        if b"13" in body:
            raise NoAnswer("the replica died")
        return Model()(body)

    content = bytes_of(list(range(20)))
    came = answer(spec([A], in_flight=1), Objects({A: content}), tmp_path, predict)
    assert came.progress.succeeded == 19
    (error,) = errors(came)
    assert (error["instance"], error["error"]["code"]) == (13, 14)
    assert error["error"]["message"] == f"{A}, line 14: the replica died"


def test_an_instance_that_kills_every_replica_takes_no_other_with_it(tmp_path: Path) -> None:
    lock, deaths = threading.Lock(), 0

    def predict(body: bytes) -> Answer:
        nonlocal deaths
        before = deaths
        threading.Event().wait(0.005)
        with lock:
            deaths += b"13" in body
            if deaths > before:
                # All that the replica was asked goes with it.
                raise NoAnswer("the replica died")
        return Model()(body)

    what = spec([A], batch_size=4, in_flight=4)
    came = answer(what, Objects({A: bytes_of(list(range(60)))}), tmp_path, predict)
    assert [line["instance"] for line in results(came)] == [one for one in range(60) if one != 13]
    assert [line["instance"] for line in errors(came)] == [13]


def test_without_any_replica_it_is_given_up_and_can_go_on_later(tmp_path: Path) -> None:
    def predict(body: bytes) -> Answer:
        raise NoAnswer("none is up")

    what, sources = spec([A], batch_size=10), Objects({A: bytes_of(list(range(100)))})
    for patience in (Patience((0.0,), unanswered=5), Patience((0.01,) * 999, seconds=0.1)):
        run = BatchRun(what, sources, predict, tmp_path, patience=patience)
        with pytest.raises(BatchFailed, match=r"answered the last \d+ requests, in \d+ s: none is up"):
            run.run(threading.Event())
        assert run.progress.failed == 0
    assert len(results(answer(what, sources, tmp_path))) == 100


def test_an_error_that_stays_costs_patience_once(tmp_path: Path) -> None:
    asked = []

    def predict(body: bytes) -> Answer:
        asked.append(body)
        return Answer(500, b'{"error": "boom"}') if b'"bad"' in body else Model()(body)

    content = bytes_of(["bad", 1, 2, 3] * 10)
    what = spec([A], batch_size=4, in_flight=1)
    came = answer(what, Objects({A: content}), tmp_path, predict, Patience((0.0,) * 8))
    assert (came.progress.succeeded, came.progress.failed) == (30, 10)
    assert errors(came)[0]["error"] == {"code": 13, "message": f"{A}, line 1: boom"}
    assert len(asked) == 8 + 10 * 5


def test_cancelled_it_ends_soon_and_can_go_on(tmp_path: Path) -> None:
    cancelled, asked = threading.Event(), []

    def predict(body: bytes) -> Answer:
        asked.append(body)
        if len(asked) == 5:
            cancelled.set()
        return Model()(body)

    what = spec([A], batch_size=2)
    sources = Objects({A: bytes_of(list(range(1000)))})
    end = BatchRun(what, sources, predict, tmp_path).run(cancelled)
    assert not end.complete
    assert len(asked) < 100
    assert threading.active_count() < 20
    came = answer(what, sources, tmp_path)
    assert [line["instance"] for line in results(came)] == list(range(1000))


def test_waiting_for_a_replica_ends_when_cancelled(tmp_path: Path) -> None:
    cancelled = threading.Event()

    def predict(body: bytes) -> Answer:
        cancelled.set()
        raise NoAnswer("none")

    run = BatchRun(spec([A]), Objects({A: b"1"}), predict, tmp_path, patience=Patience((600.0,)))
    assert not run.run(cancelled).complete


def test_a_run_that_was_complete_asks_nothing(tmp_path: Path) -> None:
    sources = Objects({A: b"1\nx\n2"})
    first = answer(spec([A]), sources, tmp_path)
    model = Model()
    again = answer(spec([A]), sources, tmp_path, model)
    assert model.bodies == []
    assert again == first
    assert again.progress == Progress(2, 1, 3, first.progress.failures)


def test_inputs_that_have_changed_are_answered_anew(tmp_path: Path) -> None:
    answer(spec([A]), Objects({A: b"1\n2"}), tmp_path)
    came = answer(spec([A]), Objects({A: b"3\n4\n5"}), tmp_path)
    assert [line["instance"] for line in results(came)] == [3, 4, 5]


GOOD = {
    InputFormat.JSONL: b'{"k":"1","x":[1,2]}\n[3]\n"s"\n{"x":{"k":1},"k":null}\n',
    InputFormat.CSV: b'k,"x"\n1,2.5\n"a ""b""",3\n',
    InputFormat.TF_RECORD: tf_record(b"one", b"", b"three"),
    InputFormat.TF_RECORD_GZIP: gzip.compress(tf_record(b"one", b"", b"three")),
    InputFormat.FILE_LIST: b"gs://bucket/b.jsonl\ngs://b/none\n",
}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(InputFormat),
    output_format=st.sampled_from(OutputFormat),
    instances=st.sampled_from(
        [
            Instances(),
            Instances(key_field="k"),
            Instances(included=("x", "k"), instance_type="array"),
            Instances(excluded=("x",), key_field="k", instance_type="object"),
        ]
    ),
    changes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 2), st.binary(max_size=3)), max_size=4),
)
def test_whatever_the_bytes_of_an_input_are_it_is_answered_or_listed(
    tmp_path: Path,
    name: InputFormat,
    output_format: OutputFormat,
    instances: Instances,
    changes: list[tuple[int, int, bytes]],
) -> None:
    content = GOOD[name]
    for place, cut, put in changes:
        place %= len(content) + 1
        content = content[:place] + put + content[place + cut :]
    if name not in (InputFormat.JSONL, InputFormat.CSV):
        instances = Instances()
    what = spec([A, B], name, output_format=output_format, instances=instances, batch_size=3)
    came = answer(what, Objects({A: content, B: GOOD[name]}), fresh(tmp_path))
    listed = errors(came)
    assert len(listed) == came.progress.failed
    assert all(set(error) in ({"instance", "error"}, {"key", "error"}) for error in listed)
    if output_format is OutputFormat.JSONL:
        assert len(results(came)) == came.progress.succeeded
    else:
        rows = list(csv.reader(io.StringIO(came.results[0].read_text(), newline="")))
        assert len(rows) == came.progress.succeeded + bool(came.progress.succeeded)
        assert len({len(row) for row in rows}) <= 1


def test_an_input_that_goes_while_nothing_runs_takes_no_answer_with_it(tmp_path: Path) -> None:
    cancelled = threading.Event()

    def predict(body: bytes) -> Answer:
        if b"25" in body:
            cancelled.set()
        return Model()(body)

    sources = Objects({A: bytes_of(list(range(1000))), B: b"-1"})
    what = spec([A, B], batch_size=10, in_flight=1)
    end = BatchRun(what, sources, predict, tmp_path).run(cancelled)
    assert not end.complete
    done = end.progress.succeeded
    del sources.objects[A]
    came = answer(what, sources, tmp_path)
    assert [line["instance"] for line in results(came)] == [*range(done), -1]
    assert [line["instance"] for line in errors(came)] == [A]


def test_what_is_too_much_at_once_is_asked_for_in_parts(tmp_path: Path) -> None:
    asked = []

    def predict(body: bytes) -> Answer:
        asked.append(body)
        return Answer(429, b"OOM") if body.count(b",") >= 3 else Model()(body)

    impatient = Patience(delays=(600.0,))
    what = spec([A], batch_size=8, in_flight=1)
    came = answer(what, Objects({A: bytes_of([0] * 16)}), tmp_path, predict, impatient)
    assert came.progress.succeeded == 16
    assert len(asked) == 2 * 5


def test_a_disk_that_is_full_fails_it_with_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Any, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    sources = Objects({A: b"1\n2"})
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_append", full)
        with pytest.raises(BatchFailed, match="No space left on device"):
            BatchRun(spec([A]), sources, Model(), tmp_path).run(threading.Event())
    assert len(results(answer(spec([A]), sources, tmp_path))) == 2


def test_progress_tells_how_many_there_are_while_it_runs(tmp_path: Path) -> None:
    seen: list[Progress] = []

    def predict(body: bytes) -> Answer:
        for _ in range(200):
            if run.progress.total is not None:
                break
            threading.Event().wait(0.01)
        seen.append(run.progress)
        return Model()(body)

    run = BatchRun(spec([A], batch_size=10, in_flight=1), Objects({A: bytes_of([0] * 95)}), predict, tmp_path)
    assert run.progress == Progress()
    run.run(threading.Event())
    assert [(told.succeeded, told.total, told.left) for told in seen] == [
        (done, 95, 95 - done) for done in range(0, 95, 10)
    ]


def test_only_so_much_is_held_while_one_request_takes_long(tmp_path: Path) -> None:
    release, most = threading.Event(), 0
    sources = Objects({A: bytes_of(list(range(4000)))}, most=100)

    def predict(body: bytes) -> Answer:
        nonlocal most
        if body.startswith(b'{"instances":[0,'):
            release.wait(1.0)
        else:
            most = max(most, json.loads(body)["instances"][-1])
        return Model()(body)

    seen: list[int] = []

    def look() -> None:
        seen.append(most)
        release.set()

    threading.Timer(0.5, look).start()
    came = answer(spec([A], batch_size=10, in_flight=4), sources, tmp_path, predict)
    assert seen[0] < 10 * 4 * 4
    assert [line["instance"] for line in results(came)] == list(range(4000))


@pytest.mark.parametrize("packed", [False, True])
def test_tf_records_are_sent_as_base64(tmp_path: Path, packed: bool) -> None:
    contents = [b"", b"\x00\xff", b"x" * 70_000]
    content = tf_record(*contents)
    name = InputFormat.TF_RECORD_GZIP if packed else InputFormat.TF_RECORD
    content = gzip.compress(content) if packed else content
    came = answer(spec([A], name, batch_size=2), Objects({A: content}), tmp_path)
    encoded = [{"b64": base64.b64encode(one).decode()} for one in contents]
    assert results(came) == [{"instance": one, "prediction": [one]} for one in encoded]


def test_a_file_of_a_list_is_sent_as_base64_and_shown_by_its_uri(tmp_path: Path) -> None:
    names = b"gs://b/1.png\r\ngs://b/gone.png\n\nnonsense\ngs://b/1.png"
    sources = Objects({A: names, "gs://b/1.png": b"PNG"})
    came = answer(spec([A], InputFormat.FILE_LIST), sources, tmp_path)
    line = {"instance": "gs://b/1.png", "prediction": [{"b64": base64.b64encode(b"PNG").decode()}]}
    assert results(came) == [line, line]
    gone, nonsense = errors(came)
    assert gone["instance"] == "gs://b/gone.png"
    assert gone["error"] == {"code": 5, "message": f"{A}, line 2: gs://b/gone.png is not there"}
    assert nonsense["instance"] == "nonsense"


def test_large_files_of_a_list_are_not_all_sent_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vertexkit.emulator.batch.run._BODY_BYTES", 1000)
    files = {f"gs://b/{index}": bytes(400) for index in range(20)}
    model = Model()
    sources = Objects({A: "\n".join(files).encode(), **files})
    came = answer(spec([A], InputFormat.FILE_LIST), sources, tmp_path, model)
    assert [line["instance"] for line in results(came)] == list(files)
    assert max(map(len, model.bodies)) < 2000


def test_a_key_stands_for_its_instance(tmp_path: Path) -> None:
    lines = [
        b'{"id":"7","x":[1]}',
        b'{"x": [2], "id": {"a": 1}}',
        b'{"id":"q\\"","x":[3]}',
        b'{"id": 4, "id2": 0, "x":{"id":"5"}}',
        b'{"x":[5]}',
        b'{"id":"6"}',
    ]
    model = Model()
    what = spec([A], instances=Instances(key_field="id"))
    came = answer(what, Objects({A: b"\n".join(lines)}), tmp_path, model)
    assert results(came) == [
        {"key": "7", "prediction": [{"x": [1]}]},
        {"key": {"a": 1}, "prediction": [{"x": [2]}]},
        {"key": 'q"', "prediction": [{"x": [3]}]},
        {"key": 4, "prediction": [{"id2": 0, "x": {"id": "5"}}]},
        {"key": "6", "prediction": [{}]},
    ]
    (error,) = errors(came)
    assert error["instance"] == '{"x":[5]}'
    assert "'id'" in error["error"]["message"]


@ANY_FOLDER
@given(
    rows=st.lists(st.tuples(st.text(max_size=6), JSON), max_size=8),
    spaces=st.booleans(),
    name=st.sampled_from(["vertexkit_key", "x", 'a"b', "é"]),
)
def test_a_key_is_cut_out_of_any_object(
    tmp_path: Path, rows: list[tuple[str, Any]], spaces: bool, name: str
) -> None:
    separators = None if spaces else (",", ":")
    lines = [
        json.dumps({name: key, "value": value}, separators=separators, ensure_ascii=spaces)
        for key, value in rows
    ]
    content = "\n".join(line for line in lines).encode(errors="surrogatepass")
    came = answer(spec([A], instances=Instances(key_field=name)), Objects({A: content}), fresh(tmp_path))
    told = [(line["key"], line["prediction"]) for line in results(came)]
    assert told == [(key, [{"value": value}]) for key, value in rows]


def test_a_refused_instance_with_a_key_is_listed_by_it(tmp_path: Path) -> None:
    model = Model(refuses=lambda instance: instance == {"x": 2})
    content = b'{"id":"a","x":1}\n{"id":"b","x":2}'
    came = answer(spec([A], instances=Instances(key_field="id")), Objects({A: content}), tmp_path, model)
    assert errors(came) == [
        {"key": "b", "error": {"code": 3, "message": f"{A}, line 2: The model refuses {{'x': 2}}"}}
    ]


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        (Instances(included=("c", "a")), {"c": 3, "a": 1}),
        (Instances(included=("c", "a"), instance_type="array"), [3, 1]),
        (Instances(excluded=("b", "nosuch")), {"a": 1, "c": 3}),
        (Instances(instance_type="array"), [1, 2, 3]),
        (Instances(instance_type="object"), {"a": 1, "b": 2, "c": 3}),
    ],
)
def test_fields_are_sent_as_wanted_and_the_whole_instance_is_shown(
    tmp_path: Path, wanted: Instances, sent: Any
) -> None:
    came = answer(spec([A], instances=wanted), Objects({A: b'{"a":1,"b":2,"c":3}'}), tmp_path)
    assert results(came) == [{"instance": {"a": 1, "b": 2, "c": 3}, "prediction": [sent]}]


@pytest.mark.parametrize(
    "wanted", [Instances(key_field="k"), Instances(included=("k",)), Instances(instance_type="object")]
)
def test_a_line_without_fields_is_listed_where_fields_are_wanted(tmp_path: Path, wanted: Instances) -> None:
    came = answer(spec([A], instances=wanted), Objects({A: b'[1]\n{"k":2}'}), tmp_path)
    assert [error["instance"] for error in errors(came)] == ["[1]"]
    assert came.progress.succeeded == 1


@pytest.mark.parametrize("wanted", [Instances(key_field="k"), Instances(included=("k",))])
@pytest.mark.parametrize("name", [InputFormat.TF_RECORD, InputFormat.FILE_LIST])
def test_records_have_no_fields(tmp_path: Path, wanted: Instances, name: InputFormat) -> None:
    with pytest.raises(ValueError, match="have no fields"):
        BatchRun(spec([A], name, instances=wanted), Objects({A: b""}), Model(), tmp_path)
