"""Whether `make bench` tells a target that is met from one that is missed."""

from __future__ import annotations

import pytest
from bench.report import Row, in_turn, markdown


@pytest.mark.parametrize(
    ("value", "target", "at_most", "met"),
    [
        (3.0, 3.0, False, True),
        (2.9, 3.0, False, False),
        (200.0, 200.0, True, True),
        (201.0, 200.0, True, False),
        (0.0, None, False, True),
        (float("nan"), 3.0, False, False),
    ],
)
def test_a_target_is_met_from_its_own_side(value: float, target: float, at_most: bool, met: bool) -> None:
    row = Row("what", "ours", "theirs", value, target=target, at_most=at_most)
    assert row.met is met
    assert row.cells()[-1] == ("" if target is None else "met" if met else "MISSED")


def test_both_sides_are_measured_in_turn_and_the_median_counts() -> None:
    order: list[str] = []
    values = iter([1.0, 10.0, 9.0, 20.0, 2.0, 30.0])

    def measure(side: str) -> float:
        order.append(side)
        return next(values)

    assert in_turn(lambda: measure("ours"), lambda: measure("theirs"), 3) == (2.0, 20.0)
    assert order == ["ours", "theirs"] * 3


def test_the_table_for_the_readme_is_markdown() -> None:
    lines = markdown([Row("import", "30 ms", "aiplatform 1,600 ms", 53.3, target=25)]).splitlines()
    assert lines[2] == "| import | 30 ms | aiplatform 1,600 ms | 53.3 x | >= 25 x | met |"
    assert len({line.count("|") for line in lines}) == 1
