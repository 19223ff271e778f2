"""How good what a study suggests through the API is, and how long a suggestion takes.

Each function is searched with 50 trials, 4 in parallel, from 10 seeds. What is left to the optimum is held
against what the search by Optuna's TPE leaves, as it was measured when Optuna was chosen, and against random
search.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final, Protocol, TypeAlias

from tests.bench.report import Row, milliseconds
from tests.bench.vizier_search import Studies
from tests.conftest import launched
from vertexkit.emulator.tuning.engine import StudyEngine
from vertexkit.emulator.tuning.types import (
    Algorithm,
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

_TRIALS: Final = 50
_PARALLEL: Final = 4
_SEEDS: Final = range(10)
_METRIC: Final = "regret"

Values: TypeAlias = Mapping[str, ParameterValue]


class Searched(Protocol):
    """A study that is under way."""

    def suggest(self) -> tuple[int, Values]:
        """A new trial: its id, and its values."""

    def complete(self, trial_id: int, regret: float) -> None:
        """The result of a trial."""


Search: TypeAlias = Callable[[StudyConfig, int], Searched]
"""Begins a study, from a seed."""


@dataclass(frozen=True)
class Function:
    """What is minimized."""

    name: str
    parameters: tuple[Parameter, ...]
    regret: Callable[[Values], float]
    """How far from the optimum values are."""
    by_tpe: float
    """Median regret of Optuna 5's TPE (multivariate), measured once."""


def branin(values: Values) -> float:
    """Branin: two dimensions, three optima."""
    x, y = float(values["x"]), float(values["y"])
    bent = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return bent**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.39788736


_HARTMANN_WEIGHTS: Final = (1.0, 1.2, 3.0, 3.2)
_HARTMANN_SCALES: Final = (
    (10.0, 3.0, 17.0, 3.5, 1.7, 8.0),
    (0.05, 10.0, 17.0, 0.1, 8.0, 14.0),
    (3.0, 3.5, 1.7, 10.0, 17.0, 8.0),
    (17.0, 8.0, 0.05, 10.0, 0.1, 14.0),
)
_HARTMANN_PEAKS: Final = (
    (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
    (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
    (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
    (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
)


def hartmann(values: Values) -> float:
    """Hartmann-6: six dimensions, six local optima."""
    place = [float(values[f"x{index}"]) for index in range(6)]
    peaks = (
        weight * math.exp(-sum(a * (x - p) ** 2 for a, x, p in zip(scales, place, peak, strict=True)))
        for weight, scales, peak in zip(_HARTMANN_WEIGHTS, _HARTMANN_SCALES, _HARTMANN_PEAKS, strict=True)
    )
    return 3.32236801 - sum(peaks)


def perceptron(values: Values) -> float:
    """The validation error of a multi-layer perceptron, roughly.

    Each optimizer has a learning rate of its own, which is smaller for a deeper network; away from it the
    network does not learn at all. Size matters little.
    """
    adam, layers = values["optimizer"] == "adam", float(values["n_hidden"])
    off = math.log10(float(values["learning_rate"])) - (-2.7 if adam else -0.7) + 0.05 * (layers - 3)
    too_small_or_large = 1 - math.exp(-0.5 * (off / 0.9) ** 2)
    width = math.log(float(values["n_neurons"]) / 200) / math.log(300)
    depth = (layers - 3) / 9
    return 0.2 * (too_small_or_large + 0.3 * width**2 + 0.15 * depth**2 + (0 if adam else 0.03))


FUNCTIONS: Final = (
    Function(
        "Branin",
        (Parameter("x", Kind.DOUBLE, -5.0, 10.0), Parameter("y", Kind.DOUBLE, 0.0, 15.0)),
        branin,
        by_tpe=0.174,
    ),
    Function(
        "Hartmann-6",
        tuple(Parameter(f"x{index}", Kind.DOUBLE, 0.0, 1.0) for index in range(6)),
        hartmann,
        by_tpe=0.446,
    ),
    Function(
        "perceptron (log, 2 integers, 1 category)",
        (
            Parameter("learning_rate", Kind.DOUBLE, 1e-3, 10.0, scale=Scale.LOG),
            Parameter("n_neurons", Kind.INTEGER, 1, 300),
            Parameter("n_hidden", Kind.INTEGER, 1, 10),
            Parameter("optimizer", Kind.CATEGORICAL, values=("sgd", "adam")),
        ),
        perceptron,
        by_tpe=0.0053,
    ),
)


class EngineSearch:
    """The engine alone, as the service asks it."""

    def __init__(self, config: StudyConfig, seed: int) -> None:
        self._engine = StudyEngine(config, seed=seed, torch=False)
        self._ids = itertools.count(1)
        self._values: dict[int, Values] = {}

    def suggest(self) -> tuple[int, Values]:
        """See ``Searched``."""
        trial_id, values = next(self._ids), self._engine.suggest(1)[0]
        self._values[trial_id] = values
        self._engine.update(TrialRecord(trial_id, TrialState.ACTIVE, values))
        return trial_id, values

    def complete(self, trial_id: int, regret: float) -> None:
        """See ``Searched``."""
        final = Measurement(1, 1.0, {_METRIC: regret})
        self._engine.update(
            TrialRecord(trial_id, TrialState.SUCCEEDED, self._values[trial_id], (final,), final)
        )


def run() -> list[Row]:
    """Search every function by the default algorithm and at random."""
    with launched() as emulator:
        return _searched(Studies(emulator.rest))


def _searched(search: Search) -> list[Row]:
    rows = []
    for function in FUNCTIONS:
        found, by_chance = (
            median(_regret(search, function, algorithm, seed) for seed in _SEEDS)
            for algorithm in (Algorithm.DEFAULT, Algorithm.RANDOM_SEARCH)
        )
        what = f"search of {function.name}, {_TRIALS} trials: median regret"
        rows.append(
            Row(
                what,
                f"{found:.4f}",
                f"Optuna's TPE {function.by_tpe:.4f}",
                found / function.by_tpe,
                target=1.0,
                at_most=True,
            )
        )
        rows.append(
            Row(
                what,
                f"{found:.4f}",
                f"random search {by_chance:.4f}",
                by_chance / found,
                target=3.0,
            )
        )
    seconds, alone = (_suggestion_seconds(one, FUNCTIONS[-1]) for one in (search, EngineSearch))
    rows.append(
        Row(
            "suggestion after 100 trials",
            milliseconds(seconds),
            f"the engine alone {milliseconds(alone)}",
            seconds * 1e3,
            target=20,
            unit="ms",
            at_most=True,
        )
    )
    return rows


def _config(function: Function, algorithm: Algorithm) -> StudyConfig:
    return StudyConfig((Metric(_METRIC, maximize=False),), function.parameters, algorithm)


def _regret(search: Search, function: Function, algorithm: Algorithm, seed: int) -> float:
    """The least regret of a search, in which each trial takes as long as any other."""
    study = search(_config(function, algorithm), seed)
    running = deque(study.suggest() for _ in range(_PARALLEL))
    regrets = []
    while running:
        trial_id, values = running.popleft()
        regrets.append(function.regret(values))
        study.complete(trial_id, regrets[-1])
        if len(regrets) + len(running) < _TRIALS:
            running.append(study.suggest())
    return min(regrets)


def _suggestion_seconds(search: Search, function: Function) -> float:
    study = search(_config(function, Algorithm.DEFAULT), 0)
    taken = []
    for number in range(120):
        started = time.perf_counter()
        trial_id, values = study.suggest()
        if number >= 100:
            taken.append(time.perf_counter() - started)
        study.complete(trial_id, function.regret(values))
    return median(taken)
