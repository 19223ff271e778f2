"""Waiting for what comes about by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def until(condition: Callable[[], Any], within: float = 60.0) -> Any:
    """Wait until something holds; what it is then.

    Args:
        condition: Asked again and again.
        within: Seconds after which the test has failed.
    """
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)
    return found
