"""What of a StudySpec is refused, and by what name; what becomes of one that is not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from google.cloud.aiplatform import hyperparameter_tuning as hpt
from google.cloud.aiplatform_v1.types import StudySpec

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.messages import TrialParameter
from vertexkit.emulator.services.study_spec import (
    measurement,
    measurement_message,
    parameter_values,
    study_config,
    trial_parameters,
    values_of,
)
from vertexkit.emulator.services.tuning_spec import argument_texts
from vertexkit.emulator.tuning.types import (
    Algorithm,
    Child,
    Kind,
    Measurement,
    Metric,
    Noise,
    Parameter,
    Scale,
    Selection,
    Stopping,
    StoppingKind,
)

Spec = dict[str, Any]


def double(name: str = "rate", low: float = 0.0, high: float = 1.0, **rest: Any) -> Spec:
    return {"parameter_id": name, "double_value_spec": {"min_value": low, "max_value": high}, **rest}


def integer(name: str = "layers", low: int = 1, high: int = 3, **rest: Any) -> Spec:
    return {"parameter_id": name, "integer_value_spec": {"min_value": low, "max_value": high}, **rest}


def categorical(name: str = "optimizer", *values: str, **rest: Any) -> Spec:
    return {"parameter_id": name, "categorical_value_spec": {"values": values or ("sgd", "adam")}, **rest}


def discrete(name: str = "batch", *values: float, **rest: Any) -> Spec:
    return {"parameter_id": name, "discrete_value_spec": {"values": values or (16.0, 32.0)}, **rest}


def conditional(parameter: Spec, **condition: Any) -> Spec:
    return {
        "conditional_parameter_specs": [
            {"parameter_spec": parameter, **{name: {"values": values} for name, values in condition.items()}}
        ]
    }


def spec(*parameters: Spec, **rest: Any) -> Any:
    whole: Spec = {"metrics": [{"metric_id": "accuracy"}], "parameters": list(parameters), **rest}
    return StudySpec(whole)._pb


def default(parameter: Spec, value: Any) -> Spec:
    for name in parameter:
        if name.endswith("value_spec"):
            parameter[name]["default_value"] = value
    return parameter


PARAMETER = "study_spec.parameters[0]"
CONDITION = f"{PARAMETER}.conditional_parameter_specs[0]"

REFUSED: list[tuple[str, Callable[[], Any], str, str]] = [
    ("no parameters", lambda: spec(), "study_spec.parameters", "not set"),
    ("no metrics", lambda: spec(double(), metrics=[]), "study_spec.metrics", "not set"),
    (
        "metric without an id",
        lambda: spec(double(), metrics=[{"goal": 1}]),
        "study_spec.metrics[0].metric_id",
        "not set",
    ),
    (
        "metric with a space in its id",
        lambda: spec(double(), metrics=[{"metric_id": "val loss"}]),
        "study_spec.metrics[0].metric_id",
        "whitespaces",
    ),
    (
        "metric given twice",
        lambda: spec(double(), metrics=[{"metric_id": "a"}, {"metric_id": "a"}]),
        "study_spec.metrics[1].metric_id",
        "more than once",
    ),
    (
        "metric with a goal that there is not",
        lambda: spec(double(), metrics=[{"metric_id": "a", "goal": 7}]),
        "study_spec.metrics[0].goal",
        "7",
    ),
    ("parameter without an id", lambda: spec(double("")), f"{PARAMETER}.parameter_id", "not set"),
    ("tab in an id", lambda: spec(double("a\tb")), f"{PARAMETER}.parameter_id", "whitespaces"),
    ("no values at all", lambda: spec({"parameter_id": "x"}), PARAMETER, "double_value_spec"),
    (
        "parameter given twice",
        lambda: spec(double("x"), integer("x")),
        "study_spec.parameters[1].parameter_id",
        "more than once",
    ),
    (
        "bounds swapped",
        lambda: spec(double(low=1, high=0)),
        f"{PARAMETER}.double_value_spec.max_value",
        "less than min_value",
    ),
    (
        "integer bounds swapped",
        lambda: spec(integer(low=3, high=2)),
        f"{PARAMETER}.integer_value_spec.max_value",
        "It is 2",
    ),
    (
        "endless",
        lambda: spec(double(high=math.inf)),
        f"{PARAMETER}.double_value_spec.max_value",
        "finite",
    ),
    ("NaN", lambda: spec(double(low=math.nan)), f"{PARAMETER}.double_value_spec.min_value", "finite"),
    (
        "integer that is no double",
        lambda: spec(integer(high=2**60)),
        f"{PARAMETER}.integer_value_spec.max_value",
        "2^53",
    ),
    ("log from zero", lambda: spec(double(scale_type=2)), f"{PARAMETER}.scale_type", "positive"),
    (
        "reverse log from below zero",
        lambda: spec(double(low=-1, scale_type=3)),
        f"{PARAMETER}.scale_type",
        "UNIT_REVERSE_LOG_SCALE",
    ),
    (
        "log of discrete zero",
        lambda: spec(discrete("batch", 0, 1, scale_type=2)),
        f"{PARAMETER}.scale_type",
        "positive",
    ),
    (
        "scaled categories",
        lambda: spec(categorical(scale_type=1)),
        f"{PARAMETER}.scale_type",
        "unset",
    ),
    ("scale that there is not", lambda: spec(double(scale_type=9)), f"{PARAMETER}.scale_type", "9"),
    (
        "no categories",
        lambda: spec({"parameter_id": "x", "categorical_value_spec": {"values": []}}),
        f"{PARAMETER}.categorical_value_spec.values",
        "not set",
    ),
    (
        "empty category",
        lambda: spec(categorical("x", "a", "")),
        f"{PARAMETER}.categorical_value_spec.values[1]",
        "empty",
    ),
    (
        "category given twice",
        lambda: spec(categorical("x", "a", "b", "a")),
        f"{PARAMETER}.categorical_value_spec.values[2]",
        "more than once",
    ),
    (
        "no discrete values",
        lambda: spec({"parameter_id": "x", "discrete_value_spec": {"values": []}}),
        f"{PARAMETER}.discrete_value_spec.values",
        "not set",
    ),
    (
        "discrete values out of order",
        lambda: spec(discrete("x", 1, 3, 2)),
        f"{PARAMETER}.discrete_value_spec.values[2]",
        "increasing",
    ),
    (
        "discrete value given twice",
        lambda: spec(discrete("x", 1, 1)),
        f"{PARAMETER}.discrete_value_spec.values[1]",
        "1e-10",
    ),
    (
        "discrete values too near",
        lambda: spec(discrete("x", 1, 1 + 1e-11)),
        f"{PARAMETER}.discrete_value_spec.values[1]",
        "1e-10",
    ),
    (
        "endless discrete value",
        lambda: spec(discrete("x", 1, math.inf)),
        f"{PARAMETER}.discrete_value_spec.values[1]",
        "finite",
    ),
    (
        "too many discrete values",
        lambda: spec(discrete("x", *range(1001))),
        f"{PARAMETER}.discrete_value_spec.values",
        "1000",
    ),
    (
        "default outside",
        lambda: spec(default(double(), 1.5)),
        f"{PARAMETER}.double_value_spec.default_value",
        "between",
    ),
    (
        "integer default outside",
        lambda: spec(default(integer(), 9)),
        f"{PARAMETER}.integer_value_spec.default_value",
        "between",
    ),
    (
        "default that is no category",
        lambda: spec(default(categorical(), "rmsprop")),
        f"{PARAMETER}.categorical_value_spec.default_value",
        "sgd",
    ),
    (
        "default of NaN",
        lambda: spec(default(discrete(), math.nan)),
        f"{PARAMETER}.discrete_value_spec.default_value",
        "finite",
    ),
    (
        "condition on a double",
        lambda: spec(double(**conditional(double("m"), parent_discrete_values=[0.5]))),
        CONDITION,
        "DOUBLE",
    ),
    ("no condition", lambda: spec(categorical(**conditional(double("m")))), CONDITION, "parent_int_values"),
    (
        "condition of the wrong kind",
        lambda: spec(categorical(**conditional(double("m"), parent_int_values=[1]))),
        f"{CONDITION}.parent_int_values",
        "parent_categorical_values",
    ),
    (
        "condition without values",
        lambda: spec(categorical(**conditional(double("m"), parent_categorical_values=[]))),
        f"{CONDITION}.parent_categorical_values.values",
        "not set",
    ),
    (
        "condition on a category that there is not",
        lambda: spec(categorical(**conditional(double("m"), parent_categorical_values=["sgd", "x"]))),
        f"{CONDITION}.parent_categorical_values.values[1]",
        "sgd",
    ),
    (
        "condition on an integer outside",
        lambda: spec(integer(**conditional(double("m"), parent_int_values=[4]))),
        f"{CONDITION}.parent_int_values.values[0]",
        "between 1 and 3",
    ),
    (
        "condition on a discrete value that there is not",
        lambda: spec(discrete(**conditional(double("m"), parent_discrete_values=[17]))),
        f"{CONDITION}.parent_discrete_values.values[0]",
        "none of the values",
    ),
    (
        "child that is wrong itself",
        lambda: spec(categorical(**conditional(double("m", low=2), parent_categorical_values=["sgd"]))),
        f"{CONDITION}.parameter_spec.double_value_spec.max_value",
        "less than",
    ),
    (
        "child named as its parent",
        lambda: spec(categorical("x", **conditional(double("x"), parent_categorical_values=["sgd"]))),
        f"{CONDITION}.parameter_spec.parameter_id",
        "more than once",
    ),
    (
        "child named as another parameter",
        lambda: spec(
            categorical("x", **conditional(double("y"), parent_categorical_values=["sgd"])), double("y")
        ),
        "study_spec.parameters[1].parameter_id",
        '"y"',
    ),
    (
        "grid over a double",
        lambda: spec(integer(), double("rate"), algorithm=2),
        "study_spec.algorithm",
        '"rate" is DOUBLE',
    ),
    (
        "grid over a conditional double",
        lambda: spec(categorical(**conditional(double("m"), parent_categorical_values=["sgd"])), algorithm=2),
        "study_spec.algorithm",
        '"m" is DOUBLE',
    ),
    ("algorithm that there is not", lambda: spec(double(), algorithm=1), "study_spec.algorithm", "1"),
    (
        "noise that there is not",
        lambda: spec(double(), observation_noise=5),
        "study_spec.observation_noise",
        "5",
    ),
    (
        "selection that there is not",
        lambda: spec(double(), measurement_selection_type=5),
        "study_spec.measurement_selection_type",
        "5",
    ),
    (
        "stopping by several metrics",
        lambda: spec(
            double(),
            metrics=[{"metric_id": "a"}, {"metric_id": "b"}],
            median_automated_stopping_spec={},
        ),
        "study_spec.median_automated_stopping_spec",
        "single metric",
    ),
    (
        "negative count",
        lambda: spec(double(), convex_automated_stopping_spec={"min_measurement_count": -1}),
        "study_spec.convex_automated_stopping_spec.min_measurement_count",
        "negative",
    ),
    (
        "fewest steps beyond most",
        lambda: spec(double(), convex_automated_stopping_spec={"max_step_count": 5, "min_step_count": 5}),
        "study_spec.convex_automated_stopping_spec.min_step_count",
        "less than max_step_count",
    ),
    (
        "learning rate that is no parameter",
        lambda: spec(double(), convex_automated_stopping_spec={"learning_rate_parameter_name": "lr"}),
        "study_spec.convex_automated_stopping_spec.learning_rate_parameter_name",
        '"lr"',
    ),
]


@pytest.mark.parametrize(
    ("make", "field", "message"),
    [case[1:] for case in REFUSED],
    ids=[case[0].replace(" ", "-") for case in REFUSED],
)
def test_a_wrong_spec_is_refused_by_the_path_of_its_field(
    make: Callable[[], Any], field: str, message: str
) -> None:
    with pytest.raises(ApiError) as refused:
        study_config(make(), "study_spec")
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert refused.value.message.startswith(f"List of found errors:\t1.Field: {field}; Message: ")
    assert message in refused.value.message.partition("Message: ")[2]


def test_every_wrong_field_is_named() -> None:
    with pytest.raises(ApiError) as refused:
        study_config(spec(double(low=2), categorical("x y"), metrics=[]), "study.study_spec")
    for number, field in enumerate(
        [
            "study.study_spec.metrics",
            "study.study_spec.parameters[0].double_value_spec.max_value",
            "study.study_spec.parameters[1].parameter_id",
        ],
        start=1,
    ):
        assert f"{number}.Field: {field};" in refused.value.message


@pytest.mark.parametrize(
    ("whole", "field"),
    [
        (lambda: spec(double(), study_stopping_config={"max_num_trials": 3}), "study_stopping_config"),
        (
            lambda: spec(double(), metrics=[{"metric_id": "a", "safety_config": {"safety_threshold": 1}}]),
            "metrics[0].safety_config",
        ),
    ],
)
def test_what_is_not_done_here_is_refused_by_its_name(whole: Callable[[], Any], field: str) -> None:
    with pytest.raises(ApiError, match="does not support study_spec") as refused:
        study_config(whole(), "study_spec")
    assert refused.value.code is Code.UNIMPLEMENTED
    assert field in refused.value.message


def test_what_googles_client_writes_is_understood() -> None:
    written = {
        "rate": hpt.DoubleParameterSpec(min=1e-3, max=10, scale="log"),
        "layers": hpt.IntegerParameterSpec(min=1, max=10, scale="linear"),
        "optimizer": hpt.CategoricalParameterSpec(
            ["sgd", "adam"],
            conditional_parameter_spec={
                "momentum": hpt.DoubleParameterSpec(0.1, 0.9, "reverse_log", parent_values=["sgd"])
            },
        ),
        "batch": hpt.DiscreteParameterSpec([16, 32], "linear"),
    }
    whole = StudySpec(
        metrics=[{"metric_id": "loss", "goal": "MINIMIZE"}],
        parameters=[each._to_parameter_spec(name) for name, each in written.items()],
        algorithm=hpt.SEARCH_ALGORITHM_TO_PROTO_VALUE["random"],
        measurement_selection_type=hpt.MEASUREMENT_SELECTION_TO_PROTO_VALUE["best"],
    )
    config = study_config(whole._pb, "study_spec")
    momentum = Parameter("momentum", Kind.DOUBLE, 0.1, 0.9, scale=Scale.REVERSE_LOG)
    assert config.parameters == (
        Parameter("rate", Kind.DOUBLE, 1e-3, 10, scale=Scale.LOG),
        Parameter("layers", Kind.INTEGER, 1, 10),
        Parameter(
            "optimizer", Kind.CATEGORICAL, values=("sgd", "adam"), children=(Child(("sgd",), momentum),)
        ),
        Parameter("batch", Kind.DISCRETE, values=(16.0, 32.0)),
    )
    assert config.metrics == (Metric("loss", maximize=False),)
    assert config.algorithm is Algorithm.RANDOM_SEARCH
    assert config.measurement_selection is Selection.BEST


def test_what_is_left_unset_is_as_vertex_ai_documents_it() -> None:
    config = study_config(spec(double()), "study_spec")
    assert config.metrics[0].maximize
    assert config.algorithm is Algorithm.DEFAULT
    assert config.measurement_selection is Selection.LAST
    assert config.noise is Noise.DEFAULT
    assert config.stopping is None
    assert config.parameters[0].default is None


def test_one_name_in_branches_that_exclude_each_other_is_two_parameters() -> None:
    branches = [
        {"parameter_spec": double("m", 0, 1), "parent_categorical_values": {"values": ["sgd"]}},
        {"parameter_spec": integer("m", 1, 9), "parent_categorical_values": {"values": ["adam"]}},
    ]
    config = study_config(spec(categorical(conditional_parameter_specs=branches)), "study_spec")
    assert [child.parameter.kind for child in config.parameters[0].children] == [Kind.DOUBLE, Kind.INTEGER]
    branches[1]["parent_categorical_values"] = {"values": ["adam", "sgd"]}
    with pytest.raises(ApiError, match=r"conditional_parameter_specs\[1\].parameter_spec.parameter_id"):
        study_config(spec(categorical(conditional_parameter_specs=branches)), "study_spec")


def test_a_default_of_zero_is_a_default_and_a_discrete_one_goes_to_the_nearest_value() -> None:
    config = study_config(
        spec(default(double("a"), 0.0), default(integer("b", 0, 3), 0), default(discrete("c"), 25.0)),
        "study_spec",
    )
    assert [parameter.default for parameter in config.parameters] == [0.0, 0, 32.0]


def test_a_condition_on_a_discrete_value_takes_the_value_of_the_list() -> None:
    near = spec(discrete("batch", 0.1, 0.2, **conditional(double("m"), parent_discrete_values=[0.1 + 1e-12])))
    assert study_config(near, "study_spec").parameters[0].children[0].parent_values == (0.1,)


def test_the_options_of_automated_stopping_are_taken() -> None:
    options = {
        "max_step_count": 100,
        "min_step_count": 7,
        "min_measurement_count": 3,
        "learning_rate_parameter_name": "rate",
        "use_elapsed_duration": True,
        "update_all_stopped_trials": True,
    }
    convex = study_config(spec(double(), convex_automated_stopping_spec=options), "study_spec").stopping
    assert convex == Stopping(StoppingKind.CONVEX, **options)
    decay = spec(double(), decay_curve_stopping_spec={"use_elapsed_duration": True})
    assert study_config(decay, "study_spec").stopping == Stopping(StoppingKind.DECAY_CURVE, True)
    # A message without any field set is a choice all the same.
    median = spec(double(), median_automated_stopping_spec={})
    assert study_config(median, "study_spec").stopping == Stopping(StoppingKind.MEDIAN)


def test_values_of_a_trial_go_to_messages_and_back() -> None:
    config = study_config(
        spec(
            double(),
            integer(low=1, high=2**53),
            categorical(**conditional(discrete("batch", 0.5, 2), parent_categorical_values=["sgd"])),
        ),
        "study_spec",
    )
    values = {"batch": 0.5, "optimizer": "sgd", "layers": 2**53 - 1, "rate": 0.1}
    messages = parameter_values(config, values)
    assert [message.parameter_id for message in messages] == ["rate", "layers", "optimizer", "batch"]
    assert [message.value.WhichOneof("kind") for message in messages] == [
        "number_value",
        "number_value",
        "string_value",
        "number_value",
    ]
    back = trial_parameters(config, messages, "trial.parameters")
    assert back == values
    assert type(back["layers"]) is int


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": 0.5}, '"optimizer" is not given'),
        ({"rate": 2.0, "optimizer": "adam"}, '"rate" is 2.0, which is no number between 0.0 and 1.0'),
        ({"rate": 0.5, "optimizer": "lion"}, "which is none of sgd, adam"),
        ({"rate": 0.5, "optimizer": 1.0}, "which is none of sgd, adam"),
        ({"rate": "0.5", "optimizer": "adam"}, "which is no number between"),
        ({"rate": math.nan, "optimizer": "adam"}, "which is no number between"),
        ({"rate": 0.5, "optimizer": "adam", "layers": 2.0}, '"layers" is none of the parameters'),
        ({"rate": 0.5, "optimizer": "sgd", "layers": 2.5}, "which is no integer between 1 and 3"),
    ],
)
def test_values_that_are_not_of_the_space_are_refused(values: dict[str, Any], message: str) -> None:
    config = study_config(
        spec(double(), categorical(**conditional(integer(), parent_categorical_values=["sgd"]))), "study_spec"
    )
    given = [
        TrialParameter(
            parameter_id=name,
            value={"string_value" if isinstance(value, str) else "number_value": value},
        )
        for name, value in values.items()
    ]
    with pytest.raises(ApiError, match=r"Field: trial\.parameters; ") as refused:
        trial_parameters(config, given, "trial.parameters")
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert message in refused.value.message


def test_an_integer_in_one_branch_does_not_make_one_of_its_namesake_in_another() -> None:
    branches = [
        {"parameter_spec": double("m"), "parent_categorical_values": {"values": ["sgd"]}},
        {"parameter_spec": integer("m"), "parent_categorical_values": {"values": ["adam"]}},
    ]
    config = study_config(spec(categorical(conditional_parameter_specs=branches)), "study_spec")
    for values in ({"optimizer": "sgd", "m": 0.4}, {"optimizer": "adam", "m": 2}):
        back = values_of(config, parameter_values(config, values))
        assert back == values
        assert type(back["m"]) is type(values["m"])


def test_what_a_program_gets_depends_on_the_branch_that_a_parameter_is_in() -> None:
    branches = [
        {"parameter_spec": double("m"), "parent_categorical_values": {"values": ["sgd"]}},
        {
            "parameter_spec": {"parameter_id": "m", "discrete_value_spec": {"values": [1, 2]}},
            "parent_categorical_values": {"values": ["adam"]},
        },
    ]
    config = study_config(spec(categorical(conditional_parameter_specs=branches)), "study_spec")
    assert argument_texts(config, {"optimizer": "sgd", "m": 1.0}) == {"optimizer": "sgd", "m": "1.0"}
    assert argument_texts(config, {"optimizer": "adam", "m": 1.0}) == {"optimizer": "adam", "m": "1"}


def test_a_value_without_a_kind_and_one_given_twice_are_refused() -> None:
    config = study_config(spec(double()), "study_spec")
    with pytest.raises(ApiError, match=r"trial.parameters\[0\].value"):
        trial_parameters(config, [TrialParameter(parameter_id="rate")], "trial.parameters")
    once = TrialParameter(parameter_id="rate", value={"number_value": 0.5})
    with pytest.raises(ApiError, match=r"trial.parameters\[1\].parameter_id"):
        trial_parameters(config, [once, once], "trial.parameters")


def test_a_measurement_goes_to_a_message_and_back() -> None:
    once = Measurement(step=3, elapsed=1.25, metrics={"loss": 0.5, "accuracy": math.inf})
    message = measurement_message(once)
    assert (message.elapsed_duration.seconds, message.elapsed_duration.nanos) == (1, 250_000_000)
    assert measurement(message) == once
