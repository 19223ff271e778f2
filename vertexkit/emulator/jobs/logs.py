"""The logs of a job: one file a replica, lines with times, read without being held in memory.

A record is 19 digits of nanoseconds, ``O`` or ``E`` for the stream, and the bytes of the line as they were
written (``keeper.py``). Times never fall within a file, so one is found by bisection.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vertexkit.emulator.jobs.log_writer import HEADER_BYTES, header

SERVICE = "service"
"""The replica whose lines are those of the local Vertex AI itself."""

_SUFFIX = ".log"
_HEADER = re.compile(rb"(\d{19}) ([OE]) ", re.ASCII)
_SEVERITIES = {b"O": "INFO", b"E": "ERROR"}
_BLOCK_BYTES = 256 * 1024


@dataclass(frozen=True)
class LogLine:
    """One line of one replica."""

    time_ns: int
    """Since the epoch; never before that of the line before it, of the same replica."""
    replica: str
    """``workerpool0-0``, or ``service``."""
    severity: str
    """``INFO`` for standard output, ``ERROR`` for standard error."""
    text: str
    """Without its newline; bytes that are not UTF-8 as ``\\xff``."""
    position: int
    """Rises within a replica, and stays what it is."""


class JobLogs:
    """The logs of one job, also while it runs, and from any number of threads.

    Args:
        folder: Where they are; it need not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def replicas(self) -> list[str]:
        """Who has written something, by name."""
        return sorted(path.name.removesuffix(_SUFFIX) for path in self._folder.glob(f"*{_SUFFIX}"))

    def path(self, replica: str) -> Path:
        """The file of a replica."""
        return self._folder / f"{replica}{_SUFFIX}"

    def forward(self, *, since_ns: int = 0, replicas: Collection[str] | None = None) -> Iterator[LogLine]:
        """The lines that there are when this is called, oldest first: by time, replica and position.

        Args:
            since_ns: Leave out what is older. It is found without reading the files from their beginnings.
            replicas: Whose lines; None for everybody's.
        """
        return heapq.merge(*(self._forward(name, since_ns) for name in self._chosen(replicas)), key=_order)

    def backward(
        self, *, until_ns: int | None = None, replicas: Collection[str] | None = None
    ) -> Iterator[LogLine]:
        """The lines that there are when this is called, newest first.

        Args:
            until_ns: Leave out what is newer. It is found without reading what is.
            replicas: Whose lines; None for everybody's.
        """
        chosen = (self._backward(name, until_ns) for name in self._chosen(replicas))
        return heapq.merge(*chosen, key=_order, reverse=True)

    def append(self, replica: str, text: str) -> None:
        """Write lines of the local Vertex AI's own. A full disk loses them, and nothing else."""
        with contextlib.suppress(OSError), self._appended(replica) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            prefix = header(max(time.time_ns(), self.last_time(replica)), "O")
            start = file.seek(0, os.SEEK_END)
            try:
                file.write(b"".join(prefix + line.encode() + b"\n" for line in text.splitlines()))
                file.flush()
            except OSError:
                file.truncate(start)
                raise

    def last_time(self, replica: str) -> int:
        """The time of a replica's last line; 0 for one that has written nothing."""
        return next((line.time_ns for line in self._backward(replica, None)), 0)

    def seal(self, replica: str) -> None:
        """Make the last line whole if its writer was killed in the middle of it.

        Nobody writes any more, or not yet again.
        """
        # It is not there, or the disk is full: then the line stays as it is, and is not given.
        with contextlib.suppress(OSError), self.path(replica).open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            start = _line_start(file, size)
            if start == size:
                return
            file.seek(start)
            if _HEADER.match(file.read(HEADER_BYTES)):
                file.seek(size)
                file.write(b"\n")
            else:
                file.truncate(start)

    def _appended(self, replica: str) -> BinaryIO:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.path(replica).open("ab")

    def _chosen(self, replicas: Collection[str] | None) -> list[str]:
        return [name for name in self.replicas() if replicas is None or name in replicas]

    def _forward(self, replica: str, since_ns: int) -> Iterator[LogLine]:
        try:
            file = self.path(replica).open("rb")
        except FileNotFoundError:
            return
        with file:
            end = _line_start(file, file.seek(0, os.SEEK_END))
            position = _bisect(file, since_ns, end)
            file.seek(position)
            while position < end:
                raw = file.readline()
                line = _line(raw, replica, position)
                position += len(raw)
                if line is not None and line.time_ns >= since_ns:
                    yield line

    def _backward(self, replica: str, until_ns: int | None) -> Iterator[LogLine]:
        try:
            file = self.path(replica).open("rb")
        except FileNotFoundError:
            return
        with file:
            end = _line_start(file, file.seek(0, os.SEEK_END))
            if until_ns is not None:
                end = _bisect(file, until_ns + 1, end)
            for position, raw in _lines_backward(file, end):
                line = _line(raw, replica, position)
                if line is not None:
                    yield line


def _order(line: LogLine) -> tuple[int, str, int]:
    return line.time_ns, line.replica, line.position


def _line(raw: bytes, replica: str, position: int) -> LogLine | None:
    """The line of a record; None for what is none."""
    found = _HEADER.match(raw)
    if found is None:
        return None
    text = raw[HEADER_BYTES:].removesuffix(b"\n").decode(errors="backslashreplace")
    return LogLine(int(found[1]), replica, _SEVERITIES[found[2]], text, position)


def _bisect(file: BinaryIO, time_ns: int, end: int) -> int:
    """Where the first record not older than a time begins; ``end``, where a record ends, if there is none."""
    low, high = 0, end
    # Invariant: what begins before `low` is older, what begins at `high` or later is not.
    while low < high:
        middle = (low + high) // 2
        start = _line_start(file, middle)
        file.seek(start)
        raw = file.readline()
        found = _HEADER.match(raw)
        # What is no record goes with what is before it: it is passed over in reading.
        if found is None or int(found[1]) < time_ns:
            low = start + len(raw)
        else:
            high = start
    return low


def _line_start(file: BinaryIO, position: int) -> int:
    """Where the line begins that the byte at a position belongs to."""
    while position > 0:
        size = min(4096, position)
        file.seek(position - size)
        found = file.read(size).rfind(b"\n")
        if found >= 0:
            return position - size + found + 1
        position -= size
    return 0


def _lines_backward(file: BinaryIO, end: int) -> Iterator[tuple[int, bytes]]:
    """Every line before ``end``, where one ends, and where it begins; the last first."""
    rest = b""
    while end > 0:
        size = min(_BLOCK_BYTES, end)
        end -= size
        file.seek(end)
        data = file.read(size) + rest
        # The first line may have begun before; it waits for the next block.
        cut = data.find(b"\n") + 1 if end else 0
        position = end + len(data)
        for line in reversed(data[cut:].split(b"\n")[:-1]):
            position -= len(line) + 1
            yield position, line
        rest = data[:cut]
