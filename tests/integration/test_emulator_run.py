"""``vertexkit emulator run``: programs written for Google Cloud run on the local Vertex AI as they are."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import descendants, is_alive, left_alive

PROGRAM = Path(__file__).with_name("foreign_program.py")
TRAINING = PROGRAM.with_name("foreign_training.py")
RUN = [sys.executable, "-m", "vertexkit", "emulator", "run"]
PYTHON = [sys.executable, "-W", "ignore"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that leads elsewhere, as a user's may."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("VERTEXKIT_", "GOOGLE_", "STORAGE_", "GRPC_DEFAULT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "gone.json"))
    monkeypatch.setenv("GOOGLE_API_USE_MTLS_ENDPOINT", "always")
    monkeypatch.setenv("no_proxy", "googleapis.com")


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], set[int]]]:
    """A run under way, once its command has said a line; with all the processes that it consists of."""
    process = subprocess.Popen([*RUN, *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True)
    below: set[int] = set()
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        below = descendants(process.pid)
        assert len(below) >= 2
        yield process, below
    finally:
        for pid in {process.pid, *below}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize(
    ("location", "transport", "staging"),
    [("us-central1", "", "gs://my-staging"), ("europe-west4", "rest", "")],
)
def test_a_program_of_googles_clients_runs_with_not_one_line_changed(
    scaling_models: Mapping[int, Path], location: str, transport: str, staging: str
) -> None:
    command = [*PYTHON, str(PROGRAM), str(scaling_models[2]), location, transport, staging]
    run = subprocess.run([*RUN, "--", *command], capture_output=True, text=True, timeout=200)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    twice = [[2.0, 4.0, 6.0], [0.0, 1.0, -2.0]]
    assert found["predictions"] == found["async"] == found["raw"] == twice
    assert found["models"] == ["by-uri", "staged"]
    assert "scaling/saved_model.pb" in found["listed"]
    assert found["left"] == []
    if staging:
        assert found["staged_in"] == staging.removeprefix("gs://")
    else:
        # As Google's client names the bucket that it makes.
        assert found["staged_in"].startswith(f"my-first-project-vertex-staging-{location}")


@pytest.mark.slow
def test_training_of_googles_client_runs_with_not_one_line_changed() -> None:
    run = subprocess.run([*RUN, "--", *PYTHON, str(TRAINING)], capture_output=True, text=True, timeout=250)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["states"] == ["JOB_STATE_SUCCEEDED", "PIPELINE_STATE_SUCCEEDED"]
    assert found["told"] == {"argument": "--factor=3", "project": "my-first-project", "bucket": True}
    assert found["predictions"] == [[3.0, 6.0, 9.0]]


def test_what_the_command_prints_is_all_that_is_printed() -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    run = subprocess.run([*RUN, sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert (run.returncode, run.stdout, run.stderr) == (3, "out\n", "err\n")


def test_a_data_folder_keeps_what_a_command_made_for_the_next(tmp_path: Path) -> None:
    code = "from google.cloud import storage; print([b.name for b in storage.Client().list_buckets()])"
    make = code.replace("print", "storage.Client().create_bucket('kept-1'); print")
    for program in (make, code):
        command = [*RUN, "--data-dir", str(tmp_path / "data"), *PYTHON, "-c", program]
        run = subprocess.run(command, capture_output=True, text=True, timeout=100)
        assert (run.returncode, run.stdout) == (0, "['kept-1']\n"), run.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_and_then_everything(number: signal.Signals, tmp_path: Path) -> None:
    code = f"""
import signal, sys, time
def end(*_):
    open({str(tmp_path / "said")!r}, "w").write("goodbye")
    sys.exit(9)
signal.signal({int(number)}, end)
print("ready", flush=True)
time.sleep(100)
"""
    with running(sys.executable, "-c", code) as (process, below):
        process.send_signal(number)
        assert process.wait(30) == 9
        assert not left_alive(below)
    assert (tmp_path / "said").read_text() == "goodbye"


def test_ctrl_c_in_a_terminal_reaches_the_command_once(emulator: Any) -> None:
    code = """
import signal, time
heard = []
signal.signal(signal.SIGINT, lambda *_: heard.append(1))
print("ready", flush=True)
while not heard:
    time.sleep(0.01)
time.sleep(0.5)
print("heard", len(heard), flush=True)
"""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [*RUN, "--emulator", emulator.rest, sys.executable, "-c", code])
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the last to hold the terminal has gone.
        while data := os.read(terminal, 1000):
            if b"ready" in data:
                os.write(terminal, b"\x03")
            shown += data
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert b"heard 1\r\n" in shown
    assert os.waitstatus_to_exitcode(status) == 0


def test_no_emulator_is_left_when_the_run_is_killed() -> None:
    with running("sh", "-c", "echo ready; exec sleep 100") as (process, below):
        (command,) = (pid for pid in below if _name(pid) == "sleep")
        process.kill()
        process.wait(30)
        assert not left_alive(below - {command})
        assert is_alive(command)


def _name(pid: int) -> str:
    return subprocess.run(
        ["ps", "-o", "comm=", "-p", str(pid)], capture_output=True, text=True
    ).stdout.strip()
