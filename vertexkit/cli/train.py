"""``vertexkit train``: a script becomes a training job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vertexkit.cli.connection import connected
from vertexkit.cli.jobs import record
from vertexkit.cli.output import json_option, show_findings, show_record
from vertexkit.cli.program_options import ProgramCommand, program_arguments, program_options

if TYPE_CHECKING:
    from vertexkit.session import Session


@click.command(cls=ProgramCommand)
@program_options
@click.option("--dataset", metavar="NAME", help="Managed dataset.")
@click.option("--model", metavar="NAME", help="Display name of the model.")
@click.option("--no-model", is_flag=True, help="Make no model.")
@click.option("--serving-image", metavar="URI", help="Container that is to serve the model.")
@click.option("--no-wait", is_flag=True, help="End once the job is created.")
@click.option("--no-logs", is_flag=True, help="Do not print its log.")
@click.option("--check", "only_check", is_flag=True, help="Say what would be refused, and do nothing.")
@json_option
@connected
@click.pass_context
def train(
    ctx: click.Context,
    /,
    *,
    session: Session,
    no_wait: bool,
    no_logs: bool,
    only_check: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train: run PROGRAM on machines of Vertex AI, and make a model of what it writes.

    PROGRAM is a script, the folder of a package, a wheel or trainer_scripts.NAME; what follows "--" are
    its arguments. The log is printed as it comes (with --json to standard error), then what became of the
    job. Exits with 1 when the training fails. On a terminal, Ctrl-C asks whether to leave the job running.
    """
    request = _request(**options)
    if only_check:
        ctx.exit(show_findings(session.training.check(**request), as_json=as_json))
    job = session.training.run(**request, wait=False)
    click.echo(f"Created {job.resource_name}.", err=True)
    if not no_wait:
        job.wait(logs=False if no_logs else "stderr" if as_json else "stdout")
    show_record(record(job), as_json=as_json)


def _request(*, model: str | None, no_model: bool, **options: Any) -> dict[str, Any]:
    """The arguments of ``session.training.run`` that the command line means."""
    if no_model and model is not None:
        raise click.UsageError("Give --model or --no-model, not both.")
    return {**program_arguments(**options), "model": False if no_model else model}
