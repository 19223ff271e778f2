"""What callers may pass to ``predict``, checked and made into columns that the wire can carry."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vertexkit.casting import (
    Array,
    as_array,
    at,
    cast,
    first_leaf,
    not_finite,
    numbers_of,
    refuse_not_finite,
    unfit,
)
from vertexkit.errors import InvalidArgument
from vertexkit.types import Signature, TensorSpec

Column = Array | list[Any]
"""Numbers as a C-contiguous array of native byte order, anything else as a list ready for JSON."""


@dataclass(frozen=True)
class Batch:
    """Instances by column: one column per input of the model."""

    columns: Mapping[str, Column]
    """By input name; the single column of instances that are not named is called ``""``."""
    count: int
    """How many instances there are."""
    batch_size: int | None = None
    """How many instances each request must hold, for a model of a fixed batch size."""

    def rows(self, start: int, stop: int) -> Any:
        """Instances ``start`` to ``stop`` (exclusive) in row format, ready for orjson."""
        if "" in self.columns:
            return self.columns[""][start:stop]
        parts = [column[start:stop] for column in self.columns.values()]
        return [dict(zip(self.columns, row, strict=True)) for row in zip(*parts, strict=True)]


def as_batch(instances: Any, signature: Signature | None) -> Batch:
    """Check instances against a signature, and make them ready for the wire.

    Args:
        instances: An array, or whatever numpy takes for one (of any dtype that JSON can carry, the
            first axis being the instances), a list of instances, a DataFrame, or a mapping from
            input names to arrays of equal length.
        signature: What the model takes; None to check only what JSON itself demands.

    Raises:
        InvalidArgument: The model, or JSON, cannot take them; the message says what would do.
    """
    parts = _by_input(instances, signature)
    columns: dict[str, Column] = {}
    batch_size = None
    for name, (argument, values) in parts.items():
        if signature is None:
            columns[name] = _unchecked(argument, values)
        else:
            spec = signature.inputs[name] if name else next(iter(signature.inputs.values()))
            columns[name] = _checked(argument, values, spec)
            batch_size = batch_size or (spec.shape[0] if spec.shape else None)
    counts = {name: len(column) for name, column in columns.items()}
    count = next(iter(counts.values()))
    if any(other != count for other in counts.values()):
        raise InvalidArgument("instances", counts, "has inputs of different lengths")
    if batch_size is not None and count % batch_size:
        raise InvalidArgument(
            "instances",
            count,
            f"is not a multiple of {batch_size}, the number of instances that the model takes at a time",
            remedy=f"pass a multiple of {batch_size} instances, or export the model with an open batch axis",
        )
    return Batch(columns, count, batch_size)


def _by_input(instances: Any, signature: Signature | None) -> dict[str, tuple[str, Any]]:
    """Input name (``""`` if not named) to the argument's name for messages, and the values."""
    if is_pandas(instances, "DataFrame"):
        return _frame_by_input(instances, signature)
    if is_pandas(instances, "Series"):
        instances = instances.to_numpy()
    if isinstance(instances, Mapping):
        _check_names(list(instances), signature)
        return {name: (f"instances[{name!r}]", values) for name, values in instances.items()}
    if isinstance(instances, (str, bytes, bytearray, int, float, bool)) or instances is None:
        raise InvalidArgument(
            "instances", instances, "is neither an array nor a list of instances", remedy="pass [instance]"
        )
    if not isinstance(instances, (list, tuple)) and not hasattr(instances, "__array__"):
        remedy = "pass list(instances)" if isinstance(instances, Iterable) else None
        raise InvalidArgument(
            "instances",
            instances,
            f"is a {type(instances).__name__}, not an array, a list, a DataFrame or a dict of arrays",
            remedy=remedy,
        )
    if signature is not None and isinstance(instances, (list, tuple)) and _is_named_row(instances):
        return _rows_by_input(instances, signature)
    if signature is not None and len(signature.inputs) > 1:
        names = list(signature.inputs)
        raise InvalidArgument(
            "instances",
            type(instances).__name__,
            f"has no names, and the model takes {', '.join(map(str, signature.inputs.values()))}",
            remedy=f"pass {{{', '.join(f'{name!r}: ...' for name in names)}}}, with one array for each",
        )
    return {"": ("instances", instances)}


def _frame_by_input(frame: Any, signature: Signature | None) -> dict[str, tuple[str, Any]]:
    names = [str(name) for name in frame.columns]
    if signature is not None and len(signature.inputs) == 1 and names != list(signature.inputs):
        return {"": ("instances", frame.to_numpy())}
    _check_names(names, signature)
    parts = {}
    for position, name in enumerate(names):
        values = frame.iloc[:, position].to_numpy()
        if values.dtype == object and len(values) and isinstance(values[0], (list, tuple, np.ndarray)):
            parts[name] = (f"instances[{name!r}]", list(values))
            continue
        spec = None if signature is None else signature.inputs[name]
        if spec is not None and spec.shape is not None and len(spec.shape) == 2:
            # A frame's column has no feature axis, where Keras' Input(shape=(1,)) has one of length 1.
            values = values[:, None]
        parts[name] = (f"instances[{name!r}]", values)
    return parts


def _rows_by_input(rows: Sequence[Any], signature: Signature) -> dict[str, tuple[str, Any]]:
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InvalidArgument(
                f"instances[{index}]", row, "is not a dict, and the first instance is a dict of inputs"
            )
        _check_names(list(row), signature, argument=f"instances[{index}]")
    return {name: (f"instances[:][{name!r}]", [row[name] for row in rows]) for name in signature.inputs}


def _check_names(names: Sequence[Any], signature: Signature | None, *, argument: str = "instances") -> None:
    odd = [name for name in names if not isinstance(name, str) or not name]
    if odd or not names:
        raise InvalidArgument(
            argument, list(names), "are not names of inputs, which are strings and not empty"
        )
    if signature is None:
        return
    unknown = [name for name in names if name not in signature.inputs]
    missing = [name for name in signature.inputs if name not in names]
    if unknown or missing:
        problems = []
        if missing:
            problems.append(f"missing: {', '.join(missing)}")
        if unknown:
            problems.append(f"unknown: {', '.join(unknown)}")
        raise InvalidArgument(
            argument,
            list(names),
            f"are not the model's inputs ({'; '.join(problems)})",
            remedy=f"pass {', '.join(map(str, signature.inputs.values()))}",
        )


# With a signature --------------------------------------------------------------------------------


def _checked(argument: str, values: Any, spec: TensorSpec) -> Column:
    if spec.shape == ():
        raise InvalidArgument(
            argument,
            str(spec),
            "is a scalar for all instances together, which rows of instances cannot carry",
            remedy="export the model with a batch axis on every input",
        )
    if spec.dtype == "string":
        leaves = _objects(argument, values)
        _check_shape(argument, leaves.shape, spec)
        return _texts(argument, leaves, spec)
    array = numbers_of(argument, values, spec)
    _check_shape(argument, array.shape, spec)
    return np.ascontiguousarray(cast(argument, array, spec))


def _check_shape(argument: str, shape: tuple[int, ...], spec: TensorSpec) -> None:
    if 0 in shape:
        raise InvalidArgument(f"{argument}.shape", shape, "holds nothing to predict")
    if spec.shape is None:
        if not shape:
            raise InvalidArgument(f"{argument}.shape", shape, "lacks the axis of the instances")
        return
    wanted, remedy = spec.shape, None
    if len(shape) == len(wanted) and _fits(shape[1:], wanted[1:]):
        return
    problem = unfit(spec)
    if len(shape) == len(wanted) - 1 and _fits(shape, wanted[1:]):
        problem = unfit(spec, "it is one instance, without the axis of the instances")
        remedy = f"pass {argument}[None]"
    elif wanted[-1] == 1 and _fits(shape[1:], wanted[1:-1]):
        remedy = f"pass {argument}[..., None]"
    elif len(shape) != len(wanted):
        problem = unfit(spec, f"{len(wanted)} axes, not {len(shape)}")
    else:
        wrong = [axis for axis in range(1, len(shape)) if wanted[axis] not in (None, shape[axis])]
        problem = unfit(spec, f"axis {wrong[0]} has length {wanted[wrong[0]]}, not {shape[wrong[0]]}")
    raise InvalidArgument(f"{argument}.shape", shape, problem, remedy=remedy)


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        there is None or here == there for here, there in zip(shape, wanted, strict=True)
    )


# Without a signature -----------------------------------------------------------------------------


def _unchecked(argument: str, values: Any) -> Column:
    """Values of a model whose signature is not known: only what JSON itself demands is checked."""
    if not isinstance(values, (list, tuple)):
        array = as_array(argument, values)
        if array.dtype.kind in "biuf":
            _check_shape(argument, array.shape, TensorSpec(argument, "float64", None))
            refuse_not_finite(argument, array)
            return np.ascontiguousarray(array)
        values = array.astype(object)
        _check_shape(argument, values.shape, TensorSpec(argument, "string", None))
        values = values.tolist()
    if not values:
        raise InvalidArgument(argument, values, "holds nothing to predict")
    if isinstance(first_leaf(values), (bool, int, float)):
        try:
            array = np.asarray(values)
        except (ValueError, OverflowError):  # ragged: the walk below tells what JSON can carry of it
            array = np.empty(0, object)
        if array.dtype.kind in "biuf":
            refuse_not_finite(argument, array)
            # The list, not the array, which would have made 1 into 1.0 beside a float.
            return list(values)
    return [_json_value(f"{argument}[{index}]", value) for index, value in enumerate(values)]


def json_value(argument: str, value: Any) -> Any:
    """``value`` as orjson takes it: bytes as ``{"b64": ...}``, arrays contiguous, nothing infinite.

    Raises:
        InvalidArgument: JSON cannot carry it; the message names the place and the value.
    """
    return _json_value(argument, value)


def _json_value(where: str, value: Any) -> Any:  # noqa: PLR0911 - one return per kind of JSON value
    if value is None or isinstance(value, (bool, int)):
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            raise InvalidArgument(
                where, value, "is a whole number of more than 64 bits, which JSON does not carry"
            )
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise not_finite(where, value)
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return b64(bytes(value))
    if isinstance(value, Mapping):
        bad = next((key for key in value if not isinstance(key, str)), None)
        if bad is not None:
            raise InvalidArgument(where, bad, "is the key of a JSON object, and not a string")
        return {key: _json_value(f"{where}[{key!r}]", item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(f"{where}[{index}]", item) for index, item in enumerate(value)]
    if hasattr(value, "__array__"):
        array = as_array(where, value)
        if array.dtype.kind not in "biuf":
            return _json_value(where, array.astype(object).tolist())
        refuse_not_finite(where, array)
        return np.ascontiguousarray(array) if array.ndim else array[()]
    raise InvalidArgument(where, value, f"is a {type(value).__name__}, which JSON cannot carry")


def _objects(argument: str, values: Any) -> Array:
    """Values as an array of Python objects, which must be strings, bytes or ``{"b64": ...}``."""
    if isinstance(values, (list, tuple)):
        try:
            return np.asarray(values, dtype=object)
        except ValueError as error:
            raise InvalidArgument(argument, values, f"is not all of one shape: {error}") from error
    return as_array(argument, values).astype(object)


def _texts(argument: str, leaves: Array, spec: TensorSpec) -> list[Any]:
    ready = np.empty(leaves.shape, object)
    flat = ready.reshape(-1)
    for index, leaf in enumerate(leaves.ravel().tolist()):
        if isinstance(leaf, str):
            flat[index] = str(leaf)
        elif isinstance(leaf, (bytes, bytearray)):
            flat[index] = b64(leaf)
        elif is_b64(leaf):
            flat[index] = leaf
        else:
            where = tuple(int(i) for i in np.unravel_index(index, leaves.shape))
            which = "all of one shape" if isinstance(leaf, (list, tuple)) else "text or bytes"
            raise InvalidArgument(at(argument, where), leaf, unfit(spec, which))
    listed: list[Any] = ready.tolist()
    return listed


def b64(data: bytes | bytearray) -> dict[str, str]:
    """Bytes as TensorFlow Serving's JSON carries them: ``{"b64": "..."}``."""
    return {"b64": base64.b64encode(data).decode("ascii")}


def is_b64(value: Any) -> bool:
    """Whether ``value`` is bytes as TensorFlow Serving's JSON carries them."""
    return isinstance(value, Mapping) and set(value) == {"b64"} and isinstance(value["b64"], str)


def _is_named_row(rows: Sequence[Any]) -> bool:
    return bool(rows) and isinstance(rows[0], Mapping) and not is_b64(rows[0])


def is_pandas(value: Any, name: str) -> bool:
    """Whether ``value`` is pandas' class ``name``, found out without importing pandas."""
    return any(
        base.__name__ == name and base.__module__.partition(".")[0] == "pandas"
        for base in type(value).__mro__
    )
