"""``vertexkit jobs``: list, show, logs, cancel, delete."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from vertexkit.cli.connection import connected
from vertexkit.cli.output import confirmed, json_option, show_record, show_rows

if TYPE_CHECKING:
    from vertexkit.session import Session
    from vertexkit.training_job import CustomTrainingJob


@click.group()
def jobs() -> None:
    """Training jobs, running and over."""


@jobs.command("list")
@click.option("--filter", "only", metavar="FILTER", help="Such as 'state=\"RUNNING\"'.")
@json_option
@connected
def list_jobs(*, session: Session, only: str | None, as_json: bool) -> None:
    """List the training jobs, the youngest first."""
    show_rows(
        ["ID", "Name", "State", "Created", "Resource name"],
        (
            (found.id, found.display_name, found.state_as_read, found.created, found.resource_name)
            for found in session.training.list(filter=only)
        ),
        as_json=as_json,
        empty=f"There are no training jobs in {session.project}, {session.location}.",
    )


@jobs.command()
@click.argument("name")
@json_option
@connected
def show(*, session: Session, name: str, as_json: bool) -> None:
    """Show a training job (by id, resource name or display name)."""
    show_record(record(session.training.get(name)), as_json=as_json)


@jobs.command()
@click.argument("name")
@click.option("--replica", metavar="NAME", help="Whose lines alone, such as workerpool1-0.")
@click.option("--follow", "-f", is_flag=True, help="Go on until the job is over.")
@json_option
@connected
def logs(*, session: Session, name: str, replica: str | None, follow: bool, as_json: bool) -> None:
    """Print the log of a training job, each line with its replica.

    Ctrl-C ends following it, and not the job.
    """
    for line in session.training.get(name).logs(replica, follow=follow):
        if as_json:
            facts = {
                "time": line.time.isoformat(),
                "replica": line.replica,
                "severity": line.severity,
                "text": line.text,
            }
            click.echo(json.dumps(facts))
        else:
            click.echo(str(line))


@jobs.command()
@click.argument("name")
@connected
def cancel(*, session: Session, name: str) -> None:
    """Ask a training job to stop."""
    found = session.training.get(name)
    if found.state.ended:
        click.echo(f"{found.resource_name} is over already: {found.state}.", err=True)
        return
    found.cancel()
    click.echo(f"Asked {found.resource_name} to stop.", err=True)


@jobs.command()
@click.argument("name")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@connected
@click.pass_context
def delete(ctx: click.Context, *, session: Session, name: str, yes: bool) -> None:
    """Delete a training job that is over, with its log. What it has written and its model stay."""
    found = session.training.get(name)
    if not confirmed(f"Delete the training job {found.display_name} ({found.id})?", yes=yes):
        ctx.exit(1)
    found.delete()
    click.echo(f"Deleted {found.resource_name}.", err=True)


def record(job: CustomTrainingJob) -> dict[str, object]:
    """What is shown of one job."""
    model = job.model
    return {
        "id": job.id,
        "name": job.display_name,
        "resource_name": job.resource_name,
        "state": job.state_as_read.value,
        "created": job.created,
        "start_time": job.start_time,
        "end_time": job.end_time,
        "error": job.error,
        "model": None if model is None else model.versioned_name,
        "base_output_dir": job.base_output_dir,
        "custom_job": job.custom_job,
        "labels": job.labels,
    }
