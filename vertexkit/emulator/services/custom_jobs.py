"""CustomJobs: what is kept of them, and how one goes from its creation to its end.

``PENDING -> RUNNING -> SUCCEEDED`` or ``FAILED``; from the first two also ``CANCELLING -> CANCELLED``,
which a job that ran too long goes straight to.

A job may belong to another resource, such as a TrainingPipeline, which is told of every change. What
the processes of a job do does not survive this process: the next start ends what was running then, or
starts it anew where its spec asks for that.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from google.protobuf import json_format

from vertexkit._core.names import ResourceName, parse_resource_name
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.filters import Filterable
from vertexkit.emulator.gcs.store import ObjectStore
from vertexkit.emulator.jobs.logs import JobLogs
from vertexkit.emulator.jobs.types import EndKind, JobEnd, JobSpec, Watcher
from vertexkit.emulator.messages import (
    CustomJob,
    Execution,
    JobState,
    ListCustomJobsResponse,
    Raw,
)
from vertexkit.emulator.operations import Operations
from vertexkit.emulator.services.custom_job_spec import check_spec, engine_spec, notices, restarts
from vertexkit.emulator.services.job_records import JobRecords
from vertexkit.emulator.services.job_verdict import CANCELLED, ENDED, SUCCEEDED, Verdict, failed
from vertexkit.emulator.services.listing import JOB_FIELDS, list_page, resource_id
from vertexkit.emulator.services.timestamps import set_now
from vertexkit.emulator.store import Kind, Store
from vertexkit.emulator.validation import (
    canonical_location,
    check_display_name,
    check_labels,
    new_id,
)

_LOGGER = logging.getLogger(__name__)

CUSTOM_JOBS = Kind("customJobs", CustomJob, "CustomJob")
RUNS = Kind("customJobRuns", Execution, "Run of the CustomJob")
"""Beside each job, what its processes depend on and its resource does not say: a row of the same name."""

_FILTER = Filterable(CustomJob, JOB_FIELDS, {"custom_job": resource_id})
STOPPED: Final = "The local Vertex AI was stopped before the job finished."
_SERVICE: Final = "service"
"""Who speaks in a job's log when it is none of its replicas."""


class Engine(Protocol):
    """What runs jobs."""

    def check(self, spec: JobSpec) -> None:
        """Raise ApiError for what cannot run here."""

    def start(self, spec: JobSpec, watcher: Watcher) -> None:
        """Begin a job, and return at once."""

    def cancel(self, job_id: str) -> None:
        """End a job that runs."""

    def delete(self, job_id: str) -> None:
        """Forget a job that has ended, with its log."""

    def logs(self, job_id: str) -> JobLogs | None:
        """The log of a job, also of one before a restart."""


Follower = Callable[[str, Raw], None]
"""Told the name of the resource that a job belongs to, and the job as it is now."""


@dataclass(frozen=True)
class Prepared:
    """A job that has been checked, and is not kept yet."""

    job: Raw
    run: Raw
    spec: JobSpec


class CustomJobs:
    """All CustomJobs. Safe to use from any thread.

    Args:
        store: Where they are kept.
        operations: Where long-running operations are kept.
        objects: The local Cloud Storage, which holds packages.
        engine: What runs them.
    """

    def __init__(self, store: Store, operations: Operations, objects: ObjectStore, engine: Engine) -> None:
        self._store = store
        self._objects = objects
        self._engine = engine
        self._followers: dict[str, Follower] = {}
        self._records = JobRecords(store, operations, CUSTOM_JOBS, beside=RUNS)

    def follow(self, collection: str, follower: Follower) -> None:
        """Have a function told of every change of a job that belongs to a resource of a collection."""
        self._followers[collection] = follower

    def restore(self) -> None:
        """End, or begin anew, what was running when the local Vertex AI last stopped."""
        for job in self._store.all(CUSTOM_JOBS):
            if job.state in ENDED:
                continue
            job_id = parse_resource_name(job.name).id
            if job.state == JobState.JOB_STATE_CANCELLING:
                self._ended(job.name, JobEnd(EndKind.CANCELLED))
            elif restarts(job.job_spec):
                self._say(job_id, "The local Vertex AI was stopped: the job starts anew.")
                self._tell(self._set_pending(job.name))
                self.begin(self._prepared_again(job))
            else:
                self._say(job_id, STOPPED)
                self._end(job.name, failed(ApiError(Code.ABORTED, STOPPED)))

    def prepare(
        self,
        parent: str,
        asked: Raw,
        *,
        owner: str = "",
        trial_id: str = "",
        dataset_env: Mapping[str, str] | None = None,
        path: str = "job_spec",
    ) -> Prepared:
        """Check a job that is to be created.

        Args:
            parent: The location, as the request names it.
            asked: The CustomJob of the request.
            owner: Name of the resource that it belongs to.
            trial_id: The trial of a tuning job that it is.
            dataset_env: What says where the data of a managed dataset are.
            path: What its spec is called in the request.

        Raises:
            ApiError: INVALID_ARGUMENT; UNIMPLEMENTED for what the local Vertex AI does not do.
        """
        location = canonical_location(parent)
        check_display_name(asked.display_name, "custom_job.display_name")
        check_labels(asked.labels, "custom_job.labels")
        if asked.HasField("encryption_spec"):
            raise ApiError(
                Code.UNIMPLEMENTED, "The local Vertex AI does not support custom_job.encryption_spec."
            )
        check_spec(asked.job_spec, self._objects, path)
        job = CustomJob(
            name=f"{location}/customJobs/{new_id()}",
            display_name=asked.display_name,
            state=JobState.JOB_STATE_PENDING,
        )
        job.job_spec.CopyFrom(asked.job_spec)
        job.labels.update(asked.labels)
        run = Execution(name=job.name)
        run.metadata.update(
            {
                "project": parent.split("/")[1],
                "owner": owner,
                "trial_id": trial_id,
                "dataset_env": dict(dataset_env or {}),
            }
        )
        spec = _spec_of(job, run)
        self._engine.check(spec)
        return Prepared(job, run, spec)

    def add(self, prepared: Prepared) -> Raw:
        """Keep a job that has been prepared; its processes are begun by ``begin``."""
        self._records.add(prepared.job, prepared.run)
        return prepared.job

    def begin(self, prepared: Prepared) -> None:
        """Hand a job that is kept to the engine; to be called outside of transactions."""
        name, job_id = prepared.job.name, prepared.spec.job_id
        try:
            self._engine.start(prepared.spec, _Watched(self, name))
        except ApiError as refused:
            self._end(name, failed(refused))
            return
        except Exception as broken:
            # A defect of ours: the job must end all the same, and say what happened.
            _LOGGER.exception("%s did not start", name)
            self._end(name, failed(_internal(broken)))
            return
        job = self._store.find(CUSTOM_JOBS, name)
        if job is not None and job.state == JobState.JOB_STATE_CANCELLING:
            # Cancelled before the engine knew of it.
            self._engine.cancel(job_id)

    def create(self, parent: str, asked: Raw) -> Raw:
        """Create a job, and begin it.

        Raises:
            ApiError: As ``prepare``.
        """
        prepared = self.prepare(parent, asked)
        self.add(prepared)
        self.begin(prepared)
        return self.get(prepared.job.name)

    def get(self, name: str) -> Raw:
        """A job.

        Raises:
            ApiError: INVALID_ARGUMENT, NOT_FOUND.
        """
        return self._records.get(name)

    def find(self, name: str) -> Raw | None:
        """The job of a canonical name, or None."""
        return self._store.find(CUSTOM_JOBS, name)

    def list(self, request: Raw) -> Raw:
        """The page that a ListCustomJobs request asks for."""
        jobs, token = list_page(
            self._store,
            CUSTOM_JOBS,
            canonical_location(request.parent),
            request,
            filterable=_FILTER,
            view=lambda job: job,
        )
        return ListCustomJobsResponse(custom_jobs=jobs, next_page_token=token)

    def cancel(self, name: str) -> None:
        """Have a job end; one that has ended stays as it is.

        Raises:
            ApiError: INVALID_ARGUMENT, NOT_FOUND.
        """
        job = self._records.cancel(name)
        if job is not None:
            self._tell(job)
            self._engine.cancel(parse_resource_name(job.name).id)

    def delete(self, name: str) -> Raw:
        """Delete a job that has ended, with its logs; the operation.

        Raises:
            ApiError: INVALID_ARGUMENT, NOT_FOUND; FAILED_PRECONDITION, it has not ended.
        """
        operation = self._records.delete(name)
        self._engine.delete(parse_resource_name(name).id)
        return operation

    def delete_owned(self, owner: str) -> None:
        """Delete the jobs of a resource that has ended and is deleted, with their logs."""
        for run in self._store.all(RUNS):
            if run.metadata["owner"] == owner:
                with contextlib.suppress(ApiError):
                    # Somebody else was quicker.
                    self.delete(run.name)

    def log(self, project_number: str, job_id: str) -> JobLogs | None:
        """The log of a project's job, in whichever location; None if the project has no such job."""
        return self._engine.logs(job_id) if self._records.has(project_number, job_id) else None

    # What the engine tells.

    def _running(self, name: str) -> None:
        with self._store.transaction():
            job = self._store.find(CUSTOM_JOBS, name)
            if job is None or job.state != JobState.JOB_STATE_PENDING:
                return
            job.state = JobState.JOB_STATE_RUNNING
            if not job.HasField("start_time"):
                set_now(job.start_time)
            self._store.replace(CUSTOM_JOBS, job)
        for notice in notices(job.job_spec):
            self._say(parse_resource_name(name).id, notice)
        self._tell(job)

    def _ended(self, name: str, end: JobEnd) -> None:
        if end.kind is EndKind.SUCCEEDED:
            self._end(name, SUCCEEDED)
        elif end.kind is EndKind.FAILED:
            # A replica fails by what the user gave; without one, it is the machine that does.
            code = Code.INVALID_ARGUMENT if end.replica else Code.INTERNAL
            self._end(name, failed(ApiError(code, end.message)))
        elif end.kind is EndKind.TIMED_OUT:
            # Vertex AI cancels what runs too long. Google's client would wait for ever on EXPIRED.
            message = end.message or "The job ran longer than its timeout."
            self._end(name, replace(CANCELLED, error=ApiError(Code.CANCELLED, message)))
        else:
            self._end(name, CANCELLED)

    def _end(self, name: str, verdict: Verdict) -> None:
        with self._store.transaction():
            job = self._store.find(CUSTOM_JOBS, name)
            if job is None or job.state in ENDED:
                return
            verdict.write(job)
            self._store.replace(CUSTOM_JOBS, job)
        self._tell(job)

    def _set_pending(self, name: str) -> Raw:
        with self._store.transaction():
            job = self._store.get(CUSTOM_JOBS, name)
            job.state = JobState.JOB_STATE_PENDING
            self._store.replace(CUSTOM_JOBS, job)
        return job

    def _prepared_again(self, job: Raw) -> Prepared:
        run = self._store.get(RUNS, job.name)
        return Prepared(job, run, _spec_of(job, run))

    def _tell(self, job: Raw) -> None:
        run = self._store.find(RUNS, job.name)
        owner = "" if run is None else str(run.metadata["owner"])
        follower = self._followers.get(parse_resource_name(owner).collection) if owner else None
        if follower is not None:
            follower(owner, job)

    def _say(self, job_id: str, text: str) -> None:
        log = self._engine.logs(job_id)
        if log is not None:
            log.append(_SERVICE, text)


class _Watched:
    """One job, as the engine tells of it."""

    def __init__(self, jobs: CustomJobs, name: str) -> None:
        self._jobs = jobs
        self._name = name

    def running(self) -> None:
        """Every replica has been started."""
        self._jobs._running(self._name)

    def ended(self, end: JobEnd) -> None:
        """It is over."""
        self._jobs._ended(self._name, end)


def was_cut_short(job: Raw) -> bool:
    """Whether a job failed only because the local Vertex AI was stopped."""
    return bool(job.state == JobState.JOB_STATE_FAILED and job.error.message == STOPPED)


def _spec_of(job: Raw, run: Raw) -> JobSpec:
    kept = json_format.MessageToDict(run.metadata)
    name: ResourceName = parse_resource_name(job.name)
    return engine_spec(
        name,
        job.job_spec,
        project=kept["project"],
        trial_id=kept["trial_id"],
        family=kept["owner"] if kept["trial_id"] else "",
        dataset_env=kept["dataset_env"],
    )


def _internal(broken: Exception) -> ApiError:
    return ApiError(Code.INTERNAL, f"{type(broken).__name__}: {broken}")
