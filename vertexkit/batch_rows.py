"""Instances that a program passes, as they come out of memory and as lines of JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, Final

import numpy as np
import orjson

from vertexkit.batch_input import is_own_key, own_key_field
from vertexkit.casting import as_array
from vertexkit.errors import Finding, InvalidArgument
from vertexkit.instances import as_batch, is_b64, is_pandas
from vertexkit.types import Signature

__all__ = ["Rows", "leaving_out", "loosened", "rows_of", "told", "without_axes"]

_JSON: Final = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
_FIRST_ROWS: Final = 16
_MOST_ROWS: Final = 4096
_BLOCK_BYTES: Final = 1024 * 1024
_WHOLE_BYTES: Final = 64 * 1024 * 1024
_MOST_FINDINGS: Final = 5
_PLACE: Final = re.compile(r"instances((?:\[:\])?(?:\['[^']*'\])?)(?:\[(\d+)(.*))?", re.DOTALL)


@dataclass(frozen=True)
class Rows:
    """Instances in memory, or to come.

    An iterator can be gone through once only: what was looked at of it is put back in front.
    """

    argument: str
    """What the caller calls them."""
    values: Any
    """An array, a frame, a mapping from names to arrays, a list, or an iterator of instances."""
    count: int | None
    """How many; None for an iterator."""
    signature: Signature | None
    """What the model takes, with an open axis of instances."""
    key_field: str | None
    """The field for each one's position; None to write no positions."""

    @property
    def _one_by_one(self) -> bool:
        """Whether instances are objects of their own, rather than rows of arrays."""
        return self.count is None or isinstance(self.values, list | tuple)

    def check(self) -> list[Finding]:
        """Look at all that is there; of an iterator, at what `rows_of` has taken of it."""
        findings: dict[str, Finding] = {}
        seen: dict[str, int] = {}
        for start, chunk in self._to_check():
            try:
                self._taken(chunk)
            except InvalidArgument as error:
                if not self._one_by_one:
                    return [self._told(error, start)]
                for found in self._wrong_ones(start, chunk):
                    findings.setdefault(found.problem, found)
                    seen[found.problem] = seen.get(found.problem, 0) + 1
                if len(findings) >= _MOST_FINDINGS:
                    break
        return [
            replace(found, problem=f"{problem} (the first of {seen[problem]:,} like it)")
            if seen[problem] > 1
            else found
            for problem, found in findings.items()
        ]

    def check_keys(self, key_field: str) -> list[Finding]:
        """Whether each instance has a key of its own, as far as they are in memory."""
        values, keys = self.values, list[Any]()
        if is_pandas(values, "DataFrame") or isinstance(values, Mapping):
            keys = list(values[key_field]) if key_field in values else []
        elif isinstance(values, list | tuple):
            keys = [row.get(key_field) for row in values if isinstance(row, Mapping)]
        seen = set()
        for key in map(repr, keys):
            if key in seen:
                problem = f"has the value {key} for several instances, whose results cannot be told apart"
                return [Finding("key_field", key_field, problem, "give each a key of its own", warning=True)]
            seen.add(key)
        return []

    def first(self) -> bytes:
        """The first lines of those that `lines` gives.

        Raises:
            InvalidArgument: JSON cannot take an instance.
        """
        start, chunk = next(self._to_check())
        step = min(_FIRST_ROWS, self.count or _FIRST_ROWS)
        return self._written(start, _part(chunk, 0, step))[1]

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Lines of JSON, many at a time, with how many instances they are.

        Raises:
            InvalidArgument: The model or JSON cannot take an instance; the message says which.
        """
        for start, chunk in self._chunks():
            try:
                yield self._written(start, chunk)
            except InvalidArgument as error:
                if not self._one_by_one:
                    raise _raised(self._told(error, start)) from None
                # Instances of different lengths fit no array together, and each by itself may be good.
                for index, row in enumerate(chunk, start):
                    try:
                        yield self._written(index, [row])
                    except InvalidArgument as one:
                        raise _raised(self._told(one, index, one=True)) from None

    def _written(self, start: int, chunk: Any) -> tuple[int, bytes]:
        columns, names = self._taken(chunk)
        if names is None:
            rows: Iterable[Any] = columns[0]
        elif names:
            rows = (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
        else:
            rows = columns[0]  # objects already
        if self.key_field is not None:
            key = self.key_field
            rows = ({key: str(index), **row} for index, row in enumerate(rows, start))
        try:
            written = [orjson.dumps(row, option=_JSON) for row in rows]
        except orjson.JSONEncodeError as error:
            raise InvalidArgument("instances", chunk, f"cannot be written as JSON: {error}") from None
        return len(written), b"".join(written)

    def _taken(self, chunk: Any) -> tuple[list[Any], tuple[str, ...] | None]:
        """Columns, and their names: none where each instance is one value, empty where it is an object."""
        batch = as_batch(chunk, self.signature)
        columns = list(batch.columns.values())
        if "" not in batch.columns:
            return columns, tuple(batch.columns)
        if self.key_field is None:
            return columns, None
        if self.signature is not None:
            return columns, tuple(self.signature.inputs)
        for index, row in enumerate(columns[0]):
            if not isinstance(row, Mapping) or self.key_field in row:
                problem = (
                    f"has the field {self.key_field!r}, which is taken here"
                    if isinstance(row, Mapping)
                    else "is no object of fields, and the first instance is"
                )
                raise InvalidArgument(f"instances[{index}]", row, problem)
        return columns, ()

    def _wrong_ones(self, start: int, chunk: Iterable[Any]) -> Iterator[Finding]:
        for index, row in enumerate(chunk, start):
            try:
                self._taken([row])
            except InvalidArgument as error:
                yield self._told(error, index, one=True)

    def _told(self, error: InvalidArgument, start: int, *, one: bool = False) -> Finding:
        among = self._firsts() if self._one_by_one else ()
        found = told(
            error,
            self.argument,
            start,
            one=one,
            count=self.count,
            signature=self.signature,
            among=among,
        )
        if is_pandas(self.values, "DataFrame") and self.signature is not None:
            inputs, columns = list(self.signature.inputs), [str(name) for name in self.values.columns]
            if len(inputs) == len(columns) == 1 and inputs != columns:
                remedy = f"rename the column {columns[0]!r} to {inputs[0]!r}, which the model takes"
                return replace(found, problem=without_axes(found.problem), remedy=remedy)
        return found

    def _firsts(self) -> list[Any]:
        found: Any = self.values.taken if self.count is None else self.values
        return list(found[:_FIRST_ROWS])

    def _to_check(self) -> Iterator[tuple[int, Any]]:
        if self.count is None:
            return iter([(0, [_plain(row) for row in self.values.taken])])
        # Messages about the shape are the better for seeing all of it.
        if getattr(self.values, "nbytes", _WHOLE_BYTES + 1) <= _WHOLE_BYTES:
            return iter([(0, self.values)])
        return self._chunks()

    def _chunks(self) -> Iterator[tuple[int, Any]]:
        if self.count is not None:
            step = _rows_of_block(self.values, self.count)
            for start in range(0, self.count, step):
                part = _part(self.values, start, min(start + step, self.count))
                yield start, [_plain(row) for row in part] if self._one_by_one else part
            return
        step, start, source = _rows_of_block(self.values.taken, 1), 0, iter(self.values)
        while chunk := [_plain(row) for row in islice(source, step)]:
            yield start, chunk
            start += len(chunk)


class Ahead:
    """An iterator of which the first items have been taken, and are given again."""

    def __init__(self, source: Iterator[Any]) -> None:
        self.taken = list(islice(source, _FIRST_ROWS))
        self._source: Iterator[Any] | None = source

    def __iter__(self) -> Iterator[Any]:
        source, self._source = self._source, None
        if source is None:
            raise InvalidArgument(
                "source", type(self).__name__, "is an iterator that was gone through already"
            )
        return chain(self.taken, source)


def rows_of(  # noqa: PLR0911 - one return per thing that may be wrong
    argument: str, values: Any, signature: Signature | None, *, keyed: bool
) -> tuple[Rows | None, list[Finding]]:
    """What a program passes as instances.

    Args:
        argument: What the caller calls it.
        values: An array, a frame, a mapping from names to arrays, a list, or any iterable of instances.
        signature: What the model takes; None leaves everything but JSON's own demands unchecked.
        keyed: Whether to write each instance's position beside it, where instances can have fields.

    Returns:
        The rows, and what is wrong with them as a whole: `Rows.check` looks at each.
    """
    if isinstance(values, bytes | bytearray | memoryview | int | float | bool | None | set | frozenset):
        problem = f"is a {type(values).__name__}, and no source of instances"
        remedy = "pass an array, a list, a DataFrame, an iterable of instances, a path or a gs:// URI"
        return None, [Finding(argument, values, problem, remedy)]
    count: int | None = None
    if isinstance(values, Mapping):
        is_column = {
            name: isinstance(column, list | tuple) or hasattr(column, "__array__")
            for name, column in values.items()
        }
        counts = {name: _length(column) if is_column[name] else None for name, column in values.items()}
        if not counts or None in counts.values():
            problem = "is a mapping, and not from the names of inputs to one array of values for each"
            return None, [Finding(argument, values, problem, f"pass [{argument}] for a single instance")]
        if len(set(counts.values())) > 1:
            return None, [Finding(argument, counts, "has inputs of different lengths")]
        count = next(iter(counts.values()))
    elif hasattr(values, "__array__") or isinstance(values, list | tuple) or is_pandas(values, "DataFrame"):
        count = _length(values)
        if count is None:
            try:
                values = as_array(argument, values)
            except InvalidArgument as error:
                return None, [told(error, argument, 0)]
            count = len(values) if values.ndim else None
        if count is None:
            return None, [Finding(argument, values, "is one number, not an array of instances")]
    elif isinstance(values, Iterable):
        values = Ahead(iter(values))
    else:
        problem = f"is a {type(values).__name__}, which holds no instances"
        return None, [Finding(argument, values, problem)]
    if is_pandas(values, "DataFrame") and not values.columns.is_unique:
        twice = sorted({str(name) for name in values.columns[values.columns.duplicated()]})
        return None, [Finding(f"{argument}.columns", twice, "are the names of more than one column")]
    if count == 0 or (isinstance(values, Ahead) and not values.taken):
        return None, [_empty(argument, values)]
    loose = None if signature is None else loosened(signature)
    key_field = _key_field(values, loose) if keyed else None
    return Rows(argument, values, count, loose, key_field), []


def loosened(signature: Signature) -> Signature:
    """The same signature for any number of instances, as a job is given them."""
    inputs = {
        name: replace(spec, shape=(None, *spec.shape[1:])) if spec.shape else spec
        for name, spec in signature.inputs.items()
    }
    return replace(signature, inputs=inputs)


def leaving_out(names: object, signature: Signature | None, *, among: Iterable[object]) -> str | None:
    """How to leave out the fields that a model does not take.

    Args:
        names: The fields of an instance.
        signature: What the model takes.
        among: Other instances, which must have the fields too.

    Returns:
        It; None where the model takes all, or misses one.
    """
    if signature is None or not isinstance(names, Mapping | list):
        return None
    listed = [name for name in names if isinstance(name, str)]
    others = [name for name in listed if name not in signature.inputs]
    if not others or any(name not in listed for name in signature.inputs):
        return None
    if not all(isinstance(one, Mapping) and all(name in one for name in others) for one in among):
        return None
    if len(others) > 1 or is_own_key(others[0]):
        return f"add excluded_fields={others}"
    return f"add key_field={others[0]!r}"


def without_axes(problem: str) -> str:
    """What is wrong with a shape, without numbers of axes, of which that of the instances is one."""
    return re.sub(r" \(\d+ axes, not \d+\)", "", problem)


def told(
    error: InvalidArgument,
    argument: str,
    start: int,
    *,
    one: bool = False,
    count: int | None = None,
    signature: Signature | None = None,
    among: Iterable[object] = (),
) -> Finding:
    """What is wrong with some instances, in the caller's words.

    Args:
        error: What `as_batch` said of them.
        argument: What the caller calls them.
        start: Position of the first of them among all.
        one: Whether it is about a single one.
        count: How many there are in all.
        signature: What the model takes, if that is known.
        among: Other instances, with which it is compared.
    """
    match = _PLACE.match(error.argument)
    value = error.value
    if match is None:
        where = error.argument
    elif match[2] is not None:
        where = f"{argument}{match[1]}[{start + int(match[2])}{match[3]}"
    else:
        where = f"{argument}[{start}]" if one else argument
        where += error.argument[len("instances") :]
        if error.argument.endswith(".shape") and isinstance(value, tuple) and value:
            value = value[1:] if one else (count or value[0], *value[1:])
    remedy = error.remedy
    if remedy is not None:
        remedy = None if one and "[None]" in remedy else remedy.replace("instances[", f"{argument}[")
    problem = without_axes(error.problem) if one else error.problem
    return Finding(where, value, problem, leaving_out(value, signature, among=among) or remedy)


def _raised(found: Finding) -> InvalidArgument:
    return InvalidArgument(found.argument, found.value, found.problem, remedy=found.remedy)


def _empty(argument: str, values: Any) -> Finding:
    if hasattr(values, "shape"):
        return Finding(f"{argument}.shape", tuple(values.shape), "holds no instances")
    shown = values if isinstance(values, list | tuple | Mapping) else "..."
    return Finding(argument, shown, "holds no instances", "pass at least one")


def _key_field(values: Any, signature: Signature | None) -> str | None:
    """A field for positions, if instances have fields: those of the model, or of their own."""
    if signature is not None:
        return own_key_field(list(signature.inputs))
    if is_pandas(values, "DataFrame"):
        return own_key_field([str(name) for name in values.columns])
    if isinstance(values, Mapping):
        return own_key_field(list(values))
    first: Any = values.taken if isinstance(values, Ahead) else values
    if isinstance(first, list | tuple) and isinstance(first[0], Mapping) and not is_b64(first[0]):
        return own_key_field(list(first[0]))
    return None


def _length(values: Any) -> int | None:
    if isinstance(values, str | bytes):
        return None
    try:
        return len(values)
    except TypeError:
        return None


def _part(values: Any, start: int, stop: int) -> Any:
    if isinstance(values, Mapping):
        return {name: _part(column, start, stop) for name, column in values.items()}
    if is_pandas(values, "DataFrame") or is_pandas(values, "Series"):
        return values.iloc[start:stop]
    return values[start:stop]


def _plain(row: Any) -> Any:
    """One instance as numpy and JSON know it: the tensor of another library is an array."""
    if isinstance(row, Mapping):
        return {name: _plain(value) for name, value in row.items()}
    return np.asarray(row) if hasattr(row, "__array__") and not isinstance(row, np.ndarray) else row


def _rows_of_block(values: Any, count: int) -> int:
    """How many rows make a block of moderate size."""
    columns = list(values.values()) if isinstance(values, Mapping) else [values]
    per_row = sum(
        column.nbytes // count if hasattr(column, "nbytes") else _bytes_about(column[:1])
        for column in columns
        if not is_pandas(column, "DataFrame")
    )
    if is_pandas(values, "DataFrame"):
        per_row = 8 * len(values.columns)
    return min(max(_BLOCK_BYTES // max(per_row, 1), 1), _MOST_ROWS)


def _bytes_about(value: Any) -> int:
    """Roughly what a value takes as an array, told by the first of everything in it."""
    if hasattr(value, "nbytes"):
        return int(value.nbytes)
    if isinstance(value, str | bytes | bytearray):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_bytes_about, value.values()))
    if isinstance(value, list | tuple):
        return len(value) * _bytes_about(value[0]) if value else 0
    return 8
