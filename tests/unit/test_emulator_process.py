"""Starting a local Vertex AI of one's own, with stand-ins for the program that is started."""

from __future__ import annotations

import gc
import json
import os
import stat
import sys
import time
from pathlib import Path

import pytest

from vertexkit._core.emulator_process import EmulatorAddresses, EmulatorProcess, describe, is_loopback
from vertexkit.errors import EmulatorFailed

LINE = json.dumps(
    {
        "grpc": "localhost:1",
        "rest": "http://127.0.0.1:2",
        "storage": "http://127.0.0.1:3",
        "ca": "/ca.pem",
        "credentials": "/credentials.json",
        "project": "local-project",
        "location": "us-central1",
        "pid": 1,
        "version": "0.1.0",
    }
)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def] # a factory
    """Make the shell script that is run in place of `python -m vertexkit emulator start`."""

    def write(*lines: str) -> None:
        script = tmp_path / "program"
        script.write_text("\n".join(["#!/bin/sh", f'echo "$@" > {tmp_path}/arguments', *lines]) + "\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(script))

    return write


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_it_says_where_it_listens_and_goes_when_its_input_closes(program, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    program(f"echo '{LINE}'", "cat > /dev/null", f"touch {tmp_path}/asked")
    process = EmulatorProcess()
    assert process.addresses == EmulatorAddresses(
        grpc="localhost:1",
        rest="http://127.0.0.1:2",
        storage="http://127.0.0.1:3",
        ca=Path("/ca.pem"),
        project="local-project",
        location="us-central1",
        pid=1,
    )
    assert process.running
    assert (tmp_path / "arguments").read_text().split() == [
        "-m", "vertexkit", "emulator", "start", "--json", "--exit-with-stdin", "--pass-through",
    ]  # fmt: skip
    process.stop()
    process.stop()
    assert (tmp_path / "asked").exists()
    assert not process.running


def test_it_is_out_of_reach_of_ctrl_c_in_our_terminal(program) -> None:  # type: ignore[no-untyped-def]
    program(f"echo '{LINE}'", "cat > /dev/null")
    process = EmulatorProcess()
    assert os.getpgid(process.pid) == process.pid != os.getpgid(0)
    process.stop()


def test_one_that_ends_at_once_leaves_its_last_words_in_the_error(program) -> None:  # type: ignore[no-untyped-def]
    program("echo 'port 1 is in use' >&2", "exit 3")
    with pytest.raises(EmulatorFailed, match=r"exit status 3[\s\S]*port 1 is in use"):
        EmulatorProcess()


def test_one_that_is_never_ready_is_stopped(program, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    program(f"echo $$ > {tmp_path}/pid", "echo 'still loading' >&2", "cat > /dev/null")
    with pytest.raises(EmulatorFailed, match=r"not ready after 1 s[\s\S]*still loading"):
        EmulatorProcess(timeout=1)
    assert _gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("line", ["hello", "[]", '{"rest": "http://127.0.0.1:2"}'])
def test_one_that_says_something_else_is_stopped(program, tmp_path: Path, line: str) -> None:  # type: ignore[no-untyped-def]
    program(f"echo $$ > {tmp_path}/pid", f"echo '{line}'", "cat > /dev/null")
    with pytest.raises(EmulatorFailed):
        EmulatorProcess()
    assert _gone(int((tmp_path / "pid").read_text()))


def test_one_that_its_owner_forgot_goes_with_it(program) -> None:  # type: ignore[no-untyped-def]
    program(f"echo '{LINE}'", "cat > /dev/null")
    process = EmulatorProcess()
    pid = process.pid
    del process
    gc.collect()
    assert _gone(pid)


def test_what_it_left_running_goes_too(program, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    program("sleep 600 & echo $! > " + f"{tmp_path}/child", f"echo '{LINE}'", "cat > /dev/null")
    process = EmulatorProcess()
    child = int((tmp_path / "child").read_text())
    assert not _gone(child)
    process.stop()
    deadline = time.monotonic() + 10
    # The child is init's to collect once its parent has gone.
    while not _gone(child) and Path(f"/proc/{child}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_address_where_nothing_answers_says_how_to_start_one() -> None:
    with pytest.raises(EmulatorFailed, match="vertexkit emulator start"):
        describe("http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:1", True),
        ("http://localhost:1", True),
        ("http://[::1]:1", True),
        ("http://10.0.0.1:1", False),
        ("http://127.0.0.1.example.com", False),
    ],
)
def test_loopback_is_known(url: str, local: bool) -> None:
    assert is_loopback(url) is local
