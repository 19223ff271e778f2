"""``vertexkit tune``: a script becomes a hyperparameter tuning job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vertexkit.cli.connection import connected
from vertexkit.cli.jobs import record
from vertexkit.cli.output import json_option, show_findings, show_record
from vertexkit.cli.program_options import ProgramCommand, program_arguments, program_options
from vertexkit.cli.space_option import parse_space

if TYPE_CHECKING:
    from vertexkit.session import Session

_COUNT = click.IntRange(min=1)
_GOALS = ("maximize", "minimize")


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
    "optimizer=sgd,adam; may be repeated. A range of whole numbers is of these alone: "
    "dropout=double:0..1 is of all.",
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
    request = program_arguments(**options) | {"metric": _metric(metric), "space": parse_space(space)}
    if only_check:
        ctx.exit(show_findings(session.tuning.check(**request), as_json=as_json))
    job = session.tuning.run(**request, wait=False)
    click.echo(f"Created {job.resource_name}.", err=True)
    if not no_wait:
        job.wait(logs=("stderr" if as_json else "stdout") if logs else False)
    show_record(record(job), as_json=as_json)


def _metric(texts: tuple[str, ...]) -> str | dict[str, str]:
    """One name, or names with their goals."""
    metrics = {}
    for text in texts:
        name, _, goal = text.rpartition(":")
        metrics[name if name and goal in _GOALS else text] = goal if name and goal in _GOALS else None
    if len(metrics) < len(texts):
        raise click.UsageError("--metric: one is given twice.")
    if list(metrics.values()) == [None]:
        return next(iter(metrics))
    return {name: goal or "maximize" for name, goal in metrics.items()}
