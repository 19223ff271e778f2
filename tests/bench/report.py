"""What a bench found: figures beside what they are measured against, and the target."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Row:
    """One figure. Ratios are of two things measured in turn in the same run."""

    what: str
    """What was measured."""
    ours: str
    """vertexkit's own figure, with its unit."""
    against: str
    """What it is held against, with its figure and unit; empty for an absolute figure."""
    value: float
    """The figure that the target is about."""
    target: float | None = None
    """What ``value`` must reach; None where nothing is promised."""
    unit: str = "x"
    """Unit of ``value`` and ``target``."""
    at_most: bool = False
    """Whether ``value`` must stay below ``target``, rather than above it."""

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        if self.target is None:
            return True
        return self.value <= self.target if self.at_most else self.value >= self.target

    def cells(self) -> tuple[str, ...]:
        """What, ours, against, figure, target, verdict."""
        target = ""
        if self.target is not None:
            target = f"{'<=' if self.at_most else '>='} {self.target:,g} {self.unit}"
        verdict = "" if self.target is None else ("met" if self.met else "MISSED")
        return self.what, self.ours, self.against, f"{_three_digits(self.value)} {self.unit}", target, verdict


HEADINGS = ("what", "vertexkit", "against", "figure", "target", "")


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table, for the README."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + " --- |" * len(HEADINGS)]
    return "\n".join([*lines, *("| " + " | ".join(row.cells()) + " |" for row in rows)])


def show(rows: Sequence[Row]) -> None:
    """Print the rows as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*HEADINGS)
    for row in rows:
        table.add_row(*row.cells(), style=None if row.met else "bold red")
    Console(width=None if Console().is_terminal else 160).print(table)


def machine() -> str:
    """The machine, in one line."""
    cores = os.cpu_count() or 1
    return f"{_processor()}, {cores} cores, {platform.system()}, Python {platform.python_version()}"


def in_turn(first: Callable[[], float], second: Callable[[], float], times: int) -> tuple[float, float]:
    """Medians of two measurements taken in turn, so that whatever else the machine does strikes both.

    Args:
        first: Measures once.
        second: Measures once.
        times: How often each.
    """
    pairs = [(first(), second()) for _ in range(times)]
    return median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)


def milliseconds(seconds: float) -> str:
    """``12.3 ms``."""
    return f"{_three_digits(seconds * 1e3)} ms"


def _three_digits(value: float) -> str:
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
