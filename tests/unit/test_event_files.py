"""TensorBoard's event files: the scalars of both generations of writers, and files that end in the middle."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tf_records import record

from vertexkit.event_files import Scalar, is_event_file, scalars


def old(tag: str, step: int, value: float) -> bytes:
    event = Event(step=step, wall_time=100.0 + step)
    event.summary.value.add(tag=tag, simple_value=value)
    return record(event.SerializeToString())


def new(tag: str, step: int, tensor: Any, plugin: str | None = "scalars") -> bytes:
    event = Event(step=step, wall_time=100.0 + step)
    value = event.summary.value.add(tag=tag, tensor=tensor)
    if plugin is not None:
        value.metadata.CopyFrom(SummaryMetadata(plugin_data={"plugin_name": plugin}))
    return record(event.SerializeToString())


VERSION = record(Event(wall_time=99.0, file_version="brain.Event:2").SerializeToString())


def test_simple_values_are_scalars() -> None:
    content = VERSION + old("loss", 0, 0.5) + old("loss", 1, 0.25)
    assert list(scalars([content])) == [Scalar("loss", 0, 100.0, 0.5), Scalar("loss", 1, 101.0, 0.25)]


@pytest.mark.parametrize(
    ("tensor", "value"),
    [
        (TensorProto(dtype=1, float_val=[0.5]), 0.5),
        (TensorProto(dtype=1, tensor_content=struct.pack("<f", 0.5)), 0.5),
        (TensorProto(dtype=2, tensor_content=struct.pack("<d", 0.1)), 0.1),
        (TensorProto(dtype=3, int_val=[7]), 7.0),
        (TensorProto(dtype=9, tensor_content=struct.pack("<q", -7)), -7.0),
        (TensorProto(dtype=10, bool_val=[True]), 1.0),
        (TensorProto(dtype=14, half_val=[0x3FC0]), 1.5),
        (TensorProto(dtype=19, tensor_content=struct.pack("<e", 1.5)), 1.5),
        (TensorProto(dtype=1, float_val=[0.5, 0.6]), None),
        (TensorProto(dtype=1, tensor_content=b"\0" * 8), None),
        (TensorProto(dtype=7, string_val=[b"text"]), None),
    ],
)
def test_tensors_of_the_scalars_plugin_are_scalars(tensor: Any, value: float | None) -> None:
    found = [scalar.value for scalar in scalars([VERSION + new("acc", 1, tensor)])]
    assert found == ([] if value is None else [value])


def test_only_the_first_event_of_a_tag_has_to_say_what_its_tensors_are() -> None:
    one = TensorProto(dtype=1, float_val=[1.0])
    content = (
        new("acc", 0, one) + new("acc", 1, one, None) + new("text", 0, one, "text") + new("x", 0, one, None)
    )
    assert [(scalar.tag, scalar.step) for scalar in scalars([content])] == [("acc", 0), ("acc", 1)]


@given(st.integers(min_value=0))
def test_a_file_that_is_still_written_ends_with_its_last_whole_record(cut: int) -> None:
    records = [VERSION, *(old("loss", step, 0.5) for step in range(3))]
    content = b"".join(records)
    cut %= len(content) + 1
    whole = sum(sum(map(len, records[: index + 1])) <= cut for index in range(1, len(records)))
    assert len(list(scalars([content[:cut]]))) == whole


@given(st.integers(min_value=1, max_value=100))
def test_it_matters_not_in_what_pieces_a_file_comes(size: int) -> None:
    content = VERSION + b"".join(old("loss", step, 0.5) for step in range(3))
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    assert [scalar.step for scalar in scalars(pieces)] == [0, 1, 2]


def test_no_more_of_a_file_is_in_memory_than_a_record() -> None:
    tracemalloc.start()
    record_of_1_mb = new("image", 0, TensorProto(dtype=7, string_val=[b"x" * 1_000_000]), "images")
    blocks = (record_of_1_mb for _ in range(200))
    assert list(scalars(blocks)) == []
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_a_damaged_record_ends_the_file() -> None:
    content = bytearray(old("loss", 0, 0.5) + old("loss", 1, 0.5))
    content[len(content) // 2 + 14] ^= 1
    assert [scalar.step for scalar in scalars([bytes(content)])] == [0]
    content[0] ^= 0xFF
    assert list(scalars([bytes(content)])) == []


def test_which_files_hold_events() -> None:
    assert is_event_file("logs/train/events.out.tfevents.1795336562.vm.2617.0.v2")
    assert not is_event_file("logs/train/events.out.tfevents.1.vm.profile-empty")
    assert not is_event_file("logs/tfevents/notes.txt")
