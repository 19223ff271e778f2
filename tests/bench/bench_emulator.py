"""What a local Vertex AI costs that does nothing: memory, and the time until it is ready."""

from __future__ import annotations

import subprocess
import time
from statistics import median

from tests.bench.report import Row
from tests.conftest import descendants, launched


def run() -> list[Row]:
    """Start it three times, with no model deployed."""
    seconds, resident = [], []
    for _ in range(3):
        started = time.perf_counter()
        with launched() as emulator:
            seconds.append(time.perf_counter() - started)
            # Whatever it puts off until just after it is ready belongs to its size too.
            time.sleep(2)
            resident.append(sum(map(_resident_bytes, {emulator.pid} | descendants(emulator.pid))))
    return [
        Row(
            "local Vertex AI, idle: resident memory",
            f"{median(resident) / 1e6:.0f} MB",
            "",
            median(resident) / 1e6,
            target=200,
            unit="MB",
            at_most=True,
        ),
        Row("local Vertex AI: start", f"{median(seconds):.2f} s", "", median(seconds), unit="s"),
    ]


def _resident_bytes(pid: int) -> int:
    command = ["ps", "-o", "rss=", "-p", str(pid)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * 1024
