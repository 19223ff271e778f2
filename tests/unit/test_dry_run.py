"""What a plan would be refused for, with nobody to ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vertexkit.dry_run import Plan, check_plan
from vertexkit.errors import Finding
from vertexkit.types import Machine


def check(location: str = "us-central1", **plan: Any) -> list[Finding]:
    return check_plan(Plan(**plan), location, None)


def arguments(findings: list[Finding]) -> list[str]:
    return [found.argument for found in findings]


@pytest.mark.parametrize(
    ("wrong", "argument"),
    [
        ({"location": "us-central"}, "location"),
        ({"name": ""}, "name"),
        ({"artifact": "gs://B"}, "artifact"),
        ({"artifact": "/nothing/here"}, "artifact"),
        ({"artifact": 5}, "artifact"),
        ({"bucket": "B"}, "bucket"),
        ({"bucket": 5}, "bucket"),
        ({"image": "python"}, "image"),
        ({"framework": "caffe"}, "framework"),
        ({"framework": ["caffe"]}, "framework"),
        ({"machine": "n1"}, "machine"),
        ({"machine": 5}, "machine"),
        ({"machine": "n1-standard-2", "replicas": 0}, "replicas"),
        ({"replicas": 0}, "replicas"),
        ({"traffic": -1}, "traffic"),
        ({"instances": [float("nan")]}, "instances[0]"),
    ],
)
def test_everything_that_is_given_is_looked_at(wrong: dict[str, Any], argument: str) -> None:
    assert arguments(check(**wrong)) == [argument]


def test_nothing_that_is_not_given_is_looked_at() -> None:
    assert check() == []


def test_a_gs_uri_and_a_bucket_of_possible_names_are_taken_as_given() -> None:
    assert check(artifact="gs://bucket-1/model", bucket="gs://bucket-2") == []


def test_the_problem_is_the_whole_of_what_is_wrong(tmp_path: Path) -> None:
    """Values and problems hold colons and line breaks, which tell nothing of where one ends."""
    (found,) = check(artifact=tmp_path / "a: b\nc")
    assert found.problem == "does not exist"
    (found,) = check(framework="a: b\nc")
    assert found.problem == "has no prebuilt serving container in Vertex AI"
    assert found.value == "a: b\nc"


def test_the_image_of_a_framework_goes_with_the_machine() -> None:
    machine = Machine("n1-standard-4", "NVIDIA_TESLA_T4")
    assert check(framework="tensorflow", machine=machine, accelerator=True) == []
    (found,) = check(framework="tensorflow", machine=machine)
    assert found.argument == "accelerator"
    assert found.warning
