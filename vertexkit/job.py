"""What all jobs have in common: how far they are, and how they are stopped.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/JobState
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from typing import Any, Self

from vertexkit._core.arguments import seconds
from vertexkit._core.deletion import delete_resource
from vertexkit._core.lookup import timestamp
from vertexkit._core.operations import intervals
from vertexkit._core.resource import Resource
from vertexkit.errors import DeadlineExceeded, FailedPrecondition, NotFound
from vertexkit.job_state import JobState, job_state
from vertexkit.job_wait import Awaited, Display, stream_of, wait_for

__all__ = ["Job", "took"]

_STOP_SECONDS = 120.0


class Job(Resource, Awaited):
    """A job, as it was when last read."""

    @property
    def start_time(self) -> datetime | None:
        """When it began to run, in UTC; None as long as it does not."""
        return _time(self._data, "startTime")

    @property
    def end_time(self) -> datetime | None:
        """When it was over, in UTC; None as long as it is not."""
        return _time(self._data, "endTime")

    @property
    def error(self) -> str | None:
        """What it failed of, in the service's words; None if it did not fail, as far as is known."""
        if self.state_as_read is JobState.SUCCEEDED:
            return None
        return str(self._data.get("error", {}).get("message", "")) or None

    @property
    def state(self) -> JobState:
        """How far it has come, as of now."""
        if not self.state_as_read.ended:
            self._read(None)
        return self.state_as_read

    @property
    def state_as_read(self) -> JobState:
        """Its state when it was last read."""
        return job_state(self._data.get("state"))

    def cancel(self) -> None:
        """Ask the service to stop it. It may succeed all the same: `state` tells.

        One that is over already is no error.
        """
        name = self.resource_name
        try:
            self._context.clients.http_json("POST", f"{name}:cancel", body={}, resource=name, retry=True)
        except FailedPrecondition:
            if not self.state.ended:
                raise

    def poll(self, timeout: float | None) -> JobState:
        """Read it again unless it is over, within that many seconds; None for the usual."""
        if not self.state_as_read.ended:
            self._read(timeout)
        return self.state_as_read

    def refresh(self) -> Self:
        """Read it again, and give itself.

        Raises:
            NotFound: It has been deleted.
        """
        self._read(None)
        return self

    def delete(self) -> None:
        """Delete it with all that is kept with it, such as its logs, once it is over. What it wrote stays.

        Gone already is no error.

        Raises:
            FailedPrecondition: It is not over.
        """
        with suppress(NotFound):
            self._require_over()
            delete_resource(self._context, self.resource_name)
        self._context.created.forget(self.resource_name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.display_name!r}: {self.resource_name}, {self.state_as_read}>"

    def _wait(self, timeout: float | None, logs: object) -> None:
        """What `wait` does for every kind of job, which says there what it is given and raises."""
        if timeout is not None:
            seconds("timeout", timeout)
        target = self._context.target
        wait_for(
            self,
            timeout=timeout,
            stream=stream_of(logs),
            log_seconds=target.log_poll_seconds,
            progress=self._context.progress,
            display=self._display(),
            lasting=target.lasting,
        )

    def _display(self) -> AbstractContextManager[Display] | None:
        """What shows more of it than its state and time while one waits."""
        return None

    def _discard(self) -> None:
        """Delete it, whatever it is doing: what `Session.cleanup` is for."""
        self._stop()
        self.delete()

    def _read(self, timeout: float | None) -> None:
        name = self.resource_name
        self._data = self._context.clients.http_json("GET", name, resource=name, timeout=timeout)

    def _stop(self) -> None:
        """Cancel it unless it is over, and wait until it has stopped."""
        self._read(None)
        if self.state_as_read.ended:
            return
        self.cancel()
        deadline = time.monotonic() + _STOP_SECONDS
        for interval in intervals():
            if self.poll(max(deadline - time.monotonic(), 1.0)).ended:
                return
            if time.monotonic() >= deadline:
                raise DeadlineExceeded(
                    f"was cancelled, and is still {self.state_as_read} after {_STOP_SECONDS:g} s",
                    resource=self.resource_name,
                )
            time.sleep(min(interval, math.ceil(_STOP_SECONDS)))

    def _require_over(self) -> None:
        state = self.state
        if not state.ended:
            raise FailedPrecondition(
                f"the job is {state}", resource=self.resource_name, remedy="cancel() it, and wait()"
            )


def took(start: datetime | None, end: datetime | None) -> str:
    """``12.3 s``; empty where it is not over."""
    return "" if start is None or end is None else f"{(end - start).total_seconds():.1f} s"


def _time(data: Mapping[str, Any], key: str) -> datetime | None:
    return timestamp(data, key) if data.get(key) else None
