"""What no other one beats."""

from __future__ import annotations

import math
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertexkit.pareto import unbeaten

numbers = st.one_of(st.integers(0, 4).map(float), st.sampled_from([-math.inf, math.inf, -0.0]))


@given(st.integers(1, 4).flatmap(lambda size: st.lists(st.tuples(*[numbers] * size), max_size=12)))
def test_no_other_beats_one_that_is_unbeaten_and_some_beat_the_rest(points: list[tuple[float, ...]]) -> None:
    front = unbeaten(points)
    assert front == sorted(front)
    for index, point in enumerate(points):
        beaten = any(
            other != point and all(a >= b for a, b in zip(other, point, strict=True)) for other in points
        )
        assert (index in front) is not beaten


@pytest.mark.parametrize("size", [1, 2])
def test_a_search_of_many_trials_takes_no_longer_than_to_sort_them(size: int) -> None:
    # All of them on the front, if there are two numbers.
    rng = random.Random(0)
    points = [((x := rng.random()), -x)[:size] for _ in range(50_000)]
    started = time.perf_counter()
    assert len(unbeaten(points)) == (1 if size == 1 else 50_000)
    assert time.perf_counter() - started < 2
