"""The rows behind buckets, objects and unfinished uploads, in SQLite.

Rows are written without waiting for the disk: they survive the death of the process, which
is what the local Vertex AI promises, not that of the machine.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vertexkit.emulator.gcs.records import BucketInfo, Identity, ObjectInfo

_SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (
    name TEXT PRIMARY KEY, project TEXT NOT NULL, location TEXT NOT NULL, storage_class TEXT NOT NULL,
    metageneration INTEGER NOT NULL, created_us INTEGER NOT NULL, updated_us INTEGER NOT NULL,
    properties TEXT NOT NULL, policy TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL, metageneration INTEGER NOT NULL,
    size INTEGER NOT NULL, crc32c TEXT, md5 TEXT, content_type TEXT NOT NULL,
    created_us INTEGER NOT NULL, updated_us INTEGER NOT NULL, properties TEXT NOT NULL,
    inode INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, odd INTEGER NOT NULL,
    PRIMARY KEY (bucket, name, inode, size, mtime_ns)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS odd_objects ON objects (bucket, name) WHERE odd;
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, bucket TEXT NOT NULL, name TEXT NOT NULL,
    created_us INTEGER NOT NULL, request TEXT NOT NULL, outcome TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parts (
    upload TEXT NOT NULL, number INTEGER NOT NULL, size INTEGER NOT NULL, crc32c TEXT NOT NULL,
    md5 TEXT NOT NULL, file TEXT NOT NULL, updated_us INTEGER NOT NULL, PRIMARY KEY (upload, number)
) WITHOUT ROWID;
"""
_PUT_OBJECT = "INSERT OR REPLACE INTO objects VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
_THIS_OBJECT = "bucket=? AND name=? AND inode=? AND size=? AND mtime_ns=?"


class Index:
    """Rows by key. Not thread-safe: the store's lock is held around every call."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def buckets(self) -> list[BucketInfo]:
        """Every bucket, by name."""
        return [BucketInfo(*row) for row in self._db.execute("SELECT * FROM buckets ORDER BY name")]

    def put_bucket(self, bucket: BucketInfo) -> None:
        """Write a bucket's row, in place of the one it had."""
        self._db.execute("INSERT OR REPLACE INTO buckets VALUES (?,?,?,?,?,?,?,?,?)", bucket)

    def drop_bucket(self, name: str) -> None:
        """Drop a bucket, with the rows of files that are no longer there."""
        self._db.execute("BEGIN")
        self._db.execute("DELETE FROM objects WHERE bucket=?", (name,))
        self._db.execute("DELETE FROM buckets WHERE name=?", (name,))
        self._db.execute("COMMIT")

    def objects(self, bucket: str, name: str) -> list[ObjectInfo]:
        """Every row of a name; at most one of them matches the file that is there."""
        rows = self._db.execute("SELECT * FROM objects WHERE bucket=? AND name=?", (bucket, name))
        return [_object(row) for row in rows.fetchall()]

    def objects_from(self, bucket: str, start: str, limit: int) -> list[ObjectInfo]:
        """Up to ``limit`` rows of names from ``start`` on, in order."""
        rows = self._db.execute(
            "SELECT * FROM objects WHERE bucket=? AND name>=? ORDER BY name LIMIT ?", (bucket, start, limit)
        )
        return [_object(row) for row in rows.fetchall()]

    def odd_names(self, bucket: str, start: str, limit: int) -> list[str]:
        """Up to ``limit`` odd names from ``start`` on, in order."""
        rows = self._db.execute(
            "SELECT DISTINCT name FROM objects WHERE odd AND bucket=? AND name>=? ORDER BY name LIMIT ?",
            (bucket, start, limit),
        )
        return [name for (name,) in rows.fetchall()]

    def put_object(self, info: ObjectInfo) -> None:
        """Write the row of one file, in place of the one it had."""
        identity = info.identity
        self._db.execute(_PUT_OBJECT, (*info[:11], identity.inode, identity.mtime_ns, info.odd))

    def drop_objects(self, bucket: str, name: str) -> None:
        """Drop every row of a name."""
        self._db.execute("DELETE FROM objects WHERE bucket=? AND name=?", (bucket, name))

    def drop_others(self, info: ObjectInfo) -> None:
        """Drop every row of the object's name but that of the file it is in now."""
        self._db.execute(
            f"DELETE FROM objects WHERE bucket=? AND name=? AND NOT ({_THIS_OBJECT})",  # noqa: S608 (a constant)
            (info.bucket, info.name, info.bucket, info.name, *info.identity),
        )

    def put_upload(self, upload: tuple[str, str, str, str, int, str, str]) -> None:
        """Write an upload's row: id, kind, bucket, name, created_us, request, outcome."""
        self._db.execute("INSERT OR REPLACE INTO uploads VALUES (?,?,?,?,?,?,?)", upload)

    def upload(self, upload_id: str, kind: str) -> tuple[Any, ...] | None:
        """One upload."""
        rows = self._db.execute("SELECT * FROM uploads WHERE id=? AND kind=?", (upload_id, kind))
        row: tuple[Any, ...] | None = rows.fetchone()
        return row

    def uploads(self, kind: str, bucket: str | None = None) -> Iterator[tuple[Any, ...]]:
        """Every upload of a kind, of one bucket or of all."""
        yield from self._db.execute(
            "SELECT * FROM uploads WHERE kind=? AND bucket=coalesce(?, bucket) ORDER BY bucket, name, id",
            (kind, bucket),
        ).fetchall()

    def uploads_before(self, kind: str, before_us: int) -> list[str]:
        """The ids of uploads of a kind that were started, and got their last part, before a moment."""
        rows = self._db.execute(
            "SELECT id FROM uploads WHERE kind=? AND created_us<? AND NOT EXISTS"
            " (SELECT 1 FROM parts WHERE upload=id AND updated_us>=?)",
            (kind, before_us, before_us),
        )
        return [upload_id for (upload_id,) in rows.fetchall()]

    def drop_upload(self, upload_id: str) -> None:
        """Drop an upload and its parts."""
        self._db.execute("BEGIN")
        self._db.execute("DELETE FROM parts WHERE upload=?", (upload_id,))
        self._db.execute("DELETE FROM uploads WHERE id=?", (upload_id,))
        self._db.execute("COMMIT")

    def put_part(self, part: tuple[str, int, int, str, str, str, int]) -> None:
        """Write a part's row: upload, number, size, crc32c, md5, file, updated_us."""
        self._db.execute("INSERT OR REPLACE INTO parts VALUES (?,?,?,?,?,?,?)", part)

    def parts(self, upload_id: str) -> list[tuple[Any, ...]]:
        """The parts of an upload, by number."""
        return self._db.execute("SELECT * FROM parts WHERE upload=? ORDER BY number", (upload_id,)).fetchall()


def _object(row: tuple[Any, ...]) -> ObjectInfo:
    return ObjectInfo._make((*row[:11], Identity(row[11], row[4], row[12]), bool(row[13]), True))
