"""What a failed job is made into: which replica failed, how, its last words, and what would do.

See https://cloud.google.com/vertex-ai/docs/training/understanding-training-service#common-errors
"""

from __future__ import annotations

import re
import signal as signals
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vertexkit._core.printable import printable
from vertexkit.errors import ServiceError, TrainingFailed
from vertexkit.failure_causes import MORE_MEMORY, lost_peer, remedy_for

if TYPE_CHECKING:
    from vertexkit.job_logs import JobLogs

__all__ = ["training_failed"]

_LOOKED_AT: Final = 300
"""How many of the last lines are searched for what went wrong."""

_ENDED = re.compile(
    r"The replica (?P<replica>[\w-]+) (?P<memory>ran out[ -]of[ -]memory and )?"
    r"exited with a non-zero status of (?P<status>\d+)(?: ?\((?P<signal>SIG[A-Z]+)\))?"
)
_WORDS: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (
        re.compile(r"[Rr]esources are insufficient in region|ZONE_RESOURCE_POOL_EXHAUSTED"),
        "the region has no such machines left at the moment: try again later, in another location, or with "
        "another accelerator",
    ),
    (
        re.compile(r"longer than its timeout|exceeded .*time ?out|timed out", re.IGNORECASE),
        "give a longer timeout=",
    ),
    (
        re.compile(r"Internal error occurred"),
        "nothing is known to be wrong with the program: try again, and report it to Google Cloud if it stays",
    ),
)
"""What a job's error says where no replica is to blame, and what would do."""


@dataclass(frozen=True)
class _End:
    """How a replica ended."""

    replica: str
    exit_code: int | None
    signal: int | None
    out_of_memory: bool

    def __str__(self) -> str:
        if self.out_of_memory:
            return f"{self.replica} ran out of memory"
        if self.signal is not None:
            return f"{self.replica} was ended by signal {self.signal} ({_name(self.signal)})"
        return f"{self.replica} exited with code {self.exit_code}"


def training_failed(*, job: str, message: str, logs: JobLogs, log_lines: int = 20) -> TrainingFailed:
    """The error to raise for a job that failed.

    Args:
        job: Resource name of the job.
        message: ``error.message`` of the job.
        logs: Its logs. That they cannot be read is told, and keeps nothing else from being told.
        log_lines: How many of the replica's last lines to show.
    """
    ends = _ends(message)
    if not ends:
        remedy = next((remedy for pattern, remedy in _WORDS if pattern.search(message)), None)
        return TrainingFailed(f"the training failed: {message}", job=job, remedy=remedy)
    first = _first(ends)
    said = f"the training failed: {first}"
    others = [str(end) for end in ends if end is not first]
    if others:
        said += f"; after it, {', '.join(others)}"
    try:
        lines = [line.text for line in logs.tail(max(log_lines, _LOOKED_AT), first.replica)]
        peer = lost_peer(lines) if first.signal is None else None
        theirs = [] if peer is None else [line.text for line in logs.tail(_LOOKED_AT, peer)]
    except ServiceError as error:
        lines, peer, theirs = [], None, []
        said += f". Its log cannot be read: {error.service_message}"
    remedy = _remedy(first, lines)
    if peer is not None:
        said += f", because {peer} had gone before it"
        remedy = (
            remedy_for(theirs, exit_code=None, signal=None) or f'see why in its log: logs(replica="{peer}")'
        )
    return TrainingFailed(
        said,
        job=job,
        replica=first.replica,
        exit_code=first.exit_code,
        signal=first.signal,
        last_lines=[printable(line) for line in lines[-log_lines:]] if log_lines > 0 else (),
        remedy=remedy,
    )


def _remedy(end: _End, lines: Sequence[str]) -> str | None:
    if end.out_of_memory:
        return MORE_MEMORY
    return remedy_for(lines, exit_code=end.exit_code, signal=end.signal)


def _ends(message: str) -> list[_End]:
    """How the replicas ended that a job's error names, in its order."""
    found = []
    for match in _ENDED.finditer(message):
        exit_code, signal = _exit(int(match["status"]), match["signal"])
        found.append(_End(match["replica"], exit_code, signal, match["memory"] is not None))
    return found


def _first(ends: Sequence[_End]) -> _End:
    """Who ended first: whoever was killed, for the others then fail for want of it."""
    return next((end for end in ends if end.signal is not None or end.out_of_memory), ends[0])


def _exit(status: int, signal_name: str | None) -> tuple[int | None, int | None]:
    """Exit code and signal: a shell, and a container, turn signal 9 into 137."""
    if signal_name is not None:
        named = signals.Signals.__members__.get(signal_name)
        return None, status % 128 if named is None else int(named)
    if status - 128 in set(signals.Signals):
        return None, status - 128
    return status, None


def _name(signal: int) -> str:
    try:
        return signals.Signals(signal).name
    except ValueError:
        return "of no name"
