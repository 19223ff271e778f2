"""One comparison of a filter: a field found by reflection, and compared as its type allows."""

from __future__ import annotations

import datetime
import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from google.protobuf.descriptor import FieldDescriptor

from vertexkit.emulator.messages import Raw

Predicate = Callable[[Raw], bool]
_Getter = Callable[[Raw], Raw]
_Value = TypeVar("_Value", int, float)

_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "=": operator.eq,
    ":": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_EQUALITIES: Final = frozenset({"=", ":", "!="})
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Incomparable(Exception):
    """A comparison that cannot be made; the message says why."""


@dataclass(frozen=True)
class Filterable:
    """What a list can be filtered by."""

    message: Raw
    """The raw protobuf class of what is listed."""
    fields: Collection[str]
    """Its fields that filters may name, in snake_case."""
    computed: Mapping[str, Callable[[Raw], str]] = field(default_factory=dict)
    """Names that are no fields, such as ``model`` for a model's id."""


@dataclass(frozen=True)
class Comparison:
    """``labels.stage = prod``, taken apart."""

    path: tuple[str, ...]
    """``("labels", "stage")``"""
    comparator: str
    argument: str

    def over(self, what: Filterable) -> Predicate:
        """The comparison as a test of one message.

        Raises:
            Incomparable: There is no such field, or it does not compare so.
        """
        name = snake_case(self.path[0])
        if name in what.computed and len(self.path) == 1:
            return self._with_text(what.computed[name])
        if name not in what.fields:
            known = ", ".join(sorted({*what.fields, *what.computed}))
            raise Incomparable(f'"{self.path[0]}" is not a field to filter by; there are {known}')
        holder: _Getter = _itself
        descriptor = what.message.DESCRIPTOR
        for position, part in enumerate(self.path, start=1):
            found = descriptor.fields_by_name.get(snake_case(part))
            if found is None:
                break
            if _is_map(found):
                return self._with_map(_then(holder, found.name), ".".join(self.path[position:]))
            if position == len(self.path):
                return self._with_field(_then(holder, found.name), found)
            if found.message_type is None or found.is_repeated:
                break
            holder, descriptor = _then(holder, found.name), found.message_type
        raise Incomparable(f'"{self._name}" is not a field')

    @property
    def _name(self) -> str:
        return ".".join(self.path)

    def _only(self, comparators: Collection[str]) -> None:
        if self.comparator not in comparators:
            raise Incomparable(f'"{self._name}" does not support {self.comparator}')

    def _with_map(self, get: _Getter, key: str) -> Predicate:
        argument = self.argument
        if not key:
            self._only({":"})
            if argument == "*":
                return lambda message: bool(get(message))
            return lambda message: argument in get(message)
        self._only(_EQUALITIES)
        if self.comparator == ":" and argument == "*":
            return lambda message: key in get(message)
        if self.comparator == "!=":
            return lambda message: key not in get(message) or str(get(message)[key]) != argument
        return lambda message: key in get(message) and str(get(message)[key]) == argument

    def _with_field(self, get: _Getter, descriptor: FieldDescriptor) -> Predicate:
        if descriptor.is_repeated:
            return self._with_repeated(get, descriptor)
        if descriptor.type == FieldDescriptor.TYPE_STRING:
            return self._with_text(get)
        if descriptor.type == FieldDescriptor.TYPE_BOOL:
            return self._equal(get, {"true": True, "false": False})
        if descriptor.enum_type is not None:
            return self._equal(get, {value.name: value.number for value in descriptor.enum_type.values})
        if descriptor.message_type is None:
            return self._with_number(get, descriptor)
        if descriptor.message_type.full_name != "google.protobuf.Timestamp":
            raise Incomparable(f'"{self._name}" cannot be compared')
        moment, compare = self._nanoseconds(), _COMPARISONS[self.comparator]
        return lambda message: compare(get(message).ToNanoseconds(), moment)

    def _with_repeated(self, get: _Getter, descriptor: FieldDescriptor) -> Predicate:
        self._only({":"} if descriptor.type == FieldDescriptor.TYPE_STRING else ())
        argument = self.argument
        if argument == "*":
            return lambda message: bool(get(message))
        return lambda message: argument in get(message)

    def _with_text(self, get: _Getter) -> Predicate:
        self._only(_EQUALITIES)
        argument = self.argument
        if self.comparator == "=":
            return lambda message: bool(get(message) == argument)
        if self.comparator == "!=":
            return lambda message: bool(get(message) != argument)
        if argument == "*":
            return lambda message: bool(get(message))
        pattern = _wildcards(argument)
        return lambda message: pattern.fullmatch(get(message)) is not None

    def _equal(self, get: _Getter, values: Mapping[str, int]) -> Predicate:
        self._only(_EQUALITIES)
        if self.argument not in values:
            raise Incomparable(f'"{self.argument}" is not a value of "{self._name}"')
        wanted, equal = values[self.argument], self.comparator != "!="
        return lambda message: (get(message) == wanted) is equal

    def _with_number(self, get: _Getter, descriptor: FieldDescriptor) -> Predicate:
        whole = descriptor.cpp_type not in {FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE}
        try:
            wanted: float = int(self.argument) if whole else float(self.argument)
        except ValueError:
            raise Incomparable(f'"{self.argument}" is not a number') from None
        compare = _COMPARISONS[self.comparator]
        return lambda message: compare(get(message), wanted)

    def _nanoseconds(self) -> int:
        """Nanoseconds since the epoch of the argument, an RFC 3339 time."""
        try:
            moment = datetime.datetime.fromisoformat(self.argument)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=datetime.UTC)
            return (moment - _EPOCH) // datetime.timedelta(microseconds=1) * 1000
        except (ValueError, OverflowError):
            raise Incomparable(f'"{self.argument}" is not an RFC 3339 time') from None


def snake_case(name: str) -> str:
    """``displayName`` as ``display_name``: filters and orders may use either."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda found: "_" + found[1].lower(), name)


def _wildcards(text: str) -> re.Pattern[str]:
    """``text`` as a pattern in which ``*`` stands for anything.

    Each part is looked for once, atomically: a filter full of stars must not take for ever.
    """
    first, *others = map(re.escape, text.split("*"))
    if not others:
        return re.compile(first)
    *middle, last = others
    return re.compile(first + "".join(f"(?>.*?{part})" for part in middle) + ".*" + last, re.DOTALL)


def _itself(message: Raw) -> Raw:
    return message


def _then(holder: _Getter, name: str) -> _Getter:
    """The field of that name in what ``holder`` gives."""
    return lambda message: getattr(holder(message), name)


def _is_map(descriptor: FieldDescriptor) -> bool:
    return descriptor.message_type is not None and descriptor.message_type.GetOptions().map_entry
