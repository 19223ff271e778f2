"""``vertexkit jobs``: what it asks of a session, and what it prints."""

from __future__ import annotations

import json
from unittest.mock import MagicMock

import pytest
from training_sessions import CREATED, NAME, training_job, training_session

from vertexkit.cli.main import main
from vertexkit.errors import FailedPrecondition, NotFound
from vertexkit.job_state import JobState


@pytest.fixture(autouse=True)
def session(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    return training_session(monkeypatch)


def test_the_list_is_a_line_a_job(session: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "list", "--filter", 'labels.team="ml"']) == 0
    session.training.list.assert_called_once_with(filter='labels.team="ml"')
    (line,) = capsys.readouterr().out.splitlines()
    ident, name, kind, state, _, resource = line.split("\t")
    assert (ident, name, kind, state, resource) == ("7", "mnist", "training", "SUCCEEDED", NAME)
    assert main(["jobs", "list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["state"], row["created"]) == ("SUCCEEDED", CREATED.isoformat())


def test_an_empty_list_says_so_to_people(session: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    session.training.list.return_value = []
    assert main(["jobs", "list"]) == 0
    shown = capsys.readouterr()
    assert (shown.out, "no jobs in my-project" in shown.err) == ("", True)


def test_a_job_is_shown_with_its_model(session: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "show", "mnist", "--json"]) == 0
    session.training.get.assert_called_once_with("mnist")
    shown = json.loads(capsys.readouterr().out)
    assert shown["model"] == "projects/1/locations/l/models/m@1"
    assert (shown["state"], shown["end_time"], shown["labels"]) == ("SUCCEEDED", None, {"team": "ml"})


def test_a_log_is_printed_a_line_with_its_replica(
    session: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["jobs", "logs", "mnist", "--replica", "workerpool0-0", "--follow"]) == 0
    session.training.get.return_value.logs.assert_called_once_with("workerpool0-0", follow=True)
    assert capsys.readouterr().out == "workerpool0-0  epoch 1\nworkerpool1-0  warning\n"


def test_a_log_as_json_is_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "logs", "mnist", "--json"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {
        "time": CREATED.isoformat(),
        "replica": "workerpool0-0",
        "severity": "INFO",
        "text": "epoch 1",
    }
    assert second["severity"] == "ERROR"


def test_only_what_is_not_over_is_cancelled(session: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "cancel", "mnist"]) == 0
    session.training.get.return_value.cancel.assert_not_called()
    assert "over already: SUCCEEDED" in capsys.readouterr().err
    session.training.get.return_value = running = training_job(JobState.RUNNING)
    assert main(["jobs", "cancel", "mnist"]) == 0
    running.cancel.assert_called_once_with()


def test_deleting_asks_and_cannot_ask_nobody(session: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "delete", "mnist"]) == 2
    session.training.get.return_value.delete.assert_not_called()
    assert main(["jobs", "delete", "mnist", "--yes"]) == 0
    session.training.get.return_value.delete.assert_called_once_with()
    assert f"Deleted {NAME}." in capsys.readouterr().err


def test_what_cannot_be_done_is_an_error(session: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    session.training.get.return_value.delete.side_effect = FailedPrecondition("the job is RUNNING")
    assert main(["jobs", "delete", "mnist", "--yes"]) == 1
    session.training.get.side_effect = NotFound("there is none")
    for command in ("show", "logs", "cancel"):
        assert main(["jobs", command, "x"]) == 1
    said = capsys.readouterr().err
    assert said.count("Error: job 'x': there is none in my-project, us-central1\n") == 3
    assert said.count("`vertexkit jobs list`") == 3
