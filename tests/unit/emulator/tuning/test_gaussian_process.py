"""The Gaussian process: what it fits, what it predicts, where it goes."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from vertexkit.emulator.tuning import gaussian_process
from vertexkit.emulator.tuning.engine import StudyEngine
from vertexkit.emulator.tuning.gaussian_process import Axes, suggest, warped
from vertexkit.emulator.tuning.space import Space
from vertexkit.emulator.tuning.types import (
    Kind,
    Measurement,
    Metric,
    Parameter,
    ParameterValue,
    Scale,
    StudyConfig,
    TrialRecord,
    TrialState,
)

X = Parameter("x", Kind.DOUBLE, -1.0, 1.0)
N = Parameter("n", Kind.INTEGER, 1, 1000, scale=Scale.LOG)
TURNED = Parameter("turned", Kind.INTEGER, 1, 1000, scale=Scale.REVERSE_LOG)
BATCH = Parameter("batch", Kind.DISCRETE, values=(16.0, 32.0, 64.0))
KIND = Parameter("kind", Kind.CATEGORICAL, values=("a", "b", "c"))


def around(space: Space, objective: Any, count: int, seed: int, **options: Any) -> dict[str, ParameterValue]:
    """What is suggested after ``count`` points at random."""
    rng = random.Random(seed)
    tried = [space.sample(rng, {}) for _ in range(count)]
    points = [space.locate(values) for values in tried]
    scores = [objective(values) for values in tried]
    return suggest(space, points, scores, [], **{"pinned": {}, **options}, seed=seed)


def test_the_slope_of_the_likelihood_is_its_slope() -> None:
    rng = np.random.default_rng(0)
    points, targets = rng.random((12, 3)), rng.standard_normal(12)
    squared = (points.T[:, :, None] - points.T[:, None, :]) ** 2
    place = np.array([-0.5, 0.2, -1.0, -3.0])
    _, slope = gaussian_process._likelihood(squared, targets, place)
    for index in range(4):
        step = np.zeros(4)
        step[index] = 1e-5
        above = gaussian_process._likelihood(squared, targets, place + step)[0]
        below = gaussian_process._likelihood(squared, targets, place - step)[0]
        assert slope[index] == pytest.approx((above - below) / 2e-5, rel=1e-4, abs=1e-4)


def test_places_go_to_coordinates_and_back() -> None:
    space = Space((X, N, TURNED, BATCH, KIND))
    axes = Axes(space.roots)
    for values in (
        {"x": -1.0, "n": 1, "turned": 1, "batch": 16.0, "kind": "a"},
        {"x": 0.25, "n": 37, "turned": 990, "batch": 32.0, "kind": "c"},
        {"x": 1.0, "n": 1000, "turned": 1000, "batch": 64.0, "kind": "b"},
    ):
        point = space.locate(values)
        for node in space.roots:
            coordinate = axes.coordinate(node, point[node.key])
            assert node.parameter is KIND or 0 <= coordinate <= 1
            assert node.value(axes.place(node, coordinate)) == pytest.approx(values[node.parameter.name])
        row = np.array([[axes.coordinate(node, point[node.key]) for node in space.roots]])
        assert axes.snap(row.copy()) == pytest.approx(row)


def test_distances_in_length_scales_are_those_along_each_axis() -> None:
    axes = Axes(Space((X, N, TURNED, BATCH, KIND)).roots)
    rng = np.random.default_rng(0)
    points, weights = axes.drawn(rng, 20), rng.random(5) * 100
    scaled = axes.scaled(points, weights)
    assert gaussian_process._apart(scaled, scaled[:7]) == pytest.approx(
        np.tensordot(weights, axes.squared(points, points[:7]), 1), abs=1e-9
    )


def test_scores_below_the_median_keep_their_rank_only() -> None:
    values = warped(np.array([-1e40, -5.0, 1.0, 2.0, 3.0]))
    assert list(values.argsort()) == [0, 1, 2, 3, 4]
    assert np.ptp(values) < 5
    assert values[4] - values[3] == pytest.approx(values[3] - values[2])
    assert not warped(np.full(4, 7.0)).any()
    equals = warped(np.array([0.1, 0.9, 0.1, 0.8, 0.1, 0.95, 0.7]))
    assert equals[0] == equals[2] == equals[4] < equals[6]


@pytest.mark.parametrize("seed", range(5))
def test_it_goes_to_the_top(seed: int) -> None:
    space = Space((X, N, KIND))

    def objective(values: dict[str, Any]) -> float:
        return -((values["x"] - 0.3) ** 2) - (math.log(values["n"] / 50) / 4) ** 2 - (values["kind"] != "b")

    found = around(space, objective, 60, seed)
    assert objective(found) > -0.02


def test_it_keeps_away_from_what_is_under_way_and_never_repeats_what_was_observed() -> None:
    space = Space((BATCH, KIND))
    combinations = list(space.grid({}))
    points = [space.locate(values) for values in combinations]
    scores = [float(values["batch"]) for values in combinations[:6]]
    rest = [suggest(space, points[:6], scores, points[6:8], pinned={}, seed=seed) for seed in range(5)]
    assert rest == [combinations[8]] * 5


def test_what_is_pinned_stays() -> None:
    space = Space((X, N, KIND))
    pinned = space.pin({"x": -0.5, "kind": "c"})
    found = around(space, lambda values: values["x"], 20, 0, pinned=pinned)
    assert (found["x"], found["kind"]) == (-0.5, "c")


def test_where_trials_come_to_nothing_is_as_bad_as_can_be() -> None:
    def done(trial_id: int, x: float) -> TrialRecord:
        final = Measurement(1, 1.0, {"score": x})
        return TrialRecord(trial_id, TrialState.SUCCEEDED, {"x": x}, (final,), final)

    # The score rises with x, and above a half nothing comes of it.
    trials = [done(n, -1 + n / 10) for n in range(1, 16)]
    study = StudyConfig((Metric("score"),), (X,))
    assert StudyEngine(study, trials, seed=0, torch=False).suggest(1)[0]["x"] > 0.6
    failed = [TrialRecord(n, TrialState.INFEASIBLE, {"x": 0.51 + (n - 16) / 20}) for n in range(16, 26)]
    engine = StudyEngine(study, [*trials, *failed], seed=0, torch=False)
    assert float(engine.suggest(1)[0]["x"]) < 0.55


def test_values_from_outside_the_space_do_no_harm() -> None:
    final = Measurement(1, 1.0, {"score": 1.0})
    odd = [
        TrialRecord(n, TrialState.SUCCEEDED, {"x": 5.0, "y": 1} if n % 2 else {"x": n / 100}, (final,), final)
        for n in range(1, 40)
    ]
    engine = StudyEngine(StudyConfig((Metric("score"),), (X,)), odd, seed=0, torch=False)
    assert -1 <= float(engine.suggest(1)[0]["x"]) <= 1
