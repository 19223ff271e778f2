"""Lots taken by several threads, and kept in the order in which they were taken."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_POLL_SECONDS = 0.1

_T = TypeVar("_T")
_D = TypeVar("_D")


class InTurn(Generic[_T, _D]):
    """Has a few threads work on lots. At most so many are held as there is room for.

    Args:
        take: The next lot; None where there are no more. Called by one thread at a time.
        work: Done to a lot, by all threads at once.
        keep: Given every lot with what came of it, in order. Called by one thread at a time, and not while
            ``take`` is.
        room: Lots that are held at a time.
    """

    def __init__(
        self,
        take: Callable[[], _T | None],
        work: Callable[[_T], _D],
        keep: Callable[[_T, _D], None],
        room: int,
    ) -> None:
        self._take = take
        self._work = work
        self._keep = keep
        self._room = room
        self._turn = threading.Condition()
        self._stopping = self._cancelled = threading.Event()
        self._taken = self._kept = 0
        self._waiting: dict[int, tuple[_T, _D]] = {}
        self._no_more = False
        self._working = 0
        self._broken: BaseException | None = None

    def stopped(self, seconds: float = 0.0) -> bool:
        """Whether all is to end; waits for that, so many seconds at most."""
        return self._stopping.wait(seconds) if seconds else self._stopping.is_set()

    def run(self, threads: int, cancelled: threading.Event) -> bool:
        """Work on all lots, with so many threads.

        Args:
            threads: How many.
            cancelled: Set from outside to have it end when the lots in work are done; they are kept.

        Returns:
            Whether every lot was kept.

        Raises:
            BaseException: What ``take``, ``work`` or ``keep`` raised first; no lot is kept after that.
        """
        self._working, self._cancelled = threads, cancelled
        started = [threading.Thread(target=self._run, name=f"batch-{n}", daemon=True) for n in range(threads)]
        for thread in started:
            thread.start()
        with self._turn:
            while self._working and not cancelled.is_set():
                self._turn.wait(_POLL_SECONDS)
        self._stopping.set()
        for thread in started:
            thread.join()
        if self._broken is not None and not cancelled.is_set():
            raise self._broken
        return self._no_more and self._broken is None and self._kept == self._taken

    def _run(self) -> None:
        try:
            while (numbered := self._next()) is not None:
                index, lot = numbered
                done = self._work(lot)
                with self._turn:
                    self._waiting[index] = lot, done
                    while self._broken is None and self._kept in self._waiting:
                        self._keep(*self._waiting.pop(self._kept))
                        self._kept += 1
                    self._turn.notify_all()
        except BaseException as error:
            # Whoever called run() is told.
            with self._turn:
                self._broken = self._broken or error
            self._stopping.set()
        finally:
            with self._turn:
                self._working -= 1
                self._turn.notify_all()

    def _next(self) -> tuple[int, _T] | None:
        with self._turn:
            while self._taken - self._kept >= self._room and not self._stopping.is_set():
                self._turn.wait(_POLL_SECONDS)
            if self._no_more or self._stopping.is_set() or self._cancelled.is_set():
                return None
            lot = self._take()
            if lot is None:
                self._no_more = True
                return None
            self._taken += 1
            return self._taken - 1, lot
