"""Learning curves: how the objective of a trial went, measurement by measurement."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from vertexkit.emulator.tuning import objectives
from vertexkit.emulator.tuning.types import Measurement, Metric, TrialRecord, TrialState

_LARGEST = 1e100
"""Beyond it, squares overflow."""


@dataclass(frozen=True)
class Curve:
    """The objective of a trial over its steps or seconds; what is NaN or infinite is left out."""

    xs: tuple[float, ...]
    """Increasing."""
    ys: tuple[float, ...]
    """More is better."""

    def until(self, x: float) -> tuple[float, ...]:
        """The values up to and with ``x``."""
        return self.ys[: bisect_right(self.xs, x)]


def curve(measurements: Sequence[Measurement], metric: Metric, *, use_elapsed_duration: bool) -> Curve:
    """The curve of one metric; of several measurements at the same place the last one counts."""
    found: dict[float, float] = {}
    for measurement in measurements:
        score = objectives.scores([metric], measurement)
        if score is not None:
            place = measurement.elapsed if use_elapsed_duration else float(measurement.step)
            found[place] = _clipped(score[0])
    xs = tuple(sorted(found))
    return Curve(xs, tuple(found[x] for x in xs))


def result(trial: TrialRecord, metric: Metric) -> float | None:
    """The final objective of a completed trial, more being better; None for a trial without one."""
    if trial.state is not TrialState.SUCCEEDED:
        return None
    score = objectives.scores([metric], trial.final)
    return None if score is None else _clipped(score[0])


def best_result(trials: Sequence[TrialRecord], metric: Metric) -> float:
    """The best final objective so far; minus infinity when there is none."""
    found = (result(trial, metric) for trial in trials)
    return max((score for score in found if score is not None), default=-math.inf)


def _clipped(value: float) -> float:
    return min(max(value, -_LARGEST), _LARGEST)
