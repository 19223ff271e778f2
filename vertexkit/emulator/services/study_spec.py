"""What Vertex AI checks of a StudySpec, in its words, and what of it the tuning engine is told.

Source: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/StudySpec
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, TypeVar

from vertexkit.emulator.messages import Measurement as MeasurementMessage
from vertexkit.emulator.messages import Raw, TrialParameter
from vertexkit.emulator.services.parameter_spec import Problems, check_id, every, parse_parameters
from vertexkit.emulator.tuning.space import Space
from vertexkit.emulator.tuning.types import (
    Algorithm,
    Kind,
    Measurement,
    Metric,
    Noise,
    Parameter,
    ParameterValue,
    Selection,
    Stopping,
    StoppingKind,
    StudyConfig,
)
from vertexkit.emulator.validation import check_supported, invalid_field, invalid_fields

_Choice = TypeVar("_Choice")

_SPEC: Final = frozenset(
    {
        "algorithm",
        "convex_automated_stopping_spec",
        "decay_curve_stopping_spec",
        "measurement_selection_type",
        "median_automated_stopping_spec",
        "metrics",
        "observation_noise",
        "parameters",
    }
)
_METRIC: Final = frozenset({"goal", "metric_id"})
_MAXIMIZES: Final = {0: True, 1: True, 2: False}
_ALGORITHMS: Final = {0: Algorithm.DEFAULT, 2: Algorithm.GRID_SEARCH, 3: Algorithm.RANDOM_SEARCH}
_NOISES: Final = {0: Noise.DEFAULT, 1: Noise.LOW, 2: Noise.HIGH}
_SELECTIONS: Final = {0: Selection.LAST, 1: Selection.LAST, 2: Selection.BEST}
_STOPPINGS: Final = {
    "median_automated_stopping_spec": StoppingKind.MEDIAN,
    "decay_curve_stopping_spec": StoppingKind.DECAY_CURVE,
    "convex_automated_stopping_spec": StoppingKind.CONVEX,
}
_CONVEX_COUNTS: Final = ("max_step_count", "min_step_count", "min_measurement_count")


def study_config(spec: Raw, field: str) -> StudyConfig:
    """What the tuning engine is told of a StudySpec.

    Args:
        spec: The StudySpec.
        field: What it is called in the request: ``study.study_spec``.

    Raises:
        ApiError: INVALID_ARGUMENT, naming every wrong field; UNIMPLEMENTED, naming one.
    """
    check_supported(spec, _SPEC, field)
    problems: Problems = []
    metrics = _metrics(spec, f"{field}.metrics", problems)
    parameters = parse_parameters(spec.parameters, f"{field}.parameters", problems)
    algorithm = _chosen(_ALGORITHMS, spec.algorithm, f"{field}.algorithm", problems)
    if algorithm is Algorithm.GRID_SEARCH:
        doubles = [parameter.name for parameter in every(parameters) if parameter.kind is Kind.DOUBLE]
        if doubles:
            problems.append(
                (
                    f"{field}.algorithm",
                    "To use GRID_SEARCH, all parameters must be INTEGER, CATEGORICAL, or DISCRETE, and "
                    f'"{doubles[0]}" is DOUBLE.',
                )
            )
    config = StudyConfig(
        metrics,
        parameters,
        algorithm,
        _stopping(spec, parameters, field, problems),
        _chosen(
            _SELECTIONS, spec.measurement_selection_type, f"{field}.measurement_selection_type", problems
        ),
        _chosen(_NOISES, spec.observation_noise, f"{field}.observation_noise", problems),
    )
    if problems:
        raise invalid_fields(problems)
    return config


def parameter_values(config: StudyConfig, parameters: Mapping[str, ParameterValue]) -> list[Raw]:
    """The parameters of a trial as messages: numbers as doubles, in the order of the study's parameters.

    Args:
        config: Of the study.
        parameters: Of the trial, by name.
    """
    names = dict.fromkeys(parameter.name for parameter in every(config.parameters))
    return [_value_message(name, parameters[name]) for name in names if name in parameters]


def values_of(config: StudyConfig, parameters: Sequence[Raw]) -> dict[str, ParameterValue]:
    """What the parameters of a trial that is kept say, as the engine has it: an INTEGER is an int again.

    Args:
        config: Of the study.
        parameters: The messages.
    """
    given = given_values(parameters, "trial.parameters")
    try:
        return _space(config.parameters).understand(given)
    except ValueError:
        # Kept by an earlier version, perhaps: the engine takes of it what lies in the space.
        return given


def is_whole(config: StudyConfig, parameters: Sequence[Raw]) -> bool:
    """Whether a trial has a value of every parameter: one that is requested may leave some to the search.

    Args:
        config: Of the study.
        parameters: The messages.
    """
    try:
        _space(config.parameters).understand(given_values(parameters, "trial.parameters"))
    except ValueError:
        return False
    return True


def trial_parameters(config: StudyConfig, messages: Sequence[Raw], field: str) -> dict[str, ParameterValue]:
    """What the tuning engine is told of a trial's parameters: an INTEGER as an int.

    Args:
        config: Of the study.
        messages: The parameters of the trial.
        field: What they are called in the request: ``trial.parameters``.

    Raises:
        ApiError: INVALID_ARGUMENT, one is missing, outside its range, given twice, or of no active parameter.
    """
    given = given_values(messages, field)
    try:
        return _space(config.parameters).understand(given)
    except ValueError as error:
        raise invalid_field(field, f"{error}.") from None


def given_values(messages: Sequence[Raw], field: str) -> dict[str, ParameterValue]:
    """What parameters of a trial say, wherever that may lie: every number is a float.

    Args:
        messages: The parameters.
        field: What they are called in the request: ``trial.parameters``.

    Raises:
        ApiError: INVALID_ARGUMENT, one is given twice, or its value is neither a number nor a string.
    """
    given: dict[str, ParameterValue] = {}
    for index, message in enumerate(messages):
        name, kind = message.parameter_id, message.value.WhichOneof("kind")
        if name in given:
            raise invalid_field(f"{field}[{index}].parameter_id", f'"{name}" is given more than once.')
        if kind not in ("number_value", "string_value"):
            raise invalid_field(f"{field}[{index}].value", "It must be a number or a string.")
        given[name] = getattr(message.value, kind)
    return given


def measurement_message(measurement: Measurement) -> Raw:
    """A measurement as a message."""
    message = MeasurementMessage(
        step_count=measurement.step,
        metrics=[
            MeasurementMessage.Metric(metric_id=name, value=value)
            for name, value in measurement.metrics.items()
        ],
    )
    message.elapsed_duration.FromNanoseconds(round(measurement.elapsed * 1e9))
    return message


def measurement(message: Raw) -> Measurement:
    """What a Measurement message says."""
    return Measurement(
        step=message.step_count,
        elapsed=message.elapsed_duration.ToNanoseconds() / 1e9,
        metrics={metric.metric_id: metric.value for metric in message.metrics},
    )


@lru_cache(maxsize=64)
def _space(parameters: tuple[Parameter, ...]) -> Space:
    return Space(parameters)


def _metrics(spec: Raw, field: str, problems: Problems) -> tuple[Metric, ...]:
    if not spec.metrics:
        problems.append((field, "Required field is not set."))
    metrics: list[Metric] = []
    for index, metric in enumerate(spec.metrics):
        where = f"{field}[{index}]"
        check_supported(metric, _METRIC, where)
        check_id(metric.metric_id, f"{where}.metric_id", problems)
        if metric.metric_id and metric.metric_id in {other.id for other in metrics}:
            problems.append((f"{where}.metric_id", f'"{metric.metric_id}" is given more than once.'))
        metrics.append(Metric(metric.metric_id, _chosen(_MAXIMIZES, metric.goal, f"{where}.goal", problems)))
    return tuple(metrics)


def _stopping(
    spec: Raw, parameters: tuple[Parameter, ...], field: str, problems: Problems
) -> Stopping | None:
    task = spec.WhichOneof("automated_stopping_spec")
    if task is None:
        return None
    options, where = getattr(spec, task), f"{field}.{task}"
    if len(spec.metrics) > 1:
        problems.append(
            (where, f"Automated stopping is for a single metric, and there are {len(spec.metrics)}.")
        )
    kind = _STOPPINGS[task]
    if kind is not StoppingKind.CONVEX:
        return Stopping(kind, options.use_elapsed_duration)
    for name in _CONVEX_COUNTS:
        if getattr(options, name) < 0:
            problems.append((f"{where}.{name}", f"It is {getattr(options, name)}, and must not be negative."))
    if 0 < options.max_step_count <= options.min_step_count:
        problems.append(
            (
                f"{where}.min_step_count",
                f"It is {options.min_step_count}, and must be less than max_step_count, which is "
                f"{options.max_step_count}.",
            )
        )
    rate = options.learning_rate_parameter_name
    if rate and not any(
        parameter.name == rate and parameter.kind is not Kind.CATEGORICAL for parameter in every(parameters)
    ):
        problems.append(
            (f"{where}.learning_rate_parameter_name", f'"{rate}" is none of the numeric parameters.')
        )
    return Stopping(
        kind,
        options.use_elapsed_duration,
        options.max_step_count,
        options.min_step_count,
        options.min_measurement_count,
        rate,
        options.update_all_stopped_trials,
    )


def _chosen(table: Mapping[int, _Choice], number: int, field: str, problems: Problems) -> _Choice:
    """What an enumeration's number stands for."""
    if number not in table:
        problems.append((field, f"{number} is none of its values."))
        return table[0]
    return table[number]


def _value_message(name: str, value: ParameterValue) -> Raw:
    message = TrialParameter(parameter_id=name)
    if isinstance(value, str):
        message.value.string_value = value
    else:
        message.value.number_value = value
    return message
