"""What Vertex AI checks of the trials and measurements that its users report, in its words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, TypeAlias

from vertexkit.emulator.messages import Raw, Trial, TrialState
from vertexkit.emulator.services.study_spec import given_values, parameter_values, trial_parameters
from vertexkit.emulator.services.study_trials import ENDED
from vertexkit.emulator.services.timestamps import set_now
from vertexkit.emulator.tuning.space import Space
from vertexkit.emulator.tuning.types import ParameterValue, StudyConfig
from vertexkit.emulator.validation import invalid_field

_UNSET: Final = "Required field is not set."
Context: TypeAlias = Mapping[str, ParameterValue]
"""Values, by parameter, that a suggestion is to have."""

_ONLY_OF: Final = {
    "final_measurement": ENDED,
    "infeasible_reason": (TrialState.INFEASIBLE,),
    "measurements": ENDED,
}
"""The states that a trial must have which is made with such a field."""
_PARAMETERS: Final = "trial.parameters"


def check_measurement(measurement: Raw, metrics: Sequence[str], field: str, *, whole: bool = False) -> None:
    """Refuse a measurement that cannot be.

    Args:
        measurement: The message.
        metrics: Ids of the study's metrics.
        field: What it is called in the request.
        whole: Whether it must have all of the metrics, as a trial's result does.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    if measurement.step_count < 0:
        raise invalid_field(
            f"{field}.step_count", f"It is {measurement.step_count}, and must not be negative."
        )
    if measurement.elapsed_duration.ToNanoseconds() < 0:
        raise invalid_field(f"{field}.elapsed_duration", "It must not be negative.")
    if not measurement.metrics:
        raise invalid_field(f"{field}.metrics", _UNSET)
    seen: set[str] = set()
    for index, metric in enumerate(measurement.metrics):
        where = f"{field}.metrics[{index}]"
        if metric.metric_id not in metrics:
            raise invalid_field(
                f"{where}.metric_id",
                f'"{metric.metric_id}" is none of the metrics of the study: {", ".join(metrics)}.',
            )
        if metric.metric_id in seen:
            raise invalid_field(f"{where}.metric_id", f'"{metric.metric_id}" is given more than once.')
        if not math.isfinite(metric.value):
            raise invalid_field(
                f"{where}.value",
                f'"{metric.metric_id}" is {metric.value}, and must be finite. A trial that has no value is '
                "completed as infeasible.",
            )
        seen.add(metric.metric_id)
    missing = [metric for metric in metrics if metric not in seen]
    if whole and missing:
        raise invalid_field(f"{field}.metrics", f'"{missing[0]}" is not measured.')


def add_measurement(trial: Raw, measurement: Raw) -> None:
    """Put a measurement in its place among those of a trial; one that is there already changes nothing.

    Raises:
        ApiError: INVALID_ARGUMENT, there is another one of the same step and the same time.
    """
    place = _place(measurement)
    for index, other in enumerate(trial.measurements):
        if _place(other) == place:
            if _values(other) == _values(measurement):
                return
            raise invalid_field(
                "measurement",
                f"The Trial {trial.name} has another Measurement with the step_count {place[0]} and the "
                f"elapsed_duration {place[1] / 1e9:g}s.",
            )
        if _place(other) > place:
            trial.measurements.insert(index, measurement)
            return
    trial.measurements.append(measurement)


def new_trial(config: StudyConfig, asked: Raw) -> Raw:
    """The trial that a user asks for: one to be suggested, or one that has already been evaluated.

    One to be suggested may leave parameters open, which it is given when it is suggested.

    Args:
        config: Of the study.
        asked: The trial in the request.

    Returns:
        The trial, still without a name: REQUESTED, or SUCCEEDED or INFEASIBLE where ``asked`` is.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    trial = Trial(state=asked.state if asked.state in ENDED else TrialState.REQUESTED)
    for field, _ in asked.ListFields():
        states = _ONLY_OF.get(field.name)
        if states is not None and trial.state not in states:
            state, allowed = TrialState(trial.state).name, " or ".join(TrialState(one).name for one in states)
            raise invalid_field(
                f"trial.{field.name}",
                f"It is for a Trial whose state is {allowed}, and this one is {state}.",
            )
    if trial.state == TrialState.REQUESTED:
        pinned = _context(Space(config.parameters), asked.parameters, _PARAMETERS)
        trial.parameters.extend(parameter_values(config, pinned))
        return trial
    values = trial_parameters(config, asked.parameters, _PARAMETERS)
    trial.parameters.extend(parameter_values(config, values))
    metrics = [metric.id for metric in config.metrics]
    for index, measurement in enumerate(asked.measurements):
        check_measurement(measurement, metrics, f"trial.measurements[{index}]")
    for before, after in pairwise(asked.measurements):
        if _place(after) <= _place(before):
            raise invalid_field(
                "trial.measurements", "They must be in the order of step_count and elapsed_duration."
            )
    trial.measurements.extend(asked.measurements)
    if asked.HasField("final_measurement"):
        check_measurement(asked.final_measurement, metrics, "trial.final_measurement", whole=True)
        trial.final_measurement.CopyFrom(asked.final_measurement)
    elif trial.state == TrialState.SUCCEEDED:
        raise invalid_field("trial.final_measurement", _UNSET)
    trial.infeasible_reason = asked.infeasible_reason
    set_now(trial.start_time)
    trial.end_time.CopyFrom(trial.start_time)
    return trial


def read_contexts(config: StudyConfig, asked: Sequence[Raw], count: int) -> list[Context]:
    """What each suggestion is to have: nothing in particular where there are no contexts.

    Args:
        config: Of the study.
        asked: The TrialContexts in the request.
        count: The suggestions that are asked for.

    Raises:
        ApiError: INVALID_ARGUMENT, a context is outside the space, or there is not one for each suggestion.
    """
    if not asked:
        return [{}] * count
    if len(asked) != count:
        raise invalid_field(
            "contexts", f"There are {len(asked)}, and must be none or as many as suggestion_count, {count}."
        )
    space = Space(config.parameters)
    return [
        _context(space, context.parameters, f"contexts[{index}].parameters")
        for index, context in enumerate(asked)
    ]


def _context(space: Space, parameters: Sequence[Raw], field: str) -> Context:
    given = given_values(parameters, field)
    try:
        pinned = space.pin(given)
    except ValueError as error:
        raise invalid_field(field, f"{error}.") from None
    reached = space.locate(given)
    values = {node.parameter.name: pinned[node.key][1] for node in space.nodes() if node.key in reached}
    for name in given:
        if name not in values:
            raise invalid_field(field, f'"{name}" is conditional, and no value is given that activates it.')
    return values


def _place(measurement: Raw) -> tuple[int, int]:
    """What measurements are ordered by: steps, then nanoseconds."""
    return measurement.step_count, measurement.elapsed_duration.ToNanoseconds()


def _values(measurement: Raw) -> dict[str, float]:
    return {metric.metric_id: metric.value for metric in measurement.metrics}
