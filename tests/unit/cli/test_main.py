"""The command line as a whole: what it loads, what an error, Ctrl-C and a wrong word come to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from vertexkit.cli import main as cli
from vertexkit.cli.main import app, main
from vertexkit.errors import NotFound


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in ("buckets", "check", "emulator", "endpoints", "models", "predict"):
        assert f"\n  {name} " in shown
        assert main([name, "--help"]) == 0


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    import vertexkit

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"vertexkit {vertexkit.__version__}\n"


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["modles"]) == 2
    assert "modles" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["models", "list"], ["endpoints", "list"], ["buckets", "show", "b-1"]])
def test_without_a_target_it_says_what_to_do_and_starts_nothing(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vertexkit.session.connect", None)
    assert main(arguments) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    for words in ("vertexkit emulator start", "--emulator", "--project", "VERTEXKIT_EMULATOR"):
        assert words in shown.err


def test_a_key_file_is_connected_with_and_needs_no_project(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key_file = tmp_path / "key.json"
    key_file.write_text("{}")
    assert main(["models", "list", "--key-file", str(key_file)]) == 1
    assert f"cannot read credentials from {key_file}" in capsys.readouterr().err


def test_a_failure_of_the_system_is_one_line_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command()
    def full() -> None:
        raise OSError(28, "No space left on device", "out.json")

    monkeypatch.setattr(cli, "full", full, raising=False)
    monkeypatch.setitem(cli._COMMANDS, "models", "vertexkit.cli.main:full")
    assert main(["models"]) == 1
    assert capsys.readouterr().err == "Error: [Errno 28] No space left on device: 'out.json'\n"


def test_an_error_is_one_message_with_the_remedy_and_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        error = NotFound("no endpoint", resource="projects/p/locations/l/endpoints/1", remedy="List them.")
        error.add_note("Perhaps still there: the model.")
        raise error

    monkeypatch.setitem(cli._COMMANDS, "models", f"{__name__}:failing")
    monkeypatch.setattr(
        sys.modules[__name__], "failing", click.Command("models", callback=fail), raising=False
    )
    assert main(["models"]) == 1
    assert capsys.readouterr().err == (
        "Error: projects/p/locations/l/endpoints/1: no endpoint\n  Remedy: List them.\n"
        "Perhaps still there: the model.\n"
    )


def test_ctrl_c_ends_with_130_and_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli._COMMANDS, "models", f"{__name__}:interrupted")
    monkeypatch.setattr(
        sys.modules[__name__], "interrupted", click.Command("models", callback=interrupt), raising=False
    )
    assert main(["models"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_an_option_nearer_to_the_command_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    from vertexkit.cli.connection import Connection

    seen: list[Connection] = []
    from vertexkit.cli.connection import connection_options

    @app.command("probe")
    @connection_options
    def probe(connection: Connection) -> None:
        seen.append(connection)

    with app.make_context("vertexkit", ["--project", "outer-project", "--bucket", "outer-bucket"]) as context:
        monkeypatch.setattr(app, "invoke_without_command", True)
        context.invoke(app.callback, **context.params)
        with probe.make_context("probe", ["--project", "inner-project"], parent=context) as inner:
            probe.invoke(inner)
    app.commands.pop("probe")
    assert (seen[0].project, seen[0].bucket) == ("inner-project", "outer-bucket")


def test_help_and_check_load_neither_google_s_clients_nor_numpy_nor_rich() -> None:
    program = (
        "import sys; from vertexkit.cli.main import main; "
        "main(['check', '--machine', 'n1-standard-2']); "
        "import json; print(json.dumps([name for name in sys.modules]))"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(json.loads(finished.stdout.splitlines()[-1]))
    assert not loaded & {
        "google.cloud.aiplatform_v1",
        "google.cloud.storage",
        "google.protobuf",
        "google.auth",
        "grpc",
        "numpy",
        "tensorflow",
        "rich",
        "obstore",
        "requests",
    }


def test_python_m_vertexkit_is_the_same_command() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "vertexkit", "check", "--machine", "n1-standard-3"],
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 1
    assert finished.stdout.startswith("error\tmachine\tn1-standard-3\t")
