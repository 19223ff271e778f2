"""Which trials the service has stopped early, which the API shows in the job of a trial and nowhere else.

Such a trial ends as SUCCEEDED, with the measurements that it had, while its CustomJob was cancelled.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from vertexkit._core.lookup import listed, parent, quoted
from vertexkit._core.names import parse_resource_name
from vertexkit.errors import PermissionDenied, VertexkitError
from vertexkit.job_state import JobState, job_state
from vertexkit.training_body import CUSTOM_JOBS

if TYPE_CHECKING:
    from vertexkit._core.context import Context

__all__ = ["TrialStops"]

_log = logging.getLogger("vertexkit")

_SECONDS: Final = 10.0
_WHOLE: Final = (JobState.SUCCEEDED, JobState.PARTIALLY_SUCCEEDED)


class TrialStops:
    """What is known of it, by the jobs of trials that have succeeded: each is asked for once.

    Args:
        context: The session's parts.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: set[str] = set()
        self.stopped: frozenset[str] = frozenset()
        """The CustomJobs of those that were; another set as soon as there are more."""

    def look(self, jobs: Iterable[str], *, since: str, timeout: float | None = None) -> None:
        """Ask for those that are not known yet. Where the service does not tell, none was stopped.

        Args:
            jobs: Resource names of the CustomJobs of trials that have succeeded.
            since: Before which none of them was created, as the API writes a time.
            timeout: Seconds that the service may take to answer, at most.
        """
        new = [job for job in jobs if job not in self._known]
        if not new:
            return
        try:
            not_whole = self._not_whole(since, _SECONDS if timeout is None else min(timeout, _SECONDS))
        except PermissionDenied as error:
            not_whole = {}
            _log.info("which trials were stopped early is not known: %s", error)
        except VertexkitError as error:  # whoever waits asks again
            _log.info("which trials were stopped early is not known yet: %s", error)
            return
        # One that is gone was whole, as far as anybody can tell.
        states = {job: not_whole.get(parse_resource_name(job).id, JobState.SUCCEEDED) for job in new}
        self._known |= {job for job, state in states.items() if _is_settled(state)}
        stopped = {job for job, state in states.items() if _is_settled(state) and state not in _WHOLE}
        if stopped:
            self.stopped |= stopped

    def _not_whole(self, since: str, seconds: float) -> dict[str, JobState]:
        """The states of the jobs that have not succeeded, by their ids."""
        found = listed(
            self._context,
            f"{parent(self._context)}/{CUSTOM_JOBS}",
            CUSTOM_JOBS,
            filter=f'state!="JOB_STATE_SUCCEEDED" AND create_time>={quoted(since)}',
            fields=("name", "state"),
            timeout=seconds,
        )
        return {parse_resource_name(data["name"]).id: job_state(data.get("state")) for data in found}


def _is_settled(state: JobState) -> bool:
    return state.ended or state is JobState.CANCELLING
