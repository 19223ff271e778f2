"""``vertexkit batch-predict``, and ``vertexkit jobs`` of batch predictions."""

from __future__ import annotations

import inspect
import io
import json
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from training_sessions import BATCH_NAME, asked, batch_job, training_session

from vertexkit.batch import BatchPrediction, PartialFailureWarning
from vertexkit.batch_results import BatchRow
from vertexkit.cli.batch_predict import batch_predict
from vertexkit.cli.main import main
from vertexkit.errors import BatchPredictionFailed, Finding, NotFound
from vertexkit.job_state import JobState
from vertexkit.types import Machine

LINE = ["batch-predict", "mnist", "in.jsonl"]


@pytest.fixture(autouse=True)
def session(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    return training_session(monkeypatch)


@pytest.fixture
def with_batch(session: MagicMock) -> MagicMock:
    """The batch prediction is what any name means."""
    session.batch.get.side_effect = None
    session.batch.get.return_value = made = batch_job()
    session.training.get.side_effect = NotFound("there is none")
    return made


def test_every_option_reaches_the_job(session: MagicMock) -> None:
    line = (
        "--format jsonl --name n --machine n1-standard-4 --accelerator NVIDIA_TESLA_T4 --accelerator-count 2 "
        "--replicas 2:4 --batch-size 32 --destination gs://b/out --output-format csv --instance-type object "
        "--key-field id --include a --include b --exclude c --service-account a@b.c --label k=v"
    )
    options = line.split()
    assert main([*LINE, *options, "--parameters", '{"t": 0.5}', "--no-wait"]) == 0
    assert asked(session.batch.run) == {
        "model": "mnist",
        "source": "in.jsonl",
        "format": "jsonl",
        "name": "n",
        "machine": Machine("n1-standard-4", "NVIDIA_TESLA_T4", 2),
        "replicas": (2, 4),
        "batch_size": 32,
        "destination": "gs://b/out",
        "output_format": "csv",
        "instance_type": "object",
        "key_field": "id",
        "included_fields": ["a", "b"],
        "excluded_fields": ["c"],
        "parameters": {"t": 0.5},
        "labels": {"k": "v"},
        "service_account": "a@b.c",
        "wait": False,
    }
    session.batch.run.return_value.wait.assert_not_called()


def test_options_left_out_are_the_defaults(session: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(LINE) == 0
    expected = {"model": "mnist", "source": "in.jsonl", "machine": Machine("n1-standard-2"), "wait": False}
    assert asked(session.batch.run) == expected
    session.batch.run.return_value.wait.assert_called_once_with()
    shown = capsys.readouterr()
    assert f"Created {BATCH_NAME}." in shown.err
    assert len(shown.out.splitlines()) == 3
    given = {parameter.name for parameter in batch_predict.params}
    assert set(inspect.signature(BatchPrediction.check).parameters) - given == {
        "self",
        "included_fields",
        "excluded_fields",
        "labels",
    }


@pytest.mark.parametrize(
    ("sources", "source"),
    [
        (["a.csv", "b.csv"], [Path("a.csv"), Path("b.csv")]),
        (["gs://b/a", "gs://b/b"], ["gs://b/a", "gs://b/b"]),
        (["bq://p.d.t"], "bq://p.d.t"),
    ],
)
def test_several_sources_are_one(session: MagicMock, sources: list[str], source: Any) -> None:
    assert main(["batch-predict", "mnist", *sources, "--no-wait"]) == 0
    assert asked(session.batch.run)["source"] == source


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["gs://b/more"], "some of it is in Cloud Storage, and some here"),
        (["--replicas", "two"], "--replicas two: write N, or N:MAX"),
        (["--parameters", "{"], "--parameters: "),
        (["--accelerator-count", "2"], "--accelerator-count needs --accelerator"),
        (["--label", "k"], "--label k: write NAME=VALUE"),
        (["--no-wait", "--out", "x.npy"], "--out needs what --no-wait"),
        (["--output-format", "bigquery", "--out", "x.jsonl"], "--out needs the order of the input"),
        (["--format", "bigquery", "--out", "x.jsonl"], "--out needs the order of the input"),
        (["--json", "--out", "-"], "both to standard output"),
        (["-"], '"-" goes with no other'),
    ],
)
def test_what_makes_no_sense_is_said(
    session: MagicMock, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main([*LINE, *options]) == 2
    assert message in capsys.readouterr().err
    session.batch.run.assert_not_called()


@pytest.mark.parametrize("out", ["x.json", "x.txt", "there/is/no/x.jsonl"])
def test_where_nothing_can_be_written_nothing_is_done(
    session: MagicMock, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    assert main([*LINE, "--out", out]) == 1
    assert "--out" in capsys.readouterr().err
    session.batch.run.assert_not_called()


def test_predictions_are_piped_on(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    read = []
    for options in ([], ["--out", "-"], ["--out", "/dev/stdout"]):
        assert main([*LINE, *options]) == 0
        read.append([json.loads(line) for line in capfdbinary.readouterr().out.splitlines()])
    assert read[0] == read[1] == read[2]
    assert [line["index"] for line in read[0]] == [0, 1, 2]
    assert read[0][0]["prediction"] == [0.5, 0.5]


@pytest.mark.parametrize("options", [["--destination", "gs://b/out"], ["--no-wait"], ["--json"]])
def test_a_job_whose_results_are_not_for_here_is_shown(
    capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert main([*LINE, *options]) == 0
    shown = capsys.readouterr().out
    assert "gs://b/out/prediction-m-1" in shown
    assert "index" not in shown


def test_instances_come_from_a_pipe(session: MagicMock, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[bytes, str]] = []

    def run(source: str, format: str, **_: Any) -> MagicMock:
        read.append((Path(source).read_bytes(), format))
        return batch_job()

    session.batch.run.side_effect = run
    for options in ([], ["--format", "csv"]):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"[1, 2]\n\xff\n")))
        assert main(["batch-predict", "mnist", "-", *options]) == 0
    assert read == [(b"[1, 2]\n\xff\n", "jsonl"), (b"[1, 2]\n\xff\n", "csv")]


def test_lines_hold_every_instance_in_order() -> None:
    assert main([*LINE, "--out", "x.jsonl"]) == 0
    assert [json.loads(line) for line in Path("x.jsonl").read_text().splitlines()] == [
        {"index": 0, "instance": {"x": [1, 2]}, "prediction": [0.5, 0.5]},
        {"index": 1, "instance": "[1", "error": "is no JSON"},
        {"index": 2, "instance": {"x": [3, 4]}, "prediction": [0.25, 0.75]},
    ]


def test_lines_hold_the_keys_that_instances_have(session: MagicMock) -> None:
    rows = [
        BatchRow(0, {"x": 1}, 2, None, "a"),
        BatchRow(1, {"x": 3}, None, "no", 7),
        BatchRow(2, {}, 4, None),
    ]
    session.batch.run.return_value.rows.side_effect = lambda: iter(rows)
    assert main([*LINE, "--key-field", "id", "--out", "x.jsonl"]) == 0
    assert [json.loads(line) for line in Path("x.jsonl").read_text().splitlines()] == [
        {"index": 0, "key": "a", "instance": {"x": 1}, "prediction": 2},
        {"index": 1, "key": 7, "instance": {"x": 3}, "error": "no"},
        {"index": 2, "instance": {}, "prediction": 4},
    ]


def test_a_table_holds_as_json_what_is_no_single_value(session: MagicMock) -> None:
    import pandas as pd

    frame = pd.DataFrame({"x": [np.arange(2000), "a,b"], "prediction": [[1, 2], None]})
    session.batch.run.return_value.to_frame.return_value = frame
    assert main([*LINE, "--out", "x.csv"]) == 0
    read = pd.read_csv("x.csv")
    assert json.loads(read["x"][0]) == list(range(2000))
    assert json.loads(read["prediction"][0]) == [1, 2]
    assert read["x"][1] == "a,b"


def test_arrays_are_written_whole_or_not_at_all(
    session: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    job = session.batch.run.return_value
    job.to_numpy.return_value = np.arange(6.0).reshape(3, 2)
    assert main([*LINE, "--out", "x.npy", "--on-failure", "nan"]) == 0
    job.to_numpy.assert_called_once_with(on_failure="nan")
    assert np.load("x.npy").shape == (3, 2)
    job.to_numpy.side_effect = BatchPredictionFailed("1 of 3 instances have no prediction")
    assert main([*LINE, "--out", "x.npy"]) == 1
    assert "1 of 3 instances" in capsys.readouterr().err
    assert np.load("x.npy").shape == (3, 2)


def test_a_warning_is_a_line_without_the_line_of_a_program(
    session: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    def wait() -> None:
        warnings.warn("1 of 3 instances have no prediction", PartialFailureWarning, stacklevel=1)

    session.batch.run.return_value.wait.side_effect = wait
    assert main(LINE) == 0
    assert "Warning: 1 of 3 instances have no prediction\n" in capsys.readouterr().err


def test_results_of_a_job_that_nobody_waited_for_are_written_later(
    session: MagicMock, with_batch: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["jobs", "results", "images", "--out", "x.jsonl"]) == 0
    assert len(Path("x.jsonl").read_text().splitlines()) == 3
    assert main(["jobs", "results", "images"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    with_batch.to_numpy.return_value = np.arange(2)
    assert main(["jobs", "results", "5", "--out", "x.npy", "--on-failure", "drop"]) == 0
    with_batch.to_numpy.assert_called_once_with(on_failure="drop")
    assert main(["jobs", "results", "5", "--out", "x.parquet"]) == 1
    assert "use .jsonl, .csv, .npy, .npz" in capsys.readouterr().err
    session.batch.run.return_value.to_numpy.side_effect = BatchPredictionFailed("1 of 3")
    assert main([*LINE, "--out", "x.npy"]) == 1
    assert "vertexkit jobs results 5 --out FILE" in capsys.readouterr().err


def test_a_check_does_nothing(session: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    session.batch.check.return_value = [Finding("source", "in.jsonl", "does not exist")]
    assert main([*LINE, "--check"]) == 1
    assert "does not exist" in capsys.readouterr().out
    session.batch.run.assert_not_called()


def test_jobs_lists_shows_and_stops_it(
    session: MagicMock, with_batch: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    session.training.list.return_value = []
    session.batch.list.return_value = [with_batch]
    assert main(["jobs", "list"]) == 0
    assert capsys.readouterr().out.split("\t")[:4] == ["5", "images", "batch prediction", "SUCCEEDED"]
    for name in ("images", BATCH_NAME):
        assert main(["jobs", "show", name, "--json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert (shown["kind"], shown["instances"], shown["failed"]) == ("batch prediction", 3, 1)
        assert shown["failures"] == ["it has the wrong shape"]
    assert main(["jobs", "logs", "images"]) == 0
    assert "served by 1 replica" in capsys.readouterr().out
    assert main(["jobs", "logs", "images", "--trial", "1"]) == 2
    assert main(["jobs", "trials", "images"]) == 2
    assert "is a batch prediction job, which does not search" in capsys.readouterr().err
    with_batch.state = JobState.RUNNING
    assert main(["jobs", "cancel", "images"]) == 0
    with_batch.cancel.assert_called_once_with()
    assert main(["jobs", "delete", "images", "--yes"]) == 0
    with_batch.delete.assert_called_once_with()
