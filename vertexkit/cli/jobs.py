"""``vertexkit jobs``: list, show, trials, logs, results, cancel, delete."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

import click

from vertexkit.cli.connection import connected
from vertexkit.cli.output import confirmed, json_option, show_record, show_rows
from vertexkit.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from vertexkit.batch_job import BatchPredictionJob
    from vertexkit.session import Session
    from vertexkit.training_job import CustomTrainingJob
    from vertexkit.tuning_job import HyperparameterTuningJob

    AnyJob: TypeAlias = CustomTrainingJob | HyperparameterTuningJob | BatchPredictionJob

_TUNING = "/hyperparameterTuningJobs/"
_BATCH = "/batchPredictionJobs/"


@click.group()
def jobs() -> None:
    """Training, tuning and batch prediction jobs, running and over."""


@jobs.command("list")
@click.option("--filter", "only", metavar="FILTER", help="Such as 'state=\"RUNNING\"'.")
@json_option
@connected
def list_jobs(*, session: Session, only: str | None, as_json: bool) -> None:
    """List the training, tuning and batch prediction jobs, the youngest first."""
    found: list[AnyJob] = [
        *session.training.list(filter=only),
        *session.tuning.list(filter=only),
        *session.batch.list(filter=only),
    ]
    show_rows(
        ["ID", "Name", "Kind", "State", "Created", "Resource name"],
        (
            (job.id, job.display_name, _kind(job), job.state_as_read, job.created, job.resource_name)
            for job in sorted(found, key=lambda job: job.created, reverse=True)
        ),
        as_json=as_json,
        empty=f"There are no jobs in {session.project}, {session.location}.",
    )


@jobs.command()
@click.argument("name")
@json_option
@connected
def show(*, session: Session, name: str, as_json: bool) -> None:
    """Show a job (by id, resource name or display name)."""
    show_record(record(_found(session, name)), as_json=as_json)


@jobs.command()
@click.argument("name")
@json_option
@connected
def trials(*, session: Session, name: str, as_json: bool) -> None:
    """List the trials of a tuning job, or of a search by Keras Tuner."""
    from vertexkit.keras_tuner_job import KerasTunerJob
    from vertexkit.tuning_job import HyperparameterTuningJob

    job = _found(session, name)
    if not isinstance(job, HyperparameterTuningJob | KerasTunerJob):
        raise click.UsageError(f"{name} is a {_kind(job)} job, which does not search.")
    found = job.trials
    best = {trial.id for trial in found.optimal()} if found.objectives else set()
    show_rows(
        ["Trial", "State", "Parameters", "Metrics", "Seconds", "Best", "Why"],
        (
            (
                trial.id,
                trial.state.value,
                dict(trial.parameters),
                dict(trial.metrics),
                trial.seconds,
                trial.id in best,
                "it was stopped early" if trial.stopped_early else trial.infeasible_reason,
            )
            for trial in found
        ),
        as_json=as_json,
        empty="There are no trials yet.",
    )


@jobs.command()
@click.argument("name")
@click.option("--trial", metavar="ID", help="Of a tuning job: whose lines alone.")
@click.option("--replica", metavar="NAME", help="Whose lines alone, such as workerpool1-0.")
@click.option("--follow", "-f", is_flag=True, help="Go on until the job is over.")
@json_option
@connected
def logs(
    *, session: Session, name: str, trial: str | None, replica: str | None, follow: bool, as_json: bool
) -> None:
    """Print the log of a job, each line with its replica, and of a tuning job with its trial.

    Ctrl-C ends following it, and not the job.
    """
    from vertexkit.batch_job import BatchPredictionJob
    from vertexkit.tuning_job import HyperparameterTuningJob

    job = _found(session, name)
    if isinstance(job, HyperparameterTuningJob):
        lines = job.logs(trial, replica, follow=follow)
    elif isinstance(job, BatchPredictionJob):
        if trial is not None or replica is not None:
            raise click.UsageError("--trial and --replica are not for batch prediction jobs.")
        lines = job.logs(follow=follow)
    elif trial is not None:
        raise click.UsageError("--trial is for tuning jobs, and this is none.")
    else:
        lines = job.logs(replica, follow=follow)
    for line in lines:
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
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False, allow_dash=True),
    default="-",
    help="Where to write; standard output by default.",
)
@click.option(
    "--on-failure",
    type=click.Choice(["raise", "nan", "drop"]),
    default="raise",
    show_default=True,
    help="What of failed instances goes into arrays.",
)
@connected
def results(*, session: Session, name: str, out: str, on_failure: str) -> None:
    """Write the results of a batch prediction job to a file: jsonl, csv, npy or npz, in input order.

    Without --out they are printed, as jsonl.
    """
    from vertexkit.batch_job import BatchPredictionJob
    from vertexkit.cli.batch_predict import kind_of, write_results

    kind = kind_of(out)
    job = _found(session, name)
    if not isinstance(job, BatchPredictionJob):
        raise click.UsageError(f"{name} is a {_kind(job)} job, which predicts nothing.")
    write_results(job, out, kind, on_failure)


@jobs.command()
@click.argument("name")
@connected
def cancel(*, session: Session, name: str) -> None:
    """Ask a job to stop."""
    found = _found(session, name)
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
    """Delete a job that is over, with its trials and its log. What it has written and models stay."""
    found = _found(session, name)
    if not confirmed(f"Delete the {_kind(found)} job {found.display_name} ({found.id})?", yes=yes):
        ctx.exit(1)
    found.delete()
    click.echo(f"Deleted {found.resource_name}.", err=True)


def record(job: AnyJob) -> dict[str, object]:
    """What is shown of one job."""
    facts = {
        "id": job.id,
        "name": job.display_name,
        "resource_name": job.resource_name,
        "kind": _kind(job),
        "state": job.state_as_read.value,
        "created": job.created,
        "start_time": job.start_time,
        "end_time": job.end_time,
        "error": job.error,
    }
    return {**facts, **_of_kind(job), "labels": job.labels}


def _of_kind(job: AnyJob) -> dict[str, object]:
    from vertexkit.batch_job import BatchPredictionJob
    from vertexkit.tuning_job import HyperparameterTuningJob

    if isinstance(job, BatchPredictionJob):
        return _of_batch(job)
    output = {"base_output_dir": job.base_output_dir}
    if not isinstance(job, HyperparameterTuningJob):
        model = job.model
        name = None if model is None else model.versioned_name
        return {"model": name, "custom_job": job.custom_job, **output}
    trials = job.trials_as_read
    facts: dict[str, object] = {
        "metrics": {one.metric: "maximize" if one.maximize else "minimize" for one in job.objectives},
        "trials": len(trials),
        "ended_trials": sum(trial.state.ended for trial in trials),
        "max_trials": job.trial_count,
    }
    best = trials.optimal()
    if len(job.objectives) == 1:
        trial = best[0] if best else None
        facts["best_trial"] = None if trial is None else trial.id
        facts["best_parameters"] = {} if trial is None else dict(trial.parameters)
        facts["best_metrics"] = {} if trial is None else dict(trial.metrics)
    else:
        facts["optimal_trials"] = [trial.id for trial in best]
    return facts | output


def _of_batch(job: BatchPredictionJob) -> dict[str, object]:
    progress = job.progress_as_read
    return {
        "model": job.model_name,
        "input": list(job.input_uris),
        "input_format": job.input_format,
        "instances": progress.total,
        "succeeded": progress.succeeded,
        "failed": progress.failed,
        "failures": list(job.partial_failures),
        "output": job.output_uri,
        "output_format": job.output_format,
    }


def _kind(job: AnyJob) -> str:
    from vertexkit.keras_tuner_job import is_search

    if _TUNING in job.resource_name:
        return "tuning"
    if _BATCH in job.resource_name:
        return "batch prediction"
    return "keras tuner" if is_search(job.labels) else "training"


def _found(session: Session, name: str) -> AnyJob:
    """The one job that is meant, of any kind."""
    if name.startswith("projects/") and _BATCH in name:
        return session.batch.get(name)
    if name.startswith("projects/"):
        return (
            session.tuning.get(name) if _TUNING in name else _searching(session, session.training.get(name))
        )
    found: list[AnyJob] = []
    for get in (session.training.get, session.tuning.get, session.batch.get):
        with suppress(NotFound):
            found.append(get(name))
    if not found:
        raise NotFound(
            f"there is none in {session.project}, {session.location}",
            resource=f"job {name!r}",
            remedy="see what there is with `vertexkit jobs list`",
        )
    if len(found) > 1:
        listed = ", ".join(job.resource_name for job in found)
        problem = f"is the name of {len(found)} jobs: {listed}"
        raise InvalidArgument("name", name, problem, remedy="give the resource name of one")
    return _searching(session, found[0])


def _searching(session: Session, job: AnyJob) -> AnyJob:
    """A training job as what it is."""
    from vertexkit.keras_tuner_job import is_search

    return session.keras_tuner.get(job.resource_name) if is_search(job.labels) else job
