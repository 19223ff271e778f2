"""What a trial's measurements are worth: which one is final, and which trials are best."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vertexkit.emulator.tuning.types import (
    Measurement,
    Metric,
    Selection,
    StudyConfig,
    TrialRecord,
    TrialState,
)
from vertexkit.pareto import unbeaten


def scores(metrics: Sequence[Metric], measurement: Measurement | None) -> tuple[float, ...] | None:
    """A measurement's objectives, turned so that more is better.

    None for a measurement that lacks one of them, or has one that is NaN or infinite: that is no result.
    """
    if measurement is None:
        return None
    found = []
    for metric in metrics:
        value = measurement.metrics.get(metric.id, math.nan)
        if not math.isfinite(value):
            return None
        found.append(value if metric.maximize else -value)
    return tuple(found)


def final_measurement(config: StudyConfig, measurements: Sequence[Measurement]) -> Measurement | None:
    """The measurement that is a trial's result.

    Args:
        config: Of the study. LAST takes the last measurement that has all of the study's metrics, even NaN.
            BEST takes the best of those that are finite, the earliest where they tie; of several objectives,
            the first one that no other beats.
        measurements: Of the trial, in order.
    """
    whole = [
        measurement
        for measurement in measurements
        if all(metric.id in measurement.metrics for metric in config.metrics)
    ]
    if not whole:
        return None
    if config.measurement_selection is Selection.BEST:
        valued = [(score, one) for one in whole if (score := scores(config.metrics, one)) is not None]
        front = unbeaten([score for score, _ in valued])
        if front:
            return valued[front[0]][1]
    return whole[-1]


def optimal(config: StudyConfig, trials: Sequence[TrialRecord]) -> list[int]:
    """Ids of the best trials, those that tie included: of several objectives the Pareto set."""
    valued = []
    for trial in sorted(trials, key=lambda trial: trial.id):
        score = scores(config.metrics, trial.final) if trial.state is TrialState.SUCCEEDED else None
        if score is not None:
            valued.append((score, trial.id))
    return [valued[index][1] for index in unbeaten([score for score, _ in valued])]
