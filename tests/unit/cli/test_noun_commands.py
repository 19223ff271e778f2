"""``models``, ``endpoints``, ``buckets`` and ``predict``: what they ask of a session, and what they print."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, create_autospec

import numpy as np
import pytest

from vertexkit.cli.main import main
from vertexkit.deployment import DeployedModel
from vertexkit.endpoints import Endpoint, Endpoints
from vertexkit.errors import FailedPrecondition, NotFound
from vertexkit.models import Model, Models, ModelVersion
from vertexkit.session import Session
from vertexkit.storage import Bucket, Buckets, ObjectInfo
from vertexkit.types import Machine

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAME = "projects/1/locations/us-central1"


@pytest.fixture(autouse=True)
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[MagicMock]:
    """What ``connect()`` gives: a session whose managers know one resource of each kind."""
    monkeypatch.setenv("VERTEXKIT_EMULATOR", "http://127.0.0.1:1")
    made = create_autospec(Session, instance=True, project="my-project", location="us-central1")
    made.__enter__.return_value = made
    made.models = create_autospec(Models, instance=True)
    made.endpoints = create_autospec(Endpoints, instance=True)
    made.buckets = create_autospec(Buckets, instance=True)
    for manager, resource in ((made.models, model()), (made.endpoints, endpoint()), (made.buckets, bucket())):
        manager.get.return_value = resource
        manager.list.return_value = [resource]
    connect = MagicMock(return_value=made)
    monkeypatch.setattr("vertexkit.session.connect", connect)
    yield made
    assert made.__exit__.call_count == connect.call_count, "a session was left open"


def model() -> MagicMock:
    version = create_autospec(ModelVersion, instance=True, version_id="1", version_aliases=("default",))
    version.created, version.versioned_name = CREATED, f"{NAME}/models/7@1"
    made = create_autospec(
        Model,
        instance=True,
        id="7",
        display_name="tab\there",
        version_id="1",
        created=CREATED,
        resource_name=f"{NAME}/models/7",
        description="",
        artifact_uri="gs://b/m",
        serving_image="image",
        signature=None,
        labels={"team": "ml"},
    )
    made.versions.return_value = [version]
    made.version.return_value = version
    return made


def endpoint() -> MagicMock:
    deployed = DeployedModel(
        id="9",
        display_name="mnist",
        model=f"{NAME}/models/7",
        version_id="1",
        machine=Machine("n1-standard-4", "NVIDIA_TESLA_T4"),
        replicas=(1, 5),
        traffic=100,
        created=CREATED,
    )
    return create_autospec(
        Endpoint,
        instance=True,
        id="8",
        display_name="mnist",
        created=CREATED,
        deployed=[deployed],
        resource_name=f"{NAME}/endpoints/8",
        description="",
        labels={},
    )


def bucket() -> MagicMock:
    made = create_autospec(Bucket, instance=True, uri="gs://b-1", location="us-central1")
    made.name = "b-1"
    made.list.return_value = [create_autospec(ObjectInfo, instance=True, size=size) for size in (1, 20)]
    return made


@pytest.mark.parametrize(
    ("noun", "line"),
    [
        ("models", ["7", "tab here", "1", None, f"{NAME}/models/7"]),
        ("endpoints", ["8", "mnist", "1", None, f"{NAME}/endpoints/8"]),
        ("buckets", ["b-1", "us-central1", "gs://b-1"]),
    ],
)
def test_a_list_is_one_tab_separated_line_a_resource(
    noun: str, line: list[str | None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([noun, "list"]) == 0
    (shown,) = capsys.readouterr().out.splitlines()
    assert [
        cell if expected else None for cell, expected in zip(shown.split("\t"), line, strict=True)
    ] == line


@pytest.mark.parametrize("noun", ["models", "endpoints", "buckets"])
def test_an_empty_list_is_nothing_on_standard_output_and_an_empty_array_as_json(
    noun: str, session: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    getattr(session, noun).list.return_value = []
    assert main([noun, "list"]) == 0
    shown = capsys.readouterr()
    assert (shown.out, f"no {noun} in my-project" in shown.err) == ("", True)
    assert main([noun, "list", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"


def test_a_list_on_a_terminal_is_a_table_with_headings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["endpoints", "list"]) == 0
    heading, _, row, *_ = capsys.readouterr().out.strip().splitlines()
    assert "Resource name" in heading
    assert f"{NAME}/endpoints/8" in row


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("models", {"id": "7", "artifact": "gs://b/m", "labels": {"team": "ml"}, "signature": None}),
        ("endpoints", {"id": "8", "name": "mnist", "resource_name": f"{NAME}/endpoints/8"}),
        ("buckets", {"name": "b-1", "objects": 2, "bytes": 21}),
    ],
)
def test_show_gives_the_resource_as_json(
    noun: str, expected: dict[str, Any], session: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([noun, "show", "it", "--json"]) == 0
    getattr(session, noun).get.assert_called_once_with("it")
    shown = json.loads(capsys.readouterr().out)
    assert {key: shown[key] for key in expected} == expected


def test_show_tells_what_is_deployed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["endpoints", "show", "mnist", "--json"]) == 0
    (deployed,) = json.loads(capsys.readouterr().out)["deployed"]
    assert deployed["machine"] == "n1-standard-4 + 1 x NVIDIA_TESLA_T4"
    assert (deployed["traffic"], deployed["replicas"]) == (100, [1, 5])
    assert main(["endpoints", "show", "mnist"]) == 0
    assert "n1-standard-4 + 1 x NVIDIA_TESLA_T4" in capsys.readouterr().out


def test_show_tells_the_versions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "mnist", "--json"]) == 0
    (version,) = json.loads(capsys.readouterr().out)["versions"]
    assert version == {"version": "1", "aliases": ["default"], "created": CREATED.isoformat()}


def test_what_is_not_there_is_one_message_and_exits_with_1(
    session: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    session.models.get.side_effect = NotFound("there is none", resource="models/so")
    assert main(["models", "show", "so"]) == 1
    assert capsys.readouterr().err == "Error: models/so: there is none\n"


def deleted(session: MagicMock) -> list[Any]:
    """Every call that deletes something."""
    found = session.models.get.return_value
    return [
        *found.delete.mock_calls,
        *found.version.return_value.delete.mock_calls,
        *session.endpoints.get.return_value.delete.mock_calls,
        *session.buckets.delete.mock_calls,
        *session.models.delete.mock_calls,
        *session.endpoints.delete.mock_calls,
    ]


@pytest.mark.parametrize("noun", ["models", "endpoints", "buckets"])
def test_without_a_terminal_nothing_is_deleted_unless_yes_is_said(
    noun: str, session: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([noun, "delete", "it"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert deleted(session) == []
    assert main([noun, "delete", "it", "--yes"]) == 0
    assert len(deleted(session)) == 1


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes standard input a terminal at which somebody types this."""

    def typed(text: str) -> None:
        terminal = io.StringIO(text)
        terminal.isatty = lambda: True  # type: ignore[method-assign]  # what a terminal says
        monkeypatch.setattr("sys.stdin", terminal)

    return typed


@pytest.mark.parametrize(
    ("typed", "status", "calls"), [("y\n", 0, 1), ("n\n", 1, 0), ("\n", 1, 0), ("", 130, 0)]
)
def test_on_a_terminal_it_asks_first(
    typed: str,
    status: int,
    calls: int,
    session: MagicMock,
    answer: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer(typed)
    assert main(["endpoints", "delete", "mnist"]) == status
    assert "with 1 deployed model?" in capsys.readouterr().err
    assert len(deleted(session)) == calls


@pytest.mark.parametrize("force", [True, False])
def test_force_is_passed_on(force: bool, session: MagicMock) -> None:
    option = ["--force"] if force else []
    assert main(["endpoints", "delete", "mnist", "--yes", *option]) == 0
    session.endpoints.get.return_value.delete.assert_called_once_with(force=force)
    assert main(["buckets", "delete", "b-1", "--yes", *option]) == 0
    session.buckets.delete.assert_called_once_with("b-1", force=force)


def test_a_version_is_deleted_alone_when_one_is_named(session: MagicMock) -> None:
    found = session.models.get.return_value
    assert main(["models", "delete", "mnist@1", "--yes"]) == 0
    found.version.return_value.delete.assert_called_once_with()
    found.delete.assert_not_called()


def test_a_refused_deletion_exits_with_1(session: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    session.models.get.return_value.delete.side_effect = FailedPrecondition("it is deployed")
    assert main(["models", "delete", "mnist", "--yes"]) == 1
    shown = capsys.readouterr().err
    assert "it is deployed" in shown
    assert "Deleted" not in shown


def test_predict_reads_asks_and_prints_one_prediction_a_line(
    session: MagicMock, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    np.save(tmp_path / "images.npy", np.arange(6).reshape(2, 3))
    asked = session.endpoints.get.return_value.predict
    asked.return_value = np.array([[0.5, 0.5], [1.0, 0.0]])
    assert main(["predict", "mnist", "images.npy", "--timeout", "7"]) == 0
    session.endpoints.get.assert_called_once_with("mnist")
    (instances,), options = asked.call_args
    assert instances.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert options == {"timeout": 7.0}
    assert capfdbinary.readouterr().out == b"[0.5, 0.5]\n[1.0, 0.0]\n"


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("nowhere/x.json", "No such file or directory"),
        ("x.txt", "use .json"),
        ("in.jsonl/x.json", "Not a dir"),
    ],
)
def test_predict_finds_out_that_it_cannot_write_before_it_predicts(
    session: MagicMock, tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str, words: str
) -> None:
    (tmp_path / "in.jsonl").write_text("[1.0]\n")
    assert main(["predict", "mnist", "in.jsonl", "--out", out]) == 1
    shown = capsys.readouterr().err
    assert words in shown
    assert "--format" not in shown
    session.endpoints.get.return_value.predict.assert_not_called()


def test_predict_writes_a_file_in_the_format_of_its_name(session: MagicMock, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("[1]\n[2]\n")
    session.endpoints.get.return_value.predict.return_value = np.array([1.5, 2.5])
    assert main(["predict", "mnist", "in.jsonl", "--out", "out.csv"]) == 0
    assert (tmp_path / "out.csv").read_text() == "prediction\n1.5\n2.5\n"


def test_a_failed_write_leaves_the_file_as_it_was(session: MagicMock, tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text("[[1]]")
    (tmp_path / "out.csv").write_text("before")
    session.endpoints.get.return_value.predict.return_value = np.zeros((1, 2, 2))
    assert main(["predict", "mnist", "in.json", "--out", "out.csv"]) == 1
    assert (tmp_path / "out.csv").read_text() == "before"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["in.json", "--out", "out.txt"], 1),
        (["in.txt"], 1),
        (["nothing.json"], 2),
        (["in.txt", "--format", "npy"], 1),
    ],
)
def test_a_file_that_cannot_do_is_refused_before_anything_is_asked(
    arguments: list[str], status: int, session: MagicMock, tmp_path: Path
) -> None:
    (tmp_path / "in.json").write_text("[[1]]")
    (tmp_path / "in.txt").write_text("[[1]]")
    assert main(["predict", "mnist", *arguments]) == status
    session.endpoints.get.assert_not_called()
