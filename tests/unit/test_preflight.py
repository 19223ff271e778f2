"""Preflight: what is checked together, what is refused, and what is only warned of."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertexkit.errors import Finding, InvalidArgument, PreflightFailed
from vertexkit.preflight import (
    PreflightWarning,
    check_deploy,
    check_endpoint,
    check_replicas,
    check_traffic,
    check_upload,
    require,
)
from vertexkit.types import Machine

IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"


def arguments(findings: list[Finding]) -> list[str]:
    return [found.argument for found in findings]


def test_nothing_found_goes_on_silently() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        require([])


def test_a_warning_is_told_and_goes_on() -> None:
    with pytest.warns(PreflightWarning, match="retired"):
        require(check_deploy(machine=Machine("n1-standard-4", "NVIDIA_TESLA_K80")))


def test_the_warning_points_at_the_line_of_the_caller_s_caller() -> None:
    def noun() -> None:
        require([Finding("a", 1, "odd", warning=True)])

    with pytest.warns(PreflightWarning) as caught:
        noun()
    assert Path(caught[0].filename) == Path(__file__)


def test_everything_that_is_wrong_is_told_at_once_with_what_would_do() -> None:
    findings = check_deploy(
        machine=Machine("e2-standard-4", "NVIDIA_TESLA_T4"), replicas=(3, 1), traffic=101, image=IMAGE
    )
    with pytest.warns(PreflightWarning), pytest.raises(PreflightFailed) as caught:
        require(findings)
    text = str(caught.value)
    for words in ("e2-standard-4", "n1-standard-4", "use (1, 3)", "0 to 100 percent"):
        assert words in text
    assert isinstance(caught.value, InvalidArgument)
    assert arguments(list(caught.value.findings)) == ["accelerator", "replicas", "traffic"]


def test_a_good_upload_has_no_findings() -> None:
    assert (
        check_upload(
            name="mnist",
            location="us-central1",
            image=IMAGE,
            aliases=["prod"],
            labels={"team": "ml"},
        )
        == []
    )


def test_every_part_of_an_upload_is_checked() -> None:
    findings = check_upload(
        name="",
        location="us-central",
        image="python:3.11",
        aliases=["1"],
        labels={"A": ""},
    )
    assert arguments(findings) == ["name", "location", "image", "aliases", "labels['A']"]


def test_every_part_of_an_endpoint_is_checked() -> None:
    assert check_endpoint(name="mnist", location="us-central1", labels={}) == []
    findings = check_endpoint(name="", location="x", labels={"A": ""})
    assert arguments(findings) == ["name", "location", "labels['A']"]


def test_a_machine_can_be_given_by_its_name_alone() -> None:
    assert check_deploy(machine="n1-standard-2") == []
    assert arguments(check_deploy(machine="n1-standard-3")) == ["machine"]


@pytest.mark.parametrize("replicas", [1, 7, (1, 1), (1, 5)])
def test_replicas_may_be(replicas: int | tuple[int, int]) -> None:
    assert check_replicas(replicas) == []


@pytest.mark.parametrize("replicas", [0, -1, (0, 1), (5, 1), (1, 2, 3), (1.0, 2), True, (), None, "2", {}])
def test_replicas_may_not_be(replicas: object) -> None:
    assert arguments(check_replicas(replicas)) == ["replicas"]


@pytest.mark.parametrize(
    "machine",
    [5, None, [], b"n1-standard-2", Machine(None), Machine([]), Machine(5)],  # type: ignore[arg-type]  # wrong on purpose
)
def test_what_is_no_machine_is_a_finding_beside_the_others(machine: object) -> None:
    findings = check_deploy(machine=machine, replicas=None, traffic="10", image=IMAGE, name=5)
    assert arguments(findings) == ["machine", "replicas", "traffic", "name"]


def test_what_is_no_accelerator_is_a_finding() -> None:
    several: list[Any] = [5, [], b"NVIDIA_L4"]
    for wrong in several:
        machine = Machine("n1-standard-4", wrong)
        assert arguments(check_deploy(machine=machine)) == ["accelerator"]


@pytest.mark.parametrize("aliases", ["candidate", 5, None, {"a": 1}, [5], [None], ["1"]])
def test_what_are_no_aliases_is_a_finding(aliases: object) -> None:
    assert "aliases" in arguments(check_upload(name="m", location="us-central1", aliases=aliases))


def test_what_is_no_text_is_a_finding_wherever_text_is_due() -> None:
    wrong: Any = 5
    findings = check_upload(name=wrong, location=wrong, image=wrong, aliases=wrong, labels=wrong)
    assert arguments(findings) == ["name", "location", "image", "aliases", "labels"]


def test_machines_sold_by_the_rack_need_a_rack_of_replicas() -> None:
    rack = Machine("a4x-highgpu-4g", "NVIDIA_GB200", 4)
    assert arguments(check_deploy(machine=rack, replicas=(1, 20))) == ["replicas"]
    assert check_deploy(machine=rack, replicas=(18, 20)) == []


@given(st.one_of(st.integers(), st.floats(), st.booleans(), st.text()))
def test_a_share_of_traffic_is_a_whole_number_of_percent(percent: object) -> None:
    fine = type(percent) is int and 0 <= percent <= 100
    assert (check_traffic(percent) == []) == fine
