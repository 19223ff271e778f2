"""Conditional parameters: which are there at once, and what a service makes of what is let pass."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from vertexkit.emulator.errors import ApiError
from vertexkit.emulator.messages import StudySpec
from vertexkit.emulator.services.study_spec import study_config
from vertexkit.emulator.tuning.space import Space as SearchedSpace
from vertexkit.errors import InvalidArgument
from vertexkit.space_branches import branches, points, trials_of, twice_at_once
from vertexkit.spaces import Categorical, Discrete, Double, Integer, Parameter, Space, parameter_spec
from vertexkit.tuning_checks import check_space

MOMENTUM = {"momentum": Double(0, 1)}
_NAMES = st.sampled_from("xyz")
_NUMBERS = st.one_of(
    st.integers(1, 3),
    st.sampled_from([0, 0.5, 1e-11, -1, 2**53, 2**53 + 1, -(2**54), 1e308, math.inf, 10**400]),
)
_TEXTS = st.lists(st.sampled_from(["a", "b", ""]), min_size=1, max_size=2, unique=True)
_SCALES: st.SearchStrategy[Any] = st.sampled_from(["linear", "log", "reverse_log"])


@st.composite
def _parameters(draw: st.DrawFn, depth: int = 2) -> Parameter | None:
    """A parameter, or None where there can be no such one."""
    kind = draw(st.sampled_from([Double, Integer, Categorical, Discrete]))
    try:
        if kind is Double:
            return Double(draw(_NUMBERS), draw(_NUMBERS), draw(_SCALES))
        values: Any = draw(_TEXTS if kind is Categorical else st.lists(_NUMBERS, min_size=1, max_size=3))
        keys = st.sampled_from(["a", "b", ("a", "b")] if kind is Categorical else [1, 2, 1.5, (1, 2)])
        below = _spaces(depth - 1) if depth else st.just({})
        children: Any = draw(st.dictionaries(keys, below.filter(bool), max_size=2)) if depth else {}
        if kind is Integer:
            return Integer(values[0], values[-1], draw(_SCALES), children=children)
        if kind is Discrete:
            return Discrete(values, draw(_SCALES), children=children)
        return Categorical(values, children=children)
    except InvalidArgument:
        return None


def _spaces(depth: int = 2) -> st.SearchStrategy[dict[str, Parameter]]:
    drawn = st.dictionaries(_NAMES, _parameters(depth), max_size=3)
    return drawn.map(lambda space: {name: one for name, one in space.items() if one is not None})


def sent(space: Space) -> Any:
    written = {
        "metrics": [{"metricId": "score", "goal": "MAXIMIZE"}],
        "parameters": [parameter_spec(name, parameter) for name, parameter in space.items()],
    }
    return study_config(json_format.ParseDict(written, StudySpec()), "study_spec")


@settings(deadline=None, max_examples=60)
@given(_spaces())
def test_the_service_takes_every_space_that_is_let_pass_and_no_other(space: Space) -> None:
    if not check_space(space):
        sent(space)
    else:
        with pytest.raises(ApiError):
            sent(space)


def test_a_name_may_be_that_of_parameters_of_which_a_trial_has_one() -> None:
    optimizer = Categorical(["sgd", "adam"], children={"sgd": MOMENTUM})
    apart: Space = {"kind": Categorical(["a", "b"], children={"a": {"o": optimizer}, "b": {"o": optimizer}})}
    assert twice_at_once(apart) == []
    sent(apart)
    together: Space = {"one": optimizer, "other": optimizer}
    assert twice_at_once(together) == ["momentum"]
    assert twice_at_once({"momentum": Categorical(["a"], children={"a": MOMENTUM})}) == ["momentum"]
    (found,) = check_space(together)
    assert (found.argument, found.value) == ("space", "momentum")


def test_a_parameter_has_as_many_branches_as_there_are_others_below_it() -> None:
    layers = Integer(1, 1000, children={range(2, 900): MOMENTUM, (899, 900): {"rate": Double(0, 1)}})
    found = [(branch.value, branch.count, [*branch.below]) for branch in branches(layers)]
    assert found == [
        (1, 101, []),
        (2, 897, ["momentum"]),
        (899, 1, ["momentum", "rate"]),
        (900, 1, ["rate"]),
    ]
    sizes = Discrete([32, 16, 64.0], children={(16, 64): MOMENTUM})
    assert [(branch.value, branch.count) for branch in branches(sizes)] == [(16, 2), (32, 1)]
    assert branches(Integer(1, 2, children={(1, 2): MOMENTUM}))[0].count == 2


def test_trials_go_through_every_branch_and_not_through_all_combinations() -> None:
    optimizer = Categorical(["sgd", "adam"], children={"sgd": MOMENTUM})
    other = Discrete([1, 2], children={2: {"rate": Double(0, 1)}})
    space = {"layers": Integer(1, 2, children={2: {"o": optimizer, "p": other}})}
    ways = [*trials_of("layers", space["layers"])]
    assert [{name: way[name] for name in ("layers", "o", "p") if name in way} for way in ways] == [
        {"layers": 1},
        {"layers": 2, "o": "sgd", "p": 1},
        {"layers": 2, "o": "adam", "p": 1},
        {"layers": 2, "o": "sgd", "p": 2},
    ]
    assert "momentum" in ways[1]


def test_a_grid_has_the_points_that_the_service_goes_through() -> None:
    optimizer = Categorical(["sgd", "adam", "x"], children={("sgd", "x"): {"n": Integer(1, 4)}})
    space: Space = {"o": optimizer, "layers": Integer(1, 3, children={2: {"m": Discrete([1, 2])}})}
    config = sent(space)
    assert points(space) == len([*SearchedSpace(config.parameters).grid({})]) == (4 + 1 + 4) * (1 + 2 + 1)
    assert points({"x": Double(0, 1)}) == math.inf
