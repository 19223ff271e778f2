import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.faults import Fault, Faults
from vertexkit.emulator.methods import AIPLATFORM, methods

GET_MODEL = methods()[f"/{AIPLATFORM}.ModelService/GetModel"]
GET_ENDPOINT = methods()[f"/{AIPLATFORM}.EndpointService/GetEndpoint"]


def faults(*rules: dict[str, Any]) -> Faults:
    made = Faults(allowed=True)
    made.replace(json.dumps({"rules": rules}).encode())
    return made


def test_an_emulator_takes_no_faults_unless_it_was_started_so() -> None:
    with pytest.raises(ApiError, match="--allow-faults") as caught:
        Faults().replace(b'{"rules": []}')
    assert caught.value.code is Code.FAILED_PRECONDITION


def test_a_rule_strikes_the_methods_of_its_pattern_only() -> None:
    made = faults({"method": "ModelService.*", "status": 503})
    assert made.for_method(GET_MODEL) == Fault(status=503)
    assert made.for_method(GET_ENDPOINT) is None
    assert made.for_storage("GET", "/ModelService.x") is None


def test_a_storage_rule_strikes_by_verb_and_path() -> None:
    made = faults({"storage": "PUT /upload/*", "reset": True, "after_work": True})
    assert made.for_storage("PUT", "/upload/a/b") == Fault(reset=True, after_work=True)
    assert made.for_storage("GET", "/upload/a/b") is None
    assert made.for_method(GET_MODEL) is None


def test_a_rule_skips_and_then_strikes_as_often_as_it_says() -> None:
    made = faults({"method": "*", "status": 429, "skip": 2, "times": 1})
    assert [made.for_method(GET_MODEL) is not None for _ in range(5)] == [False, False, True, False, False]
    assert made.report()["rules"] == [{"method": "*", "status": 429, "skip": 2, "times": 1, "struck": 1}]


def test_the_first_rule_that_strikes_counts() -> None:
    made = faults({"method": "*", "status": 429, "times": 1}, {"method": "*", "status": 500})
    assert [made.for_method(GET_MODEL) for _ in range(2)] == [Fault(status=429), Fault(status=500)]


def test_chance_repeats_with_its_seed() -> None:
    rule = {"method": "*", "status": 500, "probability": 0.5, "seed": 7}
    runs = [[made.for_method(GET_MODEL) is None for _ in range(50)] for made in (faults(rule), faults(rule))]
    assert runs[0] == runs[1]
    assert 5 < sum(runs[0]) < 45


def test_new_rules_replace_the_old_ones() -> None:
    made = faults({"method": "*", "status": 500})
    made.replace(b'{"rules": []}')
    assert made.for_method(GET_MODEL) is None


@pytest.mark.parametrize(
    "rule",
    [
        {}, {"method": "*"}, {"status": 503}, {"method": "*", "storage": "*", "status": 503},
        {"method": "*", "status": 200}, {"method": "*", "status": "503"}, {"method": "*", "status": True},
        {"method": "*", "reset": 1}, {"method": "*", "status": 503, "typo": 1}, {"method": 3, "status": 503},
        {"method": "*", "latency": -1}, {"method": "*", "status": 503, "probability": 2},
        {"method": "*", "status": 503, "times": -1},
    ],
)  # fmt: skip
def test_a_rule_that_makes_no_sense_is_refused_and_changes_nothing(rule: dict[str, Any]) -> None:
    made = faults({"method": "*", "status": 500})
    with pytest.raises(ApiError) as caught:
        made.replace(json.dumps({"rules": [rule]}).encode())
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert made.for_method(GET_MODEL) == Fault(status=500)


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.text(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_no_body_whatsoever_breaks_the_parser(body: bytes) -> None:
    try:
        Faults(allowed=True).replace(body)
    except ApiError as error:
        assert error.code is Code.INVALID_ARGUMENT
