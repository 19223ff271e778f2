"""connect(): which target it chooses, what it refuses, and what it leaves behind: nothing."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.credentials import AnonymousCredentials

from vertexkit import config
from vertexkit import session as session_module
from vertexkit._core import emulator_process
from vertexkit._core.emulator_process import EmulatorAddresses, EmulatorProcess
from vertexkit._core.rpc import Clients
from vertexkit.cleanup import Order
from vertexkit.errors import (
    CleanupIncomplete,
    ConfigurationError,
    EmulatorFailed,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from vertexkit.session import Session, connect

ADDRESSES = EmulatorAddresses(
    grpc="localhost:1",
    rest="http://127.0.0.1:2",
    storage="http://127.0.0.1:3",
    ca=Path("/ca.pem"),
    project="local-project",
    location="us-central1",
    pid=1,
)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for names in config._VARIABLES.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The emulators that are started, none of them real."""
    processes: list[Any] = []

    def start() -> Any:
        processes.append(create_autospec(EmulatorProcess, instance=True, addresses=ADDRESSES))
        return processes[-1]

    monkeypatch.setattr(emulator_process, "EmulatorProcess", start)
    return processes


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URLs that were asked for their addresses."""
    urls: list[str] = []

    def describe(url: str) -> EmulatorAddresses:
        urls.append(url)
        return ADDRESSES

    monkeypatch.setattr(emulator_process, "describe", describe)
    return urls


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """A service account's key, of no service account."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = tmp_path / "key.json"
    file.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "key-project",
                "private_key": pem.decode(),
                "client_email": "somebody@key-project.iam.gserviceaccount.com",
                "token_uri": "https://oauth2.googleapis.com/token",
            }
        )
    )
    return file


def test_nothing_said_starts_a_local_one_for_the_session_and_stops_it(started: list[Any]) -> None:
    with connect() as session:
        assert session.project == "local-project"
        assert session.location == "us-central1"
        assert session.target.rest_url == "http://127.0.0.1:2"
        assert session.target.anonymous
        assert session.target.chosen_by == "default, for nothing names a project or credentials"
        assert "default, for nothing names a project or credentials" in repr(session)
    [process] = started
    assert process.stop.call_count == 1
    session.close()
    assert process.stop.call_count == 1


def test_a_running_one_is_asked_for_its_addresses_and_left_running(
    started: list[Any], described: list[str]
) -> None:
    with connect(emulator="http://127.0.0.1:2", project="my-project", location="europe-west4") as session:
        assert (session.project, session.location) == ("my-project", "europe-west4")
        assert session.target.grpc_address == "localhost:1"
        assert session.target.ca_file == Path("/ca.pem")
    assert described == ["http://127.0.0.1:2"]
    assert started == []


def test_one_on_another_machine_is_warned_of(described: list[str], caplog: pytest.LogCaptureFixture) -> None:
    with connect(emulator="http://10.1.2.3:8080"):
        pass
    assert "not on this machine" in caplog.text


def test_a_project_means_google_cloud_with_the_credentials_given(started: list[Any]) -> None:
    credentials = AnonymousCredentials()
    with connect("my-project", "europe-west4", credentials=credentials) as session:
        assert session.target.rest_url == "https://europe-west4-aiplatform.googleapis.com"
        assert session.target.grpc_address == "europe-west4-aiplatform.googleapis.com:443"
        assert session.target.storage_url == "https://storage.googleapis.com"
        assert not session.target.anonymous
        assert session._context.clients.credentials() is credentials
        assert "Google Cloud" in repr(session)
    assert started == []


def test_google_cloud_without_credentials_fails_at_the_first_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nowhere")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(ConfigurationError, match="gcloud auth application-default login"):
        connect("my-project")


def test_the_credentials_may_name_the_project() -> None:
    credentials = SimpleNamespace(project_id="their-project")
    with connect(emulator=False, credentials=credentials) as session:
        assert session.project == "their-project"
    with pytest.raises(ConfigurationError, match="name no project"):
        connect(emulator=False, credentials=AnonymousCredentials())


def test_credentials_alone_mean_google_cloud(started: list[Any]) -> None:
    credentials = SimpleNamespace(project_id="their-project")
    with connect(credentials=credentials) as session:
        assert session.project == "their-project"
        assert not session.target.anonymous
        assert session._context.clients.credentials() is credentials
        assert session.target.chosen_by == "the argument credentials="
    with pytest.raises(ConfigurationError, match="name no project"):
        connect(credentials=AnonymousCredentials())
    assert started == []


@pytest.mark.parametrize("given", ["argument", "environment", "pyproject"])
def test_a_key_file_alone_means_google_cloud_wherever_it_is_named(
    started: list[Any], key_file: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given == "environment":
        monkeypatch.setenv("VERTEXKIT_KEY_FILE", str(key_file))
    elif given == "pyproject":
        Path("pyproject.toml").write_text(f'[tool.vertexkit]\nkey_file = "{key_file.name}"\n')
    with connect(key_file=key_file if given == "argument" else None) as session:
        assert session.project == "key-project"
        assert not session.target.anonymous
        credentials = session._context.clients.credentials()
        assert credentials.service_account_email == "somebody@key-project.iam.gserviceaccount.com"
    assert started == []


def test_credentials_are_left_aside_where_the_emulator_is_asked_for(
    started: list[Any], described: list[str], key_file: Path
) -> None:
    with connect(emulator=True, key_file=key_file) as session:
        assert session.target.anonymous
    assert len(started) == 1
    with connect(emulator="http://127.0.0.1:2", credentials=AnonymousCredentials()) as session:
        assert session.target.anonymous


@pytest.mark.parametrize(
    "arguments",
    [
        {"project": "Bad Project"},
        {"location": "us-central1-a"},
        {"bucket": "Bad_Bucket"},
        {"labels": {"Team": "x"}},
        {"labels": {"team": "Upper"}},
        {"emulator": "not a url"},
        {"emulator": "http://["},
        {"emulator": 5},
        {"project": 5},
        {"location": 5},
        {"bucket": 5},
        {"labels": 5},
        {"key_file": 5},
        {"key_file": "a\0b"},
        {"key_file": "~nobody-of-that-name/key.json"},
    ],
)
def test_a_wrong_argument_is_refused_before_anything_starts(
    started: list[Any], arguments: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument):
        connect(**arguments)
    assert started == []


def test_a_session_that_cannot_be_made_stops_what_was_started_for_it(
    started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(session_module, "_announce", interrupted)
    with pytest.raises(KeyboardInterrupt):
        connect()
    assert started[0].stop.call_count == 1


def test_an_emulator_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise EmulatorFailed("the port is in use")

    monkeypatch.setattr(emulator_process, "EmulatorProcess", fail)
    with pytest.raises(EmulatorFailed, match="the port is in use"):
        connect()


def test_the_choice_is_logged(started: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="vertexkit"), connect(emulator=True):
        pass
    assert "local Vertex AI at http://127.0.0.1:2" in caplog.text
    assert "the argument emulator=" in caplog.text


def test_sessions_are_told_apart_by_their_label(described: list[str]) -> None:
    with (
        connect(emulator="http://127.0.0.1:2", labels={"team": "vision"}) as one,
        connect(emulator="http://127.0.0.1:2") as other,
    ):
        assert one.labels == {"team": "vision", "vertexkit_session": one.id}
        assert one.id != other.id


def test_the_default_bucket_is_named_after_project_and_location(described: list[str]) -> None:
    with connect(emulator="http://127.0.0.1:2", project="my-project", location="europe-west4") as session:
        assert session._context.bucket == "my-project-vertexkit-europe-west4"
    with connect(emulator="http://127.0.0.1:2", bucket="gs://mine") as session:
        assert session._context.bucket == "mine"


def test_leaving_a_session_deletes_nothing_unless_it_is_temporary(described: list[str]) -> None:
    deleted: list[str] = []
    for temporary in (False, True):
        with connect(emulator="http://127.0.0.1:2", temporary=temporary) as session:
            session._context.created.add(
                "endpoint", lambda kind=temporary: deleted.append(f"{kind}"), order=Order.ENDPOINTS
            )  # type: ignore[misc] # a default argument binds the loop's value
    assert deleted == ["True"]


def test_a_job_that_ends_with_the_session_is_told(
    started: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    jobs: dict[str, Any] = {
        "jobs/1": {"state": "JOB_STATE_SUCCEEDED"},
        "jobs/2": NotFound("deleted since"),
        "jobs/3": {"state": "PIPELINE_STATE_RUNNING", "displayName": "mnist"},
    }

    def answer(clients: Clients, verb: str, name: str, **_: Any) -> Any:
        assert verb == "GET"
        if isinstance(jobs[name], Exception):
            raise jobs[name]
        return jobs[name]

    monkeypatch.setattr(Clients, "http_json", answer)
    with connect() as session:
        for name in jobs:
            session._context.created.add(name, lambda: None, order=Order.JOBS)
        session._context.created.add("models/4", lambda: None, order=Order.MODELS)
        assert not session.target.lasting
    (said,) = caplog.messages
    assert said.startswith("the job mnist still runs, and ends now with the local Vertex AI")
    caplog.clear()
    jobs["jobs/3"] = Unavailable("it has been killed")
    with connect() as session:
        session._context.created.add("jobs/3", lambda: None, order=Order.JOBS)
    assert not caplog.messages


def test_jobs_of_a_local_one_that_runs_by_itself_go_on(
    described: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with connect(emulator="http://127.0.0.1:2") as session:
        session._context.created.add("jobs/1", lambda: None, order=Order.JOBS)
        assert session.target.lasting
    assert not caplog.messages


def test_a_temporary_session_that_cannot_clean_up_says_so_and_is_closed(started: list[Any]) -> None:
    def delete() -> None:
        raise FailedPrecondition("still deployed")

    with pytest.raises(CleanupIncomplete, match="still deployed"), connect(temporary=True) as session:
        session._context.created.add("model", delete, order=Order.MODELS)
    assert started[0].stop.call_count == 1

    with pytest.raises(ZeroDivisionError) as raised, connect(temporary=True) as session:
        session._context.created.add("model", delete, order=Order.MODELS)
        raise ZeroDivisionError
    assert "still deployed" in raised.value.__notes__[0]


def test_a_closed_session_says_so(described: list[str]) -> None:
    session = connect(emulator="http://127.0.0.1:2")
    session.close()
    with pytest.raises(ConfigurationError, match="closed"):
        session.endpoints.list()


def test_a_notebook_shows_where_a_session_is_connected(described: list[str]) -> None:
    with connect("my-project", emulator="http://127.0.0.1:2", temporary=True) as session:
        shown = session._repr_html_()
    for words in (session.id, "local Vertex AI at http://127.0.0.1:2", "my-project", "us-central1"):
        assert words in shown
    assert "<td>gs://my-project-vertexkit-us-central1</td>" in shown
    assert "the argument emulator=" in shown
    assert "deletes what it creates" in shown


def test_what_a_notebook_shows_of_a_session_is_no_markup(described: list[str]) -> None:
    with connect("my-project", emulator="http://127.0.0.1:2/<script>") as session:
        target = replace(session.target, chosen_by="<script>")
        assert "<script>" not in Session(target)._repr_html_()
