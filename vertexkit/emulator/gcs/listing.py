"""Listing: the names of a bucket in order, from any point on, page by page.

The folders are the truth about plain names, the rows about odd ones. A folder's entries are kept,
sorted, for as long as its times stand still, so that the next page of a listing reads
no folder again; a page starts at its place by bisection.
"""

from __future__ import annotations

import base64
import heapq
import os
import threading
import time
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from vertexkit._core.names import MAX_OBJECT_NAME_BYTES
from vertexkit.emulator.gcs import errors
from vertexkit.emulator.gcs.folders import Folders
from vertexkit.emulator.gcs.records import ObjectInfo

_KEPT_ENTRIES = 200_000
SETTLED_NS = 50_000_000
"""A folder changed less than this before it was read may change again at the same times."""


@dataclass(frozen=True)
class Query:
    """What to list."""

    prefix: str = ""
    delimiter: str = ""
    start: str = ""
    """First name to list, itself included."""
    end: str = ""
    """First name not to list; empty for none."""
    limit: int = 1000
    """At most so many objects and prefixes."""
    trailing: bool = False
    """List also objects that end in their first delimiter, which count as prefixes too."""
    accept: Callable[[str], bool] | None = None
    """Which names to list; None for all."""


@dataclass
class Page:
    """One page of a listing."""

    items: list[ObjectInfo] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    next_start: str | None = None
    """The name that the next page starts at; None on the last page."""


class _Entries(NamedTuple):
    state: tuple[int, int, int]
    """Inode, modification time and change time: a modification time can be put back."""
    names: list[str]
    """Sorted; the names of folders end in a slash, so that their order is that of object names."""


class Lister:
    """Names of objects in order. Thread-safe."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, ...], _Entries] = OrderedDict()
        self._kept_count = 0

    def plain_names(self, bucket: str, prefix: str, start: str) -> Iterator[str]:
        """Names of plain files from ``start`` on, in order."""
        folder, _, _ = prefix.rpartition("/")
        components = self._folders.plain_path(bucket, folder) if folder else []
        if components is None:
            return iter(())
        base = f"{folder}/" if folder else ""
        return self._walk((bucket, *components), base, prefix, start)

    def _walk(self, path: tuple[str, ...], base: str, prefix: str, start: str) -> Iterator[str]:
        first = max(prefix, start)
        if len(base) > MAX_OBJECT_NAME_BYTES or (first > base and not first.startswith(base)):
            return
        names = self._entries(path)
        at = bisect_left(names, first[len(base) :]) if first > base else 0
        # A folder that holds `first` sorts before it.
        if at and names[at - 1].endswith("/") and first.startswith(base + names[at - 1]):
            at -= 1
        for position in range(at, len(names)):
            entry = names[position]
            name = base + entry
            if not name.startswith(prefix) and not prefix.startswith(name):
                if name > prefix:
                    return
                continue
            if entry.endswith("/"):
                yield from self._walk((*path, entry[:-1]), name, prefix, start)
            elif name.startswith(prefix):
                yield name

    def _entries(self, path: tuple[str, ...]) -> list[str]:
        try:
            with self._folders.opened(path) as folder:
                return self._entries_of(path, folder)
        except OSError:
            # Gone, or replaced by something that is no folder: nothing to list.
            return []

    def _entries_of(self, path: tuple[str, ...], folder: int) -> list[str]:
        status = os.fstat(folder)
        state = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        with self._lock:
            kept = self._kept.get(path)
            if kept is not None and kept.state == state:
                self._kept.move_to_end(path)
                return kept.names
        read_at = time.time_ns()
        names = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    names.append(entry.name)
                elif entry.is_dir(follow_symlinks=False):
                    names.append(f"{entry.name}/")
        names.sort()
        if min(abs(read_at - status.st_mtime_ns), abs(read_at - status.st_ctime_ns)) > SETTLED_NS:
            self._keep(path, _Entries(state, names))
        return names

    def _keep(self, path: tuple[str, ...], entries: _Entries) -> None:
        with self._lock:
            replaced = self._kept.pop(path, None)
            self._kept_count += len(entries.names) - (len(replaced.names) if replaced else 0)
            self._kept[path] = entries
            while self._kept_count > _KEPT_ENTRIES and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self._kept_count -= len(dropped.names)


def page(
    query: Query,
    names: Callable[[str], Iterator[str]],
    find: Callable[[str], ObjectInfo | None],
) -> Page:
    """Collect one page.

    Args:
        query: What to list.
        names: Gives the names with the query's prefix from a point on, in order; a name may have no object.
        find: Gives the object of a name, or None.
    """
    found = Page()
    start = query.start
    room = query.limit
    while True:
        seek = None
        for name in names(start):
            if query.end and name >= query.end:
                return found
            if query.accept is not None and not query.accept(name):
                continue
            cut = name.find(query.delimiter, len(query.prefix)) if query.delimiter else -1
            info = find(name)
            if info is None:
                continue
            if room <= 0:
                found.next_start = name
                return found
            if cut < 0:
                found.items.append(info)
                room -= 1
                continue
            prefix = name[: cut + len(query.delimiter)]
            found.prefixes.append(prefix)
            room -= 1
            if query.trailing and name == prefix:
                found.items.append(info)
                room -= 1
            seek = after_prefix(prefix)
            break
        if seek is None:
            return found
        start = seek


def merged(plain: Iterator[str], odd: Iterator[str]) -> Iterator[str]:
    """Names of both kinds in order, each once."""
    last = None
    for name in heapq.merge(plain, odd):
        if name != last:
            yield name
        last = name


def after_prefix(prefix: str) -> str:
    """The first string behind all those that start with ``prefix``, in order of code points."""
    last = ord(prefix[-1]) + 1
    if 0xD800 <= last <= 0xDFFF:  # no character has these numbers
        last = 0xE000
    if last > 0x10FFFF:
        return after_prefix(prefix[:-1]) if len(prefix) > 1 else "\U0010ffff" * 1025
    return prefix[:-1] + chr(last)


def encode_token(start: str) -> str:
    """A page token: opaque to clients."""
    return base64.urlsafe_b64encode(start.encode()).decode("ascii")


def decode_token(token: str) -> str:
    """The name that a page token stands for.

    Raises:
        StorageError: 400; it is not one of ours.
    """
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise errors.invalid(f"Invalid page token: {token!r}.") from None
