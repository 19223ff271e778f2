"""Progress of long work on standard error: bars, spinners, or plain lines in a log.

What is shown depends on where standard error goes:

* a terminal, or a notebook with ipywidgets: a live bar (rich, imported only then);
* anything else, when ``enabled=True``: a plain line at the start, every few seconds and at the end,
  which is what one wants in the log of a scheduled job;
* anything else: nothing.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Literal, Protocol

__all__ = ["Tracker", "amount", "can_animate", "status", "tracked"]

Unit = Literal["bytes", "instances", "steps"]

_SECONDS_BETWEEN_LINES = 10.0


class Row(Protocol):
    """What shows one piece of work. Every method may be called from any thread."""

    def advance(self, n: int) -> None:
        """Count ``n`` more units."""

    def describe(self, text: str, note: str = "") -> None:
        """Change the words, and those behind the amount."""

    def close(self, failed: bool) -> None:
        """Show the end of it, and nothing afterwards."""


class Tracker:
    """Tells how far a piece of work has come. Thread-safe; does nothing when progress is not shown."""

    def __init__(self, row: Row | None = None) -> None:
        self._row = row

    def advance(self, n: int = 1) -> None:
        """Count ``n`` more units as done; a negative ``n`` takes back what has to be done again."""
        if self._row is not None:
            self._row.advance(n)

    def describe(self, text: str, note: str = "") -> None:
        """Say what is being done now, and in ``note`` what must be seen however narrow the terminal is."""
        if self._row is not None:
            self._row.describe(text, note)


@contextmanager
def tracked(
    description: str, total: int | None, unit: Unit = "steps", enabled: bool | None = None
) -> Iterator[Tracker]:
    """Show a bar while the block runs.

    Args:
        description: What is being done: ``"Uploading my_mnist_model"``.
        total: How many units there are; None when that is not known.
        unit: What is counted; ``"bytes"`` are shown as kB, MB and GB, with a speed.
        enabled: True to show it anywhere, False never, None when standard error is a terminal or a notebook.

    Yields:
        The tracker to advance.
    """
    row = _open_row(description, total, unit, enabled)
    failed = True
    try:
        yield Tracker(row)
        failed = False
    finally:
        # Also on Ctrl-C: the display must give the cursor back.
        if row is not None:
            row.close(failed)


@contextmanager
def status(description: str, enabled: bool | None = None) -> Iterator[Tracker]:
    """Show a spinner with the time that has passed, while the block waits for something.

    Args:
        description: What is waited for: ``"Deploying mnist"``.
        enabled: True to show it anywhere, False never, None when standard error is a terminal or a notebook.

    Yields:
        A tracker whose ``describe`` changes the words.
    """
    with tracked(description, None, "steps", enabled) as tracker:
        yield tracker


def amount(n: float, unit: Unit, total: float | None = None) -> str:
    """``n`` units in words: ``"2,000 steps"``, ``"51.2 MB"`` (decimal, as Cloud Storage counts).

    Or how many are done of all: ``"500/2,000 steps"``, ``"1.5 MB of 51.2 MB"``.
    """
    if total is not None:
        of = f"{amount(n, unit)} of " if unit == "bytes" else f"{n:,.0f}/"
        return f"{of}{amount(total, unit)}"
    if unit != "bytes":
        return f"{n:,.0f} {unit}"
    for name in ("bytes", "kB", "MB", "GB"):
        if abs(n) < 1000:
            return f"{n:,.0f} {name}" if name == "bytes" else f"{n:,.1f} {name}"
        n /= 1000
    return f"{n:,.2f} TB"


def _open_row(description: str, total: int | None, unit: Unit, enabled: bool | None) -> Row | None:
    if enabled is False:
        return None
    if can_animate():
        from vertexkit._core.terminal import LiveRow

        return LiveRow(description, total, unit, amount)
    return _LineRow(description, total, unit) if enabled else None


def can_animate() -> bool:
    """Whether standard error can show a line that changes."""
    if _in_notebook():
        return find_spec("ipywidgets") is not None
    if os.environ.get("TERM", "").lower() in ("dumb", "unknown"):
        return False
    # A closed or replaced stream is nothing to draw on.
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False


def _in_notebook() -> bool:
    """Whether this is a Jupyter kernel, whose streams say they are no terminals."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ in ("ZMQInteractiveShell", "Shell")


class _LineRow:
    """Progress for a log: whole lines, seldom."""

    def __init__(self, description: str, total: int | None, unit: Unit) -> None:
        self._description = description
        self._note = ""
        self._total = total
        self._unit = unit
        self._done = 0
        self._started = self._last_line = time.monotonic()
        self._lock = threading.Lock()
        self._closed = False
        self._write(f"{description} ...")

    def advance(self, n: int) -> None:
        with self._lock:
            self._done += n
            self._line_when_due()

    def describe(self, text: str, note: str = "") -> None:
        with self._lock:
            self._description = text
            self._note = f"{note}, " if note else ""
            self._line_when_due()

    def close(self, failed: bool) -> None:
        with self._lock:
            self._closed = True
            seconds = time.monotonic() - self._started
            ending = "failed after" if failed else "done in"
            self._write(f"{self._description}: {self._counted()}{ending} {seconds:.1f} s")

    def _line_when_due(self) -> None:
        now = time.monotonic()
        if not self._closed and now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            self._write(f"{self._description}: {self._counted()}{now - self._started:.0f} s so far")

    def _counted(self) -> str:
        known = self._total is not None or self._done
        done = f"{amount(self._done, self._unit, self._total)}, " if known else ""
        return done + self._note

    @staticmethod
    def _write(line: str) -> None:
        # One call per line, so that lines of several threads do not mix.
        print(line, file=sys.stderr, flush=True)
