"""How many trials this machine's memory has room for, by what those before them have taken."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from vertexkit.emulator.jobs.memory import available_memory

_GIB: Final = 2**30
_GUESS: Final = 2 * _GIB
"""Of a trial of which nothing is known yet: a small model in TensorFlow takes about half of it."""
_UNKNOWN_AT_ONCE: Final = 4
"""Trials that are started before anything is known of them, on a machine with fewer cores than that."""
_MARGIN: Final = 1.1
_SPARE: Final = _GIB // 4
_SETTLED_SECONDS: Final = 30.0
"""After which a trial that still runs is taken to have shown what it takes."""
_SAMPLE_SECONDS: Final = 1.0
_SAMPLE_SHARE: Final = 0.02
"""Of one core's time, at most, for looking: it takes the kernel milliseconds for each of large programs."""


@dataclass
class _Search:
    """What is known of the trials of one search."""

    running: dict[str, float] = field(default_factory=dict)
    """Since when, by the id of the trial's job."""
    peaks: dict[str, int] = field(default_factory=dict)
    """Bytes, of those that run."""
    most: int = 0
    """Bytes, of those that have ended."""
    is_known: bool = False
    """Whether one has shown all that it takes."""

    @property
    def each(self) -> int:
        """Bytes that a trial is taken to need."""
        most = max([self.most, *self.peaks.values()])
        return int(most * _MARGIN) if self.is_known else max(_GUESS, most)


class TrialMemory:
    """The memory of this machine, shared out among the trials of all searches. From any thread.

    Args:
        taken: Bytes that the processes of each job take now, by its id.
        available: Bytes that are free; None where that is not known, and nothing is held back.
        cores: Of this machine.
        now: The time in seconds.
        spent: The seconds of a core that this thread has had.
    """

    def __init__(
        self,
        taken: Callable[[], Mapping[str, int]],
        *,
        available: Callable[[], int | None] = available_memory,
        cores: int | None = None,
        now: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.thread_time,
    ) -> None:
        self._taken = taken
        self._available = available
        self._unknown_at_once = max(_UNKNOWN_AT_ONCE, cores or os.cpu_count() or 1)
        self._now = now
        self._spent = spent
        self._lock = threading.Lock()
        self._searches: dict[str, _Search] = {}
        self._next = float("-inf")
        self._sample: Mapping[str, int] = {}

    def started(self, search: str, job_id: str) -> None:
        """A trial has been started, by its job."""
        with self._lock:
            self._searches.setdefault(search, _Search()).running[job_id] = self._now()

    def ended(self, search: str, job_id: str, *, succeeded: bool) -> None:
        """A trial has ended; one that has failed may have done so before it took what others will."""
        with self._lock:
            known = self._searches.get(search)
            if known is None or known.running.pop(job_id, None) is None:
                return
            known.most = max(known.most, known.peaks.pop(job_id, 0))
            known.is_known |= succeeded

    def forget(self, search: str) -> None:
        """A search is over."""
        with self._lock:
            self._searches.pop(search, None)

    def look(self) -> None:
        """See what trials take; about once a second at most, however often this is called."""
        with self._lock:
            now = self._now()
            if now < self._next or not any(search.running for search in self._searches.values()):
                return
            began = self._spent()
            self._sample = self._taken()
            self._next = now + max(_SAMPLE_SECONDS, (self._spent() - began) / _SAMPLE_SHARE)
            for search in self._searches.values():
                for job_id, since in search.running.items():
                    search.peaks[job_id] = max(search.peaks.get(job_id, 0), self._sample.get(job_id, 0))
                    search.is_known |= now - since >= _SETTLED_SECONDS

    def refusal(self, search: str) -> str:
        """Why one more trial of a search is not to be started now; empty if it may.

        One of each search may always run.
        """
        with self._lock:
            mine = self._searches.get(search)
            if mine is None or not mine.running:
                return ""
            if not mine.is_known and len(mine.running) >= self._unknown_at_once:
                runs = "1 trial runs" if len(mine.running) == 1 else f"{len(mine.running)} trials run"
                return (
                    f"{runs}, and no more until it is known how much memory one "
                    "takes: when the first has succeeded, or has run for "
                    f"{_SETTLED_SECONDS:.0f} s."
                )
            available = self._available()
            if available is None:
                return ""
            # What runs will go on growing up to what a trial takes.
            promised = sum(
                max(0, other.each - self._sample.get(job_id, 0))
                for other in self._searches.values()
                for job_id in other.running
            )
            if available - promised - _SPARE >= mine.each:
                return ""
            return (
                f"Memory holds trials back: {len(mine.running)} run, one takes up to "
                f"{mine.each / _GIB:.1f} GiB, and {max(0, available - promised) / _GIB:.1f} GiB are free."
            )
