"""Suggestions by a model of what was observed: our own, or Optuna's fed with what the study knows.

Optuna has no trial of its own here. It is shown the study's as they are, asked for a point, and told to
forget that it was asked; so whatever was suggested from the same observations is suggested again.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from vertexkit.emulator.tuning.space import Node, Pinned, Place, Point, Space, Values
from vertexkit.emulator.tuning.types import Kind, Scale

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

_LARGEST = 1e50
"""Beyond it, products of objectives overflow."""
_LEAST_FOR_PROCESS = 10
"""Results before which points are drawn at random, as Optuna's samplers do."""
_MOST_BY_PROCESS = 200
"""Observations from which on a Gaussian process takes too long."""


@dataclass(frozen=True)
class Observation:
    """A point, and what is known of it."""

    point: Point
    scores: tuple[float, ...] | None
    """More is better; None for a trial that is under way or came to nothing, which others keep away from."""
    under_way: bool = False


class Model:
    """Finds promising points.

    A space without conditional parameters is searched for one objective by a Gaussian process: see there.
    Where all parameters are numbers, Optuna's is taken, which takes longer and finds more, if torch and scipy
    (the extra ``gp``) are installed. Any other space, and one with more observations than a process can take,
    is searched by TPE (multivariate, with parameters grouped by the conditions that they have in common).

    Args:
        space: What is searched.
        objectives: How many there are.
        torch: Whether to take Optuna's process; None for where it is good and installed.
    """

    def __init__(self, space: Space, objectives: int, *, torch: bool | None = None) -> None:
        self._space = space
        self._objectives = objectives
        self._unconditional = not any(node.branches for node in space.nodes())
        if torch is None:
            numeric = all(node.parameter.kind is not Kind.CATEGORICAL for node in space.nodes())
            installed = find_spec("torch") is not None and find_spec("scipy") is not None
            torch = self._unconditional and numeric and installed
        self._torch = torch
        self._shown: list[Observation] = []
        self._study: Study | None = None
        self._numbers: list[int] = []
        self._asked = 0
        self._distributions: dict[str, BaseDistribution] = {}

    def suggest(self, observations: Sequence[Observation], pinned: Pinned, seed: int) -> Values:
        """The next values to try.

        Args:
            observations: All that is known, those under way included.
            pinned: What is not to be chosen.
            seed: The same one gives the same values for the same observations.
        """
        if self._suits_process(observations):
            return self._by_process(observations, pinned, seed)
        return self._by_optuna(observations, pinned, seed)

    def _suits_process(self, observations: Sequence[Observation]) -> bool:
        scored = [observation for observation in self._whole(observations) if observation.scores is not None]
        return (
            self._unconditional
            and self._objectives == 1
            and not self._torch
            and len(scored) >= _LEAST_FOR_PROCESS
            and len(observations) <= _MOST_BY_PROCESS
        )

    def _whole(self, observations: Sequence[Observation]) -> list[Observation]:
        """Those of which every parameter is in the space; a user may have given anything."""
        return [each for each in observations if len(each.point) == len(self._space.roots)]

    def _by_process(self, observations: Sequence[Observation], pinned: Pinned, seed: int) -> Values:
        from vertexkit.emulator.tuning.gaussian_process import suggest

        whole = self._whole(observations)
        worst = min(each.scores[0] for each in whole if each.scores is not None)
        ended = [each for each in whole if not each.under_way]
        return suggest(
            self._space,
            [each.point for each in ended],
            # What came to nothing is as bad as can be.
            _clipped([worst if each.scores is None else each.scores[0] for each in ended]),
            [each.point for each in whole if each.under_way],
            pinned=pinned,
            seed=seed,
        )

    def _by_optuna(self, observations: Sequence[Observation], pinned: Pinned, seed: int) -> Values:
        from optuna.trial import TrialState

        study = self._up_to_date(observations)
        study.sampler = self._sampler(len(observations), seed)
        if pinned:
            study.enqueue_trial({key: place for key, (place, _) in pinned.items()})
        trial = study.ask()
        self._asked += 1
        values = self._space.walk(lambda node: _place(trial, node), pinned)
        study.tell(trial, state=TrialState.FAIL)
        return values

    def _sampler(self, observed: int, seed: int) -> BaseSampler:
        from optuna.exceptions import ExperimentalWarning
        from optuna.samplers import GPSampler, TPESampler

        if self._torch and observed <= _MOST_BY_PROCESS:
            return GPSampler(seed=seed, warn_independent_sampling=False)
        # No context that restores the filters: it would disturb other threads.
        warnings.filterwarnings("ignore", category=ExperimentalWarning)
        return TPESampler(multivariate=True, group=True, seed=seed)

    def _up_to_date(self, observations: Sequence[Observation]) -> Study:
        """Optuna's study with these observations, made anew when some were taken back."""
        known = len(self._shown)
        if (
            self._study is None
            or len(observations) < known
            or any(
                now.point != then.point or (now.scores != then.scores and then.scores is not None)
                for now, then in zip(observations, self._shown, strict=False)
            )
        ):
            self._study, self._numbers, self._asked, known = self._new_study(), [], 0, 0
        study = self._study
        for index, (now, then) in enumerate(zip(observations[:known], self._shown, strict=False)):
            if now.scores is not None and then.scores is None:
                study.tell(self._numbers[index], _clipped(now.scores))
        for observation in observations[known:]:
            self._numbers.append(len(self._numbers) + self._asked)
            study.add_trial(self._frozen(observation))
        self._shown = list(observations)
        return study

    def _new_study(self) -> Study:
        import optuna

        if not self._distributions:
            nodes = [node for node in self._space.nodes() if not node.fixed]
            self._distributions = {node.key: _distribution(node) for node in nodes}
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        return optuna.create_study(directions=["maximize"] * self._objectives)

    def _frozen(self, observation: Observation) -> FrozenTrial:
        from optuna.trial import TrialState, create_trial

        found = observation.scores
        return create_trial(
            state=TrialState.RUNNING if found is None else TrialState.COMPLETE,
            values=None if found is None else _clipped(found),
            params={key: place for key, place in observation.point.items() if key in self._distributions},
            distributions={
                key: self._distributions[key] for key in observation.point if key in self._distributions
            },
        )


def _place(trial: Trial, node: Node) -> Place:
    """What Optuna suggests; as ``_distribution``."""
    parameter = node.parameter
    if node.fixed:
        return next(node.places())
    if parameter.kind is Kind.DOUBLE:
        return trial.suggest_float(node.key, 0.0, 1.0)
    if parameter.kind is Kind.INTEGER:
        low, high = int(parameter.minimum), int(parameter.maximum)
        return trial.suggest_int(node.key, low, high, log=parameter.scale is not Scale.LINEAR)
    if parameter.kind is Kind.DISCRETE:
        return trial.suggest_int(node.key, 0, len(parameter.values) - 1)
    return trial.suggest_categorical(node.key, range(len(parameter.values)))


def _distribution(node: Node) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    parameter = node.parameter
    if parameter.kind is Kind.DOUBLE:
        return FloatDistribution(0.0, 1.0)
    if parameter.kind is Kind.INTEGER:
        low, high = int(parameter.minimum), int(parameter.maximum)
        return IntDistribution(low, high, log=parameter.scale is not Scale.LINEAR)
    if parameter.kind is Kind.DISCRETE:
        return IntDistribution(0, len(parameter.values) - 1)
    return CategoricalDistribution(range(len(parameter.values)))


def _clipped(scores: Sequence[float]) -> list[float]:
    return [min(max(score, -_LARGEST), _LARGEST) for score in scores]
