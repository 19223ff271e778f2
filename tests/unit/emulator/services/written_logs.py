"""Logs as replicas leave them, written by hand, with times of the test's choosing."""

from __future__ import annotations

from pathlib import Path

from vertexkit.emulator.jobs.log_writer import header
from vertexkit.emulator.jobs.logs import JobLogs

T0 = 1_700_000_000_000_000_000
"""2023-11-14T22:13:20Z, in nanoseconds since the epoch."""
MS = 1_000_000


class WrittenLogs(JobLogs):
    """The logs of a job, with ``write`` in place of replicas."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        folder.mkdir(exist_ok=True)

    def write(
        self, replica: str, *lines: str | bytes, at: int = 0, step: int = MS, stream: str = "O"
    ) -> None:
        """Lines of a replica, the first ``at`` nanoseconds after T0, each ``step`` after the one before."""
        with self.path(replica).open("ab") as file:
            for number, line in enumerate(lines):
                raw = line if isinstance(line, bytes) else line.encode()
                file.write(header(T0 + at + number * step, stream) + raw + b"\n")
