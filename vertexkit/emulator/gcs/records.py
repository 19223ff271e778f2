"""What the store keeps of a bucket and of an object."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

DEFAULT_CONTENT_TYPE = "application/octet-stream"


class Identity(NamedTuple):
    """Which file it is, and in which state: metadata belongs to one of these, not to a name."""

    inode: int
    size: int
    mtime_ns: int


def identity_of(status: os.stat_result) -> Identity:
    """The identity of a file whose status was just read."""
    return Identity(status.st_ino, status.st_size, status.st_mtime_ns)


class ObjectInfo(NamedTuple):
    """An object as it is at one moment."""

    bucket: str
    name: str
    generation: int
    """Changes whenever the content does: microseconds since 1970, and never less than before."""
    metageneration: int
    """Counts the changes of the metadata of one generation, from 1."""
    size: int
    """Size in bytes."""
    crc32c: str | None
    """crc32c in base64; None for a file from outside that nobody has asked about yet."""
    md5: str | None
    """MD5 in base64; None for composed objects and for files from outside."""
    content_type: str
    created_us: int
    updated_us: int
    properties: str
    """Every other writable field of the API's object resource, as JSON."""
    identity: Identity
    odd: bool
    """Whether its name is one that no plain path can hold, for now or for ever."""
    known: bool = True
    """Whether the store has a row for it; a file written from outside has none."""

    @property
    def attributes(self) -> dict[str, Any]:
        """Every other writable field of the API's object resource."""
        return orjson.loads(self.properties) if self.properties else {}


class BucketInfo(NamedTuple):
    """A bucket as it is at one moment."""

    name: str
    project: str
    """Project id or number, as the request that created it had it."""
    location: str
    """Region or multi-region, in capitals as the service writes it."""
    storage_class: str
    metageneration: int
    created_us: int
    updated_us: int
    properties: str
    """Every other writable field of the API's bucket resource, as JSON."""
    policy: str
    """The IAM policy, as JSON; empty until one is set."""

    @property
    def attributes(self) -> dict[str, Any]:
        """Every other writable field of the API's bucket resource."""
        return orjson.loads(self.properties) if self.properties else {}


Rows = Sequence[ObjectInfo]
"""Rows of objects."""


def matching(rows: Rows, identity: Identity) -> ObjectInfo | None:
    """The row of the file that is there."""
    for row in rows:
        if row.identity == identity:
            return row
    return None


def from_outside(bucket: str, name: str, status: os.stat_result) -> ObjectInfo:
    """The object that a file without a row is."""
    # The change time too: a copy that keeps the old modification time is another generation.
    generation = max(status.st_mtime_ns, status.st_ctime_ns) // 1000
    return ObjectInfo(
        bucket=bucket,
        name=name,
        generation=generation,
        metageneration=1,
        size=status.st_size,
        crc32c=None,
        md5=None,
        content_type=mimetypes.guess_type(name)[0] or DEFAULT_CONTENT_TYPE,
        created_us=generation,
        updated_us=generation,
        properties="",
        identity=identity_of(status),
        odd=False,
        known=False,
    )
