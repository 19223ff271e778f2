"""How a job of any kind ends, and what has to wait for that."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.messages import JobState, Raw
from vertexkit.emulator.services.timestamps import set_now
from vertexkit.emulator.store import Kind

ENDED: Final = frozenset(
    {JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_FAILED, JobState.JOB_STATE_CANCELLED}
)
"""The states that a job stays in."""


@dataclass(frozen=True)
class Verdict:
    """The state that a job ends in, once nothing of it runs any more."""

    state: int
    error: ApiError | None = None

    def write(self, job: Raw) -> None:
        """Write into a job that it has ended so, now."""
        job.state = self.state
        if self.error is not None:
            job.error.code, job.error.message = self.error.code.number, self.error.message
        set_now(job.end_time)


CANCELLED: Final = Verdict(JobState.JOB_STATE_CANCELLED, ApiError(Code.CANCELLED, "CANCELED"))
SUCCEEDED: Final = Verdict(JobState.JOB_STATE_SUCCEEDED)


def failed(error: ApiError) -> Verdict:
    """The job fails with an error."""
    return Verdict(JobState.JOB_STATE_FAILED, error)


def check_deletable(kind: Kind, resource: Raw, ended: Collection[int] = ENDED) -> None:
    """Refuse to delete what is still under way.

    Args:
        kind: What it is.
        resource: The job, or the pipeline, as it is kept.
        ended: The states that one of its kind stays in.

    Raises:
        ApiError: FAILED_PRECONDITION.
    """
    if resource.state not in ended:
        state = resource.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_number[resource.state].name
        raise ApiError(
            Code.FAILED_PRECONDITION,
            f"The {kind.title} {resource.name} is in state {state}, and can only be deleted once it has "
            "ended. Cancel it first.",
        )
