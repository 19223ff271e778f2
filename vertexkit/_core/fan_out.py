"""Runs several pieces of work at once for one caller: results in order, one deadline, first failure wins."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")

_GRACE = 0.25
"""Seconds past the deadline that a worker may take to say, better than "late", what went wrong."""


def fan_out(
    work: Sequence[Callable[[], T]],
    *,
    concurrency: int,
    deadline: float,
    stop: threading.Event,
    late: Callable[[], Exception],
) -> list[T]:
    """Run every piece of work, at most ``concurrency`` at a time.

    The threads are daemons made for this call. The caller only ever waits for results, so that Ctrl-C
    and the deadline end the call at once, whatever a server does to the sockets; a pool's threads
    would be waited for when the interpreter exits.

    Args:
        work: What to run.
        concurrency: Most threads.
        deadline: End of waiting, in ``time.monotonic()``.
        stop: Set when the call ends, however it ends; what is still running should watch it.
        late: Makes the error for a deadline that passed.

    Returns:
        What each piece of work returned, in the order given.

    Raises:
        BaseException: What the first piece to fail raised; nothing further is started.
    """
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, T | None, BaseException | None]] = queue.SimpleQueue()
    for index in range(len(work)):
        todo.put(index)

    def worker() -> None:
        while not stop.is_set():
            try:
                index = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((index, work[index](), None))
            except BaseException as error:
                done.put((index, None, error))
                # Here already, so that nothing is started before the caller has woken up.
                stop.set()

    results: dict[int, T] = {}
    try:
        for number in range(min(concurrency, len(work))):
            # The caller's context goes along, for tracing and logging that keep their state there.
            threading.Thread(
                target=copy_context().run, args=(worker,), name=f"vertexkit-predict-{number}", daemon=True
            ).start()
        while len(results) < len(work):
            try:
                index, value, error = done.get(timeout=max(deadline - time.monotonic(), 0) + _GRACE)
            except queue.Empty:
                raise late() from None
            if error is not None:
                raise error
            results[index] = value  # type: ignore[assignment]  # a value goes with every None of error
    finally:
        stop.set()
    return [results[index] for index in range(len(work))]
