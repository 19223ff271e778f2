"""What a trial reports while it runs: the lines of cloudml-hypertune's metric file, made into measurements.

The file is written anew at every report and holds the last 100 lines only, so what has been read once is
kept here. Whoever reads it meets it half written: what is torn is read the next time.

Source: https://github.com/GoogleCloudPlatform/cloudml-hypertune/blob/master/hypertune/hypertune.py
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from vertexkit.emulator.tuning.types import Measurement, Selection, StudyConfig

_OF_THE_LIBRARY: Final = frozenset({"checkpoint_path", "global_step", "timestamp", "trial"})
_MOST: Final = 1000
"""Measurements of a trial at most; of one that reports more often, every second one is dropped."""
_WINDOW_BYTES: Final = 1024 * 1024
"""What is read of a file that grows without end, from its end."""
_REMEMBERED: Final = 20_000
_ROUNDED: Final = 2e-9
"""Seconds; a measurement that was kept has whole nanoseconds."""
_NAMES_TOLD: Final = 5
_TEXT_TOLD: Final = 60


@dataclass(frozen=True)
class _Odd:
    """A value that is no measurement."""

    text: str
    step: int


class TrialMetrics:
    """What one trial has reported. Belongs to one thread.

    Args:
        config: Its study.
        measurements: What it had reported before this process was started.
    """

    def __init__(self, config: StudyConfig, measurements: Sequence[Measurement] = ()) -> None:
        self._config = config
        self._ids = tuple(metric.id for metric in config.metrics)
        self._measurements = list(measurements)
        self._after = max((one.elapsed + _ROUNDED for one in measurements), default=-math.inf)
        self._file: Path | None = None
        self._begin()

    def _begin(self) -> None:
        self._lines: list[bytes] = []
        self._stamp: tuple[int, int, int] | None = None
        self._not_finite: dict[str, _Odd] = {}
        self._no_number: dict[str, _Odd] = {}
        self._other_names: dict[str, None] = {}

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """All that can be compared, by step, then by time."""
        return tuple(sorted(self._measurements, key=_order))

    def read(self, file: Path | None, *, started: float, ended: bool = False) -> bool:
        """Take what is new.

        Args:
            file: The metric file; None, or not there: there is nothing. Another one than the last time is
                that of a trial that started anew, and what it had reported before counts no more.
            started: When the trial was, in seconds since the epoch.
            ended: Whether nobody writes any more, so that a last line without an end is a line as well.

        Returns:
            Whether the measurements are others than before.
        """
        anew = self._file is not None and file not in (None, self._file)
        if anew:
            self._measurements.clear()
            self._after = -math.inf
            self._begin()
        self._file = file or self._file
        content = self._content(file, ended)
        if content is None:
            return anew
        *lines, rest = content.split(b"\n")
        if ended and rest:
            lines.append(rest)
        before = len(self._measurements)
        for line in self._new(lines):
            self._take(line, started)
        found = anew or len(self._measurements) != before
        while len(self._measurements) > _MOST:
            self._thin_out()
        return found

    def problem(self) -> str:
        """Why no final measurement can be made of what was reported; empty if nothing is known against it."""
        for name in self._ids:
            odd = self._not_finite.get(name)
            if odd is not None and (
                self._config.measurement_selection is Selection.LAST or not self._has(name)
            ):
                return (
                    f'The trial reported {odd.text} for the metric "{name}" at step {odd.step}, by which '
                    "no trial can be compared."
                )
        missing = [name for name in self._ids if not self._has(name)]
        if not missing:
            return ""
        name = missing[0]
        if name in self._no_number:
            odd = self._no_number[name]
            return (
                f'The trial reported "{odd.text}" for the metric "{name}" at step {odd.step}, '
                "which is no number."
            )
        if self._other_names:
            told = ", ".join(f'"{other}"' for other in list(self._other_names)[:_NAMES_TOLD])
            return (
                f'The trial did not report the metric "{name}" that the job asks for, but {told}: '
                "hyperparameter_metric_tag in the program and the metric of the job have to be the same."
            )
        if self._measurements:
            told = ", ".join(f'"{other}"' for other in self._ids if other not in missing)
            return f'The trial did not report the metric "{name}", only {told}.'
        return (
            f'The trial ended without reporting the metric "{name}". Report it by '
            f'hypertune.HyperTune().report_hyperparameter_tuning_metric("{name}", value, step).'
        )

    def _content(self, file: Path | None, ended: bool) -> bytes | None:
        """The end of the file, from where a line begins; None if it is as it was."""
        if file is None:
            return None
        try:
            with file.open("rb") as opened:
                status = file.stat()
                stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
                if stamp == self._stamp and not ended:
                    return None
                self._stamp = stamp
                if status.st_size <= _WINDOW_BYTES:
                    return opened.read()
                opened.seek(status.st_size - _WINDOW_BYTES)
                return opened.read().partition(b"\n")[2]
        except OSError:
            return None

    def _new(self, lines: list[bytes]) -> list[bytes]:
        """Those of the file's lines that have not been read yet."""
        if not lines:
            return []
        known = self._lines
        starts = [index for index, line in enumerate(known) if line == lines[0]]
        if any(known[start : start + len(lines)] == lines for start in starts):
            # Half written again, or as it was.
            return []
        overlap = next(
            (len(known) - start for start in starts if known[start:] == lines[: len(known) - start]), 0
        )
        new = lines[overlap:]
        self._lines = (known + new)[-_REMEMBERED:]
        return new

    def _take(self, line: bytes, started: float) -> None:
        try:
            report = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(report, dict):
            return
        step = max(0, _whole(report.get("global_step")))
        moment = _number(report.get("timestamp"))
        elapsed = max(0.0, (moment if math.isfinite(moment) else time.time()) - started)
        if elapsed <= self._after:
            return
        for name, value in report.items():
            if name in self._ids:
                self._value(name, value, step, elapsed)
            elif name not in _OF_THE_LIBRARY:
                self._other_names[name] = None

    def _value(self, name: str, value: Any, step: int, elapsed: float) -> None:
        number = _number(value)
        if math.isnan(number) and str(value).strip().lower().lstrip("+-") != "nan":
            self._no_number[name] = _Odd(str(value)[:_TEXT_TOLD], step)
            return
        if not math.isfinite(number):
            self._not_finite[name] = _Odd(str(value), step)
            return
        # The last one counts, and this one is finite.
        self._not_finite.pop(name, None)
        last = self._measurements[-1] if self._measurements else None
        if last is not None and last.step == step and name not in last.metrics:
            self._measurements[-1] = replace(last, metrics={**last.metrics, name: number})
            return
        if last is not None and last.step == step and elapsed <= last.elapsed:
            elapsed = last.elapsed + 1e-6
        self._measurements.append(Measurement(step, elapsed, {name: number}))

    def _has(self, name: str) -> bool:
        return any(name in one.metrics for one in self._measurements)

    def _thin_out(self) -> None:
        best = set()
        for metric in self._config.metrics:
            values = {
                index: one.metrics[metric.id]
                for index, one in enumerate(self._measurements)
                if metric.id in one.metrics
            }
            if values:
                best.add((max if metric.maximize else min)(values, key=values.__getitem__))
        last = len(self._measurements) - 1
        self._measurements = [
            one for index, one in enumerate(self._measurements) if index % 2 or index in best or index == last
        ]


def _order(measurement: Measurement) -> tuple[int, float]:
    return measurement.step, measurement.elapsed


def _number(value: Any) -> float:
    """What a value says; NaN for what is no number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def _whole(value: Any) -> int:
    number = _number(value)
    return int(number) if math.isfinite(number) else 0
