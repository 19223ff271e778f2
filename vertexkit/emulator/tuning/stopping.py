"""Automated stopping: which trials are not worth going on with.

Source: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/StudySpec
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median
from typing import Protocol

from vertexkit.emulator.tuning.curves import Curve, curve
from vertexkit.emulator.tuning.types import (
    Measurement,
    Metric,
    Stopping,
    StoppingKind,
    TrialRecord,
    TrialState,
)


class StoppingRule(Protocol):
    """Decides by what a trial has reported, and by how others went."""

    def should_stop(self, trial: TrialRecord, others: Sequence[TrialRecord]) -> bool:
        """Whether a trial that is under way should end."""

    def predicted(self, trial: TrialRecord, others: Sequence[TrialRecord]) -> Measurement | None:
        """What a trial that is stopped would have come to; None where the rule adds nothing to it."""


def stopping_rule(metric: Metric, stopping: Stopping) -> StoppingRule:
    """The rule that a study asks for."""
    if stopping.kind is StoppingKind.MEDIAN:
        return MedianRule(metric, stopping)
    # Both need numpy.
    if stopping.kind is StoppingKind.DECAY_CURVE:
        from vertexkit.emulator.tuning.decay_curve import DecayCurveRule

        return DecayCurveRule(metric, stopping)
    from vertexkit.emulator.tuning.convex import ConvexRule

    return ConvexRule(metric, stopping)


class MedianRule:
    """Stops a trial whose best value is strictly below the median performance of the completed ones.

    The performance of a completed trial is the average of the values that it reported up to the place of
    the trial's last measurement.
    """

    def __init__(self, metric: Metric, stopping: Stopping) -> None:
        self._metric = metric
        self._use_elapsed_duration = stopping.use_elapsed_duration

    def should_stop(self, trial: TrialRecord, others: Sequence[TrialRecord]) -> bool:
        """See the class."""
        own = self._curve(trial)
        if not own.xs:
            return False
        completed = (self._curve(other) for other in others if other.state is TrialState.SUCCEEDED)
        so_far = [values for other in completed if (values := other.until(own.xs[-1]))]
        return bool(so_far) and max(own.ys) < median(map(fmean, so_far))

    def predicted(self, trial: TrialRecord, others: Sequence[TrialRecord]) -> None:
        """Nothing: a trial that is stopped keeps what it has."""

    def _curve(self, trial: TrialRecord) -> Curve:
        return curve(trial.measurements, self._metric, use_elapsed_duration=self._use_elapsed_duration)
