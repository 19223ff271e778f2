"""The time as the API shows it."""

from __future__ import annotations

import time

from vertexkit.emulator.messages import Raw


def set_now(timestamp: Raw) -> None:
    """Set a timestamp to the present time, in microseconds."""
    timestamp.FromNanoseconds(time.time_ns() // 1000 * 1000)
