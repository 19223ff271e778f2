"""How a training job gets to the service once, and leaves nothing there when that fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from vertexkit.cleanup import Order, noting
from vertexkit.job_creation import Creation, Submitted, delete_folder, own_place, run_label
from vertexkit.storage import Buckets
from vertexkit.training_body import training_body
from vertexkit.training_job import CustomTrainingJob

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit.training_packages import Packages
    from vertexkit.training_plan import TrainingPlan

__all__ = ["submit", "submit_job"]

_Job = TypeVar("_Job", bound=Submitted)
Body = Callable[[Sequence[str], str, Mapping[str, str]], tuple[str, dict[str, Any]]]
"""From packages, place for the output and labels to a collection, and the resource to create there."""


def submit(context: Context, packages: Packages, plan: TrainingPlan) -> CustomTrainingJob:
    """Send the program, and create the training job; see `submit_job`."""

    def body(uris: Sequence[str], output: str, labels: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
        return training_body(plan, packages=uris, output=output, labels=labels)

    return submit_job(context, packages, plan, body, CustomTrainingJob, what="training")


def submit_job(
    context: Context,
    packages: Packages,
    plan: TrainingPlan,
    body: Body,
    job: Callable[[Context, dict[str, Any]], _Job],
    *,
    what: str,
) -> _Job:
    """Send the program, and create a job that runs it.

    Args:
        context: The session's parts.
        packages: Those of the session.
        plan: What the job runs, with which nothing is wrong.
        body: What to create.
        job: What it is then.
        what: Its kind, in words and in the place of its output.

    Raises:
        VertexkitError: It failed; what was sent and created is gone again.
    """
    output = plan.output or f"{Buckets(context).default().uri}/{own_place(what, plan.name)}"
    uris, sent = ([], []) if plan.program is None else packages.put(plan.program)
    try:
        labels = {**plan.labels, **run_label()}
        creation = Creation(context, *body(uris, output, labels), job)
        try:
            data = creation.send()
        except BaseException as error:
            noting(error, creation.undo, f"the {what} job {plan.name}")
            raise
    except BaseException as error:  # Ctrl-C too
        noting(error, partial(packages.take_back, sent), f"the package {', '.join(sent)}")
        raise
    created = job(context, data)
    context.created.add(created.resource_name, created._discard, order=Order.JOBS)
    if plan.output is None:
        context.created.add(output, partial(delete_folder, context, output), order=Order.OBJECTS)
    return created
