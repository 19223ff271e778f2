"""Numbers in the dtype that a model takes: done where every value survives, refused where one does not.

A cast keeps each value, apart from the rounding of a wider float into a narrower one (float64 into a model
of float32). A cast that would change a value (1.5 or 300 into uint8) is refused, naming the first such
value and where it is.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from vertexkit.errors import InvalidArgument
from vertexkit.types import TensorSpec

Array = np.ndarray[Any, Any]

FLOATS_BY_NAME = {"bfloat16", "float8_e4m3fn", "float8_e5m2"}
"""Floats of ml_dtypes, which numpy does not know as floats; float32 holds each of their values."""
INTEGERS_BY_NAME = {"int2", "int4", "uint2", "uint4"}
"""Integers of ml_dtypes; int8 holds each of their values."""
EXACT_IN_FLOAT64 = 2**53


def as_array(argument: str, values: Any) -> Array:
    """An array of numbers that orjson and numpy both know, of text, or of objects.

    Raises:
        InvalidArgument: JSON cannot carry the dtype.
    """
    # A masked array can only come from numpy.ma, whose import is a sixth of numpy's.
    if "numpy.ma" in sys.modules and isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        where = tuple(int(i) for i in np.argwhere(np.ma.getmaskarray(values))[0])
        raise InvalidArgument(
            at(argument, where), "--", "is masked, as JSON cannot say", remedy="fill it, with .filled(0)"
        )
    try:
        array = np.asarray(values)
    except (TypeError, RuntimeError) as error:
        # Such as a tensor on a GPU; its library says what to call first.
        raise InvalidArgument(argument, type(values).__name__, f"cannot be read by numpy: {error}") from error
    name = array.dtype.name
    if name in FLOATS_BY_NAME:
        return array.astype(np.float32)
    if name in INTEGERS_BY_NAME:
        return array.astype(np.int8)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    if array.dtype.kind not in "biufUSOT":
        remedy = None
        if array.dtype.kind in "mM":
            remedy = "pass numbers, such as seconds, or strings"
        raise InvalidArgument(f"{argument}.dtype", name, "is a dtype that JSON cannot carry", remedy=remedy)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def numbers_of(argument: str, values: Any, spec: TensorSpec) -> Array:
    """Values as an array of booleans, integers or floats.

    Raises:
        InvalidArgument: They are something else, or lists of differing lengths.
    """
    if isinstance(values, (list, tuple)):
        leaf = first_leaf(values)
        if isinstance(leaf, (str, bytes, Mapping)) or leaf is None:
            raise InvalidArgument(argument, leaf, unfit(spec))
        try:
            array = as_array(argument, values)
        except (ValueError, OverflowError) as error:
            if isinstance(error, InvalidArgument):
                raise
            raise InvalidArgument(
                argument, values, f"is lists that are not all of one shape, where the model takes {spec}"
            ) from error
        # numpy makes floats of whole numbers that no one integer dtype holds, and so rounds them.
        if array.dtype.kind == "f" and kind_of(spec.dtype) in "iu" and np.any(abs(array) >= EXACT_IN_FLOAT64):
            array = np.asarray(values, dtype=object)
    else:
        array = as_array(argument, values)
    if array.dtype.kind in "biuf":
        return array
    if array.dtype.kind != "O":
        value = array.flat[0] if array.size else array.dtype.name
        raise InvalidArgument(argument, value, unfit(spec))
    return _numbers_of_objects(argument, array, spec)


def _numbers_of_objects(argument: str, array: Array, spec: TensorSpec) -> Array:
    leaves = array.ravel().tolist()
    for index, leaf in enumerate(leaves):
        if not isinstance(leaf, (bool, int, float, np.bool_, np.integer, np.floating)):
            where = tuple(int(i) for i in np.unravel_index(index, array.shape))
            problem = unfit(spec)
            if isinstance(leaf, (list, tuple, np.ndarray)):
                problem = unfit(spec, "all of one shape")
            raise InvalidArgument(at(argument, where), leaf, problem)
    if all(isinstance(leaf, (bool, int, np.bool_, np.integer)) for leaf in leaves):
        for target in (np.int64, np.uint64):
            limits = np.iinfo(target)
            if all(limits.min <= int(leaf) <= limits.max for leaf in leaves):
                return array.astype(target)
        if kind_of(spec.dtype) != "f":
            odd = next(leaf for leaf in leaves if not 0 <= leaf < 2**64)
            raise InvalidArgument(argument, odd, unfit(spec))
    try:
        return array.astype(np.float64)
    except OverflowError as error:
        raise InvalidArgument(argument, leaves, unfit(spec)) from error


def cast(argument: str, array: Array, spec: TensorSpec) -> Array:
    """The numbers in the form that the model's dtype asks for on the wire.

    Raises:
        InvalidArgument: A number would not survive; the message names the first and its place.
    """
    kind = kind_of(spec.dtype)
    if kind == "b":
        return _cast_to_bool(argument, array, spec)
    if kind in "iu":
        return _cast_to_integer(argument, array, spec)
    if kind == "f":
        return _cast_to_float(argument, array, spec)
    raise InvalidArgument(
        argument,
        str(spec),
        f"has a dtype that JSON cannot carry to the model: {spec.dtype}",
        remedy="export the model with inputs of numbers, booleans or strings",
    )


def kind_of(dtype: str) -> str:
    """The letter that numpy has for the kind of a dtype of a signature; ``"?"`` if JSON cannot carry it."""
    if dtype in FLOATS_BY_NAME:
        return "f"
    try:
        kind = np.dtype(dtype).kind
    except TypeError:
        return "?"
    return kind if kind in "biuf" else "?"


def _cast_to_bool(argument: str, array: Array, spec: TensorSpec) -> Array:
    _refuse_first(argument, array, (array != 0) & (array != 1), unfit(spec))
    return array.astype(np.bool_, copy=False)


def _cast_to_integer(argument: str, array: Array, spec: TensorSpec) -> Array:
    target = np.dtype(spec.dtype)
    limits = np.iinfo(target)
    if array.dtype.kind == "f":
        refuse_not_finite(argument, array)
        remedy = "round first: np.rint(instances) loses what is behind the point"
        _refuse_first(argument, array, array != np.rint(array), unfit(spec, "whole numbers"), remedy)
        # As floats, for limits.max itself is no float64 in 64 bits, and limits.max + 1 is one.
        outside = (array < float(limits.min)) | (array >= float(limits.max + 1))
    elif array.dtype.kind != "b" and not np.can_cast(array.dtype, target):
        outside = (array < limits.min) | (array > limits.max)
    else:
        return array.astype(target, copy=False)
    _refuse_first(argument, array, outside, unfit(spec, f"numbers from {limits.min} to {limits.max}"))
    return array.astype(target, copy=False)


def _cast_to_float(argument: str, array: Array, spec: TensorSpec) -> Array:
    # float32 is the wire's form of the narrow floats that numpy lacks.
    target = np.dtype("float32" if spec.dtype in FLOATS_BY_NAME else spec.dtype)
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind == "f":
        refuse_not_finite(argument, array)
    if array.dtype.kind != "f" and target != np.float16:
        # Integers go as they are: JSON writes them shorter, and every server reads them as floats.
        return array
    with np.errstate(over="ignore"):
        cast = array.astype(target, copy=False)
    largest = np.finfo(target).max
    _refuse_first(argument, array, np.isinf(cast), unfit(spec, f"numbers up to {largest:.4g}"))
    if array.dtype.kind != "f":
        return array
    if target == np.float32 and np.any(abs(cast) == largest):
        # Its shortest digits, 3.4028235e+38, are above it, and TensorFlow Serving refuses them.
        return cast.astype(np.float64)
    return cast


def _refuse_first(argument: str, array: Array, wrong: Array, problem: str, remedy: str | None = None) -> None:
    """Raise for the first place where ``wrong`` is true."""
    if np.any(wrong):
        where = tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), array.shape))
        raise InvalidArgument(at(argument, where), array[where].item(), problem, remedy=remedy)


def refuse_not_finite(argument: str, array: Array) -> None:
    """Raise for the first NaN or infinity in an array, if it has any."""
    if array.dtype.kind != "f":
        return
    finite = np.isfinite(array)
    if not finite.all():
        where = tuple(int(i) for i in np.unravel_index(int(np.argmin(finite)), array.shape))
        raise not_finite(at(argument, where), array[where].item())


def not_finite(where: str, value: float) -> InvalidArgument:
    """The error for a number that JSON has no form for."""
    return InvalidArgument(
        where,
        value,
        "is NaN or infinity, which JSON cannot carry",
        remedy="replace such values first, with np.nan_to_num(...) or the model's own mark for missing",
    )


def unfit(spec: TensorSpec, which: str | None = None) -> str:
    """What is wrong with a value that does not fit: ``is not what the model takes, x: uint8[?, 2]``."""
    return f"is not what the model takes, {spec}" + (f" ({which})" if which else "")


def at(argument: str, where: tuple[int, ...]) -> str:
    """``instances[3, 0]``."""
    return f"{argument}[{', '.join(map(str, where))}]" if where else argument


def first_leaf(values: Any) -> Any:
    """The first element of nested lists that is no list itself."""
    while isinstance(values, (list, tuple)) and values:
        values = values[0]
    return values
