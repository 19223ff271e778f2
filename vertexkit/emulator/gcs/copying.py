"""New objects from objects that are there: copies and compositions, made without leaving the kernel."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import orjson

from vertexkit.emulator.gcs import errors
from vertexkit.emulator.gcs.checksums import combine_crc32c, decode_crc32c, encode_crc32c
from vertexkit.emulator.gcs.conditions import UNCONDITIONAL, Conditions
from vertexkit.emulator.gcs.records import ObjectInfo
from vertexkit.emulator.gcs.staging import Staged
from vertexkit.emulator.gcs.store import Attributes, ObjectStore

MAX_SOURCES = 32
_BLOCK = 1 << 20


class ComposeSource(NamedTuple):
    """One of the objects that a composition is made of."""

    name: str
    generation: int | None = None
    generation_match: int | None = None


def copy_object(
    store: ObjectStore,
    source: tuple[str, str],
    target: tuple[str, str],
    *,
    attributes: Attributes | None = None,
    generation: int | None = None,
    source_conditions: Conditions = UNCONDITIONAL,
    conditions: Conditions = UNCONDITIONAL,
) -> ObjectInfo:
    """Copy an object.

    Args:
        store: The store.
        source: Bucket and name of the object.
        target: Bucket and name of its copy.
        attributes: The metadata of the copy; None for that of the source.
        generation: The generation of the source to copy; None for the one that is there.
        source_conditions: Preconditions on the source.
        conditions: Preconditions on what stands in the copy's place.

    Raises:
        StorageError: 400, 404 or 412.
    """
    info, fd = store.open(*source, generation=generation)
    try:
        source_conditions.check(info)
        store.bucket(target[0])
        conditions.check(store.find(*target))
        staged = store.stage()
        try:
            _append(staged, info, fd)
            given = attributes or Attributes(info.content_type, info.properties)
            return store.commit(*target, staged, given, conditions=conditions)
        finally:
            staged.discard()
    finally:
        os.close(fd)


def compose(
    store: ObjectStore,
    bucket: str,
    name: str,
    sources: Sequence[ComposeSource],
    attributes: Attributes,
    *,
    conditions: Conditions = UNCONDITIONAL,
    delete_sources: bool = False,
) -> ObjectInfo:
    """Put objects one after the other into one.

    Raises:
        StorageError: 400 for more than 32 sources; 404 or 412.
    """
    if len(sources) > MAX_SOURCES:
        raise errors.invalid(
            f"The number of source components provided ({len(sources)}) exceeds the maximum ({MAX_SOURCES})."
        )
    store.bucket(bucket)
    conditions.check(store.find(bucket, name))
    staged = store.stage()
    crc = components = 0
    composed = []
    try:
        for source in sources:
            info, fd = store.open(bucket, source.name, generation=source.generation)
            try:
                Conditions(generation_match=source.generation_match).check(info)
                info = store.with_crc32c(info)
                staged.append_file(fd, info.size)
            finally:
                os.close(fd)
            crc = combine_crc32c(crc, decode_crc32c(info.crc32c or ""), info.size)
            components += info.attributes.get("componentCount", 1)
            composed.append(info)
        staged.declare(encode_crc32c(crc), None)
        properties = {**(orjson.loads(attributes.properties) if attributes.properties else {})}
        properties["componentCount"] = components
        given = Attributes(attributes.content_type, orjson.dumps(properties).decode())
        made = store.commit(bucket, name, staged, given, conditions=conditions)
    finally:
        staged.discard()
    if delete_sources:
        for info in composed:
            if info.name != name:
                store.delete(bucket, info.name, generation=info.generation)
    return made


def _append(staged: Staged, info: ObjectInfo, fd: int) -> None:
    """Copy a whole file, unread if its checksums are known."""
    if info.crc32c is not None:
        staged.append_file(fd, info.size)
        staged.declare(info.crc32c, info.md5)
        return
    while data := os.read(fd, _BLOCK):
        staged.write(data)
