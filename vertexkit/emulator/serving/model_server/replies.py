"""A model's outputs, written as TensorFlow Serving's REST replies.

Source: https://www.tensorflow.org/tfx/serving/api_rest#predict_api and
``tensorflow_serving/util/json_tensor.cc``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from vertexkit.emulator.serving.model_server.errors import RequestError

Array = np.ndarray[Any, Any]

_BYTES_SUFFIX = "_bytes"
_WRITABLE_KINDS = "fiubO"


def encode(outputs: Mapping[str, Array], *, row_format: bool) -> bytes:
    """Write a model's outputs.

    One output is written bare, several as objects. Strings are text, or ``{"b64": ...}`` where the
    output's name ends in ``_bytes``. Numbers that are not finite are written ``NaN``, ``Infinity``
    and ``-Infinity``. Integers are exact, and decimals the shortest that read back the same.

    Args:
        outputs: At least one array by name.
        row_format: Whether to answer with ``predictions``, one for every row, or with ``outputs``.

    Raises:
        RequestError: The outputs cannot be written in this format.
    """
    arrays = {name: _writable(name, np.asarray(array)) for name, array in outputs.items()}
    if row_format:
        _check_rows(arrays)
    finite = all(array.dtype.kind != "f" or bool(np.isfinite(array).all()) for array in arrays.values())
    # orjson would write null for the others; json writes them as TensorFlow Serving does.
    values: Mapping[str, Any]
    values = {
        name: _jsonable(name, array) if finite else _plain(name, array) for name, array in arrays.items()
    }
    content: Any
    if len(values) == 1:
        content = next(iter(values.values()))
    elif row_format:
        rows = zip(*values.values(), strict=True)
        content = [dict(zip(values, row, strict=True)) for row in rows]
    else:
        content = values
    document = {"predictions" if row_format else "outputs": content}
    if finite:
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _writable(name: str, array: Array) -> Array:
    if array.dtype.kind not in _WRITABLE_KINDS:
        # bfloat16 and its like have a kind of their own; their values fit in float32.
        if "float" not in array.dtype.name:
            raise RequestError(f"Failed to write JSON value for tensor type: {array.dtype.name} of {name}")
        return array.astype(np.float32)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    # orjson writes only arrays that lie in one piece.
    return np.ascontiguousarray(array) if array.ndim else array


def _check_rows(arrays: Mapping[str, Array]) -> None:
    size = None
    for name, array in arrays.items():
        if array.ndim == 0:
            raise RequestError(f"Tensor name: {name} has no shape information ")
        if size is not None and len(array) != size:
            raise RequestError(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {size}"
            )
        size = len(array)


def _jsonable(name: str, array: Array) -> Any:
    """What orjson writes: nested lists of strings, the array itself, or the number where it is only one."""
    if array.dtype.kind == "O":
        return _strings(name, array.tolist())
    return array if array.ndim else array[()]


def _plain(name: str, array: Array) -> Any:
    """What json writes: nested lists. A float32 becomes the double with the same shortest decimal."""
    if array.dtype.kind == "O":
        return _strings(name, array.tolist())
    if array.dtype == np.float32:
        shortest = [float(str(value)) for value in array.ravel()]
        return np.array(shortest).reshape(array.shape).tolist()
    return array.tolist()


def _strings(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_strings(name, item) for item in value]
    if name.endswith(_BYTES_SUFFIX):
        return {"b64": base64.b64encode(value).decode()}
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise RequestError(
            f"Failed to write JSON value for tensor name: {name}: it holds bytes that are not UTF-8 text, "
            f"which only an output whose name ends in {_BYTES_SUFFIX} may"
        ) from None
