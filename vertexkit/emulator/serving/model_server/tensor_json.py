"""One JSON value to one tensor, exactly, refusing in TensorFlow Serving's words.

This is the slow and always right way: every number is looked at. ``instances.py`` takes a quicker
one where it is sure that both agree.

Source: ``tensorflow_serving/util/json_tensor.cc``.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from typing import Any

import numpy as np

from vertexkit.emulator.serving.model_server.errors import RequestError
from vertexkit.emulator.serving.model_server.signature import TensorSpec

_SHOWN_CHARACTERS = 1000
# The largest integer below which every integer has a value of its own in the type.
_LARGEST = {
    "half": float(np.finfo(np.float16).max),
    "float": float(np.finfo(np.float32).max),
    "double": float(np.finfo(np.float64).max),
}
EXACT_INTEGER = {"half": 2**11 - 1, "float": 2**24 - 1, "double": 2**53 - 1}


def fill(value: Any, spec: TensorSpec) -> tuple[list[Any], tuple[int, ...]]:
    """Take a JSON value apart into its elements, in row-major order, and its shape.

    The shape is that of the first element at every level, which all others must have.

    Raises:
        RequestError: The value is ragged, or an element cannot be of the tensor's type.
    """
    shape = _dense_shape(value)
    elements: list[Any] = []
    _fill(value, 0, shape, spec, elements)
    return elements, shape


def to_array(elements: list[Any], shape: tuple[int, ...], spec: TensorSpec) -> np.ndarray[Any, Any]:
    """The array of ``elements``, which :func:`fill` has already found to be of the tensor's type."""
    array = np.empty(len(elements), dtype=spec.numpy_dtype)
    array[:] = elements
    return array.reshape(shape)


def convert_surely(found: np.ndarray[Any, Any], spec: TensorSpec) -> np.ndarray[Any, Any] | None:
    """Numbers as numpy found them, in the tensor's type; None where each must be looked at by :func:`fill`.

    Args:
        found: What numpy made of JSON numbers, none of which was a boolean.
        spec: The tensor.
    """
    # The comparisons are false for NaN too, which the exact way lets pass.
    sure = found.size > 0 and found.dtype.kind in "iuf"
    if sure and spec.dtype in EXACT_INTEGER:
        # An integer among decimals has become one, so what might have been a large integer is looked at.
        limit = EXACT_INTEGER[spec.dtype]
        sure = bool(found.max() <= limit and found.min() >= -limit)
    elif sure:
        limits = np.iinfo(spec.dtype)
        sure = bool(found.max() <= limits.max and found.min() >= limits.min)
        if sure and found.dtype.kind == "f":
            # As above: an integer among decimals has become one.
            exact = EXACT_INTEGER["double"]
            sure = (
                spec.whole_decimals
                and bool(found.max() <= exact and found.min() >= -exact)
                and bool((found == np.trunc(found)).all())
            )
    return found.astype(spec.numpy_dtype, copy=False) if sure else None


def is_base64_object(value: Any) -> bool:
    """Whether a JSON value is ``{"b64": "..."}``, which stands for bytes."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def shown(value: Any) -> str:
    """A JSON value as TensorFlow Serving writes it into its messages, cut where it is very long."""
    text = json.dumps(value, indent=4, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


def _dense_shape(value: Any) -> tuple[int, ...]:
    shape: list[int] = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _fill(value: Any, level: int, shape: tuple[int, ...], spec: TensorSpec, elements: list[Any]) -> None:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            raise RequestError(
                f"JSON Value: {shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {rank}"
            )
        elements.append(_element(value, spec))
        return
    if level >= rank:
        raise RequestError(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise RequestError(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    for item in value:
        _fill(item, level + 1, shape, spec, elements)


def _element(value: Any, spec: TensorSpec) -> Any:
    dtype = spec.dtype
    if dtype == "string":
        return _bytes(value)
    if dtype == "bool":
        if not isinstance(value, bool):
            raise _wrong_type(value, dtype)
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(value, dtype)
    if dtype in EXACT_INTEGER:
        return _decimal(value, dtype)
    if spec.whole_decimals and isinstance(value, float) and value.is_integer():
        value = int(value)
    return _integer(value, dtype)


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, dict):
        raise _wrong_type(value, "string")
    if not is_base64_object(value):
        raise RequestError(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    text = value["b64"]
    try:
        # Clients leave the padding out, and TensorFlow Serving lets them.
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("Unable to base64 decode") from None


def _decimal(value: float, dtype: str) -> float:
    if isinstance(value, int):
        lossless = abs(value) <= EXACT_INTEGER[dtype]
    else:
        lossless = not math.isfinite(value) or abs(value) <= _LARGEST[dtype]
    if not lossless:
        raise RequestError(f"Cannot convert JSON value: {value} to {dtype} without loss of precision.")
    return value


def _integer(value: float, dtype: str) -> int:
    limits = np.iinfo(dtype)
    if not isinstance(value, int) or not limits.min <= value <= limits.max:
        raise _wrong_type(value, dtype)
    return value


_JSON_TYPES = {
    type(None): "Null",
    bool: "Bool",
    dict: "Object",
    list: "Array",
    str: "String",
    int: "Number",
    float: "Number",
}


def _wrong_type(value: Any, dtype: str) -> RequestError:
    kind = str(value) if isinstance(value, bool) else _JSON_TYPES[type(value)]
    return RequestError(f"JSON Value: {shown(value)} Type: {kind} is not of expected type: {dtype}")
