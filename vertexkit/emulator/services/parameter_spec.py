"""What Vertex AI checks of the parameters of a StudySpec, in its words.

Source: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/StudySpec#ParameterSpec
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from vertexkit.emulator.messages import Raw
from vertexkit.emulator.tuning.space import repeated
from vertexkit.emulator.tuning.types import Child, Kind, Parameter, ParameterValue, Scale

_KINDS: Final = {
    "double_value_spec": Kind.DOUBLE,
    "integer_value_spec": Kind.INTEGER,
    "categorical_value_spec": Kind.CATEGORICAL,
    "discrete_value_spec": Kind.DISCRETE,
}
_CONDITIONS: Final = {
    Kind.INTEGER: "parent_int_values",
    Kind.CATEGORICAL: "parent_categorical_values",
    Kind.DISCRETE: "parent_discrete_values",
}
_SCALES: Final = {0: Scale.LINEAR, 1: Scale.LINEAR, 2: Scale.LOG, 3: Scale.REVERSE_LOG}
_SCALE_NAMES: Final = {Scale.LOG: "UNIT_LOG_SCALE", Scale.REVERSE_LOG: "UNIT_REVERSE_LOG_SCALE"}
_MOST_VALUES: Final = 1000
"""Of a DISCRETE parameter."""
_APART: Final = 1e-10
"""How far apart the values of a DISCRETE parameter must be; nearer ones are the same."""
_EXACT: Final = 2**53
"""Up to which every integer is a double, as the values of a trial are."""
_UNSET: Final = "Required field is not set."

Problems = list[tuple[str, str]]
"""Wrong fields, each with what is wrong."""


def parse_parameters(specs: Sequence[Raw], field: str, problems: Problems) -> tuple[Parameter, ...]:
    """The parameters to be searched over.

    Args:
        specs: The ParameterSpecs.
        field: What they are called in the request.
        problems: Takes every wrong field; what is returned is of no use when there is one.
    """
    if not specs:
        problems.append((field, _UNSET))
    parameters = tuple(_parameter(spec, f"{field}[{index}]", problems) for index, spec in enumerate(specs))
    problems += [
        (f"{_path(key, field)}.parameter_id", f'"{name}" is given more than once.')
        for key, name in repeated(parameters)
        if name
    ]
    return parameters


def check_id(name: str, field: str, problems: Problems) -> None:
    """Find an id that is missing or has white space in it."""
    if not name:
        problems.append((field, _UNSET))
    elif any(character.isspace() for character in name):
        problems.append((field, f'"{name}" must not contain whitespaces.'))


def every(parameters: Sequence[Parameter]) -> Iterator[Parameter]:
    """All parameters, conditional ones included; each before its children."""
    for parameter in parameters:
        yield parameter
        yield from every([child.parameter for child in parameter.children])


def active(parameters: Sequence[Parameter], values: Mapping[str, ParameterValue]) -> Iterator[Parameter]:
    """The parameters that there are with some values: of several of one name, that of the parent's value."""
    for parameter in parameters:
        yield parameter
        value = values.get(parameter.name)
        yield from active(
            [child.parameter for child in parameter.children if value in child.parent_values], values
        )


def _parameter(spec: Raw, where: str, problems: Problems) -> Parameter:
    name = spec.parameter_id
    check_id(name, f"{where}.parameter_id", problems)
    task = spec.WhichOneof("parameter_value_spec")
    if task is None:
        problems.append((where, f"Exactly one of {', '.join(_KINDS)} must be set."))
        return Parameter(name, Kind.DOUBLE)
    kind, values, field = _KINDS[task], getattr(spec, task), f"{where}.{task}"
    minimum: float = 0
    maximum: float = 0
    choices: tuple[float, ...] | tuple[str, ...] = ()
    before = len(problems)
    if kind in (Kind.DOUBLE, Kind.INTEGER):
        minimum, maximum = values.min_value, values.max_value
        problems += _range_problems(kind, minimum, maximum, field)
    else:
        choices = tuple(values.values)
        problems += (
            _category_problems(choices, field)
            if kind is Kind.CATEGORICAL
            else _point_problems(choices, field)
        )
    sound = len(problems) == before
    scale = _scale(spec.scale_type, kind, minimum if not choices else choices[0], where, problems)
    bare = Parameter(name, kind, minimum, maximum, choices, scale)
    return Parameter(
        name,
        kind,
        minimum,
        maximum,
        choices,
        scale,
        _default(values, bare, f"{field}.default_value", problems) if sound else None,
        tuple(
            _child(child, bare if sound else None, f"{where}.conditional_parameter_specs[{index}]", problems)
            for index, child in enumerate(spec.conditional_parameter_specs)
        ),
    )


def _range_problems(kind: Kind, minimum: float, maximum: float, field: str) -> Problems:
    for bound, value in (("min_value", minimum), ("max_value", maximum)):
        if kind is Kind.DOUBLE and not math.isfinite(value):
            return [(f"{field}.{bound}", f"It is {value}, and must be finite.")]
        if kind is Kind.INTEGER and abs(value) > _EXACT:
            return [(f"{field}.{bound}", f"It is {value}, and must be between -2^53 and 2^53.")]
    if minimum > maximum:
        return [
            (
                f"{field}.max_value",
                f"It is {maximum}, and must not be less than min_value, which is {minimum}.",
            )
        ]
    return []


def _category_problems(values: Sequence[object], field: str) -> Problems:
    if not values:
        return [(f"{field}.values", _UNSET)]
    problems = []
    for index, value in enumerate(values):
        if not value:
            problems.append((f"{field}.values[{index}]", "It is empty."))
        elif value in values[:index]:
            problems.append((f"{field}.values[{index}]", f'"{value}" is given more than once.'))
    return problems


def _point_problems(choices: Sequence[float] | Sequence[str], field: str) -> Problems:
    values = [float(choice) for choice in choices]
    if not values:
        return [(f"{field}.values", _UNSET)]
    if len(values) > _MOST_VALUES:
        return [(f"{field}.values", f"There are {len(values)} values, and can be up to {_MOST_VALUES}.")]
    for index, value in enumerate(values):
        if not math.isfinite(value):
            return [(f"{field}.values[{index}]", f"It is {value}, and must be finite.")]
    for index, (lower, upper) in enumerate(pairwise(values)):
        if upper - lower < _APART:
            return [
                (
                    f"{field}.values[{index + 1}]",
                    f"It is {upper} after {lower}, and values must be in increasing order and at least "
                    "1e-10 apart.",
                )
            ]
    return []


def _scale(number: int, kind: Kind, least: float | str, where: str, problems: Problems) -> Scale:
    field = f"{where}.scale_type"
    if number not in _SCALES:
        problems.append((field, f"{number} is none of its values."))
        return Scale.LINEAR
    if kind is Kind.CATEGORICAL:
        if number:
            problems.append((field, "It must be left unset for a CATEGORICAL parameter."))
        return Scale.LINEAR
    scale = _SCALES[number]
    if scale is not Scale.LINEAR and not float(least) > 0:
        problems.append(
            (field, f"With {_SCALE_NAMES[scale]} every value must be positive, and the least is {least}.")
        )
    return scale


def _default(values: Raw, parameter: Parameter, field: str, problems: Problems) -> ParameterValue | None:
    if not values.HasField("default_value"):
        return None
    default: ParameterValue = values.default_value
    if parameter.kind is Kind.CATEGORICAL:
        if default not in parameter.values:
            problems.append((field, f'"{default}" is none of the values {_listed(parameter.values)}.'))
        return default
    number = float(default)
    if parameter.kind is Kind.DISCRETE:
        points = [float(value) for value in parameter.values]
        if not math.isfinite(number):
            problems.append((field, f"It is {number}, and must be finite."))
            return None
        return min(points, key=lambda point: abs(point - number))
    if not parameter.minimum <= number <= parameter.maximum:
        problems.append(
            (field, f"It is {default}, and must be between {parameter.minimum} and {parameter.maximum}.")
        )
    return default


def _child(spec: Raw, parent: Parameter | None, where: str, problems: Problems) -> Child:
    parameter = _parameter(spec.parameter_spec, f"{where}.parameter_spec", problems)
    condition = spec.WhichOneof("parent_value_condition")
    if condition is None:
        problems.append((where, f"Exactly one of {', '.join(_CONDITIONS.values())} must be set."))
        return Child((), parameter)
    values, field = tuple(getattr(spec, condition).values), f"{where}.{condition}"
    if parent is None:
        return Child(values, parameter)
    if parent.kind is Kind.DOUBLE:
        problems.append((where, f'"{parent.name}" is DOUBLE, and can have no conditional parameters.'))
    elif condition != _CONDITIONS[parent.kind]:
        problems.append(
            (field, f'"{parent.name}" is {parent.kind.name}, so it must be {_CONDITIONS[parent.kind]}.')
        )
    elif not values:
        problems.append((f"{field}.values", _UNSET))
    else:
        values = tuple(
            _feasible(value, parent, f"{field}.values[{index}]", problems)
            for index, value in enumerate(values)
        )
    return Child(values, parameter)


def _feasible(value: ParameterValue, parent: Parameter, field: str, problems: Problems) -> ParameterValue:
    """The parent's value that a condition names."""
    if parent.kind is Kind.INTEGER:
        if not parent.minimum <= float(value) <= parent.maximum:
            problems.append(
                (
                    field,
                    f'{value} is no value of "{parent.name}", which is between {parent.minimum} and '
                    f"{parent.maximum}.",
                )
            )
        return value
    for choice in parent.values:
        if value == choice or (parent.kind is Kind.DISCRETE and abs(float(value) - float(choice)) <= _APART):
            return choice
    problems.append((field, f'{value} is none of the values of "{parent.name}": {_listed(parent.values)}.'))
    return value


def _path(key: str, field: str) -> str:
    """What the parameter that stands at ``1.0`` is called in the request."""
    first, *rest = key.split(".")
    children = (f".conditional_parameter_specs[{index}].parameter_spec" for index in rest)
    return f"{field}[{first}]{''.join(children)}"


def _listed(values: Sequence[float] | Sequence[str]) -> str:
    shown = ", ".join(f'"{value}"' if isinstance(value, str) else f"{value}" for value in values[:10])
    return f"{shown}, ..." if len(values) > 10 else shown
