"""``google.protobuf.Value`` to JSON and back, without a Python object for every number.

A number costs about a microsecond through the message classes, and an image holds hundreds. A list
of numbers always has the same bytes on the wire, eleven for each, so numpy reads and writes them.

Source: https://protobuf.dev/programming-guides/encoding/ and
https://github.com/protocolbuffers/protobuf/blob/main/src/google/protobuf/struct.proto
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
import orjson

# ListValue.values (field 1, length-delimited) of nine bytes: Value.number_value (field 2, 64 bits).
_NUMBER_IN_LIST = np.dtype([("tags", "V3"), ("number", "<f8")])
_TAGS = b"\x0a\x09\x11"
_NULL = b"\x08\x00"
_TRUE, _FALSE = b"\x20\x01", b"\x20\x00"
_NUMBER_TAG, _STRING_TAG, _STRUCT_TAG, _LIST_TAG = b"\x11", b"\x1a", b"\x2a", b"\x32"
_FIELD_1, _FIELD_2 = b"\x0a", b"\x12"
# Up to here every whole double is an integer of its own.
_WHOLE = 2.0**53


class _NotFinite(Exception):
    """A number that JSON does not have is among the values."""


def from_values(instances: Iterable[Any], parameters: Any | None) -> bytes:
    """The JSON body that a model server gets for a PredictRequest.

    Whole numbers are written as integers, for a double is all that a ``Value`` can hold and a model
    with integer inputs takes no decimals.

    Args:
        instances: ``Value`` messages.
        parameters: A ``Value`` message, or None to leave them out.
    """
    try:
        document = _document(instances, parameters, _numbers)
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    except _NotFinite:
        document = _document(instances, parameters, _numbers_as_they_are)
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def from_value(value: Any) -> bytes:
    """The JSON of one ``Value`` message, as ``from_values`` writes parameters."""
    try:
        return orjson.dumps(_plain(value, _numbers), option=orjson.OPT_SERIALIZE_NUMPY)
    except _NotFinite:
        plain = _plain(value, _numbers_as_they_are)
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()


def _document(instances: Iterable[Any], parameters: Any | None, numbers: Any) -> dict[str, Any]:
    document = {"instances": [_plain(instance, numbers) for instance in instances]}
    if parameters is not None:
        document["parameters"] = _plain(parameters, numbers)
    return document


def _plain(value: Any, numbers: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "list_value":
        items = value.list_value
        wire = items.SerializeToString()
        if len(wire) == _NUMBER_IN_LIST.itemsize * len(items) and wire:
            records = np.frombuffer(wire, _NUMBER_IN_LIST)
            if records["tags"].tobytes() == _TAGS * len(items):
                return numbers(np.ascontiguousarray(records["number"]))
        return [_plain(item, numbers) for item in items.values]
    if kind == "number_value":
        number = numbers(np.array([value.number_value]))
        return number.tolist()[0] if isinstance(number, np.ndarray) else number[0]
    if kind == "struct_value":
        return {name: _plain(item, numbers) for name, item in value.struct_value.fields.items()}
    return None if kind is None or kind == "null_value" else getattr(value, kind)


def _numbers(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if not np.isfinite(array).all():
        raise _NotFinite
    whole = (array == np.trunc(array)) & (np.abs(array) <= _WHOLE)
    # An integer has no negative zero.
    whole &= (array != 0) | ~np.signbit(array)
    return array.astype(np.int64) if whole.all() else array


def _numbers_as_they_are(array: np.ndarray[Any, Any]) -> list[float]:
    return [int(x) if np.isfinite(x) and x == int(x) and abs(x) <= _WHOLE else x for x in array.tolist()]


def to_value_bytes(value: Any) -> bytes:
    """The wire format of the ``Value`` for a value as :func:`json.loads` makes it."""
    if isinstance(value, list):
        return _delimited(_LIST_TAG, _list_bytes(value))
    if value is None:
        return _NULL
    if isinstance(value, bool):
        return _TRUE if value else _FALSE
    if isinstance(value, int | float):
        return _NUMBER_TAG + struct.pack("<d", value)
    if isinstance(value, str):
        return _delimited(_STRING_TAG, value.encode())
    fields = (
        _delimited(_FIELD_1, _delimited(_FIELD_1, name.encode()) + _delimited(_FIELD_2, to_value_bytes(item)))
        for name, item in value.items()
    )
    return _delimited(_STRUCT_TAG, b"".join(fields))


def _list_bytes(values: list[Any]) -> bytes:
    if values and all(type(value) is float or type(value) is int for value in values):
        records = np.empty(len(values), _NUMBER_IN_LIST)
        records["tags"] = np.frombuffer(_TAGS, "V3")
        records["number"] = values
        return records.tobytes()
    return b"".join(_delimited(_FIELD_1, to_value_bytes(value)) for value in values)


def _delimited(tag: bytes, content: bytes) -> bytes:
    length, size = bytearray(), len(content)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return tag + bytes(length) + content
