"""A batch prediction: whatever the input holds and whatever happens, every instance comes out once."""

from __future__ import annotations

import csv
import gzip
import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from batch_memory import (
    ANY_FOLDER,
    IMPATIENT,
    JSON,
    A,
    B,
    Model,
    Objects,
    answer,
    bytes_of,
    errors,
    fresh,
    results,
    spec,
    tf_record,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vertexkit.emulator.batch import ledger
from vertexkit.emulator.batch.run import BatchRun
from vertexkit.emulator.batch.types import (
    Answer,
    BatchFailed,
    BatchSpec,
    InputFormat,
    Instances,
    OutputFormat,
    Progress,
)


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


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\n"])
def test_an_input_with_nothing_in_it_has_no_instances(tmp_path: Path, content: bytes) -> None:
    came = answer(spec([A, B]), Objects({A: content, B: content}), tmp_path)
    assert came.progress == Progress(0, 0, 0)


def test_an_object_that_is_gone_is_one_failure(tmp_path: Path) -> None:
    came = answer(spec([A, B]), Objects({B: b"1"}), tmp_path)
    assert [line["instance"] for line in results(came)] == [1]
    assert errors(came) == [{"instance": A, "error": {"code": 5, "message": f"{A} is not there"}}]


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


@pytest.mark.parametrize("line", [0, 1, 2])
@pytest.mark.parametrize("left", [b"", b"\0" * 20, b"\0" * 20 + b"\n"])
def test_a_journal_that_came_to_the_disk_in_part_counts_as_far_as_it_goes(
    tmp_path: Path, line: int, left: bytes
) -> None:
    sources = Objects({A: b"1\nx\n2"})
    first = answer(spec([A], batch_size=1), sources, tmp_path)
    journal = tmp_path / "journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) > 2
    journal.write_bytes(b"".join(lines[:line]) + left)
    again = answer(spec([A], batch_size=1), sources, tmp_path)
    assert again == first


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
