"""Which measurement is a trial's result, and which trials are best."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from vertexkit.emulator.tuning.engine import StudyEngine
from vertexkit.emulator.tuning.types import (
    Kind,
    Measurement,
    Metric,
    Parameter,
    Selection,
    StudyConfig,
    TrialRecord,
    TrialState,
)

PARAMETERS = (Parameter("x", Kind.DOUBLE, 0.0, 1.0),)
ONE = (Metric("loss", maximize=False),)
TWO = (Metric("accuracy"), Metric("size", maximize=False))


def engine(metrics: tuple[Metric, ...], selection: Selection = Selection.LAST) -> StudyEngine:
    return StudyEngine(StudyConfig(metrics, PARAMETERS, measurement_selection=selection), seed=0)


def trial(
    *reported: dict[str, float], trial_id: int = 1, state: TrialState = TrialState.SUCCEEDED
) -> TrialRecord:
    measurements = tuple(Measurement(step, 0.0, metrics) for step, metrics in enumerate(reported))
    return TrialRecord(trial_id, state, {"x": 0.5}, measurements, measurements[-1] if measurements else None)


@pytest.mark.parametrize(
    ("losses", "last", "best"),
    [
        ([3.0, 1.0, 2.0], 2, 1),
        ([1.0, 1.0], 1, 0),
        ([1.0, math.nan], 1, 0),
        ([1.0, -math.inf], 1, 0),
        ([math.nan, math.nan], 1, 1),
    ],
)
def test_the_last_or_the_best_measurement_is_final(losses: Sequence[float], last: int, best: int) -> None:
    reported = trial(*({"loss": loss} for loss in losses))
    assert engine(ONE).final_measurement(reported) is reported.measurements[last]
    assert engine(ONE, Selection.BEST).final_measurement(reported) is reported.measurements[best]


@pytest.mark.parametrize("selection", Selection)
def test_a_measurement_without_the_metric_is_never_final(selection: Selection) -> None:
    reported = trial({"loss": 1.0}, {"lost": 0.5})
    assert engine(ONE, selection).final_measurement(reported) is reported.measurements[0]
    assert engine(ONE, selection).final_measurement(trial({"lost": 0.5})) is None
    assert engine(ONE, selection).final_measurement(trial()) is None
    assert engine(TWO, selection).final_measurement(trial({"accuracy": 1.0}, {"size": 1.0})) is None


def test_of_several_objectives_the_best_is_one_that_no_other_beats() -> None:
    reported = trial(
        {"accuracy": 0.5, "size": 2.0}, {"accuracy": 0.6, "size": 2.0}, {"accuracy": 0.7, "size": 3.0}
    )
    assert engine(TWO, Selection.BEST).final_measurement(reported) is reported.measurements[1]


def test_every_best_trial_is_optimal() -> None:
    trials = [trial({"loss": loss}, trial_id=n) for n, loss in enumerate([2.0, 1.0, 1.0, 3.0], start=1)]
    assert engine(ONE).optimal(trials) == [2, 3]
    assert engine(ONE).optimal(list(reversed(trials))) == [2, 3]
    assert engine((Metric("loss"),)).optimal(trials) == [4]
    assert engine(ONE).optimal([]) == []


@pytest.mark.parametrize("state", [state for state in TrialState if state is not TrialState.SUCCEEDED])
def test_only_a_trial_that_succeeded_is_optimal(state: TrialState) -> None:
    trials = [trial({"loss": 1.0}, trial_id=1, state=state), trial({"loss": 2.0}, trial_id=2)]
    assert engine(ONE).optimal(trials) == [2]


def test_a_result_that_is_no_number_is_not_optimal() -> None:
    odd = [trial({"loss": loss}, trial_id=n) for n, loss in enumerate([math.nan, -math.inf, 5.0], start=1)]
    assert engine(ONE).optimal(odd) == [3]
    assert engine(ONE).optimal(odd[:2]) == []


def test_of_several_objectives_the_optimal_trials_are_the_pareto_set() -> None:
    found = [(0.9, 5.0), (0.8, 1.0), (0.8, 2.0), (0.7, 3.0), (0.9, 5.0), (0.95, 9.0)]
    trials = [
        trial({"accuracy": accuracy, "size": size}, trial_id=n)
        for n, (accuracy, size) in enumerate(found, start=1)
    ]
    assert engine(TWO).optimal(trials) == [1, 2, 5, 6]
