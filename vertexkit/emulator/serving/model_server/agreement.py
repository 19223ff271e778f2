"""Whether two ways of running a signature give the same answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from vertexkit.emulator.serving.model_server.errors import RequestError
from vertexkit.emulator.serving.model_server.signature import Signature, TensorSpec

Array = np.ndarray[Any, Any]
Run = Callable[[Mapping[str, Array]], Mapping[str, Array] | None]

_BATCH_SIZES = (1, 2, 7, 32)
_DRAWS = 4
# Of a value, and of the largest value in the same output: float32 keeps seven digits of a sum's terms.
_RELATIVE = 1e-5
_OF_LARGEST = 1e-6


def find_disagreement(signature: Signature, reference: Run, other: Run) -> str | None:
    """Why ``other`` cannot stand in for ``reference``, or None if it can.

    Both are asked about random inputs in the range that each type is plausibly used in, about its
    extremes, and in several batch sizes. The reference is asked twice, to find it random or stateful.

    Args:
        signature: What both run.
        reference: What is right; may raise :class:`RequestError`.
        other: What is checked; None for an answer means that it leaves the question to the reference.
    """
    compared = 0
    for inputs in sample_inputs(signature):
        expected, again = _attempt(reference, inputs), _attempt(reference, inputs)
        if expected is None or again is None:
            if _attempt(other, inputs) is not None:
                return "it answers what TensorFlow refuses"
            continue
        if _difference(expected, again) is not None:
            return "TensorFlow's own answers vary"
        found = _attempt(other, inputs)
        if found is None:
            continue
        compared += 1
        difference = _difference(expected, found)
        if difference is not None:
            return difference
    return None if compared else "no random input could be compared"


def sample_inputs(signature: Signature) -> Iterator[dict[str, Array]]:
    """Inputs to compare two backends on: always the same ones, for a signature with numeric inputs."""
    generator = np.random.default_rng(20)
    for batch in _BATCH_SIZES:
        columns = {name: list(_values(spec, batch, generator)) for name, spec in signature.inputs.items()}
        for index in range(max(map(len, columns.values()))):
            yield {name: arrays[index % len(arrays)] for name, arrays in columns.items()}
        # Also every input of another kind than its neighbours.
        for _ in range(_DRAWS):
            yield {name: arrays[generator.integers(len(arrays))] for name, arrays in columns.items()}


def _values(spec: TensorSpec, batch: int, generator: np.random.Generator) -> Iterator[Array]:
    assert spec.shape is not None
    shape = tuple(batch if size is None else size for size in spec.shape)
    dtype = spec.numpy_dtype
    if dtype.kind == "b":
        drawn = [generator.integers(0, 2, shape), np.zeros(shape), np.ones(shape)]
    elif dtype.kind == "f":
        drawn = [
            generator.random(shape),
            generator.standard_normal(shape),
            generator.standard_normal(shape) * 100,
            np.zeros(shape),
            np.full(shape, 1e4),
            np.full(shape, -1e4),
        ]
    else:
        limits = np.iinfo(dtype.name)
        drawn = [
            generator.integers(0, 2, shape),
            generator.integers(0, 10, shape),
            generator.integers(max(-100, limits.min), 100, shape),
            generator.integers(max(-(2**31), limits.min), min(2**31, limits.max), shape),
            np.full(shape, limits.min, dtype),
            np.full(shape, limits.max, dtype),
        ]
    yield from (array.astype(dtype) for array in drawn)


def _attempt(run: Run, inputs: Mapping[str, Array]) -> Mapping[str, Array] | None:
    try:
        return run(inputs)
    except RequestError:
        return None


def _difference(expected: Mapping[str, Array], found: Mapping[str, Array]) -> str | None:
    for name, right in expected.items():
        given = found[name]
        if given.shape != right.shape or given.dtype != right.dtype:
            return (
                f"its {name} is {given.dtype}{list(given.shape)} where TensorFlow's is "
                f"{right.dtype}{list(right.shape)}"
            )
        if right.dtype.kind != "f":
            if not np.array_equal(right, given):
                return f"its {name} differs from TensorFlow's"
            continue
        finite = right[np.isfinite(right)]
        largest = float(np.abs(finite).max()) if finite.size else 0.0
        tolerance = _OF_LARGEST * max(1.0, largest)
        if not np.allclose(given, right, rtol=_RELATIVE, atol=tolerance, equal_nan=True):
            worst = float(np.nanmax(np.abs(given.astype(np.float64) - right.astype(np.float64))))
            return f"its {name} differs from TensorFlow's by up to {worst:.3g}"
    return None
