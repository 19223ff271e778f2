"""What a search looks through: what can be said, what is refused at once, and what is sent of it."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from vertexkit.early_stopping import (
    ConvexStopping,
    DecayCurveStopping,
    MedianStopping,
    early_stopping,
    stopping_spec,
)
from vertexkit.errors import InvalidArgument
from vertexkit.spaces import Categorical, Discrete, Double, Integer, Parameter, by_name, parameter_spec

MOMENTUM = Double(0, 0.99)
OPTIMIZER = Categorical(["sgd", "adam"], children={"sgd": {"momentum": MOMENTUM}})


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: Double(2, 1), "min"),
        (lambda: Double(0, 1, scale="log"), "min"),
        (lambda: Double(-1, 1, scale="reverse_log"), "min"),
        (lambda: Double(1, math.inf), "max"),
        (lambda: Double(math.nan, 1), "min"),
        (lambda: Double("1", 2), "min"),
        (lambda: Double(1, 10**400), "max"),
        (lambda: Double(True, 2), "min"),
        (lambda: Double(1, 2, scale="ln"), "scale"),
        (lambda: Double(1, 2, default=3), "default"),
        (lambda: Integer(1.5, 2), "min"),
        (lambda: Integer(0, 2**53 + 1), "max"),
        (lambda: Integer(-(2**53) - 1, 0), "min"),
        (lambda: Integer(0, 2, scale="log"), "min"),
        (lambda: Integer(1, 5, default=6), "default"),
        (lambda: Categorical([]), "values"),
        (lambda: Categorical("adam"), "values"),
        (lambda: Categorical([1, 2]), "values"),
        (lambda: Categorical(["a", "a"]), "values"),
        (lambda: Categorical(["a", "b\0"]), "values"),
        (lambda: Categorical(["", "a"]), "values"),
        (lambda: Categorical(["a"], default="b"), "default"),
        (lambda: Discrete([]), "values"),
        (lambda: Discrete(["a"]), "values"),
        (lambda: Discrete([1, math.nan]), "values"),
        (lambda: Discrete([1, 1.0]), "values"),
        (lambda: Discrete([2**60, 2**60 + 1]), "values"),
        (lambda: Discrete([1, 10**400]), "values"),
        (lambda: Discrete(range(1001)), "values"),
        (lambda: Discrete([0, 1], scale="log"), "values"),
        (lambda: Discrete([1, 2], default=1.5), "default"),
        (lambda: Categorical(["a"], children={"b": {"x": MOMENTUM}}), "children"),
        (lambda: Categorical(["a"], children={"a": {}}), "children['a']"),
        (lambda: Categorical(["a"], children={"a": {"x": 1}}), "children['a']['x']"),
        (lambda: Categorical(["a"], children=[MOMENTUM]), "children"),
        (lambda: Integer(1, 3, children={4: {"x": MOMENTUM}}), "children"),
        (lambda: Integer(1, 3, children={1.5: {"x": MOMENTUM}}), "children"),
        (lambda: Integer(1, 3, children={range(3, 3): {"x": MOMENTUM}}), "children"),
        (lambda: Discrete([1, 2], children={(1, 3): {"x": MOMENTUM}}), "children"),
        (
            lambda: Categorical(["a", "b"], children={"a": {"x": MOMENTUM}, ("a", "b"): {"x": MOMENTUM}}),
            "children",
        ),
    ],
)
def test_what_cannot_be_is_refused_at_once(make: Callable[[], Parameter], argument: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        make()
    assert raised.value.argument == argument


def test_what_vertex_ai_has_no_value_for_comes_with_what_would_do() -> None:
    with pytest.raises(InvalidArgument, match=r"max=18014398509481984: is beyond 2\*\*53") as raised:
        Integer(0, 2**54)
    assert raised.value.remedy == "write 9007199254740992, or search a Double"
    with pytest.raises(InvalidArgument, match=r"values=\['', 'a'\]: holds an empty text") as raised:
        Categorical(["", "a"])
    assert "write 'none'" in str(raised.value.remedy)
    assert (Integer(-(2**53), 2**53).max, Discrete([2**60, 1]).values) == (2**53, (1, 2**60))


def test_a_parameter_shows_what_one_would_write() -> None:
    shown = [
        (Double(1e-3, 10, scale="log"), "Double(0.001, 10.0, scale='log')"),
        (Integer(1, 300, default=32), "Integer(1, 300, default=32)"),
        (Discrete([64, 16, 32]), "Discrete([16, 32, 64])"),
        (OPTIMIZER, "Categorical(['sgd', 'adam'], children={'sgd': {'momentum': Double(0.0, 0.99)}})"),
    ]
    for parameter, text in shown:
        assert repr(parameter) == text
        again = eval(text)
        assert again == parameter
        assert hash(again) == hash(parameter)


def test_a_parameter_cannot_be_changed_and_can_be_sent_to_another_process() -> None:
    with pytest.raises(FrozenInstanceError):
        MOMENTUM.min = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        OPTIMIZER.children["adam"] = {}  # type: ignore[index]
    for again in (pickle.loads(pickle.dumps(OPTIMIZER)), copy.deepcopy(OPTIMIZER)):
        assert again == OPTIMIZER


def test_numbers_of_numpy_are_numbers() -> None:
    assert Integer(np.int64(1), np.int32(4)) == Integer(1, 4)
    assert Double(np.float32(1), 2) == Double(1.0, 2.0)
    values = Discrete(np.array([16, 32])).values
    assert (values, [type(value) for value in values]) == ((16, 32), [int, int])


@pytest.mark.parametrize(
    ("parameter", "sent"),
    [
        (
            Double(1e-3, 10, scale="log"),
            {"scaleType": "UNIT_LOG_SCALE", "doubleValueSpec": {"minValue": 1e-3, "maxValue": 10.0}},
        ),
        (
            Integer(1, 300, default=32),
            {
                "scaleType": "UNIT_LINEAR_SCALE",
                "integerValueSpec": {"minValue": "1", "maxValue": "300", "defaultValue": "32"},
            },
        ),
        (
            Discrete([16, 32], scale="reverse_log"),
            {"scaleType": "UNIT_REVERSE_LOG_SCALE", "discreteValueSpec": {"values": [16.0, 32.0]}},
        ),
        (Categorical(["a", "b"]), {"categoricalValueSpec": {"values": ["a", "b"]}}),
    ],
)
def test_each_kind_is_sent_as_a_study_has_it(parameter: Parameter, sent: dict[str, Any]) -> None:
    assert parameter_spec("p", parameter) == {"parameterId": "p", **sent}


def test_what_is_below_a_parameter_is_sent_with_its_condition() -> None:
    child = {"parameterId": "x", "scaleType": "UNIT_LINEAR_SCALE"}
    child["doubleValueSpec"] = {"minValue": 0.0, "maxValue": 0.99}  # type: ignore[assignment]
    for parent, condition in (
        (
            Categorical(["a", "b", "c"], children={("a", "b"): {"x": MOMENTUM}}),
            {"parentCategoricalValues": {"values": ["a", "b"]}},
        ),
        (
            Integer(1, 9, children={range(2, 4): {"x": MOMENTUM}}),
            {"parentIntValues": {"values": ["2", "3"]}},
        ),
        (
            Discrete([16, 32], children={32: {"x": MOMENTUM}}),
            {"parentDiscreteValues": {"values": [32.0]}},
        ),
    ):
        spec = parameter_spec("p", parent)  # type: ignore[arg-type]
        assert spec["conditionalParameterSpecs"] == [{**condition, "parameterSpec": child}]


def test_every_parameter_is_reached() -> None:
    assert [name for name, _ in by_name({"lr": MOMENTUM, "o": OPTIMIZER})] == ["lr", "o", "momentum"]


def test_a_rule_of_early_stopping_has_a_name_or_options() -> None:
    assert early_stopping(None) is None
    assert early_stopping("median") == MedianStopping()
    assert early_stopping("decay_curve") == DecayCurveStopping()
    assert early_stopping(ConvexStopping(max_steps=10)) == ConvexStopping(max_steps=10)
    with pytest.raises(InvalidArgument, match="decay_curve"):
        early_stopping("decay-curve")


def test_a_rule_is_sent_with_the_options_that_were_given() -> None:
    assert stopping_spec(MedianStopping()) == {"medianAutomatedStoppingSpec": {}}
    assert stopping_spec(DecayCurveStopping(use_elapsed_duration=True)) == {
        "decayCurveStoppingSpec": {"useElapsedDuration": True}
    }
    rule = ConvexStopping(
        max_steps=20, min_measurements=3, learning_rate="lr", update_all_stopped_trials=True
    )
    assert stopping_spec(rule) == {
        "convexAutomatedStoppingSpec": {
            "maxStepCount": "20",
            "minMeasurementCount": "3",
            "learningRateParameterName": "lr",
            "updateAllStoppedTrials": True,
        }
    }


@pytest.mark.parametrize(
    "options",
    [
        {"max_steps": -1},
        {"max_steps": 2.5},
        {"max_steps": 2**63},
        {"max_steps": 5, "min_steps": 5},
        {"learning_rate": 0.1},
        {"use_elapsed_duration": "yes"},
    ],
)
def test_options_of_a_rule_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as raised:
        ConvexStopping(**options)
    assert raised.value.argument in options
