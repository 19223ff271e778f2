"""Reads the scalars out of TensorBoard's event files, without TensorFlow.

An event file is a TFRecord file, and each record an ``Event`` message.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Scalar", "is_event_file", "scalars"]

_PLUGIN: Final = "scalars"

# DataType -> how struct reads its bytes, and the field that holds a value that is not in tensor_content.
_TYPES: Final = {
    1: ("<f", "float_val"),
    2: ("<d", "double_val"),
    3: ("<i", "int_val"),
    4: ("<B", "int_val"),
    5: ("<h", "int_val"),
    6: ("<b", "int_val"),
    9: ("<q", "int64_val"),
    10: ("<?", "bool_val"),
    17: ("<H", "int_val"),
    22: ("<I", "uint32_val"),
    23: ("<Q", "uint64_val"),
}
_BFLOAT16, _HALF = 14, 19


@dataclass(frozen=True)
class Scalar:
    """One value of one tag at one step."""

    tag: str
    step: int
    wall_time: float
    """Seconds since 1970."""
    value: float


def is_event_file(name: str) -> bool:
    """Whether a file of that name holds events that scalars may be among."""
    base = name.rpartition("/")[2]
    return "tfevents" in base and not base.endswith(".profile-empty")


def scalars(blocks: Iterable[bytes]) -> Iterator[Scalar]:
    """The scalars of an event file, in the order in which they were written.

    A last record that is not all there, as while a job is still writing, ends the file; so does one that is
    damaged, after which nothing could be found.

    Args:
        blocks: The bytes of the file, or what is there of it, in pieces: it may hold large images too.
    """
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event

    # Of TensorFlow 2's writers, only the first event of a tag says what its tensors are.
    plugins: dict[str, str] = {}
    for record in _records(_Reader(blocks)):
        try:
            event = Event.FromString(record)
        except DecodeError:
            return
        for value in event.summary.value:
            plugin = value.metadata.plugin_data.plugin_name
            if plugin:
                plugins.setdefault(value.tag, plugin)
            found = _number(value, plugins.get(value.tag))
            if found is not None:
                yield Scalar(value.tag, event.step, event.wall_time, found)


class _Reader:
    """Bytes that come in pieces, of which no more is kept than is asked for."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._kept = bytearray()

    def take(self, size: int) -> bytes:
        """That many bytes, or what is left of them."""
        while len(self._kept) < size:
            block = next(self._blocks, None)
            if block is None:
                break
            self._kept += block
        taken = bytes(self._kept[:size])
        del self._kept[:size]
        return taken


def _records(reader: _Reader) -> Iterator[bytes]:
    from vertexkit.tf_record import CHECK_BYTES, LENGTH_BYTES, is_intact, length_of

    while (size := length_of(reader.take(LENGTH_BYTES))) is not None:
        record, check = reader.take(size), reader.take(CHECK_BYTES)
        if len(check) < CHECK_BYTES or not is_intact(record, check):
            return
        yield record


def _number(value: Any, plugin: str | None) -> float | None:
    """The number of a summary's value, or None if it is something else."""
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return float(value.simple_value)
    if kind == "tensor" and plugin == _PLUGIN:
        return _of_tensor(value.tensor)
    return None


def _of_tensor(tensor: Any) -> float | None:
    """The one number of a tensor, or None if it has none or several."""
    content: bytes = tensor.tensor_content
    if tensor.dtype in {_BFLOAT16, _HALF}:
        if not content and len(tensor.half_val) == 1:
            content = struct.pack("<H", tensor.half_val[0])
        if len(content) != 2:
            return None
        # The upper half of a float32 is a bfloat16.
        form, content = ("<e", content) if tensor.dtype == _HALF else ("<f", b"\0\0" + content)
        return float(struct.unpack(form, content)[0])
    if tensor.dtype not in _TYPES:
        return None
    form, name = _TYPES[tensor.dtype]
    if content:
        return float(struct.unpack(form, content)[0]) if len(content) == struct.calcsize(form) else None
    values = getattr(tensor, name)
    return float(values[0]) if len(values) == 1 else None
