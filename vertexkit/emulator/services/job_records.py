"""What is done alike with jobs of every kind, as they are kept: found, cancelled, deleted."""

from __future__ import annotations

from vertexkit._core.names import parse_resource_name
from vertexkit.emulator.messages import DeleteOperationMetadata, Empty, JobState, Raw
from vertexkit.emulator.operations import Operations
from vertexkit.emulator.services.job_verdict import ENDED, check_deletable
from vertexkit.emulator.store import Kind, Store
from vertexkit.emulator.validation import canonical_name


class JobRecords:
    """The jobs of one kind. Safe to use from any thread.

    Args:
        store: Where they are kept.
        operations: Where long-running operations are kept.
        kind: What they are.
        beside: The rows that are kept beside them, of the same names; None where there are none.
    """

    def __init__(
        self, store: Store, operations: Operations, kind: Kind, *, beside: Kind | None = None
    ) -> None:
        self._store = store
        self._operations = operations
        self._kind = kind
        self._beside = beside
        self._names = {parse_resource_name(job.name).id: job.name for job in store.all(kind)}

    def add(self, job: Raw, beside: Raw | None = None) -> None:
        """Keep a new job, and what goes beside it."""
        name = parse_resource_name(job.name)
        with self._store.transaction():
            self._store.insert(self._kind, name.parent, job)
            if self._beside is not None:
                self._store.insert(self._beside, name.parent, beside)
        self._names[name.id] = job.name

    def get(self, name: str) -> Raw:
        """The job of a name, as a request has it.

        Raises:
            ApiError: INVALID_ARGUMENT, NOT_FOUND.
        """
        return self._store.get(self._kind, str(canonical_name(name, self._kind.collection)))

    def cancel(self, name: str) -> Raw | None:
        """Have a job be in state CANCELLING; the job, or None for one that has ended and stays as it is.

        Raises:
            ApiError: INVALID_ARGUMENT, NOT_FOUND.
        """
        with self._store.transaction():
            job = self.get(name)
            if job.state in ENDED:
                return None
            if job.state != JobState.JOB_STATE_CANCELLING:
                job.state = JobState.JOB_STATE_CANCELLING
                self._store.replace(self._kind, job)
        return job

    def delete(self, name: str) -> Raw:
        """Delete a job that has ended, and what is beside it; the operation.

        Raises:
            ApiError: INVALID_ARGUMENT, NOT_FOUND; FAILED_PRECONDITION, it has not ended.
        """
        with self._store.transaction():
            job = self.get(name)
            check_deletable(self._kind, job)
            self._store.delete(self._kind, job.name)
            if self._beside is not None:
                self._store.delete(self._beside, job.name)
            operation = self._operations.done(job.name, DeleteOperationMetadata(), Empty())
        self._names.pop(parse_resource_name(job.name).id, None)
        return operation

    def has(self, project_number: str, job_id: str) -> bool:
        """Whether a project has a job of an id, in whichever location."""
        name = self._names.get(job_id)
        return name is not None and parse_resource_name(name).project == project_number
