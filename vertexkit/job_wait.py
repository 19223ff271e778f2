"""Waiting for a job: its logs as they come, its state, its time, and what Ctrl-C comes to.

Knows nothing of what the job does: training, tuning and batch prediction are waited for alike.
"""

from __future__ import annotations

import math
import sys
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Literal, Protocol, TextIO

from vertexkit.cleanup import noting
from vertexkit.errors import DeadlineExceeded, InvalidArgument, NotFound, ServiceError
from vertexkit.job_state import JobState
from vertexkit.progress import status

if TYPE_CHECKING:
    from vertexkit.job_logs import LogLine

__all__ = ["Awaited", "Display", "Follower", "Stream", "check_wait", "followed", "stream_of", "wait_for"]

Stream = Literal["stdout", "stderr"]
Display = Callable[[JobState], object]
"""Shows how far a job has come, each time that it was asked."""

_FIRST_INTERVAL = 0.1
_GROWTH = 1.4
# Where nobody counts the calls: so late, at most, one hears that a job is over.
_LEAST_LONGEST_INTERVAL = 0.2
_PATIENCE = 4
_LONGEST_PATIENCE = 5.0
# A training of hours shall not be given up for a minute without a network.
_LONGEST_OUTAGE = 300.0
_LEAST_SECONDS = 1.0
_WORDS = {
    JobState.QUEUED: "queued",
    JobState.PENDING: "its machines are being made ready",
    JobState.RUNNING: "running",
    JobState.CANCELLING: "being cancelled",
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
}


class Follower(Protocol):
    """Gives every line of a log once, as it comes; see `vertexkit.job_logs.LogFollower`."""

    def poll(self) -> list[LogLine]:
        """The lines that are new, at once."""

    def finish(self) -> Iterator[LogLine]:
        """The rest, once the job has ended."""


class Awaited(Protocol):
    """A job that can be waited for."""

    @property
    @abstractmethod
    def description(self) -> str:
        """What it is: ``"Training mnist"``."""

    @property
    @abstractmethod
    def found_again(self) -> str:
        """How another process finds it: ``session.training.get("1")``."""

    @property
    @abstractmethod
    def state_as_read(self) -> JobState:
        """Its state when it was last read."""

    @abstractmethod
    def poll(self, timeout: float) -> JobState:
        """Ask the service for its state, for that many seconds at most."""

    @abstractmethod
    def follower(self) -> Follower | None:
        """What follows its logs; None as long as there is nothing to follow."""

    @abstractmethod
    def settle(self) -> None:
        """Raise the error that it ended with, if it ended with one."""

    @abstractmethod
    def cancel(self) -> None:
        """Ask the service to stop it."""


def check_wait(wait: object) -> None:
    """Refuse a ``wait`` that neither says to wait for a job nor to leave it.

    Raises:
        InvalidArgument: It is no boolean.
    """
    if not isinstance(wait, bool):
        raise InvalidArgument("wait", wait, "is neither True nor False")


def stream_of(logs: object) -> Stream | None:
    """Where a job's log is to be written: True stands for standard output, False for nowhere.

    Raises:
        InvalidArgument: It is neither, nor the name of a stream.
    """
    if not isinstance(logs, bool) and logs not in ("stdout", "stderr"):
        raise InvalidArgument("logs", logs, "is neither True nor False, 'stdout' nor 'stderr'")
    return ("stdout" if logs else None) if isinstance(logs, bool) else logs


def wait_for(
    job: Awaited,
    *,
    timeout: float | None = None,
    stream: Stream | None = None,
    log_seconds: float,
    progress: bool | None = None,
    display: AbstractContextManager[Display] | None = None,
    lasting: bool = True,
) -> None:
    """Wait until a job is over, and raise what it ended with.

    On a terminal, Ctrl-C asks once whether to leave the job running or to cancel it; elsewhere, and the
    second time, it cancels.

    Args:
        job: The job.
        timeout: Seconds to wait; None for as long as it takes.
        stream: Where to write its log as it comes, each line with its replica; None for nowhere.
        log_seconds: How often the log may be asked for.
        progress: Whether to show state and time; None for: when standard error is a terminal.
        display: What shows more than state and time, in place of ``progress``.
        lasting: Whether the job can go on without this session.

    Raises:
        DeadlineExceeded: It is not over yet; it goes on.
        VertexkitError: What `Awaited.settle` raises.
        KeyboardInterrupt: As always; a note says what became of the job.
    """
    output = _Output(stream)
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    try:
        with _state_and_time(job, progress) if display is None else display as show:
            try:
                for event in _events(job, deadline, log_seconds, output):
                    if isinstance(event, JobState):
                        show(event)
                    else:
                        output.write(event)
            except ServiceError as error:
                if lasting and not isinstance(error, NotFound):  # it has been deleted
                    error.add_note(f"{job.description} may well go on: {job.found_again}")
                raise
            if not job.state_as_read.ended:
                raise DeadlineExceeded(
                    f"is not over after {timeout:g} s; it goes on",
                    resource=job.description,
                    remedy=f"find it again with {job.found_again}",
                )
            job.settle()
    except KeyboardInterrupt as interruption:
        if not job.state_as_read.ended:
            _interrupted(job, interruption, lasting=lasting)
        raise


@contextmanager
def _state_and_time(job: Awaited, progress: bool | None) -> Iterator[Display]:
    with status(job.description, progress) as shown:
        yield lambda state: shown.describe(f"{job.description}: {_WORDS.get(state, state.lower())}")


def followed(job: Awaited, *, log_seconds: float) -> Iterator[LogLine]:
    """Every line of a job's log as it comes, until the job is over.

    Args:
        job: The job.
        log_seconds: How often the log may be asked for.
    """
    for event in _events(job, math.inf, log_seconds, _Output("stdout")):
        if not isinstance(event, JobState):
            yield from event


def _events(
    job: Awaited, deadline: float, log_seconds: float, output: _Output
) -> Iterator[JobState | Iterable[LogLine]]:
    """Each state that the service answers, and the lines that came meanwhile, while the output is open."""
    follower: Follower | None = None
    # As often as the service lets one ask for logs, it lets one ask for a state.
    longest = max(_LEAST_LONGEST_INTERVAL, log_seconds)
    interval = min(_FIRST_INTERVAL, longest)
    ask = read = time.monotonic()
    while True:
        now = time.monotonic()
        if now >= min(ask, deadline):
            state = job.poll(min(max(deadline - now, _LEAST_SECONDS), _LONGEST_OUTAGE))
            took = time.monotonic() - now
            yield state
            if follower is None and output.open:
                follower = job.follower()
            if state.ended:
                if follower is not None and output.open:
                    yield follower.finish()
                return
            if time.monotonic() >= deadline:
                return
            # What takes the service long to tell, as of a thousand trials, it is asked for less often.
            ask = time.monotonic() + max(interval, min(took * _PATIENCE, _LONGEST_PATIENCE))
            interval = min(interval * _GROWTH, longest)
        if follower is not None and output.open and time.monotonic() >= read:
            yield follower.poll()
            read = time.monotonic() + log_seconds
        follows = follower is not None and output.open
        until = min(ask, deadline, read) if follows else min(ask, deadline)
        time.sleep(max(until - time.monotonic(), 0.0))


class _Output:
    """Where lines are written, until nobody reads them any more."""

    def __init__(self, stream: Stream | None) -> None:
        self._stream = stream
        self.open = stream is not None

    def write(self, lines: Iterable[LogLine]) -> None:
        """Write lines, and flush once."""
        for line in lines:
            if not self.open:
                return
            self._attempt(str(line))
        if self.open:
            self._attempt(None)

    def _attempt(self, text: str | None) -> None:
        # Looked up each time: the display of the progress stands in for the streams while it is shown.
        stream: TextIO | None = sys.stdout if self._stream == "stdout" else sys.stderr
        try:
            if stream is None:
                self.open = False
            elif text is None:
                stream.flush()
            else:
                _print(text, stream)
        except (BrokenPipeError, ValueError):  # `| head` has what it wanted; the stream is closed
            self.open = False


def _print(text: str, stream: TextIO) -> None:
    try:
        print(text, file=stream)
    except UnicodeEncodeError:
        encoding = getattr(stream, "encoding", None) or "ascii"
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)


def _interrupted(job: Awaited, interruption: KeyboardInterrupt, *, lasting: bool) -> None:
    until = "" if lasting else " until this session ends"
    if _to_be_left(until):
        interruption.add_note(f"{job.description} goes on{until}: {job.found_again}")
        return

    def cancel() -> None:
        job.cancel()
        interruption.add_note(f"{job.description} was asked to stop: {job.found_again}")

    noting(interruption, cancel, f"{job.description}: {job.found_again}")


def _to_be_left(until: str) -> bool:
    """Whether somebody at the terminal wants the job to go on."""
    if not _can_ask():
        return False
    try:
        while True:
            question = f"Leave the job running{until} (l) or cancel it (c)? "
            print(question, end="", file=sys.stderr, flush=True)
            answer = sys.stdin.readline()
            if answer.strip().lower() in ("l", "leave"):
                return True
            if not answer or answer.strip().lower() in ("c", "cancel"):
                return False
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return False


def _can_ask() -> bool:
    # A closed or replaced stream cannot be asked on.
    try:
        return sys.stdin.isatty() and sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False
