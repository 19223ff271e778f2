"""The JSON values of predictions, made into arrays of the dtype that the model's signature names."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vertexkit.casting import EXACT_IN_FLOAT64, FLOATS_BY_NAME, Array, kind_of
from vertexkit.errors import PredictionFailed
from vertexkit.types import Signature, TensorSpec

Predictions = Array | dict[str, Array]
"""One array whose first axis is the instances, or one for each output by its name."""


def arrays_of(predictions: Sequence[Any], signature: Signature | None) -> Predictions:
    """Make arrays of the predictions of one reply.

    Args:
        predictions: JSON values, one for each instance.
        signature: What the model gives; None for numbers as float64.

    Raises:
        PredictionFailed: They are not what the signature promises.
    """
    if signature is None:
        if not _are_rows(predictions) or any(row.keys() != predictions[0].keys() for row in predictions):
            return _array(predictions, None)
        return {name: _array([row[name] for row in predictions], None) for name in predictions[0]}
    outputs = signature.outputs
    if not _are_rows(predictions):
        if len(outputs) > 1:
            raise PredictionFailed(f"the model gave no names, where its outputs are {', '.join(outputs)}")
        return _array(predictions, next(iter(outputs.values())))
    for name in outputs:
        if not all(name in row for row in predictions):
            raise PredictionFailed(f"the model gave predictions without its output {name!r}")
    columns = {name: _array([row[name] for row in predictions], spec) for name, spec in outputs.items()}
    # A model of one output gives an array, whether or not its server names it.
    return columns if len(outputs) > 1 else next(iter(columns.values()))


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Put the predictions of consecutive requests behind one another.

    Raises:
        PredictionFailed: Some name their outputs otherwise than others, as different models may.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    if not isinstance(first, dict):
        arrays = [part for part in parts if not isinstance(part, dict)]
        if len(arrays) == len(parts):
            return _concatenated(arrays)
    elif all(isinstance(part, dict) and part.keys() == first.keys() for part in parts):
        return {name: _concatenated([part[name] for part in parts]) for name in first}
    raise PredictionFailed(
        "the deployed models that answered give different outputs",
        remedy="predict in smaller calls, so that one model answers each, or send the traffic to one",
    )


def _concatenated(arrays: Sequence[Array]) -> Array:
    if len({array.shape[1:] for array in arrays}) == 1:
        return np.concatenate(arrays)
    # Such as text padded to the longest of its request: there is no one shape for all.
    return _one_by_one([row for array in arrays for row in array])


def _array(values: Sequence[Any], spec: TensorSpec | None) -> Array:
    if spec is None:
        return _best_array(values)
    array = _texts(values) if spec.dtype == "string" else _numbers(values, spec)
    if array.size == 0 and spec.shape is not None and array.ndim < len(spec.shape):
        # JSON drops the axes behind one of length 0; the signature still knows them.
        array = array.reshape(array.shape + tuple(axis or 0 for axis in spec.shape[array.ndim :]))
    if spec.shape is not None and not _fits(array.shape, spec.shape):
        raise PredictionFailed(f"the model gave shape {array.shape} where its signature says {spec}")
    return array


def _fits(shape: tuple[int, ...], spec: tuple[int | None, ...]) -> bool:
    """Whether all axes but that of the instances are as the signature says."""
    return len(shape) == len(spec) and all(
        there is None or here == there for here, there in zip(shape[1:], spec[1:], strict=True)
    )


def _texts(values: Sequence[Any]) -> Array:
    return np.array(_leaves(values), dtype=object)


def _numbers(values: Sequence[Any], spec: TensorSpec) -> Array:
    if kind_of(spec.dtype) == "?":
        # JSON has no form for the dtype that could be held against what came.
        return _best_array(values)
    target = np.dtype("float32" if spec.dtype in FLOATS_BY_NAME else spec.dtype)
    try:
        if target.kind == "f":
            # In float64 first: None, which some servers write for NaN, and "Infinity" become floats.
            with np.errstate(over="ignore"):
                return np.asarray(values, dtype=np.float64).astype(target)
        raw = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise PredictionFailed(f"the model gave values that are not {spec}") from error
    if raw.dtype.kind == "f" and np.any(abs(raw) >= EXACT_IN_FLOAT64):
        # Whole numbers beside one another that no one integer dtype holds are rounded by numpy.
        raw = np.asarray(values, dtype=object)
    with np.errstate(invalid="ignore"):
        try:
            cast = raw.astype(target)
        except (ValueError, TypeError, OverflowError) as error:
            raise PredictionFailed(f"the model gave values that are not {spec}") from error
    if raw.dtype.kind not in "biufO" or not np.array_equal(cast, raw):
        raise PredictionFailed(f"the model gave numbers that are not {spec}")
    return cast


def _best_array(values: Sequence[Any]) -> Array:
    """An array of values of which nothing is known: numbers as float64, as Vertex AI sends them."""
    leaves = _leaves(values)
    try:
        array = np.asarray(leaves)
    except ValueError:
        return _one_by_one(leaves)
    if array.dtype.kind == "b":
        return array
    if array.dtype.kind in "iuf":
        return array.astype(np.float64)
    try:
        array = np.asarray(leaves, dtype=object)
    except ValueError:
        return _one_by_one(leaves)
    whole = not any(isinstance(leaf, (list, dict)) for leaf in array.flat)
    if whole and all(leaf is None or isinstance(leaf, (int, float)) for leaf in array.flat):
        return array.astype(np.float64)
    return array if whole else _one_by_one(leaves)


def _one_by_one(rows: Sequence[Any]) -> Array:
    """An object array of one element for each instance."""
    array = np.empty(len(rows), object)
    for index, row in enumerate(rows):
        # Elements of ragged predictions are arrays themselves, so that arithmetic works on each.
        array[index] = _best_array(row) if isinstance(row, list) and row else row
    return array


def _leaves(value: Any) -> Any:
    """The value with every ``{"b64": ...}`` in it as bytes."""
    if isinstance(value, (list, tuple)):
        if value and isinstance(value[0], (float, int)):
            return value
        return [_leaves(item) for item in value]
    if isinstance(value, Mapping) and set(value) == {"b64"}:
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (ValueError, TypeError) as error:
            raise PredictionFailed(f"the model gave bytes that are not base64: {value!r:.100}") from error
    return value


def _are_rows(predictions: Sequence[Any]) -> bool:
    """Whether all are JSON objects of named outputs."""
    return bool(predictions) and all(
        isinstance(row, Mapping) and bool(row) and set(row) != {"b64"} for row in predictions
    )
