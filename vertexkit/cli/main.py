"""The ``vertexkit`` command: its sub-commands by name, and what an error or Ctrl-C comes to."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import click

from vertexkit.cli.connection import Connection, connection_options
from vertexkit.errors import VertexkitError

# Where each command is; a module is imported when its command is run, or its help asked for.
_COMMANDS = {
    "batch-predict": "vertexkit.cli.batch_predict:batch_predict",
    "buckets": "vertexkit.cli.buckets:buckets",
    "check": "vertexkit.cli.check:check",
    "emulator": "vertexkit.cli.emulator:emulator",
    "endpoints": "vertexkit.cli.endpoints:endpoints",
    "jobs": "vertexkit.cli.jobs:jobs",
    "models": "vertexkit.cli.models:models",
    "predict": "vertexkit.cli.predict:predict",
    "train": "vertexkit.cli.train:train",
    "tune": "vertexkit.cli.tune:tune",
}
INTERRUPTED = 130


class _Commands(click.Group):
    """A group that knows its commands by name before any of them is imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vertexkit", message="%(package)s %(version)s")
@connection_options
@click.pass_context
def app(ctx: click.Context, connection: Connection) -> None:
    """Models on Vertex AI: in Google Cloud, or on the local Vertex AI.

    Where to connect is decided by the options below, here or after the command; then by the
    environment (VERTEXKIT_PROJECT, VERTEXKIT_EMULATOR, ...); then by [tool.vertexkit] in pyproject.toml.
    """
    ctx.obj = connection


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Arguments without the program's name; those of the process by default.

    Returns:
        Exit status: 0, 1 for an error or findings, 2 for wrong usage, 130 after Ctrl-C.
    """
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *about: Any, **more: Any) -> None:
            # Which line of vertexkit's it comes from is of no use to who has typed a command.
            if category.__module__.partition(".")[0] == "vertexkit":
                click.echo(f"Warning: {message}", err=True)
            else:
                others(message, category, *about, **more)

        warnings.showwarning = show
        return _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        status: Any = app.main(args=arguments, prog_name="vertexkit", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort as error:
        click.echo("Interrupted.", err=True)
        _show_notes(error.__cause__)
        return INTERRUPTED
    except VertexkitError as error:
        click.echo(f"Error: {error}", err=True)
        _show_notes(error)
        return 1
    except OSError as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    return status if isinstance(status, int) else 0


def _show_notes(error: BaseException | None) -> None:
    """What goes on in spite of the error, or is left behind by it."""
    for note in getattr(error, "__notes__", ()):
        click.echo(note, err=True)


if __name__ == "__main__":
    sys.exit(main())
