"""``vertexkit emulator run`` and ``env``: what they start, hand on and refuse."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from vertexkit._core import emulator_process
from vertexkit._core.emulator_process import EmulatorAddresses, EmulatorProcess
from vertexkit.cli.main import main
from vertexkit.errors import EmulatorFailed

REST = "http://127.0.0.1:2"
ADDRESSES = EmulatorAddresses("localhost:1", REST, "http://127.0.0.1:3", Path("/ca.pem"), "p", "l", 1)
TOLD = {"https_proxy": "http://127.0.0.1:4", "WORDS": 'it\'s $HOME \\ "x"'}


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What a running emulator is asked for."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def environment(url: str, **where: Any) -> dict[str, str]:
        calls.append((url, where))
        return dict(TOLD)

    monkeypatch.setattr(emulator_process, "environment", environment)
    return calls


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The emulators that were started, as doubles, each with what it was asked for."""
    found: list[Any] = []

    def start(arguments: list[str], *, pass_through: bool) -> Any:
        double = create_autospec(EmulatorProcess, instance=True, addresses=ADDRESSES, running=True)
        double.asked = (arguments, pass_through)
        found.append(double)
        return double

    monkeypatch.setattr(emulator_process, "EmulatorProcess", start)
    return found


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_the_command_runs_in_the_emulators_environment_over_its_own(
    started: list[Any],
    asked: list[Any],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:1")
    monkeypatch.setenv("MINE", "1")
    code = "import os; print(os.environ['https_proxy'], os.environ['MINE'])"
    assert main(["emulator", "run", "--project", "my-project", "--", *python(code)]) == 0
    assert capfd.readouterr().out == f"{TOLD['https_proxy']} 1\n"
    assert asked == [(REST, {"project": "my-project", "location": None})]
    (emulator,) = started
    assert emulator.asked == ([], True)
    emulator.stop.assert_called_once_with()


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("raise SystemExit(7)", 7),
        ("import os; os.kill(os.getpid(), 9)", 137),
        ("import os; os.kill(os.getpid(), 15)", 143),
    ],
)
def test_the_exit_status_is_the_commands(started: list[Any], code: str, status: int) -> None:
    assert main(["emulator", "run", *python(code)]) == status
    started[0].stop.assert_called_once_with()


def test_options_after_the_commands_name_are_the_commands(
    started: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    code = "import sys; print(sys.argv[1:])"
    assert main(["emulator", "run", *python(code), "--project", "x", "--", "--help"]) == 0
    assert capfd.readouterr().out == "['--project', 'x', '--', '--help']\n"


def test_what_the_emulator_is_to_be_like_is_handed_on(started: list[Any], tmp_path: Path) -> None:
    folder = str(tmp_path / "data")
    assert main(["emulator", "run", "--data-dir", folder, "--no-pass-through", "true"]) == 0
    assert started[0].asked == (["--data-dir", folder], False)


@pytest.mark.parametrize("by", ["option", "environment", "above"])
def test_a_running_emulator_is_used_and_left_running(
    started: list[Any], asked: list[Any], by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "http://127.0.0.1:9"
    if by == "environment":
        monkeypatch.setenv("VERTEXKIT_EMULATOR", url)
    named = ["--emulator", url]
    arguments = [
        *(named if by == "above" else []),
        "emulator",
        "run",
        *(named if by == "option" else []),
        "true",
    ]
    assert main(arguments) == 0
    assert [where for where, _ in asked] == [url]
    assert started == []


def test_a_folder_for_an_emulator_that_runs_already_is_refused(
    started: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["emulator", "run", "--emulator", "http://127.0.0.1:9", "--data-dir", "d", "true"]) == 2
    assert "--data-dir" in capsys.readouterr().err


def test_a_command_that_is_not_there_starts_nothing(
    started: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["emulator", "run", "no-such-command"]) == 127
    assert "no-such-command" in capsys.readouterr().err
    assert main(["emulator", "run"]) == 2
    assert started == []


def test_a_command_that_cannot_be_run_says_why_and_stops_the_emulator(
    started: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    assert main(["emulator", "run", str(script)]) == 127
    assert str(script) in capsys.readouterr().err
    started[0].stop.assert_called_once_with()


def test_an_emulator_that_does_not_answer_is_an_error_and_nothing_runs(
    started: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_url: str, **_where: Any) -> dict[str, str]:
        raise EmulatorFailed("nobody answers")

    monkeypatch.setattr(emulator_process, "environment", fail)
    assert main(["emulator", "run", "touch", str(tmp_path / "ran")]) == 1
    assert "nobody answers" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
    started[0].stop.assert_called_once_with()


def test_an_emulator_that_ended_early_leaves_its_last_words(
    started: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    double = create_autospec(EmulatorProcess, instance=True, addresses=ADDRESSES, running=False)
    double.log_tail.return_value = ["out of memory"]
    monkeypatch.setattr(emulator_process, "EmulatorProcess", lambda *_, **__: double)
    assert main(["emulator", "run", "true"]) == 0
    assert "  | out of memory" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_reach_the_command(started: list[Any], tmp_path: Path, number: signal.Signals) -> None:
    ready = tmp_path / "ready"
    code = f"""
import pathlib, signal, sys, time
signal.signal({int(number)}, lambda *_: sys.exit(42))
pathlib.Path({str(ready)!r}).touch()
time.sleep(30)
"""

    def send() -> None:
        while not ready.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        assert main(["emulator", "run", *python(code)]) == 42
    finally:
        sender.join()
    started[0].stop.assert_called_once_with()
    assert signal.getsignal(number) is before


def test_env_is_for_a_shell_to_evaluate(capfd: pytest.CaptureFixture[str], asked: list[Any]) -> None:
    assert main(["emulator", "env", "--emulator", REST, "--location", "europe-west4"]) == 0
    printed = capfd.readouterr().out
    run = subprocess.run(
        ["sh", "-c", f'eval {shlex.quote(printed)}\nprintf %s "$WORDS"'], capture_output=True, text=True
    )
    assert run.stdout == TOLD["WORDS"]
    assert asked == [(REST, {"project": None, "location": "europe-west4"})]
    assert main(["emulator", "env", "--emulator", REST, "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == TOLD
    assert main(["emulator", "env", "--emulator", REST, "--fish"]) == 0
    assert capfd.readouterr().out.splitlines()[1] == "set -gx WORDS 'it\\'s $HOME \\\\ \"x\"'"


def test_env_of_no_emulator_says_how_to_start_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["emulator", "env"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    for words in ("vertexkit emulator start", "--emulator", "VERTEXKIT_EMULATOR", "vertexkit emulator run"):
        assert words in shown.err
