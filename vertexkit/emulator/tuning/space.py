"""The space that is searched: which parameters are active, and where their values lie."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from vertexkit.emulator.tuning.types import Kind, Parameter, ParameterValue, Scale

Values: TypeAlias = dict[str, ParameterValue]
"""Of the active parameters, by name."""
Place: TypeAlias = float | int
"""Where a value lies: between 0 and 1 for a DOUBLE, an int for an INTEGER, else an index.

Evenly spread over a DOUBLE's scale. An INTEGER is counted from the top where its scale is reversed, so that
what is left of the scale is a plain logarithm.
"""
Point: TypeAlias = dict[str, Place]
"""The places of the active parameters, by key."""
Pinned: TypeAlias = dict[str, tuple[Place, ParameterValue]]
"""Places, by key, that are not to be chosen, with the values that they were made from."""

_SAME = 1e-10
"""Values of a DISCRETE parameter that are this near are the same."""


@dataclass(frozen=True)
class Node:
    """A parameter where it stands: those of one name in two branches are two."""

    key: str
    """Where it stands: ``1.0`` is the first child of the second parameter."""
    parameter: Parameter
    branches: tuple[tuple[tuple[ParameterValue, ...], Node], ...]
    """Its children, each with the values that it is active with."""

    @property
    def fixed(self) -> bool:
        """Whether there is but one value."""
        parameter = self.parameter
        return len(parameter.values) == 1 if parameter.values else not parameter.minimum < parameter.maximum

    def active(self, value: ParameterValue) -> list[Node]:
        """The children that there are with a value of this one."""
        return [child for values, child in self.branches if value in values]

    def value(self, place: Place) -> ParameterValue:
        """What lies at a place."""
        parameter = self.parameter
        if parameter.kind is Kind.DOUBLE:
            return _stretched(parameter, place)
        if parameter.kind is Kind.INTEGER:
            return self._turned(int(place))
        return parameter.values[int(place)]

    def place(self, value: ParameterValue) -> Place | None:
        """Where a value lies; None for what is none of its values."""
        parameter = self.parameter
        if parameter.kind is Kind.CATEGORICAL or isinstance(value, str):
            found = [index for index, other in enumerate(parameter.values) if other == value]
            return found[0] if found else None
        if parameter.kind is Kind.DISCRETE:
            points = [float(other) for other in parameter.values]
            nearest = min(range(len(points)), key=lambda index: abs(points[index] - value))
            return nearest if abs(points[nearest] - value) <= _SAME else None
        if not parameter.minimum <= value <= parameter.maximum:
            return None
        if parameter.kind is Kind.DOUBLE:
            return _shrunk(parameter, value)
        return self._turned(int(value)) if value == int(value) else None

    def matched(self, value: ParameterValue) -> tuple[Place, ParameterValue] | None:
        """Where a value lies, and the value as the engine has it; None for what is none of its values."""
        place = self.place(value)
        if place is None:
            return None
        return place, float(value) if self.parameter.kind is Kind.DOUBLE else self.value(place)

    def places(self) -> Iterator[Place]:
        """Every place, by rising value; a DOUBLE has none but when it is fixed."""
        parameter = self.parameter
        if parameter.kind is Kind.INTEGER:
            yield from map(self._turned, range(int(parameter.minimum), int(parameter.maximum) + 1))
        elif parameter.kind is not Kind.DOUBLE:
            yield from range(len(parameter.values))
        elif self.fixed:
            yield 0.0

    def drawn(self, rng: random.Random) -> Place:
        """A place at random."""
        parameter = self.parameter
        if parameter.kind is Kind.DOUBLE:
            return rng.random()
        if parameter.kind is not Kind.INTEGER:
            return rng.randrange(len(parameter.values))
        low, high = int(parameter.minimum), int(parameter.maximum)
        if parameter.scale is Scale.LINEAR:
            return rng.randint(low, high)
        drawn = round(math.exp(rng.uniform(math.log(low - 0.5), math.log(high + 0.5))))
        return min(max(drawn, low), high)

    def _turned(self, number: int) -> int:
        if self.parameter.scale is not Scale.REVERSE_LOG:
            return number
        return int(self.parameter.minimum) + int(self.parameter.maximum) - number


class Space:
    """Parameters as a tree.

    Args:
        parameters: What is searched over.

    Raises:
        ValueError: They cannot be searched over; the message names the parameter and what is wrong with it.
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        if not parameters:
            raise ValueError("parameters: there are none")
        twice = repeated(parameters)
        if twice:
            raise ValueError(f'parameters: "{twice[0][1]}" is given more than once')
        self.roots = [_node(str(index), parameter) for index, parameter in enumerate(parameters)]

    def nodes(self) -> Iterator[Node]:
        """Every node, each before its children."""
        yield from _every(self.roots)

    @property
    def has_grid(self) -> bool:
        """Whether there are finitely many values."""
        return all(node.parameter.kind is not Kind.DOUBLE or node.fixed for node in self.nodes())

    def walk(self, choose: Callable[[Node], Place], pinned: Pinned) -> Values:
        """The values that come of choosing a place for each node that turns out to be active."""
        values: Values = {}
        pending = list(self.roots)
        while pending:
            node = pending.pop(0)
            value = pinned[node.key][1] if node.key in pinned else node.value(choose(node))
            values[node.parameter.name] = value
            pending[:0] = node.active(value)
        return values

    def defaults(self) -> Pinned:
        """The parameters that have a default value, at that."""
        return self._pinned([(node, node.parameter.default) for node in self.nodes()])

    def pin(self, values: Mapping[str, ParameterValue]) -> Pinned:
        """Some parameters, by name, at given values wherever they stand.

        Raises:
            ValueError: There is none that can have such a value; the message names it.
        """
        nodes = list(self.nodes())
        pinned = self._pinned([(node, values.get(node.parameter.name)) for node in nodes])
        able = {node.parameter.name for node in nodes if node.key in pinned}
        for name, value in values.items():
            if name not in able:
                raise ValueError(f'"{name}" cannot be {value!r}: no parameter of that name has such a value')
        return pinned

    def sample(self, rng: random.Random, pinned: Pinned) -> Values:
        """Values at random, but for those that are pinned."""
        return self.walk(lambda node: node.drawn(rng), pinned)

    def grid(self, pinned: Pinned) -> Iterator[Values]:
        """Every combination of values, that of the last parameter changing first.

        Of a DOUBLE there is nothing to go through: ask ``has_grid`` first.
        """
        yield from _combinations(self.roots, pinned)

    def locate(self, values: Mapping[str, ParameterValue]) -> Point:
        """Where values lie; those that are outside the space, or of no active parameter, are left out."""
        point: Point = {}
        pending = list(self.roots)
        while pending:
            node = pending.pop(0)
            value = values.get(node.parameter.name)
            place = None if value is None else node.place(value)
            if place is not None:
                point[node.key] = place
                pending[:0] = node.active(node.value(place))
        return point

    def understand(self, given: Mapping[str, ParameterValue]) -> Values:
        """The values of a trial as the engine has them: integers as ints, a discrete value as in its list.

        Args:
            given: Values as they came; every number may be a float.

        Raises:
            ValueError: One is missing, outside its range, or of no active parameter; the message names it.
        """
        values: Values = {}
        pending = list(self.roots)
        while pending:
            node = pending.pop(0)
            name = node.parameter.name
            if name not in given:
                raise ValueError(f'"{name}" is not given')
            found = node.matched(given[name])
            if found is None:
                raise ValueError(f'"{name}" is {given[name]!r}, which is {outside(node.parameter)}')
            values[name] = found[1]
            pending[:0] = node.active(found[1])
        unknown = sorted(given.keys() - values.keys())
        if unknown:
            raise ValueError(f'"{unknown[0]}" is none of the parameters that are active: {", ".join(values)}')
        return values

    @staticmethod
    def _pinned(wanted: Sequence[tuple[Node, ParameterValue | None]]) -> Pinned:
        found = ((node.key, None if value is None else node.matched(value)) for node, value in wanted)
        return {key: match for key, match in found if match is not None}


def outside(parameter: Parameter) -> str:
    """What is wrong with a value that is none of a parameter's."""
    if parameter.kind is Kind.DOUBLE:
        return f"no number between {parameter.minimum} and {parameter.maximum}"
    if parameter.kind is Kind.INTEGER:
        return f"no integer between {parameter.minimum} and {parameter.maximum}"
    shown = ", ".join(str(value) for value in parameter.values[:10])
    return f"none of {shown}{', ...' if len(parameter.values) > 10 else ''}"


def repeated(parameters: Sequence[Parameter]) -> list[tuple[str, str]]:
    """The parameters with a name that another one has which can be active at once: key and name of each."""
    siblings = [(None, parameter, str(index)) for index, parameter in enumerate(parameters)]
    return _repeated(siblings, frozenset())


def _repeated(
    siblings: Sequence[tuple[tuple[ParameterValue, ...] | None, Parameter, str]], outer: frozenset[str]
) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for index, (values, parameter, key) in enumerate(siblings):
        names = _names(parameter)
        twice = {parameter.name} & outer
        for other_values, other, _ in siblings[:index]:
            if values is None or other_values is None or set(values) & set(other_values):
                twice |= names & _names(other)
        found += [(key, name) for name in sorted(twice)]
        children = [
            (child.parent_values, child.parameter, f"{key}.{number}")
            for number, child in enumerate(parameter.children)
        ]
        found += _repeated(children, outer | {parameter.name})
    return found


def _names(parameter: Parameter) -> set[str]:
    return {parameter.name}.union(*(_names(child.parameter) for child in parameter.children))


def _node(key: str, parameter: Parameter) -> Node:
    problem = _problem(parameter)
    if problem:
        raise ValueError(f'parameters: "{parameter.name}" {problem}')
    branches = []
    for index, child in enumerate(parameter.children):
        branches.append((child.parent_values, _node(f"{key}.{index}", child.parameter)))
    return Node(key, parameter, tuple(branches))


def _problem(parameter: Parameter) -> str:
    if parameter.kind in (Kind.CATEGORICAL, Kind.DISCRETE):
        if not parameter.values:
            return "has no values"
        least = parameter.values[0]
    else:
        least = parameter.minimum
        if not parameter.minimum <= parameter.maximum:
            return f"is between {parameter.minimum} and {parameter.maximum}"
        if not (math.isfinite(parameter.minimum) and math.isfinite(parameter.maximum)):
            return "has no end"
    if parameter.scale is not Scale.LINEAR and not (isinstance(least, str) or least > 0):
        return f"has values that are not positive, and the scale {parameter.scale.value}"
    if parameter.children and parameter.kind is Kind.DOUBLE:
        return "is DOUBLE, and has children"
    return ""


def _every(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from _every([child for _, child in node.branches])


def _combinations(nodes: Sequence[Node], pinned: Pinned) -> Iterator[Values]:
    if not nodes:
        yield {}
        return
    first, rest = nodes[0], nodes[1:]
    for value in [pinned[first.key][1]] if first.key in pinned else map(first.value, first.places()):
        for others in _combinations([*first.active(value), *rest], pinned):
            yield {first.parameter.name: value, **others}


def _stretched(parameter: Parameter, place: Place) -> float:
    low, high = float(parameter.minimum), float(parameter.maximum)
    if parameter.scale is Scale.LINEAR:
        return min(max(low * (1 - place) + high * place, low), high)
    spread = math.exp(math.log(low) * (1 - place) + math.log(high) * place)
    if parameter.scale is Scale.REVERSE_LOG:
        spread = low - spread + high
    return min(max(spread, low), high)


def _shrunk(parameter: Parameter, value: float) -> float:
    low, high = float(parameter.minimum), float(parameter.maximum)
    if parameter.scale is Scale.LINEAR:
        # Halves: what lies between the ends may be more than the largest double.
        width = high / 2 - low / 2
        place = (value / 2 - low / 2) / width if width else 0.0
    else:
        if parameter.scale is Scale.REVERSE_LOG:
            value = min(max(low - value + high, low), high)
        width = math.log(high) - math.log(low)
        place = (math.log(value) - math.log(low)) / width if width else 0.0
    return min(max(place, 0.0), 1.0)
