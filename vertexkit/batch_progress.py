"""How a batch prediction goes, shown while one waits for it: instances done of all, and failures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

from vertexkit.job_state import JobState
from vertexkit.job_wait import Display
from vertexkit.progress import Tracker, status, tracked

__all__ = ["BatchProgress", "shown"]


@dataclass(frozen=True)
class BatchProgress:
    """How far a batch prediction job has come."""

    succeeded: int
    """Instances that have a prediction."""
    failed: int
    """Instances that will have none."""
    total: int | None
    """All instances; None as long as that is not known."""

    @property
    def done(self) -> int:
        """Instances that are over, one way or the other."""
        return self.succeeded + self.failed

    def __str__(self) -> str:
        """``1,200 of 5,000 instances, 3 failed``."""
        of = "" if self.total is None else f" of {self.total:,}"
        failed = f", {self.failed:,} failed" if self.failed else ""
        return f"{self.done:,}{of} instances{failed}"


class Progressing(Protocol):
    """A job whose instances are counted."""

    @property
    def description(self) -> str:
        """What it is: ``"Batch prediction images"``."""

    @property
    def progress_as_read(self) -> BatchProgress:
        """How far it was when last read."""


@contextmanager
def shown(job: Progressing, enabled: bool | None) -> Iterator[Display]:
    """Show how a job goes while the block waits for it.

    Args:
        job: The job, which is read again by whoever waits.
        enabled: True to show it anywhere, False never, None when standard error is a terminal or a notebook.
    """
    with ExitStack() as stack:
        row: Tracker | None = None
        bar: Tracker | None = None
        counted = 0

        def show(state: JobState) -> None:
            nonlocal row, bar, counted
            now = job.progress_as_read
            failed = f"{now.failed:,} failed" if now.failed else ""
            if bar is None and now.total is not None and now.done:
                # A bar needs to know how much there is.
                stack.close()
                bar = stack.enter_context(tracked(job.description, now.total, "instances", enabled))
            if bar is not None:
                bar.advance(now.done - counted)
                counted = now.done
                bar.describe(f"{job.description}: {state.lower()}", failed)
                return
            if row is None:
                row = stack.enter_context(status(job.description, enabled))
            row.describe(f"{job.description}: {state.lower()}")

        yield show
