"""The options of a command that runs a program, whatever kind of job it becomes."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any, TypeVar

import click

from vertexkit.types import Machine

_Command = TypeVar("_Command", bound=Callable[..., Any])

_COUNT = click.IntRange(min=0)
_OPTIONS = (
    click.argument("program", required=False),
    click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGS...]"),
    click.option("--name", help="Display name of the job."),
    click.option("--module", help="What of a package `python -m` is to run."),
    click.option("--env", metavar="NAME=VALUE", multiple=True, help="Environment variable; may be repeated."),
    click.option("--requirements", "-r", metavar="FILE", help="A requirements.txt for pip."),
    click.option("--require", metavar="PACKAGE", multiple=True, help="A package for pip; may be repeated."),
    click.option(
        "--machine", metavar="TYPE", default="n1-standard-4", show_default=True, help="Machine type."
    ),
    click.option("--accelerator", metavar="TYPE", help="Accelerator type, such as NVIDIA_TESLA_T4."),
    click.option("--accelerator-count", metavar="N", type=int, help="Accelerators a machine; 1 by default."),
    click.option("--workers", type=_COUNT, default=0, metavar="N", help="Replicas beside the chief."),
    click.option(
        "--parameter-servers", type=_COUNT, default=0, metavar="N", help="Replicas with the variables."
    ),
    click.option("--evaluators", type=_COUNT, default=0, metavar="N", help="Replicas that evaluate."),
    click.option("--worker-machine", metavar="TYPE", help="Machine type of the workers."),
    click.option("--parameter-server-machine", metavar="TYPE", help="That of the parameter servers."),
    click.option("--evaluator-machine", metavar="TYPE", help="That of the evaluators."),
    click.option("--image", metavar="URI", help="Container to run in, in place of a prebuilt one."),
    click.option("--command", metavar="COMMAND", help="Command of a container of one's own."),
    click.option("--framework", default="tensorflow", show_default=True, help="Of the prebuilt container."),
    click.option("--framework-version", metavar="VERSION", help="Its version; the newest by default."),
    click.option("--service-account", metavar="EMAIL", help="Account to run as."),
    click.option("--timeout", type=float, metavar="SECONDS", help="How long it may run."),
    click.option("--base-output-dir", metavar="gs://", help="Where it writes."),
    click.option("--tensorboard", metavar="NAME", help="Vertex AI TensorBoard to upload its logs to."),
    click.option("--restart-on-worker-restart", is_flag=True, help="Start anew when a replica does."),
    click.option("--spot", is_flag=True, help="Run on spot machines."),
    click.option("--network", metavar="NAME", help="Network to be peered with."),
    click.option("--label", metavar="KEY=VALUE", multiple=True, help="Label; may be repeated."),
)


class ProgramCommand(click.Command):
    """A command with the options of a program, whose own arguments are none of them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Tell who gives these as options how they are given."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            message = f'{error.format_message()} Arguments of the program itself follow "--".'
            raise click.UsageError(message, ctx) from None


def program_options(command: _Command) -> _Command:
    """Add the options, which `program_arguments` understands, to a command."""
    decorated: Any = command
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]  # click's decorators keep the callable's type


def program_arguments(
    *,
    program: str | None,
    arguments: tuple[str, ...],
    env: tuple[str, ...],
    require: tuple[str, ...],
    requirements: str | None,
    machine: str,
    accelerator: str | None,
    accelerator_count: int | None,
    command: str | None,
    label: tuple[str, ...],
    **same: Any,
) -> dict[str, Any]:
    """The arguments of ``run`` that the command line means; what is the same there is handed on."""
    if program is not None and program.startswith("-"):
        # Of a container, which has its program in it.
        arguments = (program, *arguments)
        program = None
    if require and requirements is not None:
        raise click.UsageError("Give --require or --requirements, not both.")
    return {
        **same,
        "program": program,
        "args": list(arguments) or None,
        "env": pairs_of("--env", env) or None,
        "requirements": list(require) or requirements,
        "machine": machine_of(machine, accelerator, accelerator_count),
        "command": None if command is None else _words(command),
        "labels": pairs_of("--label", label) or None,
    }


def machine_of(kind: str, accelerator: str | None, count: int | None) -> Machine:
    """The machine that three options name."""
    if accelerator is None and count is not None:
        raise click.UsageError("--accelerator-count needs --accelerator.")
    return Machine(kind, accelerator) if count is None else Machine(kind, accelerator, count)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise click.UsageError(f"--command {command}: {error}.") from None


def pairs_of(option: str, texts: tuple[str, ...]) -> dict[str, str]:
    """What an option that may be repeated gives as ``NAME=VALUE``."""
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.UsageError(f"{option} {text}: write NAME=VALUE.")
        pairs[key] = value
    return pairs
