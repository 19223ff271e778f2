"""The decay curve rule: a Gaussian process predicts from its curve what a trial will come to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vertexkit.emulator.tuning.curves import Curve, best_result, curve, result
from vertexkit.emulator.tuning.one_core import linear_algebra_on_one_core
from vertexkit.emulator.tuning.types import Metric, Stopping, TrialRecord

_LEAST_TRIALS: Final = 5
"""Completed ones, before which nothing is predicted."""
_LEAST_MEASUREMENTS: Final = 3
_MOST_PLACES: Final = 8
"""At which curves are compared."""
_MOST_TRIALS: Final = 50
"""To learn from: those with the likest curves."""
_VERY_LOW: Final = 0.01
"""The probability of exceeding the best so far, below which a trial is stopped."""
_LENGTHS: Final = (0.5, 1.0, 2.0, 4.0)
"""Length scales of the kernel, in median distances between curves."""
_NOISES: Final = (1e-3, 1e-2, 1e-1, 0.5)
"""Variances of the noise, as parts of that of the signal."""

_Array = NDArray[np.float64]


class DecayCurveRule:
    """Stops a trial that has a very low probability of exceeding the optimal value found so far.

    What is still to be gained is predicted by Gaussian process regression over the completed trials, of
    which two are alike when their curves are, up to the place of the trial's last measurement.
    """

    def __init__(self, metric: Metric, stopping: Stopping) -> None:
        self._metric = metric
        self._use_elapsed_duration = stopping.use_elapsed_duration

    def should_stop(self, trial: TrialRecord, others: Sequence[TrialRecord]) -> bool:
        """See the class; never before there are five whole trials to learn from, and three measurements."""
        own = self._curve(trial)
        best = best_result(others, self._metric)
        if len(own.xs) < _LEAST_MEASUREMENTS or max(own.ys) > best:
            return False
        linear_algebra_on_one_core()
        chosen = np.unique(np.linspace(0, len(own.xs) - 1, _MOST_PLACES).round().astype(int))
        places = np.asarray(own.xs)[chosen]
        shapes, gains = [], []
        for other in others:
            final = None if other.stopped else result(other, self._metric)
            theirs = self._curve(other)
            # Only a curve that goes as far says what was to be gained from there on.
            if final is not None and theirs.xs and theirs.xs[0] <= places[-1] <= theirs.xs[-1]:
                values = np.interp(places, theirs.xs, theirs.ys)
                shapes.append(values)
                gains.append(final - values[-1])
        if len(gains) < _LEAST_TRIALS:
            return False
        shape = np.asarray(own.ys)[chosen]
        likest = _distances(shape[np.newaxis], np.asarray(shapes))[0].argsort(kind="stable")[:_MOST_TRIALS]
        mean, deviation = _predicted(np.asarray(shapes)[likest], np.asarray(gains)[likest], shape)
        return _normal_tail(best - own.ys[-1] - mean, deviation) < _VERY_LOW

    def predicted(self, trial: TrialRecord, others: Sequence[TrialRecord]) -> None:
        """Nothing: a trial that is stopped keeps what it has."""

    def _curve(self, trial: TrialRecord) -> Curve:
        return curve(trial.measurements, self._metric, use_elapsed_duration=self._use_elapsed_duration)


def _predicted(shapes: _Array, gains: _Array, shape: _Array) -> tuple[float, float]:
    """Mean and standard deviation of what is to be gained by a trial.

    Args:
        shapes: Curves of the completed trials, ``(trials, places)``.
        gains: What each of them gained after the last place, ``(trials,)``.
        shape: The trial's own curve, ``(places,)``.
    """
    scale = float(np.ptp(shapes)) or 1.0
    center, spread = float(gains.mean()), float(gains.std())
    if spread < 1e-9 * scale:
        return center, 1e-9 * scale
    targets = (gains - center) / spread
    apart = _distances(shapes / scale, shapes / scale)
    near = _distances(shape[np.newaxis] / scale, shapes / scale)[0]
    typical = float(np.median(apart[np.triu_indices(len(targets), 1)])) or 1.0
    best: tuple[float, float, float] | None = None
    for length in _LENGTHS:
        for noise in _NOISES:
            fit = _fit(apart / (length * typical), near / (length * typical), targets, noise)
            if best is None or fit[0] > best[0]:
                best = fit
    assert best is not None
    return center + spread * best[1], spread * math.sqrt(best[2])


def _fit(apart: _Array, near: _Array, targets: _Array, noise: float) -> tuple[float, float, float]:
    """Log likelihood of one kernel, and the mean and variance that it predicts."""
    factor = np.linalg.cholesky(np.exp(-0.5 * apart**2) + noise * np.eye(len(targets)))
    across = np.linalg.solve(factor, np.exp(-0.5 * near**2))
    white = np.linalg.solve(factor, targets)
    # The signal's variance that is likeliest, drawn to 1 where there is little to tell it from.
    variance = float(white @ white + 1) / (len(targets) + 1)
    likelihood = -0.5 * len(targets) * math.log(variance) - float(np.log(np.diag(factor)).sum())
    return likelihood, float(across @ white), variance * (1 + noise - float(across @ across))


def _distances(first: _Array, second: _Array) -> _Array:
    """Root mean square between curves, ``(first, second)``."""
    between: _Array = np.sqrt(((first[:, np.newaxis] - second[np.newaxis]) ** 2).mean(axis=2))
    return between


def _normal_tail(above: float, deviation: float) -> float:
    """Probability of exceeding the mean by ``above``."""
    return 0.5 * math.erfc(above / (deviation * math.sqrt(2)))
