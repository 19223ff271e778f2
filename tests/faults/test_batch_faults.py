"""Batch predictions of what is not as it should be: every good instance is answered, every bad one listed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import model_servers

import vertexkit as vk

Inject = Callable[..., Callable[[], list[int]]]
MACHINE = "n1-standard-2"


@pytest.fixture(scope="module")
def session(emulator: Any) -> Iterator[vk.Session]:
    with vk.connect("batch-faults", emulator=emulator.rest, temporary=True) as session:
        yield session


@pytest.fixture(scope="module")
def model(session: vk.Session, scaling_models: Mapping[int, Path]) -> vk.Model:
    """Doubles its input: ``x: float32[?, 3] -> scaled: float32[?, 3]``."""
    return session.models.upload("doubling", scaling_models[2])


@pytest.fixture(scope="module")
def image_model(session: vk.Session, mnist_batch: Path) -> vk.Model:
    """Decodes PNGs and tells the digit."""
    return session.models.upload("files", mnist_batch / "files")


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERTEXKIT_NO_BACKOFF", "1")


def lines_with(bad: Mapping[int, str], count: int = 300) -> str:
    """``[index, 1, 2]`` a line, but for some."""
    return "".join(bad.get(index, json.dumps([index, 1, 2])) + "\n" for index in range(count))


def assert_all_but(job: vk.BatchPredictionJob, bad: Sequence[int], count: int = 300) -> None:
    """Every instance is there once, in order, and has its prediction or the reason why it has none."""
    rows = list(job.rows())
    assert [row.index for row in rows] == list(range(count))
    for row in rows:
        if row.index in bad:
            assert row.prediction is None
            assert row.error
        else:
            assert row.error is None
            assert row.prediction == [2.0 * row.index, 2.0, 4.0]
    failures = list(job.failures)
    assert [failure.index for failure in failures] == list(bad)
    assert (job.progress.succeeded, job.progress.failed) == (count - len(bad), len(bad))


BAD = {
    149: '{"x": [149, 1, 2]',  # is not JSON, and would be with the next line
    150: ', "y": 0}',
    200: "[200, 1]",
    201: '["two", "hundred", "one"]',
    299: "nonsense",
}


@pytest.mark.parametrize("where", ["local", "gs"])
def test_malformed_lines_and_instances_of_the_wrong_shape_cost_only_themselves(
    session: vk.Session, model: vk.Model, tmp_path: Path, where: str
) -> None:
    path = tmp_path / "some-bad.jsonl"
    path.write_text(lines_with(BAD))
    source: Any = path
    if where == "gs":
        source = session.bucket.upload_file(path, f"{session.bucket.uri}/faults/some-bad.jsonl")
    with pytest.warns(vk.PartialFailureWarning, match="5 of 300"):
        job = model.batch_predict(source, machine=MACHINE)
    assert job.state == "SUCCEEDED"
    assert_all_but(job, sorted(BAD))


def test_an_array_of_the_wrong_shape_is_refused_before_anything_is_made(
    session: vk.Session, model: vk.Model
) -> None:
    before = len(session.batch.list())
    with pytest.raises(vk.InvalidArgument, match=r"float32\[\?, 3\]"):
        model.batch_predict(np.zeros((5, 2), np.float32), machine=MACHINE)
    assert len(session.batch.list()) == before


@pytest.mark.parametrize("content", ["", "\n \n\r\n"], ids=["0 bytes", "blank lines"])
def test_a_file_without_instances_is_refused_before_anything_is_made(
    session: vk.Session, model: vk.Model, tmp_path: Path, content: str
) -> None:
    (tmp_path / "none.jsonl").write_text(content)
    before = len(session.batch.list())
    with pytest.raises(vk.InvalidArgument, match="no instances"):
        model.batch_predict(tmp_path / "none.jsonl", machine=MACHINE)
    assert len(session.batch.list()) == before


def test_an_object_of_0_bytes_is_refused_or_fails_and_says_so(
    session: vk.Session, model: vk.Model, tmp_path: Path
) -> None:
    (tmp_path / "empty.jsonl").touch()
    uri = session.bucket.upload_file(tmp_path / "empty.jsonl", f"{session.bucket.uri}/faults/empty.jsonl")
    with pytest.raises((vk.InvalidArgument, vk.BatchPredictionFailed), match="no instances"):
        model.batch_predict(uri, machine=MACHINE)


def test_an_empty_file_among_others_is_no_instance(model: vk.Model, tmp_path: Path) -> None:
    for name, start, stop in (("a", 0, 100), ("b", 100, 100), ("c", 100, 300)):
        lines = lines_with({}).splitlines(keepends=True)[start:stop]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    assert_all_but(model.batch_predict(tmp_path, machine=MACHINE), [])


def test_missing_files_and_corrupt_images_of_a_list_cost_only_themselves(
    session: vk.Session, image_model: vk.Model, mnist_batch: Path, tmp_path: Path
) -> None:
    images = sorted((mnist_batch / "test" / "files").iterdir())[:20]
    for index, image in enumerate(images):
        content = image.read_bytes()
        (tmp_path / image.name).write_bytes({3: b"", 7: content[:40], 8: b"no PNG"}.get(index, content))
    folder = f"{session.bucket.uri}/faults/images"
    session.bucket.upload_dir(tmp_path, prefix=folder)
    uris = [f"{folder}/{image.name}" for image in images]
    uris.insert(5, f"{folder}/missing.png")
    uris.insert(6, "gs://no-such-bucket-of-anybody/00000.png")
    (tmp_path / "list.txt").write_text("\n".join(uris) + "\n")
    with (
        pytest.warns(vk.PreflightWarning, match="names gs:.* which does not exist"),
        pytest.warns(vk.PartialFailureWarning, match="5 of 22"),
    ):
        job = image_model.batch_predict(tmp_path / "list.txt", machine=MACHINE)
    failures = {failure.index: failure for failure in job.failures}
    assert sorted(failures) == [3, 5, 6, 9, 10]
    assert all(failures[index].instance == uris[index] for index in failures)
    expected = np.load(mnist_batch / "expected.npy")
    good = [index for index in range(20) if index not in (3, 7, 8)]
    answered = [row.prediction for row in job.rows() if row.error is None]
    np.testing.assert_allclose(answered, expected[good], rtol=1e-3, atol=1e-6)


def test_what_only_the_model_can_find_is_listed(session: vk.Session, model: vk.Model, tmp_path: Path) -> None:
    # What can be looked at before is not sent: only the model itself can find these.
    (tmp_path / "bad.jsonl").write_text(lines_with({}, 16) + '[1, "x", 3]\n' * 3)
    uri = session.bucket.upload_file(tmp_path / "bad.jsonl", f"{session.bucket.uri}/faults/bad.jsonl")
    with pytest.warns(vk.PartialFailureWarning, match="3 of 19"):
        job = model.batch_predict(uri, machine=MACHINE)
    assert [failure.index for failure in job.failures] == [16, 17, 18]
    assert all("float" in failure.reason for failure in job.failures)


@pytest.mark.parametrize(
    "destination", ["gs://no-such-bucket-of-anybody/out", "/tmp/out", "gs://", "bq://p.d.t"]
)
def test_a_destination_that_cannot_be_written_is_refused_before_anything_is_made(
    session: vk.Session, model: vk.Model, destination: str
) -> None:
    before = len(session.batch.list())
    with pytest.raises(vk.VertexkitError, match="destination"):
        model.batch_predict([[1, 2, 3]], machine=MACHINE, destination=destination)
    assert len(session.batch.list()) == before


@pytest.mark.parametrize(
    "rule",
    [
        {"method": "JobService.CreateBatchPredictionJob", "reset": True, "after_work": True, "times": 1},
        {"method": "JobService.CreateBatchPredictionJob", "status": 503, "times": 1},
        {"method": "JobService.GetBatchPredictionJob", "status": 503, "times": 2},
        {"method": "JobService.GetBatchPredictionJob", "reset": True, "times": 2},
        {"storage": "* /upload/storage/v1/b/*", "status": 503, "times": 1},
        {"storage": "GET /storage/v1/b/*", "status": 503, "times": 2},
    ],
    ids=["created, answer lost", "create 503", "get 503", "get reset", "upload 503", "read 503"],
)
def test_what_passes_costs_nothing_and_makes_no_second_job(
    session: vk.Session, model: vk.Model, tmp_path: Path, inject: Inject, rule: dict[str, Any]
) -> None:
    before = len(session.batch.list())
    (tmp_path / "good.jsonl").write_text(lines_with({}))
    inject(rule)
    assert_all_but(model.batch_predict(tmp_path / "good.jsonl", machine=MACHINE), [])
    assert len(session.batch.list()) == before + 1


def test_replicas_killed_while_they_answer_lose_no_instance_and_double_none(
    model: vk.Model, emulator: Any, tmp_path: Path
) -> None:
    count = 60_000
    (tmp_path / "many.jsonl").write_text(lines_with({}, count))
    others = model_servers(emulator.pid)
    job = model.batch_predict(tmp_path / "many.jsonl", machine=MACHINE, replicas=2, batch_size=50, wait=False)
    killed = set()
    deadline = time.monotonic() + 60
    while len(killed) < 2 and time.monotonic() < deadline:
        # One after the other, each in the middle of its work.
        done = job.progress.succeeded
        for pid in model_servers(emulator.pid) - others - killed:
            if done > 5_000 * (1 + len(killed)):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
                break
        time.sleep(0.02)
    assert job.progress.succeeded < count, "they were killed too late"
    job.wait()
    assert len(killed) == 2
    assert (job.progress.succeeded, job.progress.failed) == (count, 0)
    expected = np.tile(np.array([0, 2, 4], np.float32), (count, 1))
    expected[:, 0] = 2 * np.arange(count)
    np.testing.assert_array_equal(job.to_numpy(), expected)


_INTERRUPTED = """
import sys
import vertexkit as vk
with vk.connect("batch-faults", emulator=sys.argv[1]) as session:
    model = session.models.get(sys.argv[2])
    model.batch_predict(sys.argv[3], machine="n1-standard-2", name="interrupted", labels={"ctrl": "c"})
"""


def test_ctrl_c_cancels_the_job_and_nothing_of_it_runs_on(
    session: vk.Session, model: vk.Model, emulator: Any, tmp_path: Path
) -> None:
    (tmp_path / "good.jsonl").write_text(lines_with({}))
    others = model_servers(emulator.pid)
    arguments = [emulator.rest, model.resource_name, str(tmp_path / "good.jsonl")]
    program = subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTED, *arguments], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    jobs: list[vk.BatchPredictionJob] = []
    while not jobs and time.monotonic() < deadline:
        time.sleep(0.05)
        jobs = [job for job in session.batch.list() if job.display_name == "interrupted"]
    program.send_signal(signal.SIGINT)
    _, words = program.communicate(timeout=30)
    assert program.returncode != 0
    assert "KeyboardInterrupt" in words
    with pytest.raises(vk.Cancelled):
        jobs[0].wait(timeout=30)
    assert not model_servers(emulator.pid) - others
