"""The convex rule: a curve that flattens comes to no more than its slope promises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vertexkit.emulator.tuning.curves import Curve, best_result, curve, result
from vertexkit.emulator.tuning.one_core import linear_algebra_on_one_core
from vertexkit.emulator.tuning.types import Measurement, Metric, Stopping, TrialRecord, TrialState

_DEFAULT_MEASUREMENTS: Final = 5
_RIDGE: Final = 1.0
"""How far the autoregression is drawn to the mean, in standardized features."""

_Array = NDArray[np.float64]


class ConvexRule:
    """Stops a trial whose overestimated final value is worse than the best of the completed ones.

    The overestimate goes on from the last measurement with the slope of the last few: a curve of learning
    flattens. What a trial that was stopped would have come to is predicted by an autoregression (linear,
    ridge) over the whole trials: of the final value on the last few measurements and the learning rate.
    """

    def __init__(self, metric: Metric, stopping: Stopping) -> None:
        self._metric = metric
        self._options = stopping
        self._order = stopping.min_measurement_count or _DEFAULT_MEASUREMENTS

    def should_stop(self, trial: TrialRecord, others: Sequence[TrialRecord]) -> bool:
        """See the class; never before there are enough completed trials, measurements and steps."""
        completed = sum(other.state is TrialState.SUCCEEDED for other in others)
        own, end = self._curve(trial), self._end(others)
        if completed <= self._order or len(own.xs) < self._order or not own.xs[-1] < end:
            return False
        if not own.xs[-1] > (self._options.min_step_count or end / 10):
            return False
        # Nothing can be told from a curve that is completely flat.
        if min(own.ys) == max(own.ys):
            return False
        return self._overestimate(own, end) < best_result(others, self._metric)

    def predicted(self, trial: TrialRecord, others: Sequence[TrialRecord]) -> Measurement | None:
        """A measurement at the last step (or second) of a whole trial, with the predicted objective.

        Of a trial that ended so, what was predicted then is not taken for one of its measurements.
        """
        kept = trial.measurements
        if trial.state.ended and trial.stopped and kept and kept[-1] == trial.final:
            kept = kept[:-1]
        own, end = self._curve(replace(trial, measurements=kept)), self._end(others)
        if not own.xs or not own.xs[-1] < end:
            return None
        value = own.ys[-1] + self._gain(trial, own, others)
        value = min(max(value, min(own.ys)), self._overestimate(own, end))
        last = kept[-1]
        return Measurement(
            last.step if self._options.use_elapsed_duration else math.ceil(end),
            end if self._options.use_elapsed_duration else last.elapsed,
            {self._metric.id: value if self._metric.maximize else -value},
        )

    def _end(self, others: Sequence[TrialRecord]) -> float:
        """Steps (or seconds) of a whole trial; 0 when none has been completed, and none was given."""
        if self._options.max_step_count:
            return float(self._options.max_step_count)
        whole = [self._curve(other) for other in others if _is_whole(other)]
        return max((theirs.xs[-1] for theirs in whole if theirs.xs), default=0.0)

    def _overestimate(self, own: Curve, end: float) -> float:
        xs, ys = np.asarray(own.xs[-self._order :]), np.asarray(own.ys[-self._order :])
        xs = xs - xs.mean()
        width = float(xs @ xs)
        slope = float(xs @ (ys - ys.mean())) / width if width else 0.0
        return max(*own.ys, own.ys[-1] + slope * (end - own.xs[-1]))

    def _gain(self, trial: TrialRecord, own: Curve, others: Sequence[TrialRecord]) -> float:
        """What the autoregression has a trial gain after its last measurement."""
        places = own.xs[-self._order :]
        rows, gains = [], []
        for other in others:
            final, theirs = result(other, self._metric), self._curve(other)
            if _is_whole(other) and final is not None and theirs.xs and theirs.xs[-1] >= places[-1]:
                values = np.interp(places, theirs.xs, theirs.ys)
                rows.append([*values, self._learning_rate(other)])
                gains.append(final - values[-1])
        if not rows:
            return 0.0
        linear_algebra_on_one_core()
        features, target = np.asarray(rows), np.asarray(gains)
        row = np.asarray([*own.ys[-self._order :], self._learning_rate(trial)])
        return _ridge(features, target, row)

    def _learning_rate(self, trial: TrialRecord) -> float:
        """The logarithm of the learning rate; 0 where there is none."""
        rate = trial.parameters.get(self._options.learning_rate_parameter_name, 0)
        return math.log(rate) if isinstance(rate, (int, float)) and rate > 0 else 0.0

    def _curve(self, trial: TrialRecord) -> Curve:
        return curve(
            trial.measurements, self._metric, use_elapsed_duration=self._options.use_elapsed_duration
        )


def _is_whole(trial: TrialRecord) -> bool:
    return trial.state is TrialState.SUCCEEDED and not trial.stopped


def _ridge(features: _Array, target: _Array, row: _Array) -> float:
    """What a ridge regression predicts for a row.

    Args:
        features: Of what is known, ``(rows, features)``.
        target: Of what is known, ``(rows,)``.
        row: Of what is asked, ``(features,)``.
    """
    center, spread = features.mean(axis=0), features.std(axis=0)
    spread[spread == 0] = 1.0
    known = (features - center) / spread
    weights = np.linalg.solve(
        known.T @ known + _RIDGE * np.eye(known.shape[1]), known.T @ (target - target.mean())
    )
    return float(target.mean() + (row - center) / spread @ weights)
