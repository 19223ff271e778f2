"""A model's signatures: the tensors that a request feeds and a reply holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of a signature."""

    name: str
    """The name that requests and replies use."""
    dtype: str
    """TensorFlow's name of the type: ``float``, ``double``, ``int64``, ``uint8``, ``string``, ..."""
    shape: tuple[int | None, ...] | None
    """The sizes, None where any will do; None where even the rank is unknown."""
    whole_decimals: bool = False
    """Whether, if it holds integers, ``1.0`` is one: numbers of a protobuf ``Value`` are all doubles."""

    @property
    def numpy_dtype(self) -> np.dtype[np.generic]:
        """The numpy type that holds it: object for strings.

        Raises:
            KeyError: JSON cannot carry the type.
        """
        return NUMPY_DTYPES[self.dtype]


@dataclass(frozen=True)
class Signature:
    """One way of calling a model."""

    name: str
    inputs: Mapping[str, TensorSpec]
    """In the order of their names."""
    outputs: Mapping[str, TensorSpec]
    """In the order of their names."""

    def fed_with_values(self) -> Signature:
        """The same, for requests whose numbers are those of protobuf ``Value``s."""
        inputs = {name: replace(spec, whole_decimals=True) for name, spec in self.inputs.items()}
        return replace(self, inputs=inputs)


NUMPY_DTYPES: Mapping[str, np.dtype[np.generic]] = {
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "half": np.dtype(np.float16),
    "int8": np.dtype(np.int8),
    "int16": np.dtype(np.int16),
    "int32": np.dtype(np.int32),
    "int64": np.dtype(np.int64),
    "uint8": np.dtype(np.uint8),
    "uint16": np.dtype(np.uint16),
    "uint32": np.dtype(np.uint32),
    "uint64": np.dtype(np.uint64),
    "bool": np.dtype(np.bool_),
    "string": np.dtype(np.object_),
}
"""TensorFlow's name of every type that a JSON request can carry, and the numpy type for it."""
