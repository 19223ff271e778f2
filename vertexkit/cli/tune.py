"""``vertexkit tune``: a script becomes a hyperparameter tuning job."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from vertexkit.cli.connection import connected
from vertexkit.cli.jobs import record
from vertexkit.cli.output import json_option, show_findings, show_record
from vertexkit.cli.program_options import ProgramCommand, program_arguments, program_options
from vertexkit.cli.space_option import finding_in_options, parse_space
from vertexkit.errors import InvalidArgument, PreflightFailed

if TYPE_CHECKING:
    from vertexkit.session import Session

_COUNT = click.IntRange(min=1)
_GOALS = ("maximize", "minimize")
_GOAL = re.compile(r"(max|min)(imum|imi[sz]e)?", re.IGNORECASE)


@click.command(cls=ProgramCommand)
@click.option(
    "--metric",
    metavar="NAME[:minimize]",
    multiple=True,
    required=True,
    help="What the program reports; may be repeated.",
)
@click.option(
    "--maximize/--minimize", default=True, help="Whether more of it is better, as it is by default."
)
@click.option(
    "--space",
    metavar="NAME=VALUES",
    multiple=True,
    required=True,
    help="An argument to search: learning_rate=log:1e-3..10, n_hidden=1..10, batch_size=16,32,64, "
    "optimizer=sgd,adam; may be repeated. A range of whole numbers is of these alone, where the program does "
    "not take them by type=float: dropout=double:0..1 is of all in any case, integer:0..10 of whole ones.",
)
@click.option("--trials", type=_COUNT, metavar="N", required=True, help="How many trials to run.")
@click.option("--parallel", type=_COUNT, metavar="N", help="How many at a time; 2 by default.")
@click.option("--max-failed", type=_COUNT, metavar="N", help="How many may come to nothing.")
@click.option(
    "--algorithm", type=click.Choice(["random", "grid"]), help="In place of one that learns from the trials."
)
@click.option(
    "--early-stopping",
    type=click.Choice(["median", "decay_curve", "convex"]),
    help="By which rule to stop trials that will come to nothing.",
)
@click.option(
    "--measurement-selection",
    type=click.Choice(["last", "best"]),
    default="last",
    show_default=True,
    help="Which report is the metric of a trial.",
)
@program_options
@click.option("--no-wait", is_flag=True, help="End once the job is created.")
@click.option("--logs", is_flag=True, help="Print what the trials print.")
@click.option("--check", "only_check", is_flag=True, help="Say what would be refused, and do nothing.")
@json_option
@connected
@click.pass_context
def tune(
    ctx: click.Context,
    /,
    *,
    session: Session,
    metric: tuple[str, ...],
    space: tuple[str, ...],
    no_wait: bool,
    logs: bool,
    only_check: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Tune: search for the arguments with which PROGRAM does best.

    PROGRAM is a script, the folder of a package, a wheel or trainer_scripts.NAME; what follows "--" are
    the arguments that stay the same. It reports its metric by cloudml-hypertune. The trials are shown as
    they go, then what became of the job. Exits with 1 when the search fails. On a terminal, Ctrl-C asks
    whether to leave the job running. Parameters below others are for session.tuning.run() in Python.
    """
    request = program_arguments(**options)
    types = partial(_types, request["program"], request["module"])
    request |= {"metric": _metric(metric), "space": parse_space(space, types)}
    if only_check:
        findings = [finding_in_options(found) for found in session.tuning.check(**request)]
        ctx.exit(show_findings(findings, as_json=as_json))
    try:
        job = session.tuning.run(**request, wait=False)
    except PreflightFailed as error:
        raise PreflightFailed([finding_in_options(found) for found in error.findings]) from None
    click.echo(f"Created {job.resource_name}.", err=True)
    if not no_wait:
        job.wait(logs=("stderr" if as_json else "stdout") if logs else False)
    show_record(record(job), as_json=as_json)


def _types(program: str | None, module: str | None) -> dict[str, type[int] | type[float]]:
    """The types by which a program takes numbers, as far as its source says."""
    from vertexkit.packaging import understand
    from vertexkit.program_args import number_types

    if program is None:
        return {}
    try:
        return number_types(understand(program, module=module))
    except InvalidArgument:
        return {}  # `run` says what is wrong with it


def _metric(texts: tuple[str, ...]) -> str | dict[str, str]:
    """One name, or names with their goals."""
    metrics = {}
    for text in texts:
        name, _, goal = text.rpartition(":")
        if name and goal not in _GOALS and _GOAL.fullmatch(goal):
            meant = f"{name}:{_GOALS[goal[:3].lower() == 'min']}"
            raise click.UsageError(
                f"--metric {text}: write {meant}; or {text}:maximize or {text}:minimize, where {text} is the "
                "name of the metric."
            )
        metrics[name if name and goal in _GOALS else text] = goal if name and goal in _GOALS else None
    if len(metrics) < len(texts):
        raise click.UsageError("--metric: one is given twice.")
    if list(metrics.values()) == [None]:
        return next(iter(metrics))
    return {name: goal or "maximize" for name, goal in metrics.items()}
