"""BatchPredictionJobs: what is kept of them, and the work behind each (``batch_run.py``).

``PENDING -> RUNNING -> SUCCEEDED`` or ``FAILED``; from the first two also ``CANCELLING -> CANCELLED``. A job
that some instances failed of has SUCCEEDED, and says so; one that all failed of has FAILED.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from pathlib import Path
from typing import Final

from vertexkit._core.names import parse_resource_name
from vertexkit.emulator.filters import Filterable
from vertexkit.emulator.gcs.store import ObjectStore
from vertexkit.emulator.jobs.logs import SERVICE, JobLogs
from vertexkit.emulator.messages import (
    BatchPredictionJob,
    JobState,
    ListBatchPredictionJobsResponse,
    Raw,
)
from vertexkit.emulator.operations import Operations
from vertexkit.emulator.services.batch_inputs import find_inputs
from vertexkit.emulator.services.batch_kept import Kept
from vertexkit.emulator.services.batch_output import Folders, disk_failure
from vertexkit.emulator.services.batch_run import BATCH_JOBS, BatchJobRun, Logs, Means
from vertexkit.emulator.services.batch_spec import FIELD, check_batch_job
from vertexkit.emulator.services.deployments import Deployment, Deployments, check_servable
from vertexkit.emulator.services.job_records import JobRecords
from vertexkit.emulator.services.job_threads import JobThreads
from vertexkit.emulator.services.job_verdict import ENDED
from vertexkit.emulator.services.listing import JOB_FIELDS, list_page, resource_id
from vertexkit.emulator.services.model_registry import MODELS, ModelRegistry
from vertexkit.emulator.serving import ServingEngine
from vertexkit.emulator.store import Store
from vertexkit.emulator.validation import canonical_location, canonical_name, invalid_field, new_id

_GIVEN: Final = ("disable_container_logging", "display_name", "service_account")
_COPIED: Final = (
    "dedicated_resources",
    "input_config",
    "instance_config",
    "manual_batch_tuning_parameters",
    "model_parameters",
    "output_config",
)


class BatchJobs:
    """All BatchPredictionJobs. Safe to use from any thread.

    Args:
        store: Where they and the models are kept.
        operations: Where long-running operations are kept.
        objects: The local Cloud Storage.
        serving: What runs the model servers.
        loop: What that runs on.
        logs: Where the logs of jobs are.
        folder: For copies of models, and for what has been predicted so far.
    """

    def __init__(
        self,
        store: Store,
        operations: Operations,
        objects: ObjectStore,
        serving: ServingEngine,
        *,
        loop: asyncio.AbstractEventLoop,
        logs: Logs,
        folder: Path,
    ) -> None:
        self._store = store
        self._objects = objects
        self._logs = logs
        self._registry = ModelRegistry(store)
        self._deployments = Deployments(objects, serving, folder / "models")
        self._folder = folder / "jobs"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Every model server would compute on all processors: more jobs at once would all be late.
        slots = threading.Semaphore(max(2, os.cpu_count() or 1))
        self._means = Means(store, objects, self._deployments, serving, loop, logs, slots)
        self._folders = Folders()
        self._threads: JobThreads[BatchJobRun] = JobThreads()
        self._records = JobRecords(store, operations, BATCH_JOBS)
        self._filter = Filterable(
            BatchPredictionJob,
            JOB_FIELDS,
            {"batch_prediction_job": resource_id, "model_display_name": self._model_display_name},
        )

    def restore(self) -> None:
        """Go on with every job that was under way when the local Vertex AI last stopped."""
        unfinished = [job.name for job in self._store.all(BATCH_JOBS) if job.state not in ENDED]
        ids = {parse_resource_name(name).id for name in unfinished}
        for left in self._folder.iterdir():
            if left.name not in ids:
                shutil.rmtree(left, ignore_errors=True)
        keys = {Deployment.key_of(name, parse_resource_name(name).id) for name in unfinished}
        for key in self._deployments.keys() - keys:
            self._deployments.remove_copy(key)
        for name in unfinished:
            self._logs.open_log(parse_resource_name(name).id).append(
                SERVICE, "The local Vertex AI was stopped: the job goes on."
            )
            self._begin(name)

    def close(self) -> None:
        """Leave every job where it is, for the next start; blocks."""
        self._threads.close()

    def create(self, parent: str, asked: Raw) -> Raw:
        """Create a job, which begins at once.

        Raises:
            ApiError: INVALID_ARGUMENT; NOT_FOUND, there is no such model; UNIMPLEMENTED for what the local
                Vertex AI does not do.
        """
        location = canonical_location(parent)
        check_batch_job(asked, self._objects)
        named = canonical_name(asked.model, "models")
        if named.parent != location:
            raise invalid_field(f"{FIELD}.model", f"{asked.model} is not the name of a model in {parent}.")
        version = self._registry.version(named)
        check_servable(version)
        inputs = find_inputs(self._objects, asked.input_config.gcs_source.uris)
        job = BatchPredictionJob(
            name=f"{location}/{BATCH_JOBS.collection}/{new_id()}",
            state=JobState.JOB_STATE_PENDING,
            model=str(named.unversioned),
            model_version_id=version.version_id,
        )
        for field in _GIVEN:
            setattr(job, field, getattr(asked, field))
        for field in _COPIED:
            if asked.HasField(field):
                getattr(job, field).CopyFrom(getattr(asked, field))
        job.labels.update(asked.labels)
        prefix = asked.output_config.gcs_destination.output_uri_prefix
        kept = self._kept(job.name)
        try:
            kept.write(inputs, self._folders.new(prefix, self._model_display_name(job)), version)
            self._records.add(job)
        except BaseException as error:
            kept.remove()
            if isinstance(error, OSError):
                raise disk_failure(error) from error
            raise
        self._begin(job.name)
        # As it was before it began.
        return job

    def get(self, name: str) -> Raw:
        """A job, as far as it is.

        Raises:
            ApiError: INVALID_ARGUMENT, NOT_FOUND.
        """
        return self._shown(self._records.get(name))

    def list(self, request: Raw) -> Raw:
        """The page that a ListBatchPredictionJobs request asks for."""
        jobs, token = list_page(
            self._store,
            BATCH_JOBS,
            canonical_location(request.parent),
            request,
            filterable=self._filter,
            view=self._shown,
        )
        return ListBatchPredictionJobsResponse(batch_prediction_jobs=jobs, next_page_token=token)

    def cancel(self, name: str) -> None:
        """Have a job end; one that has ended stays as it is, and nothing of its output is written.

        Raises:
            ApiError: INVALID_ARGUMENT, NOT_FOUND.
        """
        job = self._records.cancel(name)
        run = None if job is None else self._threads.find(job.name)
        if run is not None:
            run.cancel()

    def delete(self, name: str) -> Raw:
        """Delete a job that has ended, with its log; its output stays. The operation.

        Raises:
            ApiError: INVALID_ARGUMENT, NOT_FOUND; FAILED_PRECONDITION, it has not ended.
        """
        operation = self._records.delete(name)
        self._logs.delete(parse_resource_name(name).id)
        return operation

    def log(self, project_number: str, job_id: str) -> JobLogs | None:
        """What is said of a project's job; None if the project has no such job."""
        return self._logs.open_log(job_id) if self._records.has(project_number, job_id) else None

    def _kept(self, name: str) -> Kept:
        return Kept(self._folder / parse_resource_name(name).id)

    def _begin(self, name: str) -> None:
        self._threads.begin(name, lambda over: BatchJobRun(name, self._kept(name), self._means, over))

    def _shown(self, job: Raw) -> Raw:
        """A job as the API shows it."""
        if job.state not in ENDED:
            run = self._threads.find(job.name)
            if run is not None:
                run.show(job)
        return job

    def _model_display_name(self, job: Raw) -> str:
        """What the model of a job is called now; empty if it is there no more."""
        model = self._store.find(MODELS, job.model)
        return "" if model is None else str(model.display_name)
