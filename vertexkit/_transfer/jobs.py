"""Many jobs at once, each in a thread, with retries and a prompt end."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from vertexkit._transfer.local_tree import reason
from vertexkit._transfer.patience import Patience, Stopped, is_passing
from vertexkit.errors import ServiceError, TransferFailed, VertexkitError

T = TypeVar("T")

LARGE_BYTES = 2 * 1024 * 1024
"""From this size on, a file goes block by block, and goes on where it was interrupted.

Smaller ones go whole, which is quicker; when a transfer is interrupted, those on their way are waited for.
"""


class Job(ABC):
    """One thing to move."""

    @abstractmethod
    def run(self, patience: Patience) -> None:
        """Do it.

        Raises:
            VertexkitError: The service or the network refused.
            OSError: The local file did.
            Stopped: The transfer was interrupted.
        """

    @abstractmethod
    def failed(self, error: VertexkitError | OSError) -> None:
        """It did not work, and will not."""


def attempted(attempt: Callable[[], T], patience: Patience) -> T:
    """The result of ``attempt``, tried again after failures that may pass while the patience lasts."""
    patience.check()
    try:
        result = attempt()
    except VertexkitError as error:
        if not is_passing(error):
            raise
        result = patience.again(attempt, error)
    patience.renew()
    return result


def run_all(jobs: Sequence[Job], width: int, patience: Patience) -> None:
    """Do all the jobs, each until it succeeds or fails.

    An interruption (Ctrl-C, or a mistake in code) stops the rest: what is on its way ends, what waits
    does not begin.

    Args:
        jobs: What to do, in this order.
        width: How many at a time.
        patience: Shared with everything else that moves for the same call.
    """
    workers = _Workers(iter(jobs), patience)
    threads = [
        threading.Thread(target=workers.work, name=f"vertexkit-transfer-{number}", daemon=True)
        for number in range(min(width, len(jobs)))
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException:
        patience.stop.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
        raise
    if workers.failure is not None:
        raise workers.failure


class _Workers:
    """What the threads of one `run_all` share."""

    def __init__(self, jobs: Iterator[Job], patience: Patience) -> None:
        self.failure: BaseException | None = None
        self._jobs = jobs
        self._patience = patience
        self._lock = threading.Lock()

    def work(self) -> None:
        """Take jobs until there are no more."""
        try:
            while not self._patience.stop.is_set():
                with self._lock:
                    job = next(self._jobs, None)
                if job is None:
                    return
                try:
                    job.run(self._patience)
                except (VertexkitError, OSError) as error:
                    job.failed(error)
        except Stopped:
            pass
        except BaseException as error:
            # A mistake in code: it is raised in the caller's thread.
            self.failure = error
            self._patience.stop.set()


def words(error: VertexkitError | OSError) -> str:
    """Why one file failed, in a line: what the service said, or the operating system."""
    if isinstance(error, ServiceError):
        return error.service_message.strip() or type(error).__name__
    if isinstance(error, TransferFailed):
        return "; ".join(error.failures.values())
    return str(error) if isinstance(error, VertexkitError) else reason(error)
