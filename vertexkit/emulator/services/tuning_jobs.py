"""HyperparameterTuningJobs: what is kept of them, and the search behind each (``tuning_run.py``).

``PENDING -> RUNNING -> SUCCEEDED`` or ``FAILED``; from the first two also ``CANCELLING -> CANCELLED``. Trials
are kept beside their job, and shown in it.
"""

from __future__ import annotations

from typing import Final

from vertexkit.emulator.filters import Filterable
from vertexkit.emulator.jobs.logs import JobLogs
from vertexkit.emulator.messages import (
    Execution,
    HyperparameterTuningJob,
    JobState,
    ListHyperparameterTuningJobsResponse,
    Raw,
    TrialState,
)
from vertexkit.emulator.operations import Operations
from vertexkit.emulator.services.custom_jobs import CustomJobs
from vertexkit.emulator.services.job_records import JobRecords
from vertexkit.emulator.services.job_threads import JobThreads
from vertexkit.emulator.services.job_verdict import ENDED
from vertexkit.emulator.services.listing import JOB_FIELDS, list_page, resource_id
from vertexkit.emulator.services.trial_memory import TrialMemory
from vertexkit.emulator.services.tuning_run import (
    TRIALS,
    TUNING_JOBS,
    TUNING_RUNS,
    Engine,
    Means,
    TuningRun,
    clear,
)
from vertexkit.emulator.services.tuning_spec import TRIAL_SPEC, check_tuning_job, trial_job
from vertexkit.emulator.store import Store
from vertexkit.emulator.validation import canonical_location, canonical_name, new_id

_FILTER: Final = Filterable(HyperparameterTuningJob, JOB_FIELDS, {"hyperparameter_tuning_job": resource_id})
_GIVEN: Final = (
    "display_name",
    "max_failed_trial_count",
    "max_trial_count",
    "parallel_trial_count",
)


class TuningJobs:
    """All HyperparameterTuningJobs. Safe to use from any thread.

    Args:
        store: Where they are kept.
        operations: Where long-running operations are kept.
        jobs: The CustomJobs, of which each trial is one.
        engine: What runs those.
        memory: What memory there is for trials.
    """

    def __init__(
        self, store: Store, operations: Operations, jobs: CustomJobs, engine: Engine, memory: TrialMemory
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._engine = engine
        self._means = Means(store, jobs, engine, memory)
        self._threads: JobThreads[TuningRun] = JobThreads()
        self._records = JobRecords(store, operations, TUNING_JOBS, beside=TUNING_RUNS)
        jobs.follow(TUNING_JOBS.collection, self._follow)

    def restore(self) -> None:
        """Go on with every search that was under way when the local Vertex AI last stopped.

        To be called after ``CustomJobs.restore``.
        """
        for job in self._store.all(TUNING_JOBS):
            if job.state not in ENDED:
                self._begin(job.name)

    def close(self) -> None:
        """Leave every search where it is, for the next start; blocks. The engine ends their trials."""
        self._threads.close()

    def create(self, parent: str, asked: Raw) -> Raw:
        """Create a job, whose search begins at once.

        Raises:
            ApiError: INVALID_ARGUMENT; UNIMPLEMENTED for what the local Vertex AI does not do.
        """
        location = canonical_location(parent)
        config = check_tuning_job(asked)
        job = HyperparameterTuningJob(
            name=f"{location}/{TUNING_JOBS.collection}/{new_id()}", state=JobState.JOB_STATE_PENDING
        )
        for field in _GIVEN:
            setattr(job, field, getattr(asked, field))
        job.labels.update(asked.labels)
        job.study_spec.CopyFrom(asked.study_spec)
        job.trial_job_spec.CopyFrom(asked.trial_job_spec)
        # What is wrong with every trial is wrong with the job; nothing of this is kept.
        self._jobs.prepare(
            parent, trial_job(job, "1", config, {}), owner=job.name, trial_id="1", path=TRIAL_SPEC
        )
        run = Execution(name=job.name)
        run.metadata.update({"project": parent.split("/")[1]})
        self._records.add(job, run)
        self._begin(job.name)
        return self.get(job.name)

    def get(self, name: str) -> Raw:
        """A job, with its trials.

        Raises:
            ApiError: INVALID_ARGUMENT, NOT_FOUND.
        """
        with self._store.transaction():
            return self._shown(self._records.get(name))

    def list(self, request: Raw) -> Raw:
        """The page that a ListHyperparameterTuningJobs request asks for."""
        paths = request.read_mask.paths
        with_trials = not paths or any(path.split(".")[0] in ("trials", "*") for path in paths)
        jobs, token = list_page(
            self._store,
            TUNING_JOBS,
            canonical_location(request.parent),
            request,
            filterable=_FILTER,
            view=self._shown if with_trials else lambda job: job,
        )
        return ListHyperparameterTuningJobsResponse(hyperparameter_tuning_jobs=jobs, next_page_token=token)

    def cancel(self, name: str) -> None:
        """Have a job end, and its trials; one that has ended stays as it is.

        Raises:
            ApiError: INVALID_ARGUMENT, NOT_FOUND.
        """
        job = self._records.cancel(name)
        if job is not None:
            self._wake(job.name)

    def delete(self, name: str) -> Raw:
        """Delete a job that has ended, with its trials, their CustomJobs and logs; the operation.

        Raises:
            ApiError: INVALID_ARGUMENT, NOT_FOUND; FAILED_PRECONDITION, it has not ended.
        """
        with self._store.transaction():
            operation = self._records.delete(name)
            canonical = canonical_name(name, TUNING_JOBS.collection)
            self._store.delete_all(TRIALS, str(canonical))
        self._jobs.delete_owned(str(canonical))
        self._engine.delete(canonical.id)
        return operation

    def log(self, project_number: str, job_id: str) -> JobLogs | None:
        """What is said of a project's search as a whole; None if the project has no such job."""
        return self._engine.open_log(job_id) if self._records.has(project_number, job_id) else None

    def _begin(self, name: str) -> None:
        self._threads.begin(name, lambda over: TuningRun(name, self._means, over))

    def _follow(self, name: str, job: Raw) -> None:
        if job.state == JobState.JOB_STATE_PENDING:
            self._begun_anew(name, job)
        self._wake(name)

    def _begun_anew(self, name: str, job: Raw) -> None:
        """Forget what a trial had reported whose job starts anew, as its spec asks for."""
        with self._store.transaction():
            for trial in self._store.all(TRIALS, name):
                if trial.custom_job == job.name and trial.state == TrialState.ACTIVE:
                    clear(trial)
                    self._store.replace(TRIALS, trial)

    def _wake(self, name: str) -> None:
        run = self._threads.find(name)
        if run is not None:
            run.wake()

    def _shown(self, job: Raw) -> Raw:
        """A job as the API shows it."""
        for trial in self._store.all(TRIALS, job.name):
            # The trials of a study have names; those of a job have ids only.
            trial.ClearField("name")
            job.trials.append(trial)
        return job
