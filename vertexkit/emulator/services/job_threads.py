"""The threads of the jobs that are under way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Run(Protocol):
    """A job in a thread of its own."""

    def start(self) -> None:
        """Begin, or go on."""

    def stop(self) -> None:
        """Leave everything as it is, because the local Vertex AI ends."""

    def join(self) -> None:
        """Wait until it does nothing any more."""


_Run = TypeVar("_Run", bound=Run)


class JobThreads(Generic[_Run]):
    """The runs of the jobs of one kind. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, _Run] = {}
        self._closed = False

    def begin(self, name: str, make: Callable[[Callable[[], None]], _Run]) -> None:
        """Have a job begin, or go on; not where everything ends.

        Args:
            name: The job.
            make: Makes its run, given what that calls at its end.
        """
        with self._lock:
            if self._closed:
                return
            run = self._runs[name] = make(lambda: self._over(name))
            run.start()

    def find(self, name: str) -> _Run | None:
        """The run of a job; None for one that has ended."""
        with self._lock:
            return self._runs.get(name)

    def close(self) -> None:
        """Leave every job where it is, for the next start; blocks."""
        with self._lock:
            self._closed = True
            runs = list(self._runs.values())
        for run in runs:
            run.stop()
        for run in runs:
            run.join()

    def _over(self, name: str) -> None:
        with self._lock:
            self._runs.pop(name, None)
