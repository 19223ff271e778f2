"""The quickstart, run as `make demo` runs it: a process of its own, nothing configured, nothing left."""

from __future__ import annotations

import re

import pytest
from example_runs import run_example


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the quickstart printed."""
    return run_example("quickstart.py", tmp_path_factory.mktemp("quickstart")).stdout


def test_the_accuracy_by_the_endpoint_is_that_of_keras_and_better_than_chance(output: str) -> None:
    found = re.search(r"accuracy ([\d.]+)%; by Keras in this process ([\d.]+)%", output)
    assert found is not None
    assert found[1] == found[2]
    assert float(found[1]) > 70


def test_the_canary_gets_the_percentage_that_it_was_given(output: str) -> None:
    found = re.search(r"version 1: ([\d.]+)%, version 2: ([\d.]+)%", output)
    assert found is not None
    assert (float(found[1]), float(found[2])) == (90.0, 10.0)


def test_the_promoted_version_answers_and_is_better(output: str) -> None:
    first, second = (float(value) for value in re.findall(r"accuracy ([\d.]+)%", output))
    assert second > first


def test_the_roll_back_restores_the_split_before(output: str) -> None:
    rolled_back = output.partition("Roll back to the split before")[2].partition("Clean up")[0]
    assert re.search(r"mnist@1 .*: 90 %", rolled_back)
    assert re.search(r"mnist@2 .*: 10 %", rolled_back)


def test_everything_that_it_created_is_deleted(output: str) -> None:
    deleted = output.partition("== Clean up")[2]
    for part in ("/endpoints/", "/models/", "gs://"):
        assert part in deleted


def test_it_tells_where_the_time_went(output: str) -> None:
    table = output.partition("Where the time went:")[2].splitlines()
    seconds = [float(found[1]) for line in table if (found := re.search(r" ([\d.]+) s$", line))]
    assert len(seconds) > 10
    assert seconds[-1] == pytest.approx(sum(seconds[:-1]), abs=0.1)
