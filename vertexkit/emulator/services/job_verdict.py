"""How a job of any kind ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.messages import JobState


@dataclass(frozen=True)
class Verdict:
    """The state that a job ends in, once nothing of it runs any more."""

    state: int
    error: ApiError | None = None


CANCELLED: Final = Verdict(JobState.JOB_STATE_CANCELLED, ApiError(Code.CANCELLED, "CANCELED"))
SUCCEEDED: Final = Verdict(JobState.JOB_STATE_SUCCEEDED)


def failed(error: ApiError) -> Verdict:
    """The job fails with an error."""
    return Verdict(JobState.JOB_STATE_FAILED, error)
