"""The states of jobs and pipelines, which the API names apart, and a user need not.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/JobState and
https://cloud.google.com/vertex-ai/docs/reference/rest/v1/PipelineState
"""

from __future__ import annotations

import enum
import re

from vertexkit.errors import InvalidArgument

__all__ = ["JobState", "job_state", "naming_states"]

_PREFIX = re.compile(r"(?:JOB|PIPELINE)_STATE_")
_COMPARED = re.compile(r'(\bstate\s*(?:!=|=|:)\s*"?)(?:(?:JOB|PIPELINE)_STATE_)?(?=[A-Z])')


class JobState(enum.StrEnum):
    """How far a job has come. Compares equal to its name: ``job.state == "RUNNING"``."""

    QUEUED = "QUEUED"
    """Accepted, and not begun."""
    PENDING = "PENDING"
    """Its machines are being made ready."""
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLING = "CANCELLING"
    """It has been asked to stop, and may succeed all the same."""
    CANCELLED = "CANCELLED"
    """Stopped because somebody asked for it, or because its time was over."""
    PAUSED = "PAUSED"
    EXPIRED = "EXPIRED"
    UPDATING = "UPDATING"
    PARTIALLY_SUCCEEDED = "PARTIALLY_SUCCEEDED"
    UNKNOWN = "UNKNOWN"
    """One that the service has and vertexkit does not know."""

    @property
    def ended(self) -> bool:
        """Whether it is over, one way or another."""
        return self in _ENDED


_ENDED = frozenset(
    {
        JobState.SUCCEEDED,
        JobState.FAILED,
        JobState.CANCELLED,
        JobState.EXPIRED,
        JobState.PARTIALLY_SUCCEEDED,
    }
)


def job_state(name: str | None) -> JobState:
    """The state that the API calls ``JOB_STATE_RUNNING`` or ``PIPELINE_STATE_RUNNING``.

    Args:
        name: The state's name; None for that of a resource that says none yet.
    """
    try:
        return JobState(_PREFIX.sub("", name or "QUEUED", count=1))
    except ValueError:
        return JobState.UNKNOWN


def naming_states(filter: str | None, prefix: str) -> str | None:
    """A filter with its states as a collection names them.

    Args:
        filter: https://google.aip.dev/160; a state in it as `JobState` or any collection has it.
        prefix: What the collection puts before a state: ``JOB_STATE_``.

    Raises:
        InvalidArgument: It is no text.
    """
    if filter is None:
        return None
    if not isinstance(filter, str):
        raise InvalidArgument("filter", filter, "is no text")
    return _COMPARED.sub(rf"\1{prefix}", filter)
