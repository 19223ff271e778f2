"""The logs of a search, which are those of its trials: read one after another, or followed at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from vertexkit._core.names import parse_resource_name
from vertexkit.job_logs import JobLogs, LogFollower, LogLine
from vertexkit.trials import Trial, Trials

if TYPE_CHECKING:
    from vertexkit._core.context import Context

__all__ = ["TrialsFollower", "logs_of", "read_all"]


def logs_of(context: Context, trial: Trial) -> JobLogs | None:
    """The log of one trial; None as long as it has no job."""
    if trial.custom_job is None:
        return None
    return JobLogs(context, parse_resource_name(trial.custom_job).id)


def read_all(context: Context, job_id: str, trials: Trials) -> Iterator[LogLine]:
    """Every line so far: what the service says of the search, then one trial after another.

    A replica has its trial before it: ``3/workerpool0-0``.
    """
    yield from JobLogs(context, job_id).read()
    for trial in trials:
        logs = logs_of(context, trial)
        for line in () if logs is None else logs.read():
            yield _named(trial.id, line)


class TrialsFollower:
    """Gives every line of every trial once, as it comes.

    The log service counts reads, so that each poll asks for the lines of one trial, in turn.

    Args:
        context: The session's parts.
        job_id: The numeric id of the search, of which the service itself has something to say.
        trials: Gives the trials as last read.
    """

    def __init__(self, context: Context, job_id: str, trials: Callable[[], Trials]) -> None:
        self._context = context
        self._trials = trials
        self._turn: dict[str, LogFollower] = {"": JobLogs(context, job_id).follow()}
        """Whose lines are still to come, by trial, in the order in which they are asked for."""
        self._ended: dict[str, float] = {}
        """When a trial was first seen to be over."""
        self._done: set[str] = set()

    def poll(self) -> list[LogLine]:
        """The new lines of the trial whose turn it is."""
        now = time.monotonic()
        for trial in self._trials():
            logs = None if trial.id in self._turn or trial.id in self._done else logs_of(self._context, trial)
            if logs is not None:
                self._turn[trial.id] = logs.follow()
            if trial.state.ended:
                self._ended.setdefault(trial.id, now)
        name = next(iter(self._turn))
        follower = self._turn.pop(name)
        lines = [_named(name, line) for line in follower.poll()]
        # What a trial prints last arrives late.
        settled = now - self._ended.get(name, now) > self._context.target.log_settle_seconds
        if settled and not lines and not follower.is_behind:
            self._done.add(name)
        else:
            self._turn[name] = follower
        return lines

    def finish(self) -> Iterator[LogLine]:
        """The rest of all, once the search has ended."""
        yield from self.poll()
        # What arrives late is waited for once, and not for each trial.
        settled = time.monotonic() + self._context.target.log_settle_seconds
        for name, follower in self._turn.items():
            for line in follower.finish(settled):
                yield _named(name, line)
        self._turn.clear()


def _named(trial: str, line: LogLine) -> LogLine:
    return replace(line, replica=f"{trial}/{line.replica}") if trial else line
