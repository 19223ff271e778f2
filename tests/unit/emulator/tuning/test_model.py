"""By what a search is made: our own process, Optuna's with torch, or TPE."""

from __future__ import annotations

import random
from typing import Any

import pytest

from vertexkit.emulator.tuning import model
from vertexkit.emulator.tuning.model import Model, Observation
from vertexkit.emulator.tuning.space import Space
from vertexkit.emulator.tuning.types import Child, Kind, Parameter

X = Parameter("x", Kind.DOUBLE, 0.0, 1.0)
N = Parameter("n", Kind.INTEGER, 1, 100)
KIND = Parameter("kind", Kind.CATEGORICAL, values=("a", "b"))
PARENT = Parameter("depth", Kind.INTEGER, 1, 2, children=(Child((2,), X),))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The samplers of Optuna that were used. GPSampler needs torch, and TPE stands for it here."""
    import optuna

    used: list[str] = []
    by_tpe = optuna.samplers.TPESampler

    def gp(*, seed: int, warn_independent_sampling: bool) -> Any:
        used.append("gp")
        return by_tpe(seed=seed)

    def tpe(**options: Any) -> Any:
        if options:  # else a study's own, which is replaced
            used.append("tpe")
        return by_tpe(**options)

    monkeypatch.setattr(optuna.samplers, "GPSampler", gp)
    monkeypatch.setattr(optuna.samplers, "TPESampler", tpe)
    return used


def suggested(space: Space, tried: int, objectives: int = 1) -> None:
    """One suggestion after some points at random."""
    rng = random.Random(0)
    points = [space.locate(space.sample(rng, {})) for _ in range(tried)]
    known = [Observation(point, (rng.random(),) * objectives) for point in points]
    Model(space, objectives).suggest(known, {}, 1)


@pytest.mark.parametrize(
    ("parameters", "tried", "extra", "used"),
    [
        ((X, N), 20, True, ["gp"]),
        ((X, N), 20, False, []),
        ((X, N), 5, False, ["tpe"]),
        # It is worse than our own where there are categories, and knows no conditions.
        ((X, KIND), 20, True, []),
        ((N, PARENT), 20, True, ["tpe"]),
        # With so many it takes seconds.
        ((X, N), 201, True, ["tpe"]),
        ((X, N), 201, False, ["tpe"]),
    ],
)
def test_optunas_process_searches_numbers_where_the_extra_is_installed(
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
    parameters: tuple[Parameter, ...],
    tried: int,
    extra: bool,
    used: list[str],
) -> None:
    monkeypatch.setattr(model, "find_spec", lambda name: object() if extra else None)
    suggested(Space(parameters), tried)
    assert asked == used


def test_the_extra_searches_for_real_where_it_is_installed() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("scipy")
    suggested(Space((X, N)), 20)
    suggested(Space((X, N)), 20, objectives=2)
