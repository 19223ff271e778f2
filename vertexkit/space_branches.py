"""What of a space is there at once: conditional parameters, by the values of those above them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from vertexkit.spaces import Discrete, Double, Integer, Parameter, Space, values_of_key

__all__ = ["Branch", "Values", "argument_value", "branches", "points", "trials_of", "twice_at_once"]

Values: TypeAlias = dict[str, Any]
"""Of the parameters that a trial has, by name."""


@dataclass(frozen=True)
class Branch:
    """The values of a parameter with which the same others are there."""

    value: Any
    """One of them, as the program gets it."""
    count: float
    """How many there are; infinity for a range of all numbers."""
    below: Space
    """What is there with them."""


def argument_value(parameter: Parameter, value: Any) -> Any:
    """A value as the program gets it: whole where all of a list of numbers are."""
    if not isinstance(parameter, Discrete):
        return value
    return int(value) if all(one == int(one) for one in parameter.values) else float(value)


def branches(parameter: Parameter) -> list[Branch]:
    """The branches of a parameter: one that has nothing below it has one."""
    if isinstance(parameter, Double):
        ends_meet = parameter.min == parameter.max
        return [Branch(parameter.min / 2 + parameter.max / 2, 1 if ends_meet else math.inf, {})]
    spaces: dict[Any, list[Space]] = {}
    for key, space in parameter.children.items():
        for value in dict.fromkeys(values_of_key(key)):
            spaces.setdefault(value, []).append(space)
    alike: dict[tuple[int, ...], list[Any]] = {}
    for value in parameter.values if not isinstance(parameter, Integer) else sorted(spaces):
        alike.setdefault(tuple(map(id, spaces.get(value, []))), []).append(value)
    found = [
        Branch(
            argument_value(parameter, values[0]),
            len(values),
            {name: child for space in spaces.get(values[0], []) for name, child in space.items()},
        )
        for values in alike.values()
    ]
    if isinstance(parameter, Integer):
        bare = parameter.max - parameter.min + 1 - len(spaces)
        if bare:
            first = next(value for value in range(parameter.min, parameter.max + 1) if value not in spaces)
            found.insert(0, Branch(first, bare, {}))
    return found


def trials_of(name: str, parameter: Parameter) -> Iterator[Values]:
    """Trials between which a parameter, and every one below it, is in each of its branches once."""
    for branch in branches(parameter):
        below = [[*trials_of(child, parameters)] for child, parameters in branch.below.items()]
        first = {child: value for trials in below for child, value in trials[0].items()}
        yield {name: branch.value, **first}
        for place, trials in enumerate(below):
            others = {
                child: value
                for other in (*below[:place], *below[place + 1 :])
                for child, value in other[0].items()
            }
            yield from ({name: branch.value, **others, **trial} for trial in trials[1:])


def points(space: Space) -> float:
    """How many different trials there can be; infinity where a parameter is a range of all numbers."""
    return math.prod(
        sum(branch.count * points(branch.below) for branch in branches(parameter))
        for parameter in space.values()
    )


def twice_at_once(space: Space) -> list[str]:
    """The names that two parameters have which a trial may have both."""
    return [*dict.fromkeys(_repeated([(None, name, parameter) for name, parameter in space.items()], ()))]


def _repeated(
    siblings: Sequence[tuple[frozenset[Any] | None, str, Parameter]], above: tuple[str, ...]
) -> Iterator[str]:
    """As above, of parameters with the values of their parent with which they are there."""
    for place, (values, name, parameter) in enumerate(siblings):
        if name in above:
            yield name
        own = _names(name, parameter)
        for other_values, other_name, other in siblings[:place]:
            if values is None or other_values is None or values & other_values:
                theirs = _names(other_name, other)
                yield from (one for one in own if one in theirs)
        below = [
            (frozenset(values_of_key(key)), child, parameters)
            for key, space in getattr(parameter, "children", {}).items()
            for child, parameters in space.items()
        ]
        yield from _repeated(below, (*above, name))


def _names(name: str, parameter: Parameter) -> dict[str, None]:
    """The names of a parameter and of those below it."""
    names = {name: None}
    for space in getattr(parameter, "children", {}).values():
        for child, below in space.items():
            names |= _names(child, below)
    return names
