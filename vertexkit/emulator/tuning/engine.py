"""The search behind a study: what to try next, which trials to stop, which are best."""

from __future__ import annotations

import random
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

from vertexkit.emulator.tuning import objectives
from vertexkit.emulator.tuning.model import Model, Observation
from vertexkit.emulator.tuning.space import Pinned, Space, Values
from vertexkit.emulator.tuning.stopping import stopping_rule
from vertexkit.emulator.tuning.types import (
    Algorithm,
    Measurement,
    Noise,
    ParameterValue,
    StudyConfig,
    TrialRecord,
    TrialState,
)

_Key: TypeAlias = frozenset[tuple[str, ParameterValue]]

_REDRAWS = 20
"""Points that are drawn in search of one that was not tried yet."""


class StudyEngine:
    """One study, in memory; what its service keeps of the trials is enough to make it again after a restart.

    Two engines with the same configuration, seed and trials suggest the same. Any thread may call it.

    By default it searches as ``Model`` says: by a Gaussian process where no parameter is conditional and
    there is one objective, otherwise by TPE. RANDOM_SEARCH draws evenly over each parameter's scale.
    GRID_SEARCH goes through all combinations in order. The first suggestion of all has the parameters'
    default values.

    Values are suggested again by RANDOM_SEARCH, where the metrics are said to be noisy (``Noise.HIGH``), and
    by default once there are no others; never by GRID_SEARCH or where there is no noise (``Noise.LOW``).

    Args:
        config: What is searched for, where, and how.
        trials: What the service has kept, in any order.
        seed: Whatever is drawn depends on it.
        torch: Whether to search by Optuna's Gaussian process; None for where it is good and what the extra
            ``gp`` brings is installed.

    Raises:
        ValueError: The configuration cannot be; the message names the field.
    """

    def __init__(
        self,
        config: StudyConfig,
        trials: Sequence[TrialRecord] = (),
        *,
        seed: int,
        torch: bool | None = None,
    ) -> None:
        if not config.metrics:
            raise ValueError("metrics: there are none")
        if len({metric.id for metric in config.metrics}) < len(config.metrics):
            raise ValueError("metrics: an id is given more than once")
        if config.stopping is not None and len(config.metrics) > 1:
            raise ValueError(f"stopping: it is for a single metric, and there are {len(config.metrics)}")
        self._config = config
        self._space = Space(config.parameters)
        if config.algorithm is Algorithm.GRID_SEARCH and not self._space.has_grid:
            raise ValueError("algorithm: GRID_SEARCH cannot go through the values of a DOUBLE")
        self._seed = seed
        self._model = Model(self._space, len(config.metrics), torch=torch)
        self._rule = stopping_rule(config.metrics[0], config.stopping) if config.stopping else None
        self._lock = threading.RLock()
        self._trials: dict[int, TrialRecord] = {}
        self._observed: dict[int, Observation] = {}
        self._keys: dict[int, _Key] = {}
        self._unclaimed: list[Values] = []
        """Suggestions that no trial has been made of yet."""
        self._highest = 0
        for trial in trials:
            self.update(trial)

    def suggest(
        self, count: int, fixed: Mapping[str, ParameterValue] | None = None
    ) -> list[dict[str, float | int | str]]:
        """The next values to try; fewer, or none, when there are no others left.

        Args:
            count: How many; each takes notice of those before, and of the trials under way.
            fixed: Values, by name, that they are to have.

        Raises:
            ValueError: No parameter can have a value that is fixed; the message names it.
        """
        with self._lock:
            pinned = self._space.pin(fixed or {})
            found: list[Values] = []
            for _ in range(count):
                values = self._next(pinned)
                if values is None:
                    break
                self._unclaimed.append(values)
                found.append(dict(values))
            return found

    def update(self, trial: TrialRecord) -> None:
        """Take notice of a trial, whoever made it: one that is new, or that has changed."""
        with self._lock:
            key = _key(trial.parameters)
            if trial.id not in self._trials:
                suggested = [index for index, values in enumerate(self._unclaimed) if _key(values) == key]
                if suggested:
                    del self._unclaimed[suggested[0]]
            self._trials[trial.id] = trial
            self._keys[trial.id] = key
            self._highest = max(self._highest, trial.id)
            done = trial.state is TrialState.SUCCEEDED
            self._observed[trial.id] = Observation(
                self._space.locate(trial.parameters),
                objectives.scores(self._config.metrics, trial.final) if done else None,
                under_way=not trial.state.ended,
            )

    def remove(self, trial_id: int) -> None:
        """Forget a trial."""
        with self._lock:
            for kept in (self._trials, self._observed, self._keys):
                kept.pop(trial_id, None)

    def should_stop(self, trial: TrialRecord) -> bool:
        """Whether the study's automated stopping has a trial end early, as it is now."""
        with self._lock:
            return self._rule is not None and self._rule.should_stop(trial, self._others(trial))

    def predicted(self, trial: TrialRecord) -> Measurement | None:
        """The measurement that convex stopping adds to a trial that it stopped: what it would have come to.

        None for the other rules, and where nothing can be predicted. A trial that was stopped earlier is
        predicted anew, by what has been completed since.
        """
        with self._lock:
            return None if self._rule is None else self._rule.predicted(trial, self._others(trial))

    def final_measurement(self, trial: TrialRecord) -> Measurement | None:
        """The measurement that is a trial's result, by the study's measurement selection.

        None for a trial without a measurement that has all of the study's metrics.
        """
        return objectives.final_measurement(self._config, trial.measurements)

    def optimal(self, trials: Sequence[TrialRecord]) -> list[int]:
        """Ids of the best of some trials, those that tie included: of several objectives the Pareto set."""
        return objectives.optimal(self._config, trials)

    def _others(self, trial: TrialRecord) -> list[TrialRecord]:
        return [other for other in self._trials.values() if other.id != trial.id]

    def _next(self, pinned: Pinned) -> Values | None:
        tried = {*self._keys.values(), *map(_key, self._unclaimed)}
        if self._config.algorithm is Algorithm.GRID_SEARCH:
            return self._untried(tried, pinned)
        rng = random.Random(f"{self._seed}/{self._highest + len(self._unclaimed)}")  # noqa: S311 - no secret
        if not tried:
            return self._space.sample(rng, self._space.defaults() | pinned)
        if self._config.algorithm is Algorithm.RANDOM_SEARCH:
            values, repeats = self._space.sample(rng, pinned), self._config.noise is not Noise.LOW
        else:
            values = self._model.suggest(self._observations(), pinned, rng.getrandbits(32))
            repeats = self._config.noise is Noise.HIGH
        if repeats or _key(values) not in tried:
            return values
        drawn = (self._space.sample(rng, pinned) for _ in range(_REDRAWS))
        other = next((draw for draw in drawn if _key(draw) not in tried), None)
        if other is None and self._space.has_grid:
            other = self._untried(tried, pinned)
        return values if other is None and self._config.noise is Noise.DEFAULT else other

    def _observations(self) -> list[Observation]:
        known = [self._observed[trial_id] for trial_id in sorted(self._observed)]
        return known + [
            Observation(self._space.locate(values), None, under_way=True) for values in self._unclaimed
        ]

    def _untried(self, tried: Collection[_Key], pinned: Pinned) -> Values | None:
        return next((values for values in self._space.grid(pinned) if _key(values) not in tried), None)


def _key(values: Mapping[str, ParameterValue]) -> _Key:
    return frozenset(values.items())
