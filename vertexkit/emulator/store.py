"""Resources, durable in SQLite: etags, times, transactions, lists in pages.

A write is acknowledged once SQLite has committed it to its write-ahead log, so it survives the
death of this process at any moment; ``synchronous=NORMAL`` gives up only what a power cut may take.
That log has its place on the disk from the beginning: a job that fills the disk has to end all the same.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.filters import Predicate
from vertexkit.emulator.messages import Raw
from vertexkit.emulator.validation import invalid

ORDERABLE = ("display_name", "create_time", "update_time")
"""Fields that a list can be ordered by; each is a column."""

_DEFAULT_PAGE = 100
_LARGEST_PAGE = 1000
_BATCH = 500
_RESERVED_BYTES = 4608 * 1024
"""A little more than the write-ahead log has when SQLite begins it anew: 1000 pages."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS resources (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    collection TEXT NOT NULL,
    parent TEXT NOT NULL,
    name TEXT NOT NULL,
    display_name TEXT NOT NULL,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    message BLOB NOT NULL,
    UNIQUE (collection, name)
);
CREATE INDEX IF NOT EXISTS by_parent ON resources (collection, parent, sequence);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Kind:
    """A kind of resource."""

    collection: str
    """Where it is kept: ``models``."""
    message: Raw
    """Its raw protobuf class."""
    title: str
    """What messages call it: ``Model``."""


@dataclass(frozen=True)
class PageRequest:
    """What a list request asks for."""

    size: int = 0
    token: str = ""
    order_by: Sequence[tuple[str, bool]] = ()
    """Field of ``ORDERABLE`` and whether descending."""
    fingerprint: str = ""
    """Filter and order as sent: a token only continues the list that it came from."""
    oldest_first: bool = False
    """Whether what ``order_by`` leaves equal is listed in the order in which it was made."""


class Store:
    """All resources of the local Vertex AI. Safe to use from any thread.

    Args:
        path: The database file; created when it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute("PRAGMA busy_timeout=5000")
        self._connection.executescript(_SCHEMA)
        _reserve(path)

    def close(self) -> None:
        """Close the database; nothing may be asked of the store any more."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what is done inside one step: all of it or nothing, and nobody in between.

        Transactions may nest; the outermost decides.
        """
        with self._lock:
            if self._depth:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # A full disk may have rolled back what was to be committed.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0

    def insert(self, kind: Kind, parent: str, message: Raw) -> None:
        """Keep a new resource; its etag and its times are filled in.

        Raises:
            ApiError: ALREADY_EXISTS, there is one of that name.
        """
        now = time.time_ns()
        _stamp(message, created=now, updated=now)
        with self.transaction():
            try:
                self._connection.execute(
                    "INSERT INTO resources (collection, parent, name, display_name, create_time, update_time,"
                    " message) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        kind.collection,
                        parent,
                        message.name,
                        getattr(message, "display_name", ""),
                        now,
                        now,
                        message.SerializeToString(),
                    ),
                )
            except sqlite3.IntegrityError:
                raise ApiError(
                    Code.ALREADY_EXISTS, f"The {kind.title} {message.name} already exists."
                ) from None

    def replace(self, kind: Kind, message: Raw, *, touch: bool = True) -> None:
        """Keep a resource in place of what it was.

        Args:
            kind: What it is.
            message: The resource.
            touch: Whether this counts as an update to its user, and renews its etag and update time.

        Raises:
            ApiError: NOT_FOUND, it is gone.
        """
        now = time.time_ns()
        _stamp(message, updated=now if touch else None)
        with self.transaction():
            cursor = self._connection.execute(
                "UPDATE resources SET message = ?, display_name = ?,"
                " update_time = CASE WHEN ? THEN ? ELSE update_time END WHERE collection = ? AND name = ?",
                (
                    message.SerializeToString(),
                    getattr(message, "display_name", ""),
                    touch,
                    now,
                    kind.collection,
                    message.name,
                ),
            )
            if cursor.rowcount == 0:
                raise _not_found(kind, message.name)

    def get(self, kind: Kind, name: str) -> Raw:
        """A resource, as a message of its own that may be changed.

        Raises:
            ApiError: NOT_FOUND.
        """
        found = self.find(kind, name)
        if found is None:
            raise _not_found(kind, name)
        return found

    def find(self, kind: Kind, name: str) -> Raw | None:
        """A resource, or None if there is none of that name."""
        with self._lock:
            row = self._connection.execute(
                "SELECT message FROM resources WHERE collection = ? AND name = ?", (kind.collection, name)
            ).fetchone()
        return None if row is None else kind.message.FromString(row[0])

    def delete(self, kind: Kind, name: str) -> None:
        """Drop a resource.

        Raises:
            ApiError: NOT_FOUND.
        """
        with self.transaction():
            cursor = self._connection.execute(
                "DELETE FROM resources WHERE collection = ? AND name = ?", (kind.collection, name)
            )
            if cursor.rowcount == 0:
                raise _not_found(kind, name)

    def delete_all(self, kind: Kind, parent: str) -> None:
        """Drop every resource of a kind below ``parent``."""
        with self.transaction():
            self._connection.execute(
                "DELETE FROM resources WHERE collection = ? AND parent = ?", (kind.collection, parent)
            )

    def prune(self, kind: Kind, *, keep: int, but_not: Kind) -> None:
        """Drop all but the newest resources of a kind.

        Args:
            kind: What to drop.
            keep: How many to leave.
            but_not: Resources that one of this kind shares its name with stay, however old.
        """
        with self.transaction():
            self._connection.execute(
                "DELETE FROM resources WHERE collection = ?1 AND sequence <= (SELECT sequence FROM resources"
                " WHERE collection = ?1 ORDER BY sequence DESC LIMIT 1 OFFSET ?2)"
                " AND name NOT IN (SELECT name FROM resources WHERE collection = ?3)",
                (kind.collection, keep, but_not.collection),
            )

    def all(self, kind: Kind, parent: str | None = None) -> list[Raw]:
        """Every resource of a kind, oldest first; only those below ``parent`` when it is given."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT message FROM resources WHERE collection = ?1 AND (?2 IS NULL OR parent = ?2)"
                " ORDER BY sequence",
                (kind.collection, parent),
            ).fetchall()
        return [kind.message.FromString(row[0]) for row in rows]

    def with_display_name(self, kind: Kind, parent: str, display_name: str) -> list[Raw]:
        """The resources of a kind below ``parent`` that are called so, oldest first."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT message FROM resources WHERE collection = ? AND parent = ? AND display_name = ?"
                " ORDER BY sequence",
                (kind.collection, parent, display_name),
            ).fetchall()
        return [kind.message.FromString(row[0]) for row in rows]

    def page(
        self,
        kind: Kind,
        parent: str,
        request: PageRequest,
        *,
        matches: Predicate | None = None,
        view: Callable[[Raw], Raw] | None = None,
    ) -> tuple[list[Raw], str]:
        """One page of the resources below ``parent``, newest first unless asked otherwise.

        A page begins where the one before ended, whatever was created or deleted in between: nothing
        that stayed is shown twice or left out.

        Args:
            kind: What to list.
            parent: Resource name of what they belong to.
            request: Size, token and order.
            matches: The filter; None for all.
            view: Makes what is shown, and filtered, of what is kept.

        Returns:
            The page, and the token of the next; an empty one after the last.

        Raises:
            ApiError: INVALID_ARGUMENT, the size is negative or the token is none of this list's.
        """
        if request.size < 0:
            raise invalid(f"page_size is {request.size}, and has to be 0 or more.")
        size = min(request.size or _DEFAULT_PAGE, _LARGEST_PAGE)
        order = [*request.order_by, ("sequence", not request.oldest_first)]
        fingerprint = hashlib.sha256(
            json.dumps([kind.collection, parent, order, request.fingerprint]).encode()
        ).hexdigest()[:16]
        after = _read_token(request.token, fingerprint, order) if request.token else None
        found: list[Raw] = []
        last: Sequence[str | int] = ()
        batch = size + 1 if matches is None else _BATCH
        while True:
            rows = self._rows(kind, parent, order, after, limit=batch)
            for serialised, *place in rows:
                shown = kind.message.FromString(serialised)
                if view is not None:
                    shown = view(shown)
                if matches is not None and not matches(shown):
                    continue
                if len(found) == size:
                    return found, _token(fingerprint, last)
                found.append(shown)
                last = place
            if len(rows) < batch:
                return found, ""
            after = rows[-1][1:]

    def next_number(self, counter: str) -> int:
        """The next number of a durable counter, from 1; none is ever given twice."""
        with self.transaction():
            row = self._connection.execute(
                "INSERT INTO counters (name, value) VALUES (?, 1)"
                " ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
                (counter,),
            ).fetchone()
        return int(row[0])

    def forget_counter(self, counter: str) -> None:
        """Drop a counter, with what it counted for."""
        with self.transaction():
            self._connection.execute("DELETE FROM counters WHERE name = ?", (counter,))

    def _rows(
        self,
        kind: Kind,
        parent: str,
        order: Sequence[tuple[str, bool]],
        after: Sequence[str | int] | None,
        limit: int,
    ) -> list[Any]:
        columns = [name for name, _ in order]
        values: list[str | int] = [kind.collection, parent]
        condition = ""
        if after is not None:
            # Keyset: equal in the first columns, past it in the next; for each number of equal ones.
            alternatives = []
            for index, (name, descending) in enumerate(order):
                equal = [f"{column} = ?" for column in columns[:index]]
                alternatives.append(" AND ".join([*equal, f"{name} {'<' if descending else '>'} ?"]))
                values.extend(after[: index + 1])
            condition = f" AND (({') OR ('.join(alternatives)}))"
        ordering = ", ".join(f"{name} {'DESC' if descending else 'ASC'}" for name, descending in order)
        query = (
            f"SELECT message, {', '.join(columns)} FROM resources WHERE collection = ? AND parent = ?"  # noqa: S608 - column names are from ORDERABLE, values are bound
            f"{condition} ORDER BY {ordering} LIMIT ?"
        )
        with self._lock:
            return self._connection.execute(query, (*values, limit)).fetchall()


def check_etag(current: Raw, etag: str) -> None:
    """Refuse a change that was made from an older state of a resource.

    Source: https://google.aip.dev/154

    Args:
        current: The resource as it is.
        etag: The etag in the request; an empty one overwrites blindly.

    Raises:
        ApiError: ABORTED, the resource has changed since.
    """
    if etag and etag != current.etag:
        raise ApiError(
            Code.ABORTED,
            f'The etag "{etag}" does not match the current etag "{current.etag}" of {current.name}: '
            "it has been changed since it was read. Get it again and retry.",
        )


def _reserve(path: Path) -> None:
    """Take the room on the disk that a database's write-ahead log needs.

    SQLite ignores what is behind the log's end.
    """
    with suppress(OSError), Path(f"{path}-wal").open("r+b") as log:
        # Where it cannot be reserved, it is taken as it is needed.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(log.fileno(), 0, _RESERVED_BYTES)


def _stamp(message: Raw, *, created: int | None = None, updated: int | None = None) -> None:
    """Fill in the times that the message has fields for, and renew its etag when it is updated."""
    fields = message.DESCRIPTOR.fields_by_name
    if updated is not None and "etag" in fields:
        message.etag = "AMEw" + secrets.token_urlsafe(18)
    if created is not None and "create_time" in fields:
        message.create_time.FromNanoseconds(created // 1000 * 1000)
    if updated is not None and "update_time" in fields:
        message.update_time.FromNanoseconds(updated // 1000 * 1000)


def _not_found(kind: Kind, name: str) -> ApiError:
    return ApiError(Code.NOT_FOUND, f"The {kind.title} {name} does not exist.")


def _token(fingerprint: str, last: Sequence[str | int]) -> str:
    return base64.urlsafe_b64encode(json.dumps([fingerprint, *last]).encode()).decode()


def _read_token(token: str, fingerprint: str, order: Sequence[tuple[str, bool]]) -> list[str | int]:
    try:
        whose, *values = json.loads(base64.urlsafe_b64decode(token.encode()))
        after: list[str | int] = values
    except (ValueError, TypeError, binascii.Error, RecursionError):
        whose, after = None, []
    expected = [str if name == "display_name" else int for name, _ in order]
    if whose != fingerprint or [type(value) for value in after] != expected:
        raise invalid(
            f'Invalid page_token "{token}": it has to be the next_page_token of the same list request.'
        )
    return after
