"""How a batch prediction gets to the service once, and leaves nothing there when that fails."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from vertexkit.batch_body import BATCH_JOBS, BatchOptions, batch_body
from vertexkit.batch_job import BatchPredictionJob
from vertexkit.batch_job_state import COUNT_LABEL
from vertexkit.cleanup import Order, noting
from vertexkit.job_creation import Creation, delete_folder, own_place, run_label
from vertexkit.storage import Buckets

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit.batch_plan import BatchPlan

__all__ = ["submit_batch"]


def submit_batch(context: Context, plan: BatchPlan) -> BatchPredictionJob:
    """Send the instances that are on this machine, and create the job.

    Args:
        context: The session's parts.
        plan: The job, with which nothing is wrong.

    Raises:
        VertexkitError: It failed; what was sent and created is gone again.
    """
    place = own_place("batch", plan.name)
    output = plan.destination or f"{Buckets(context).default().uri}/{place}/output"
    given = plan.source.stage(context, f"{place}/input")
    try:
        options = BatchOptions(
            name=plan.name,
            model=plan.model,
            destination=output,
            output_format=plan.output_format,
            machine=plan.machine,
            replicas=plan.replicas,
            batch_size=plan.batch_size,
            parameters=plan.parameters,
            service_account=plan.service_account,
        )
        counted = {} if given.count is None else {COUNT_LABEL: str(given.count)}
        body = batch_body(options, given, {**plan.labels, **counted, **run_label()})
        creation = Creation(context, BATCH_JOBS, body, BatchPredictionJob)
        try:
            data = creation.send()
        except BaseException as error:
            noting(error, creation.undo, f"the batch prediction job {plan.name}")
            raise
    except BaseException as error:  # Ctrl-C too
        noting(error, given.undo, f"the instances in {', '.join(given.sent)}")
        raise
    job = BatchPredictionJob(context, data)
    context.created.add(job.resource_name, job._discard, order=Order.JOBS)
    if plan.destination is None:
        context.created.add(output, partial(delete_folder, context, output), order=Order.OBJECTS)
    return job
