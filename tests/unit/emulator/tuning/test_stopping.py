"""Which curves are stopped, and which must not be."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from typing import Any

import pytest

from vertexkit.emulator.tuning.engine import StudyEngine
from vertexkit.emulator.tuning.types import (
    Kind,
    Measurement,
    Metric,
    Parameter,
    Scale,
    Stopping,
    StoppingKind,
    StudyConfig,
    TrialRecord,
    TrialState,
)

PARAMETERS = (Parameter("rate", Kind.DOUBLE, 1e-4, 1.0, scale=Scale.LOG),)


def measured(values: Sequence[float], *, every: int = 1, seconds: float = 10.0) -> tuple[Measurement, ...]:
    return tuple(
        Measurement(every * step, seconds * step, {"score": value})
        for step, value in enumerate(values, start=1)
    )


def whole(trial_id: int, values: Sequence[float], rate: float = 0.01, **rest: Any) -> TrialRecord:
    measurements = measured(values, **rest)
    return TrialRecord(trial_id, TrialState.SUCCEEDED, {"rate": rate}, measurements, measurements[-1])


def running(values: Sequence[float], rate: float = 0.01, **rest: Any) -> TrialRecord:
    return TrialRecord(100, TrialState.ACTIVE, {"rate": rate}, measured(values, **rest))


def engine(
    kind: StoppingKind, trials: Sequence[TrialRecord], *, maximize: bool = True, **options: Any
) -> StudyEngine:
    metrics = (Metric("score", maximize),)
    return StudyEngine(StudyConfig(metrics, PARAMETERS, stopping=Stopping(kind, **options)), trials, seed=0)


def saturating(top: float, steps: int = 20, speed: float = 4.0) -> list[float]:
    """Rises to ``top``, ever more slowly."""
    return [top * (1 - math.exp(-step / speed)) for step in range(1, steps + 1)]


def test_without_automated_stopping_nothing_is_stopped() -> None:
    config = StudyConfig((Metric("score"),), PARAMETERS)
    study = StudyEngine(config, [whole(n, [0.9] * 20) for n in range(1, 9)], seed=0)
    assert not study.should_stop(running([0.1] * 10))
    assert study.predicted(running([0.1] * 10)) is None


class TestMedian:
    TRIALS = (whole(1, [0.2, 0.4, 0.6]), whole(2, [0.4, 0.6, 0.8]), whole(3, [0.6, 0.8, 1.0]))
    """Running averages after two measurements: 0.3, 0.5 and 0.7."""

    @pytest.mark.parametrize(
        ("values", "stopped"),
        [
            ([0.1, 0.49], True),
            ([0.1, 0.51], False),
            ([0.51, 0.1], False),  # Its best counts, not its last.
            ([0.5, 0.1], False),  # Strictly below.
            ([0.39], True),  # The median after one is 0.4.
            ([0.41], False),
            ([], False),
            ([math.nan, math.nan], False),
        ],
    )
    def test_the_best_value_is_held_against_the_median_running_average(
        self, values: list[float], stopped: bool
    ) -> None:
        assert engine(StoppingKind.MEDIAN, self.TRIALS).should_stop(running(values)) is stopped

    def test_less_is_better_where_the_metric_is_minimized(self) -> None:
        study = engine(StoppingKind.MEDIAN, self.TRIALS, maximize=False)
        assert study.should_stop(running([0.9, 0.51]))
        assert not study.should_stop(running([0.9, 0.49]))

    def test_only_what_was_reported_so_far_counts(self) -> None:
        # At step 2 the others had their first half only: with all of it the median would be 0.6.
        study = engine(StoppingKind.MEDIAN, self.TRIALS)
        assert not study.should_stop(running([0.55], every=2))

    def test_seconds_take_the_place_of_steps(self) -> None:
        study = engine(StoppingKind.MEDIAN, self.TRIALS, use_elapsed_duration=True)
        # One step, but as many seconds as the others needed for three: their averages are 0.4, 0.6, 0.8.
        assert study.should_stop(running([0.55], seconds=30))
        assert not study.should_stop(running([0.45], seconds=10))

    def test_nothing_is_stopped_before_a_trial_has_been_completed(self) -> None:
        others = [TrialRecord(1, TrialState.ACTIVE, {"rate": 0.1}, measured([0.9]))]
        others += [TrialRecord(2, TrialState.INFEASIBLE, {"rate": 0.1}, measured([0.9]))]
        assert not engine(StoppingKind.MEDIAN, others).should_stop(running([0.1]))
        # Nor by one that had reported nothing yet at that step.
        assert not engine(StoppingKind.MEDIAN, [whole(1, [0.9], every=5)]).should_stop(running([0.1]))

    def test_a_trial_is_not_held_against_itself(self) -> None:
        study = engine(StoppingKind.MEDIAN, self.TRIALS)
        study.update(running([0.1, 0.1]))
        assert study.should_stop(running([0.1, 0.1]))


class TestDecayCurve:
    TOPS = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)

    def study(self, **options: Any) -> StudyEngine:
        return engine(
            StoppingKind.DECAY_CURVE,
            [whole(n, saturating(top)) for n, top in enumerate(self.TOPS, start=1)],
            **options,
        )

    def test_a_curve_that_will_not_get_there_is_stopped_and_one_that_will_is_not(self) -> None:
        assert self.study().should_stop(running(saturating(0.7)[:6]))
        assert not self.study().should_stop(running(saturating(0.97)[:6]))

    def test_so_it_is_with_noise(self) -> None:
        rng = random.Random(1)

        def noisy(values: Sequence[float]) -> list[float]:
            return [value + rng.gauss(0, 0.01) for value in values]

        trials = [whole(n, noisy(saturating(0.6 + n / 50))) for n in range(1, 17)]
        study = engine(StoppingKind.DECAY_CURVE, trials)
        assert all(study.should_stop(running(noisy(saturating(0.6)[:8]))) for _ in range(10))
        assert not any(study.should_stop(running(noisy(saturating(0.93)[:8]))) for _ in range(10))

    def test_a_loss_is_turned_around(self) -> None:
        trials = [
            whole(n, [1 - value for value in saturating(top)]) for n, top in enumerate(self.TOPS, start=1)
        ]
        study = engine(StoppingKind.DECAY_CURVE, trials, maximize=False)
        assert study.should_stop(running([1 - value for value in saturating(0.7)[:6]]))
        assert not study.should_stop(running([1 - value for value in saturating(0.97)[:6]]))

    def test_how_the_others_went_on_is_what_counts(self) -> None:
        # Level with the others so far; they all made a leap later.
        late = [whole(n, [0.3 + n / 100] * 6 + [0.8 + n / 100] * 14) for n in range(1, 9)]
        assert not engine(StoppingKind.DECAY_CURVE, late).should_stop(running([0.38] * 6))
        # Far above what any of them had: there is nothing to tell it from.
        assert not engine(StoppingKind.DECAY_CURVE, late).should_stop(running([0.6] * 6))

    def test_it_waits_for_enough_trials_and_measurements(self) -> None:
        few = [whole(n, saturating(top)) for n, top in enumerate(self.TOPS[-4:], start=1)]
        assert not engine(StoppingKind.DECAY_CURVE, few).should_stop(running(saturating(0.3)[:6]))
        assert not self.study().should_stop(running(saturating(0.3)[:2]))
        assert self.study().should_stop(running(saturating(0.3)[:3]))

    def test_a_trial_that_was_stopped_says_nothing_of_a_whole_one(self) -> None:
        stopped = [
            TrialRecord(
                trial.id, trial.state, trial.parameters, trial.measurements, trial.final, stopped=True
            )
            for trial in (whole(n, saturating(top)) for n, top in enumerate(self.TOPS, start=1))
        ]
        assert not engine(StoppingKind.DECAY_CURVE, stopped).should_stop(running(saturating(0.3)[:6]))

    def test_seconds_take_the_place_of_steps(self) -> None:
        slow = running(saturating(0.7)[:6], every=1000)
        assert not self.study().should_stop(slow)
        assert self.study(use_elapsed_duration=True).should_stop(slow)

    @pytest.mark.parametrize(
        "values",
        [[math.nan] * 6, [1e300] * 6, [-1e300, 1e300, 0.0], [0.0] * 6, [math.inf, 0.1, 0.2, 0.3]],
    )
    def test_odd_curves_do_no_harm(self, values: list[float]) -> None:
        odd = [whole(n, [value] * 20) for n, value in enumerate([1e300, -1e300, 0.0, 0.0, 1e-300], start=1)]
        engine(StoppingKind.DECAY_CURVE, odd).should_stop(running(values))
        self.study().should_stop(running(values))


class TestConvex:
    def study(self, count: int = 8, top: float = 0.9, **options: Any) -> StudyEngine:
        trials = [
            whole(n, saturating(top - (count - n) / 50), rate=10 ** (-n / 4)) for n in range(1, count + 1)
        ]
        return engine(StoppingKind.CONVEX, trials, **options)

    def test_a_curve_whose_slope_does_not_reach_the_best_is_stopped_and_one_whose_does_is_not(self) -> None:
        assert self.study().should_stop(running(saturating(0.5)[:12]))
        assert not self.study().should_stop(running(saturating(0.88)[:12]))
        # Still steep: nobody knows.
        assert not self.study().should_stop(running(saturating(0.5)[:6]))

    def test_a_curve_that_falls_is_stopped_where_its_best_is_not_the_best(self) -> None:
        assert self.study().should_stop(running([0.5, 0.6, 0.55, 0.5, 0.45, 0.4]))
        assert not self.study().should_stop(running([0.5, 0.95, 0.55, 0.5, 0.45, 0.4]))

    def test_a_loss_is_turned_around(self) -> None:
        trials = [whole(n, [1 - value for value in saturating(0.9)]) for n in range(1, 9)]
        study = engine(StoppingKind.CONVEX, trials, maximize=False)
        stopped = running([1 - value for value in saturating(0.5)[:12]])
        assert study.should_stop(stopped)
        assert not study.should_stop(running([1 - value for value in saturating(0.95)[:12]]))
        predicted = study.predicted(stopped)
        assert predicted is not None
        assert 0.45 < predicted.metrics["score"] <= stopped.measurements[-1].metrics["score"]

    def test_nothing_is_told_from_a_curve_that_is_completely_flat(self) -> None:
        assert not self.study().should_stop(running([0.1] * 12))
        assert self.study().should_stop(running([0.1] * 11 + [0.10001]))

    def test_it_waits_for_one_completed_trial_more_than_measurements_are_needed(self) -> None:
        weak = running(saturating(0.3)[:12])
        assert not self.study(5).should_stop(weak)
        assert self.study(6).should_stop(weak)
        assert not self.study(6, min_measurement_count=6).should_stop(weak)
        assert self.study(7, min_measurement_count=6).should_stop(weak)

    @pytest.mark.parametrize(
        ("steps", "options", "stopped"),
        [
            (5, {"max_step_count": 20}, True),  # Of a curve with a step per measurement, from the fifth on.
            (4, {"max_step_count": 20}, False),
            (5, {"max_step_count": 20, "min_step_count": 5}, False),
            (6, {"max_step_count": 20, "min_step_count": 5}, True),
            (5, {"max_step_count": 50}, False),  # A tenth of the maximum has to be exceeded.
            (3, {"max_step_count": 20, "min_measurement_count": 3}, True),
            (20, {}, False),  # It is at its end as it is.
            (19, {}, True),
            (19, {"max_step_count": 18}, False),
        ],
    )
    def test_it_waits_for_enough_measurements_and_steps(
        self, steps: int, options: dict[str, Any], stopped: bool
    ) -> None:
        weak = running([0.1 + 0.0001 * math.log(step) for step in range(1, steps + 1)])
        assert self.study(**options).should_stop(weak) is stopped

    def test_seconds_take_the_place_of_steps(self) -> None:
        slow = running(saturating(0.5)[:12], every=1000)
        assert not self.study().should_stop(slow)
        study = self.study(use_elapsed_duration=True)
        assert study.should_stop(slow)
        predicted = study.predicted(slow)
        assert predicted is not None
        assert (predicted.step, predicted.elapsed) == (12_000, 200.0)

    def test_what_a_stopped_trial_would_have_come_to_is_predicted_at_the_last_step(self) -> None:
        stopped = running(saturating(0.6)[:8])
        predicted = self.study(16).predicted(stopped)
        assert predicted is not None
        assert (predicted.step, predicted.elapsed) == (20, 80.0)
        assert predicted.metrics["score"] == pytest.approx(saturating(0.6)[-1], abs=0.03)
        assert self.study(16, max_step_count=30).predicted(stopped) != predicted
        assert self.study(0).predicted(stopped) is None

    def test_a_prediction_is_never_better_than_the_slope_allows(self) -> None:
        leaps = [whole(n, [0.3 + n / 100] * 6 + [0.8 + n / 100] * 14) for n in range(1, 9)]
        level = running([0.30, 0.31, 0.311, 0.312, 0.3121, 0.3122])
        predicted = engine(StoppingKind.CONVEX, leaps).predicted(level)
        assert predicted is not None
        assert predicted.metrics["score"] < 0.4

    def test_the_learning_rate_tells_curves_apart_that_begin_alike(self) -> None:
        def go_on(rate: float) -> list[float]:
            return [0.1 * step for step in range(1, 6)] + [0.5 - 0.1 * math.log10(rate)] * 15

        trials = [whole(n, go_on(10 ** (-n / 4)), rate=10 ** (-n / 4)) for n in range(1, 13)]
        told = engine(StoppingKind.CONVEX, trials, learning_rate_parameter_name="rate")
        blind = engine(StoppingKind.CONVEX, trials)
        for rate in (10**-0.5, 10**-2.5):
            trial = running(go_on(rate)[:5], rate=rate)
            right = go_on(rate)[-1]
            with_rate, without = told.predicted(trial), blind.predicted(trial)
            assert with_rate is not None and without is not None
            assert abs(with_rate.metrics["score"] - right) < 0.03
            assert abs(without.metrics["score"] - right) > 0.08

    def test_a_trial_that_was_stopped_is_predicted_anew_without_its_own_prediction(self) -> None:
        study = self.study(8)
        trial = running(saturating(0.6)[:8])
        first = study.predicted(trial)
        assert first is not None
        ended = TrialRecord(
            100, TrialState.SUCCEEDED, trial.parameters, (*trial.measurements, first), first, stopped=True
        )
        study.update(ended)
        assert study.predicted(ended) == first
        for n in range(9, 20):
            study.update(whole(n, saturating(0.5 + n / 100)))
        again = study.predicted(ended)
        assert again is not None
        assert again != first
        assert again.step == first.step
        # Nor do others learn from it.
        other = running(saturating(0.61)[:8])
        before = study.predicted(other)
        study.remove(100)
        assert study.predicted(other) == before

    @pytest.mark.parametrize("values", [[math.nan] * 9, [1e300, -1e300] * 5, [0.0, math.inf] * 5, [0.1]])
    def test_odd_curves_do_no_harm(self, values: list[float]) -> None:
        odd = [whole(n, [value] * 20) for n, value in enumerate([1e300, -1e300, 0.0, 0.0, 1e-300, 1], 1)]
        for study in (engine(StoppingKind.CONVEX, odd), self.study()):
            study.should_stop(running(values))
            predicted = study.predicted(running(values))
            assert predicted is None or math.isfinite(predicted.metrics["score"])


@pytest.mark.parametrize("kind", StoppingKind)
def test_two_hundred_trials_are_gone_through_at_once(kind: StoppingKind) -> None:
    rng = random.Random(0)
    study = engine(kind, [whole(n, saturating(rng.uniform(0.2, 0.9))) for n in range(1, 201)])
    started = time.perf_counter()
    assert study.should_stop(running(saturating(0.21)[:10]))
    assert not study.should_stop(running(saturating(0.95)[:10]))
    assert time.perf_counter() - started < 1
