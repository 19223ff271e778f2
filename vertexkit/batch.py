"""The batch prediction jobs of a project and location: run, checked, found, listed.

API: https://cloud.google.com/vertex-ai/docs/predictions/get-batch-predictions
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from vertexkit._core.lookup import find, listed, parent
from vertexkit._core.resource import Manager
from vertexkit.batch_body import BATCH_JOBS
from vertexkit.batch_job import BatchPredictionJob, PartialFailureWarning
from vertexkit.batch_request import BatchRequest, InputFormat, OutputFormat
from vertexkit.errors import Finding, InvalidArgument
from vertexkit.job_state import naming_states
from vertexkit.job_wait import Stream, check_wait, stream_of
from vertexkit.training_lookup import in_order
from vertexkit.types import Machine

if TYPE_CHECKING:
    from vertexkit.model import Model, ModelVersion

__all__ = ["BatchPrediction", "BatchPredictionJob", "PartialFailureWarning"]

_log = logging.getLogger("vertexkit")


class BatchPrediction(Manager):
    """The batch prediction jobs of a session's project and location."""

    def run(
        self,
        model: Model | ModelVersion | str,
        source: Any,
        *,
        format: InputFormat | None = None,
        name: str | None = None,
        machine: Machine | str | None = None,
        replicas: int | tuple[int, int] = 1,
        batch_size: int | None = None,
        destination: str | None = None,
        output_format: OutputFormat = "jsonl",
        instance_type: Literal["object", "array"] | None = None,
        key_field: str | None = None,
        included_fields: Sequence[str] | None = None,
        excluded_fields: Sequence[str] | None = None,
        parameters: Any = None,
        labels: Mapping[str, str] | None = None,
        service_account: str | None = None,
        wait: bool = True,
        logs: bool | Stream = False,
    ) -> BatchPredictionJob:
        """Predict many instances with a model that need not be deployed, and put the results in order.

        Everything is checked before anything is sent or created: the arguments, and the first instances
        against what the model takes. What is on this machine is sent to the session's bucket, to a place of
        the job's own, and deleted again when the job cannot be created.

        Args:
            model: The model, one of its versions, or the name, id or display name of one.
            source: The instances. An array of shape (instances, ...), a list or any iterable of instances
                (which is streamed), a DataFrame, a mapping from the model's inputs to arrays; the path of a
                file, folder or pattern, or a list of `pathlib.Path`; ``gs://`` URIs of objects, folders or
                patterns; ``bq://PROJECT.DATASET.TABLE``. Files are jsonl, csv, tf-record, tf-record-gzip,
                lists of files (``.txt``), or images and other binary files, of which each is an instance.
                Those of a folder or pattern are read in the order of their names as text (``10.png`` comes
                before ``2.png``), those of a list in the order of the list.
            format: The format of the files, where their names do not tell.
            name: Display name of the job; by default the source's, with the time.
            machine: Machine of the replicas; ``n1-standard-2`` by default.
            replicas: How many serve the model, or how many at first and how many at most.
            batch_size: How many instances go to the model at a time; by default as many as make requests of
                a good size, where the model's signature tells, else Vertex AI's own choice.
            destination: ``gs://bucket/folder`` for the results, which get a folder of their own in there; by
                default a place of the job's own in the session's bucket. For BigQuery ``bq://PROJECT`` or
                ``bq://PROJECT.DATASET``.
            output_format: Of the files with the results: ``"jsonl"``, ``"csv"`` or ``"bigquery"``. Results
                are read from any but the last.
            instance_type: ``"object"`` or ``"array"``: what rows and lines become for the model; by default
                what goes with the format.
            key_field: The field that names each instance: not sent to the model, and given in its place in
                the results. vertexkit writes one of its own where it writes the instances.
            included_fields: The fields that are sent to the model, in this order.
            excluded_fields: Fields that are not sent to the model.
            parameters: Sent along with every request, for models that take any.
            labels: Labels for the job, beside those of the session.
            service_account: E-mail address of the account that the model runs as.
            wait: Whether to wait until it is over, and show how many instances are done. On a terminal,
                Ctrl-C asks then whether to leave it running or to cancel it; elsewhere it cancels.
            logs: Whether to print its log while waiting; see `BatchPredictionJob.wait`.

        Returns:
            The job: ``job.to_numpy()``, ``job.to_frame()``, ``job.rows()``.

        Raises:
            PreflightFailed: Arguments or instances are wrong; it tells all that is. Nothing was sent.
            BatchPredictionFailed: The job failed. Where only some instances did, a `PartialFailureWarning`
                says so.
            Cancelled: Somebody has cancelled it.
            VertexkitError: The service refused the job.
        """
        from vertexkit.batch_plan import plan_batch
        from vertexkit.batch_submission import submit_batch
        from vertexkit.preflight import require

        request = BatchRequest(
            source,
            format=format,
            name=name,
            machine=machine,
            replicas=replicas,
            batch_size=batch_size,
            destination=destination,
            output_format=output_format,
            instance_type=instance_type,
            key_field=key_field,
            included_fields=included_fields,
            excluded_fields=excluded_fields,
            parameters=parameters,
            labels=labels,
            service_account=service_account,
        )
        check_wait(wait)
        stream_of(logs)
        plan = plan_batch(self._context, self._model(model), request)
        require(plan.findings)
        job = submit_batch(self._context, plan)
        _log.info("created %s: %s of %s", job.resource_name, plan.source.format, plan.model)
        return job.wait(logs=logs) if wait else job

    def check(
        self,
        model: Model | ModelVersion | str,
        source: Any,
        *,
        format: InputFormat | None = None,
        name: str | None = None,
        machine: Machine | str | None = None,
        replicas: int | tuple[int, int] = 1,
        batch_size: int | None = None,
        destination: str | None = None,
        output_format: OutputFormat = "jsonl",
        instance_type: Literal["object", "array"] | None = None,
        key_field: str | None = None,
        included_fields: Sequence[str] | None = None,
        excluded_fields: Sequence[str] | None = None,
        parameters: Any = None,
        labels: Mapping[str, str] | None = None,
        service_account: str | None = None,
    ) -> list[Finding]:
        """Check what `run` would be refused for, or would fail of at once, without doing anything.

        Of an iterator, some instances are taken to be looked at.

        Args:
            model: See `run`, as for all that follow.
            source: The instances.
            format: The format of the files.
            name: Display name of the job.
            machine: Machine of the replicas.
            replicas: How many serve the model.
            batch_size: How many instances go to the model at a time.
            destination: Where the results go.
            output_format: Of the files with the results.
            instance_type: What rows and lines become for the model.
            key_field: The field that names each instance.
            included_fields: The fields that are sent to the model.
            excluded_fields: Fields that are not sent to the model.
            parameters: Sent along with every request.
            labels: Labels for the job.
            service_account: E-mail address of the account that the model runs as.

        Returns:
            What is wrong, and what would do. Empty when nothing was found.
        """
        from vertexkit.batch_plan import plan_batch

        request = BatchRequest(
            source,
            format=format,
            name=name,
            machine=machine,
            replicas=replicas,
            batch_size=batch_size,
            destination=destination,
            output_format=output_format,
            instance_type=instance_type,
            key_field=key_field,
            included_fields=included_fields,
            excluded_fields=excluded_fields,
            parameters=parameters,
            labels=labels,
            service_account=service_account,
        )
        return list(plan_batch(self._context, self._model(model), request).findings)

    def get(self, name: str) -> BatchPredictionJob:
        """Find a job, whoever started it: running or over.

        Args:
            name: Its resource name, id or display name.

        Raises:
            InvalidArgument: Several jobs have this display name; the message lists them.
            NotFound: There is none.
        """
        return BatchPredictionJob(self._context, find(self._context, BATCH_JOBS, name, manager="batch"))

    def list(self, *, filter: str | None = None, order_by: str | None = None) -> list[BatchPredictionJob]:
        """List the jobs.

        Args:
            filter: Such as ``'display_name="images"'`` or ``'state="RUNNING"'``; see https://google.aip.dev/160
            order_by: ``"create_time desc"``, the default, or another field: ``start_time``, ``end_time``,
                ``update_time``, ``display_name``.
        """
        path, only = f"{parent(self._context)}/{BATCH_JOBS}", naming_states(filter, "JOB_STATE_")
        found = in_order(listed(self._context, path, BATCH_JOBS, filter=only), order_by)
        return [BatchPredictionJob(self._context, data) for data in found]

    def _model(self, model: object) -> Model | ModelVersion:
        from vertexkit.model import Model, ModelVersion
        from vertexkit.models import Models

        if isinstance(model, str):
            return Models(self._context).get(model)
        if not isinstance(model, Model | ModelVersion):
            raise InvalidArgument("model", model, "is no model", remedy="find it with session.models.get()")
        return model
