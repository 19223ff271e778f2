"""The space that a search looks through: which parameters there are, and which values each may have.

A space is a mapping from names to parameters::

    space = {
        "learning_rate": vk.Double(1e-3, 10, scale="log"),
        "n_hidden": vk.Integer(1, 10),
        "batch_size": vk.Discrete([16, 32, 64]),
        "optimizer": vk.Categorical(
            ["sgd", "adam"],
            children={"sgd": {"momentum": vk.Double(0, 0.99)}},
        ),
    }

``momentum`` there is only with ``sgd``: the trials with ``adam`` do not get the argument.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/StudySpec#ParameterSpec
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, get_args

from vertexkit.errors import InvalidArgument

__all__ = [
    "Categorical",
    "Discrete",
    "Double",
    "Integer",
    "Parameter",
    "Scale",
    "Space",
    "by_name",
    "parameter_spec",
    "values_of_key",
]

Scale: TypeAlias = Literal["linear", "log", "reverse_log"]
"""What is spread evenly over a range. ``"log"``: each power of ten gets as many trials as the next.
``"reverse_log"``: the same from the greatest value downwards, as for a momentum of 0.9, 0.99, 0.999."""

_SCALES: Final = {
    "linear": "UNIT_LINEAR_SCALE",
    "log": "UNIT_LOG_SCALE",
    "reverse_log": "UNIT_REVERSE_LOG_SCALE",
}
_MOST_VALUES: Final = 1000
_APART: Final = 1e-10
_EXACT: Final = 2**53
"""Up to which every whole number is a double, as the service has the values of a trial."""


class _Value:
    """A repr that leaves out what is as always, and what another process gets."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Mappings that cannot be changed cannot be pickled."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}  # type: ignore[arg-type]
        if "children" in values:
            values["children"] = {key: dict(space) for key, space in values["children"].items()}
        return type(self), tuple(values.values())

    def __repr__(self) -> str:
        shown = []
        for one in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, one.name)
            if one.name in ("min", "max"):
                shown.append(f"{value!r}")
            elif one.name == "values":
                shown.append(f"{list(value)!r}")
            elif one.name == "children" and value:
                shown.append(f"children={ {key: dict(space) for key, space in value.items()}!r}")
            elif one.name != "children" and value != one.default:
                shown.append(f"{one.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, repr=False)
class Double(_Value):
    """A number from a range.

    Raises:
        InvalidArgument: There can be no such parameter.
    """

    min: float
    """Least value, inclusive."""
    max: float
    """Greatest value, inclusive."""
    scale: Scale = "linear"
    default: float | None = None
    """Where to begin. For Vizier's studies only: Vertex AI has it in no tuning job."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name in ("min", "max", "default"):
            value = getattr(self, name)
            if name == "default" and value is None:
                continue
            if not _is_finite(value):
                raise InvalidArgument(name, value, "is no finite number")
            object.__setattr__(self, name, float(value))
        _check_range(self)


@dataclass(frozen=True, repr=False)
class Integer(_Value):
    """A whole number from a range, which lies from -2**53 to 2**53.

    Raises:
        InvalidArgument: There can be no such parameter.
    """

    min: int
    """Least value, inclusive."""
    max: int
    """Greatest value, inclusive."""
    scale: Scale = "linear"
    default: int | None = None
    """Where to begin. For Vizier's studies only: Vertex AI has it in no tuning job."""
    children: Mapping[int | tuple[int, ...] | range, Space] = field(
        default_factory=lambda: MappingProxyType({}), hash=False
    )
    """Parameters that there are only with some values of this one, by these: ``{2: {...}}``,
    ``{(2, 4): {...}}`` or ``{range(2, 11): {...}}``."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name in ("min", "max", "default"):
            value = getattr(self, name)
            if name == "default" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, Integral):
                raise InvalidArgument(
                    name, value, "is no whole number", remedy="write Double(...) for a parameter with others"
                )
            whole = int(value)
            if abs(whole) > _EXACT:
                raise InvalidArgument(
                    name,
                    value,
                    "is beyond 2**53, up to which Vertex AI tells whole numbers apart",
                    remedy=f"write {_EXACT if whole > 0 else -_EXACT}, or search a Double",
                )
            object.__setattr__(self, name, whole)
        _check_range(self)
        _take_children(self, lambda value: self.min <= value <= self.max)


@dataclass(frozen=True, repr=False)
class Categorical(_Value):
    """One of several texts, which have no order.

    Raises:
        InvalidArgument: There can be no such parameter.
    """

    values: Sequence[str]
    """None of them empty."""
    default: str | None = None
    """Where to begin. For Vizier's studies only: Vertex AI has it in no tuning job."""
    children: Mapping[str | tuple[str, ...], Space] = field(
        default_factory=lambda: MappingProxyType({}), hash=False
    )
    """Parameters that there are only with some values of this one, by these: ``{"sgd": {...}}``."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        values = _values(self.values)
        for value in values:
            if not isinstance(value, str):
                remedy = "write Discrete([...]) for numbers" if _is_number(value) else f"write {str(value)!r}"
                raise InvalidArgument(
                    "values", self.values, f"holds {value!r}, which is no text", remedy=remedy
                )
            if not value:
                raise InvalidArgument(
                    "values",
                    self.values,
                    "holds an empty text, which is no value to Vertex AI",
                    remedy="write 'none', for example, and let the program take that for an empty text",
                )
            if "\0" in value:
                raise InvalidArgument("values", self.values, "holds a NUL, as no argument does")
        if len(set(values)) < len(values):
            raise InvalidArgument("values", self.values, "holds a value twice")
        object.__setattr__(self, "values", values)
        _check_default(self, values)
        _take_children(self, lambda value: value in values)


@dataclass(frozen=True, repr=False)
class Discrete(_Value):
    """One of several numbers. They have an order, which is seen to here.

    Raises:
        InvalidArgument: There can be no such parameter.
    """

    values: Sequence[float]
    """At most 1,000. Where all of them are whole, trials get them as integers."""
    scale: Scale = "linear"
    default: float | None = None
    """Where to begin. For Vizier's studies only: Vertex AI has it in no tuning job."""
    children: Mapping[float | tuple[float, ...], Space] = field(
        default_factory=lambda: MappingProxyType({}), hash=False
    )
    """Parameters that there are only with some values of this one, by these: ``{32: {...}}``."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        given = _values(self.values)
        for value in given:
            if not _is_finite(value):
                raise InvalidArgument(
                    "values",
                    self.values,
                    f"holds {value!r}, which is no finite number",
                    remedy="write Categorical([...]) for texts",
                )
        if len(given) > _MOST_VALUES:
            raise InvalidArgument(
                "values", self.values, f"are {len(given)}, and a parameter has at most {_MOST_VALUES:,}"
            )
        values = tuple(sorted(int(value) if isinstance(value, Integral) else float(value) for value in given))
        for before, after in itertools.pairwise(values):
            if float(after) - float(before) < _APART:
                raise InvalidArgument(
                    "values",
                    self.values,
                    f"holds {before!r} and {after!r}, which are the same to Vertex AI",
                    remedy="leave one of them out",
                )
        object.__setattr__(self, "values", values)
        _check_scale(self.scale, values[0], "values", self.values)
        _check_default(self, values)
        _take_children(self, lambda value: value in values)


Parameter: TypeAlias = Double | Integer | Categorical | Discrete
Space: TypeAlias = Mapping[str, Parameter]
"""Parameters by name."""


def by_name(space: Space) -> Iterator[tuple[str, Parameter]]:
    """Every parameter of a space with its name, those below others too.

    One that there is below several values of its parent comes several times.
    """
    for name, parameter in space.items():
        yield name, parameter
        for below in getattr(parameter, "children", {}).values():
            yield from by_name(below)


def values_of_key(key: Any) -> tuple[Any, ...]:
    """The values of a parameter that a key of its ``children`` names."""
    return tuple(key) if isinstance(key, tuple | range) else (key,)


def parameter_spec(name: str, parameter: Parameter) -> dict[str, Any]:
    """The parameter as JSON, as a ``StudySpec`` has it."""
    spec: dict[str, Any] = {"parameterId": name}
    if isinstance(parameter, Categorical):
        spec["categoricalValueSpec"] = {"values": list(parameter.values)}
    else:
        spec["scaleType"] = _SCALES[parameter.scale]
    if isinstance(parameter, Double):
        spec["doubleValueSpec"] = {"minValue": parameter.min, "maxValue": parameter.max}
    elif isinstance(parameter, Integer):
        # A 64-bit integer is text in the JSON of protobuf.
        spec["integerValueSpec"] = {"minValue": str(parameter.min), "maxValue": str(parameter.max)}
    elif isinstance(parameter, Discrete):
        spec["discreteValueSpec"] = {"values": [float(value) for value in parameter.values]}
    if parameter.default is not None:
        written = str(parameter.default) if isinstance(parameter, Integer) else parameter.default
        next(value for key, value in spec.items() if key.endswith("ValueSpec"))["defaultValue"] = written
    if not isinstance(parameter, Double) and parameter.children:
        spec["conditionalParameterSpecs"] = [
            {**_condition(parameter, key), "parameterSpec": parameter_spec(below, child)}
            for key, space in parameter.children.items()
            for below, child in space.items()
        ]
    return spec


def _condition(parent: Parameter, key: Any) -> dict[str, Any]:
    values = values_of_key(key)
    if isinstance(parent, Integer):
        return {"parentIntValues": {"values": [str(value) for value in values]}}
    if isinstance(parent, Discrete):
        return {"parentDiscreteValues": {"values": [float(value) for value in values]}}
    return {"parentCategoricalValues": {"values": list(values)}}


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    """Whether this is a number that a double has room for."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def _values(values: object) -> tuple[Any, ...]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InvalidArgument("values", values, "is no list of values", remedy="write [...] around them")
    listed = tuple(values)
    if not listed:
        raise InvalidArgument("values", values, "is empty")
    return listed


def _check_range(parameter: Double | Integer) -> None:
    if parameter.min > parameter.max:
        raise InvalidArgument(
            "min",
            parameter.min,
            f"is above max={parameter.max!r}",
            remedy=f"write {type(parameter).__name__}({parameter.max!r}, {parameter.min!r})",
        )
    _check_scale(parameter.scale, parameter.min, "min", parameter.min)
    default = parameter.default
    if default is not None and not parameter.min <= default <= parameter.max:
        raise InvalidArgument(
            "default", default, f"is not from {parameter.min!r} to {parameter.max!r}, where the parameter is"
        )


def _check_scale(scale: object, least: float, argument: str, value: object) -> None:
    if scale not in get_args(Scale):
        raise InvalidArgument("scale", scale, "is no scale", remedy="use 'linear', 'log' or 'reverse_log'")
    if scale != "linear" and least <= 0:
        raise InvalidArgument(
            argument,
            value,
            f"is not above 0, and scale={scale!r} has a logarithm of everything",
            remedy="begin above 0, or use scale='linear'",
        )


def _check_default(parameter: Categorical | Discrete, values: Sequence[object]) -> None:
    if parameter.default is not None and parameter.default not in values:
        raise InvalidArgument("default", parameter.default, f"is none of the values {list(values)!r}")


def _take_children(parameter: Integer | Categorical | Discrete, is_value: Any) -> None:
    """Check what is below a parameter, and keep a copy that nobody can change."""
    children = parameter.children
    if not isinstance(children, Mapping):
        raise InvalidArgument(
            "children",
            children,
            "is no mapping from values to spaces",
            remedy='write children={"sgd": {"momentum": Double(0, 0.99)}}, for example',
        )
    kinds = {Categorical: str, Integer: Integral, Discrete: Real}
    kind = kinds[type(parameter)]
    seen: dict[str, set[object]] = {}
    for key, space in children.items():
        keys = values_of_key(key)
        for value in keys:
            if isinstance(value, bool) or not isinstance(value, kind) or not is_value(value):
                raise InvalidArgument("children", key, f"has {value!r}, which is no value of the parameter")
        if not keys:
            raise InvalidArgument("children", key, "has no value in it")
        if not isinstance(space, Mapping) or not space:
            raise InvalidArgument(
                f"children[{key!r}]", space, "is no space", remedy="write {name: parameter}"
            )
        for name, child in space.items():
            if not isinstance(child, Parameter):
                raise InvalidArgument(
                    f"children[{key!r}][{name!r}]",
                    child,
                    "is no parameter",
                    remedy="write Double, Integer, Categorical or Discrete",
                )
            if seen.setdefault(name, set()) & set(keys):
                raise InvalidArgument(
                    "children", key, f"has {name!r} twice for the same value", remedy="leave one of them out"
                )
            seen[name] |= set(keys)
    kept = {key: MappingProxyType(dict(space)) for key, space in children.items()}
    object.__setattr__(parameter, "children", MappingProxyType(kept))
