"""Which trials the service has stopped early, which the API shows in the job of a trial and nowhere else.

Such a trial ends as SUCCEEDED, with the measurements that it had, while its CustomJob was cancelled.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from vertexkit._core.lookup import listed, parent, quoted
from vertexkit._core.names import parse_resource_name
from vertexkit.errors import NotFound, PermissionDenied, VertexkitError
from vertexkit.job_state import JobState, job_state
from vertexkit.training_body import CUSTOM_JOBS

if TYPE_CHECKING:
    from vertexkit._core.context import Context

__all__ = ["TrialStops"]

_log = logging.getLogger("vertexkit")

_ONE_BY_ONE: Final = 2
"""Jobs that are asked for by name; of more than that, those that were not whole are listed."""
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
            timeout: Seconds that there are for it, at most.
        """
        new = [job for job in jobs if job not in self._known]
        if not new:
            return
        seconds = _SECONDS if timeout is None else min(timeout, _SECONDS)
        try:
            found = dict(
                self._one_by_one(new, seconds) if len(new) <= _ONE_BY_ONE else self._listed(new, since)
            )
        except PermissionDenied as error:
            found = dict.fromkeys(new, False)
            _log.info("which trials were stopped early is not known: %s", error)
        except VertexkitError as error:  # whoever waits asks again
            _log.info("which trials were stopped early is not known yet: %s", error)
            return
        self._known |= found.keys()
        stopped = {job for job, is_stopped in found.items() if is_stopped}
        if stopped:
            self.stopped |= stopped

    def _one_by_one(self, jobs: Sequence[str], seconds: float) -> Iterator[tuple[str, bool]]:
        for job in jobs:
            try:
                data = self._context.clients.http_json("GET", job, resource=job, timeout=seconds)
            except NotFound:
                yield job, False
                continue
            state = job_state(data.get("state"))
            if _is_settled(state):
                yield job, state not in _WHOLE

    def _listed(self, jobs: Sequence[str], since: str) -> Iterator[tuple[str, bool]]:
        not_whole = {
            parse_resource_name(data["name"]).id: job_state(data.get("state"))
            for data in listed(
                self._context,
                f"{parent(self._context)}/{CUSTOM_JOBS}",
                CUSTOM_JOBS,
                filter=f'state!="JOB_STATE_SUCCEEDED" AND create_time>={quoted(since)}',
                fields=("name", "state"),
            )
        }
        for job in jobs:
            state = not_whole.get(parse_resource_name(job).id, JobState.SUCCEEDED)
            if _is_settled(state):
                yield job, state not in _WHOLE


def _is_settled(state: JobState) -> bool:
    return state.ended or state is JobState.CANCELLING
