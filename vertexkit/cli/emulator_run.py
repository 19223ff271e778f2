"""``vertexkit emulator run`` and ``env``: the local Vertex AI for programs that know nothing of it."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from vertexkit.cli.connection import Connection
from vertexkit.errors import ConfigurationError

if TYPE_CHECKING:
    from vertexkit.config import Settings

_NOT_EXECUTABLE, _NOT_FOUND, _BY_SIGNAL = 126, 127, 128
"""Exit statuses as shells give them: https://www.gnu.org/software/bash/manual/html_node/Exit-Status.html."""
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

_EMULATOR = click.option(
    "--emulator",
    metavar="URL",
    help="A running local Vertex AI: its rest address. By default VERTEXKIT_EMULATOR.",
)
_PROJECT = click.option("--project", metavar="ID", help="Project to work in; any will do.")
_LOCATION = click.option("--location", metavar="REGION", help="Region to work in; any will do.")


@click.command(
    # What follows the command's name is the command's.
    context_settings={"allow_interspersed_args": False}
)
@_EMULATOR
@_PROJECT
@_LOCATION
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that the local Vertex AI keeps everything in, over runs. By default a temporary one.",
)
@click.option(
    "--pass-through/--no-pass-through",
    default=True,
    help="Whether the command may reach other hosts than Google Cloud's. By default it may.",
)
@click.option(
    "--public-buckets",
    is_flag=True,
    help="Read buckets that do not exist here from the real Cloud Storage, without credentials.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def run(
    ctx: click.Context,
    /,
    *,
    command: Sequence[str],
    data_dir: Path | None,
    pass_through: bool,
    public_buckets: bool,
    **where: Any,
) -> None:
    """Run COMMAND with every Google Cloud call that it makes going to the local Vertex AI.

    Starts a local Vertex AI, or uses a running one, and ends with the command's exit status. The
    command needs no change: Vertex AI, Cloud Storage, Resource Manager and tokens are answered under
    Google's own names, over gRPC and REST, also to TensorFlow's own gs:// code.

    \b
        vertexkit emulator run -- python train.py --epochs 3
    """  # noqa: D301  # click's mark for a paragraph that is not to be wrapped
    if shutil.which(command[0]) is None:
        click.echo(f"vertexkit: {command[0]}: command not found", err=True)
        ctx.exit(_NOT_FOUND)
    settings = _settings(where)
    arguments = ["--public-buckets"] if public_buckets else []
    if data_dir is not None:
        arguments += ["--data-dir", str(data_dir)]
    if isinstance(settings.emulator, str) and arguments:
        raise click.UsageError(
            f"{arguments[0]} is for a local Vertex AI that this starts; {settings.sources['emulator']} names "
            f"one that runs already: {settings.emulator}"
        )
    with _Relay() as relay, _running(settings, arguments, pass_through=pass_through) as rest:
        environment = _environment(rest, settings)
        status = relay.run(command, {**os.environ, **environment})
    ctx.exit(status)


@click.command()
@_EMULATOR
@_PROJECT
@_LOCATION
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--fish", is_flag=True, help="Print commands of the fish shell.")
def env(*, as_json: bool, fish: bool, **where: Any) -> None:
    """Print the environment that sends a shell's Google Cloud calls to a running local Vertex AI.

    \b
        eval "$(vertexkit emulator env --emulator http://127.0.0.1:PORT)"
    """  # noqa: D301  # as above
    settings = _settings(where)
    if not isinstance(settings.emulator, str):
        raise ConfigurationError(
            "no running local Vertex AI is named",
            remedy="start one with `vertexkit emulator start` and give its rest address with --emulator (or "
            "VERTEXKIT_EMULATOR); or let `vertexkit emulator run -- COMMAND` start one for a command",
        )
    environment = _environment(settings.emulator, settings)
    if as_json:
        click.echo(json.dumps(environment, indent=2))
        return
    for name, value in environment.items():
        click.echo(
            f"set -gx {name} {_quoted_for_fish(value)}" if fish else f"export {name}={shlex.quote(value)}"
        )


def _quoted_for_fish(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _settings(where: Mapping[str, str | None]) -> Settings:
    given = Connection(**where)
    above = click.get_current_context().find_object(Connection)
    return (given if above is None else above.but(given)).settings()


@contextlib.contextmanager
def _running(settings: Settings, arguments: Sequence[str], *, pass_through: bool) -> Iterator[str]:
    """The ``rest`` address of a local Vertex AI: the one that is named, or one for as long as this takes."""
    if isinstance(settings.emulator, str):
        yield settings.emulator
        return
    from vertexkit._core.emulator_process import EmulatorProcess

    process = EmulatorProcess(arguments, pass_through=pass_through)
    try:
        yield process.addresses.rest
        if not process.running:
            click.echo("vertexkit: the local Vertex AI ended before the command did:", err=True)
            for line in process.log_tail():
                click.echo(f"  | {line}", err=True)
    finally:
        process.stop()


def _environment(rest: str, settings: Settings) -> dict[str, str]:
    from vertexkit._core.emulator_process import environment

    return environment(rest, project=settings.project, location=settings.location)


class _Relay:
    """Passes the signals that this process gets on to the command that it runs."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] | None = None
        """Signals that came while the command was being started."""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Relay:
        self._before = {
            number: signal.signal(number, self._pass_on)
            for number in _FORWARDED
            # What is ignored (as by nohup) stays ignored, by the command too.
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def run(self, command: Sequence[str], environ: Mapping[str, str]) -> int:
        """Run a command to its end; its exit status."""
        early: list[int] = []
        self._early = early
        try:
            process = self._process = subprocess.Popen(command, env=environ)
        except OSError as error:
            click.echo(f"vertexkit: {command[0]}: {error.strerror}", err=True)
            return _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
        for number in early:
            process.send_signal(number)
        status = process.wait()
        return _BY_SIGNAL - status if status < 0 else status

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        if self._early is None:
            # There is no command yet; what has been started for it ends with us.
            raise SystemExit(_BY_SIGNAL + number)
        if self._process is None:
            self._early.append(number)
        elif number not in {signal.SIGINT, signal.SIGQUIT} or not _in_foreground():
            self._process.send_signal(number)


def _in_foreground() -> bool:
    """Whether a terminal sends its Ctrl-C to this process, and so to the command too."""
    try:
        terminal = os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
