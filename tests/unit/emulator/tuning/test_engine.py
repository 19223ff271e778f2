"""What is suggested: always of the space, what was not tried yet, and in the end what is good."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vertexkit.emulator.tuning.engine import StudyEngine
from vertexkit.emulator.tuning.types import (
    Algorithm,
    Child,
    Kind,
    Measurement,
    Metric,
    Noise,
    Parameter,
    ParameterValue,
    Scale,
    Stopping,
    StoppingKind,
    StudyConfig,
    TrialRecord,
    TrialState,
)

LOSS = (Metric("loss", maximize=False),)
RATE = Parameter("rate", Kind.DOUBLE, 1e-4, 1.0, scale=Scale.LOG)
LAYERS = Parameter("layers", Kind.INTEGER, 1, 4)
BATCH = Parameter("batch", Kind.DISCRETE, values=(16.0, 32.0, 64.0))
OPTIMIZER = Parameter(
    "optimizer",
    Kind.CATEGORICAL,
    values=("sgd", "adam", "lion"),
    children=(
        Child(("sgd",), Parameter("momentum", Kind.DOUBLE, 0.5, 0.99, scale=Scale.REVERSE_LOG)),
        Child(("adam", "lion"), Parameter("beta", Kind.DISCRETE, values=(0.9, 0.99))),
    ),
)


def done(trial_id: int, values: Mapping[str, ParameterValue], **metrics: float) -> TrialRecord:
    final = Measurement(1, 1.0, metrics)
    return TrialRecord(trial_id, TrialState.SUCCEEDED, values, (final,), final)


def searched(engine: StudyEngine, count: int, objective: Any, first: int = 1) -> list[TrialRecord]:
    """Run some trials one after another."""
    trials = []
    for trial_id in range(first, first + count):
        suggested = engine.suggest(1)
        if not suggested:
            break
        engine.update(TrialRecord(trial_id, TrialState.ACTIVE, suggested[0]))
        trials.append(done(trial_id, suggested[0], loss=objective(suggested[0])))
        engine.update(trials[-1])
    return trials


def check_in_space(parameters: Sequence[Parameter], values: Mapping[str, ParameterValue]) -> None:
    """That values are exactly those of the active parameters, each of its type and range."""
    active, pending = set(), list(parameters)
    while pending:
        parameter = pending.pop()
        active.add(parameter.name)
        value = values[parameter.name]
        if parameter.kind in (Kind.CATEGORICAL, Kind.DISCRETE):
            assert value in parameter.values
            assert type(value) is (str if parameter.kind is Kind.CATEGORICAL else float)
        else:
            assert type(value) is (int if parameter.kind is Kind.INTEGER else float)
            assert parameter.minimum <= value <= parameter.maximum
        pending += [child.parameter for child in parameter.children if value in child.parent_values]
    assert values.keys() == active


finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=5e-324, allow_nan=False, allow_infinity=False)
whole = st.integers(-(2**53), 2**53)


@st.composite
def spaces(draw: st.DrawFn, prefix: str = "p", depth: int = 2) -> Parameter:
    """A parameter of any kind and scale, with children that have names of their own."""
    kind = draw(st.sampled_from(Kind))
    scale = draw(st.sampled_from(Scale)) if kind is not Kind.CATEGORICAL else Scale.LINEAR
    bounded = scale is not Scale.LINEAR
    minimum: float = 0
    maximum: float = 0
    values: tuple[Any, ...] = ()
    if kind is Kind.DOUBLE:
        minimum, maximum = sorted(draw(st.tuples(*[positive if bounded else finite] * 2)))
    elif kind is Kind.INTEGER:
        bounds = st.integers(1, 2**53) if bounded else whole
        minimum, maximum = sorted(draw(st.tuples(bounds, bounds)))
    elif kind is Kind.DISCRETE:
        points = st.floats(1e-3 if bounded else -1e6, 1e6).map(lambda value: round(value, 3))
        values = tuple(sorted(draw(st.sets(points, min_size=1, max_size=5))))
    else:
        values = tuple(sorted(draw(st.sets(st.text(min_size=1, max_size=3), min_size=1, max_size=4))))
    children = []
    if depth and kind is not Kind.DOUBLE:
        feasible = list(values) or [int(minimum), int(maximum)]
        for index in range(draw(st.integers(0, 2))):
            condition = draw(st.lists(st.sampled_from(feasible), min_size=1, max_size=3))
            children.append(Child(tuple(condition), draw(spaces(f"{prefix}.{index}", depth - 1))))
    return Parameter(prefix, kind, minimum, maximum, values, scale, children=tuple(children))


def roots(draw: st.DrawFn) -> tuple[Parameter, ...]:
    return tuple(draw(spaces(f"p{index}")) for index in range(draw(st.integers(1, 3))))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.composite(roots)(), st.sampled_from(Algorithm), st.integers(1, 3), st.data())
def test_whatever_the_space_every_suggestion_lies_in_it(
    parameters: tuple[Parameter, ...], algorithm: Algorithm, objectives: int, data: st.DataObject
) -> None:
    metrics = tuple(Metric(f"m{index}", data.draw(st.booleans())) for index in range(objectives))
    config = StudyConfig(metrics, parameters, algorithm)
    try:
        engine = StudyEngine(config, seed=0)
    except ValueError as refused:
        assert "GRID_SEARCH" in str(refused) and algorithm is Algorithm.GRID_SEARCH
        return
    trials: list[TrialRecord] = []
    any_float = st.floats(allow_nan=True, allow_infinity=True)
    for trial_id in range(1, 17):
        if trial_id == 12:
            engine = StudyEngine(config, trials, seed=0)
        suggested = engine.suggest(1)
        if not suggested:
            assert algorithm is Algorithm.GRID_SEARCH
            break
        check_in_space(parameters, suggested[0])
        found = {metric.id: data.draw(any_float) for metric in metrics}
        trials.append(done(trial_id, suggested[0], **found))
        engine.update(trials[-1])


@settings(max_examples=30, deadline=None)
@given(st.composite(roots)(), st.integers(0, 2**32))
def test_what_is_given_is_what_is_suggested(parameters: tuple[Parameter, ...], seed: int) -> None:
    engine = StudyEngine(StudyConfig(LOSS, parameters), seed=seed)
    values = engine.suggest(1)[0]
    again = engine.suggest(2, fixed=values)
    assert again == [values, values]


@pytest.mark.parametrize("algorithm", [Algorithm.DEFAULT, Algorithm.RANDOM_SEARCH])
def test_an_engine_made_again_suggests_what_the_first_one_would_have(algorithm: Algorithm) -> None:
    config = StudyConfig(LOSS, (RATE, LAYERS, OPTIMIZER), algorithm)
    first = StudyEngine(config, seed=3)
    trials = searched(first, 20, lambda values: values["rate"] + values["layers"])
    running = [TrialRecord(21, TrialState.ACTIVE, first.suggest(1)[0])]
    first.update(running[0])
    second = StudyEngine(config, [*running, *reversed(trials)], seed=3)
    assert first.suggest(3) == second.suggest(3)


def test_the_seed_decides_what_is_suggested() -> None:
    config = StudyConfig(LOSS, (RATE, LAYERS, OPTIMIZER))
    runs = [searched(StudyEngine(config, seed=seed), 15, lambda values: values["rate"]) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_random_search_draws_evenly_over_the_scale() -> None:
    parameters = (
        Parameter("linear", Kind.DOUBLE, 0.0, 10.0),
        Parameter("log", Kind.DOUBLE, 1e-4, 1.0, scale=Scale.LOG),
        Parameter("reverse", Kind.DOUBLE, 1e-4, 1.0, scale=Scale.REVERSE_LOG),
        Parameter("integer", Kind.INTEGER, 1, 10_000, scale=Scale.LOG),
        Parameter("turned", Kind.INTEGER, 1, 10_000, scale=Scale.REVERSE_LOG),
        Parameter("discrete", Kind.DISCRETE, values=(1.0, 10.0, 1000.0)),
    )
    engine = StudyEngine(StudyConfig(LOSS, parameters, Algorithm.RANDOM_SEARCH), seed=0)
    drawn = engine.suggest(800)

    def part(name: str, least: float) -> float:
        return sum(values[name] >= least for values in drawn) / len(drawn)

    assert part("linear", 5.0) == pytest.approx(0.5, abs=0.06)
    assert part("log", 1e-2) == pytest.approx(0.5, abs=0.06)
    # 0.9901 is as far below the top as 0.01 is above the bottom.
    assert part("reverse", 1.0001 - 1e-2) == pytest.approx(0.5, abs=0.06)
    assert part("integer", 101) == pytest.approx(0.5, abs=0.06)
    assert part("turned", 9_901) == pytest.approx(0.5, abs=0.06)
    assert part("discrete", 10.0) == pytest.approx(2 / 3, abs=0.06)


def test_a_grid_is_gone_through_in_order_once_and_then_there_is_no_more() -> None:
    config = StudyConfig(
        LOSS, (LAYERS, replace(OPTIMIZER, children=OPTIMIZER.children[1:])), Algorithm.GRID_SEARCH
    )
    engine = StudyEngine(config, seed=0)
    first = engine.suggest(3)
    assert first == [
        {"layers": 1, "optimizer": "sgd"},
        {"layers": 1, "optimizer": "adam", "beta": 0.9},
        {"layers": 1, "optimizer": "adam", "beta": 0.99},
    ]
    rest = engine.suggest(100)
    assert len(rest) == 4 * 5 - 3
    assert len({frozenset(values.items()) for values in [*first, *rest]}) == 20
    assert engine.suggest(1) == []


def test_a_grid_leaves_out_what_was_tried_by_whoever_made_the_trial() -> None:
    config = StudyConfig(LOSS, (Parameter("n", Kind.INTEGER, 1, 3),), Algorithm.GRID_SEARCH)
    engine = StudyEngine(config, [TrialRecord(1, TrialState.REQUESTED, {"n": 2})], seed=0)
    assert engine.suggest(5) == [{"n": 1}, {"n": 3}]
    engine.remove(1)
    assert engine.suggest(5) == [{"n": 2}]


def test_a_grid_of_a_wide_integer_takes_no_memory() -> None:
    config = StudyConfig(LOSS, (Parameter("n", Kind.INTEGER, 0, 2**53),), Algorithm.GRID_SEARCH)
    assert StudyEngine(config, seed=0).suggest(3) == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_by_default_values_are_repeated_only_when_there_are_no_others() -> None:
    config = StudyConfig(LOSS, (LAYERS, BATCH))
    engine = StudyEngine(config, seed=0)
    trials = searched(engine, 12, lambda values: values["layers"])
    assert len({frozenset(trial.parameters.items()) for trial in trials}) == 12
    assert len(engine.suggest(4)) == 4


@pytest.mark.parametrize("algorithm", [Algorithm.DEFAULT, Algorithm.RANDOM_SEARCH])
def test_without_noise_no_values_are_repeated_ever(algorithm: Algorithm) -> None:
    engine = StudyEngine(StudyConfig(LOSS, (LAYERS, BATCH), algorithm, noise=Noise.LOW), seed=0)
    trials = searched(engine, 30, lambda values: values["layers"])
    assert len(trials) == 12
    assert engine.suggest(2) == []


def test_the_first_suggestion_has_the_default_values() -> None:
    parameters = (
        replace(RATE, default=0.1),
        replace(LAYERS, default=3),
        replace(OPTIMIZER, default="sgd"),
        BATCH,
    )
    engine = StudyEngine(StudyConfig(LOSS, parameters), seed=0)
    first, second = engine.suggest(2)
    assert {"rate": 0.1, "layers": 3, "optimizer": "sgd"}.items() <= first.items()
    assert first["rate"] != second["rate"]


def test_what_is_fixed_stays_and_what_cannot_be_is_refused() -> None:
    engine = StudyEngine(StudyConfig(LOSS, (RATE, LAYERS, OPTIMIZER)), seed=0)
    searched(engine, 12, lambda values: values["rate"])
    for values in engine.suggest(5, fixed={"layers": 2.0, "optimizer": "sgd", "rate": 0.3}):
        assert (values["layers"], values["optimizer"], values["rate"]) == (2, "sgd", 0.3)
        check_in_space((RATE, LAYERS, OPTIMIZER), values)
    for name, value in {"layers": 9, "rate": "high", "depth": 1}.items():
        with pytest.raises(ValueError, match=name):
            engine.suggest(1, fixed={name: value})


def test_it_learns() -> None:
    def objective(values: Mapping[str, Any]) -> float:
        return abs(math.log10(values["rate"]) + 2) + values["layers"] + (values["optimizer"] != "adam")

    config = StudyConfig(LOSS, (RATE, LAYERS, OPTIMIZER))
    late = []
    for algorithm in (Algorithm.DEFAULT, Algorithm.RANDOM_SEARCH):
        engine = StudyEngine(replace(config, algorithm=algorithm), seed=1)
        trials = searched(engine, 50, objective)
        late.append(sum(objective(trial.parameters) for trial in trials[25:]) / 25)
    assert late[0] < late[1] - 1


def test_it_keeps_away_from_where_trials_come_to_nothing_and_from_those_under_way() -> None:
    parameters = (Parameter("x", Kind.DOUBLE, 0.0, 1.0),)

    def near(engine: StudyEngine) -> float:
        return sum(0.15 < values["x"] < 0.35 for values in engine.suggest(10))

    trials = [done(n, {"x": n / 20}, loss=abs(n / 20 - 0.25)) for n in range(1, 20)]
    drawn = near(StudyEngine(StudyConfig(LOSS, parameters), trials, seed=0))
    bad = [
        TrialRecord(n, TrialState.INFEASIBLE, {"x": 0.15 + n / 1000})
        if n % 2
        else TrialRecord(n, TrialState.ACTIVE, {"x": 0.15 + n / 1000})
        for n in range(20, 200)
    ]
    engine = StudyEngine(StudyConfig(LOSS, parameters), [*trials, *bad], seed=0)
    assert near(engine) < drawn


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_no_number_is_no_result(value: float) -> None:
    config = StudyConfig(LOSS, (RATE,))
    engine = StudyEngine(config, seed=0)
    trials = [done(n, {"rate": 0.001 * n}, loss=value if n % 2 else n) for n in range(1, 40)]
    for trial in trials:
        engine.update(trial)
    check_in_space((RATE,), engine.suggest(1)[0])
    assert engine.optimal(trials) == [2]


def test_several_objectives_are_searched_and_give_the_pareto_set() -> None:
    metrics = (Metric("accuracy"), Metric("size", maximize=False))
    engine = StudyEngine(StudyConfig(metrics, (LAYERS, RATE)), seed=0)
    trials = []
    for trial_id in range(1, 25):
        values = engine.suggest(1)[0]
        size = float(values["layers"])
        trials.append(done(trial_id, values, accuracy=math.sqrt(size) - float(values["rate"]), size=size))
        engine.update(trials[-1])
    best = engine.optimal(trials)
    assert len(best) >= 2
    chosen = [trial for trial in trials if trial.id in best]
    by_size = sorted(chosen, key=lambda trial: trial.parameters["layers"])
    accuracies = [trial.final.metrics["accuracy"] for trial in by_size if trial.final]
    assert accuracies == sorted(accuracies)


def test_a_result_that_changes_and_a_trial_that_is_removed_are_taken_notice_of() -> None:
    config = StudyConfig(LOSS, (Parameter("x", Kind.DOUBLE, 0.0, 1.0),))
    trials = [done(n, {"x": n / 20}, loss=abs(n / 20 - 0.9)) for n in range(1, 20)]
    engine = StudyEngine(config, trials, seed=5)
    running = TrialRecord(20, TrialState.ACTIVE, engine.suggest(1)[0])
    engine.update(running)
    changed = [done(n, {"x": n / 20}, loss=abs(n / 20 - 0.1)) for n in range(1, 19)]
    for trial in changed:
        engine.update(trial)
    engine.remove(19)
    again = StudyEngine(config, [*changed, running], seed=5)
    assert engine.suggest(3) == again.suggest(3)


def test_suggestions_at_once_differ() -> None:
    engine = StudyEngine(StudyConfig(LOSS, (RATE, LAYERS)), seed=0)
    searched(engine, 20, lambda values: values["rate"])
    found: list[frozenset[Any]] = []

    def ask() -> None:
        found.extend(frozenset(values.items()) for values in engine.suggest(2))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 8


def test_a_thousand_trials_are_taken_up_within_a_second() -> None:
    rng = random.Random(0)
    config = StudyConfig(LOSS, (RATE, LAYERS, OPTIMIZER))
    drawn = StudyEngine(replace(config, algorithm=Algorithm.RANDOM_SEARCH), seed=0).suggest(1000)
    trials = [done(n, values, loss=rng.random()) for n, values in enumerate(drawn, start=1)]
    StudyEngine(config, trials[:20], seed=0).suggest(1)  # Imports Optuna.
    started = time.perf_counter()
    StudyEngine(config, trials, seed=0).suggest(1)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (StudyConfig((), (RATE,)), "metrics"),
        (StudyConfig((Metric("a"), Metric("a")), (RATE,)), "metrics"),
        (StudyConfig(LOSS, ()), "parameters"),
        (StudyConfig(LOSS, (RATE, RATE)), "rate"),
        (StudyConfig(LOSS, (replace(RATE, minimum=0.0),)), "rate"),
        (StudyConfig(LOSS, (replace(RATE, minimum=2.0),)), "rate"),
        (StudyConfig(LOSS, (replace(LAYERS, maximum=math.inf),)), "layers"),
        (StudyConfig(LOSS, (replace(BATCH, values=()),)), "batch"),
        (StudyConfig(LOSS, (replace(RATE, children=(Child((0.1,), LAYERS),)),)), "rate"),
        (StudyConfig(LOSS, (LAYERS, RATE), Algorithm.GRID_SEARCH), "GRID_SEARCH"),
        (
            StudyConfig((Metric("a"), Metric("b")), (RATE,), stopping=Stopping(StoppingKind.MEDIAN)),
            "stopping",
        ),
    ],
)
def test_a_study_that_cannot_be_is_refused(config: StudyConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StudyEngine(config, seed=0)
