"""Objects over plain files, durable against the death of the process.

An object is a file at ``<data_dir>/gcs/<bucket>/<name>``, which any process may read and write. Its
metadata is a row that names the very file (inode, size, modification time). A file without a row was
written from outside and is an object all the same. A write goes

    temporary file and checksums -> row -> rename -> rows of the files that were there before

so that what has been acknowledged survives a SIGKILL, and what has not is either whole or absent:
before the rename the old file still has its row, behind it the new one has.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from vertexkit._core.names import object_name_problem
from vertexkit.emulator.gcs import errors, listing, names, spelling, times
from vertexkit.emulator.gcs.buckets import Buckets
from vertexkit.emulator.gcs.checksums import NOTHING_ANNOUNCED, Announced, crc32c_of_file
from vertexkit.emulator.gcs.conditions import UNCONDITIONAL, Conditions
from vertexkit.emulator.gcs.files import ObjectFiles, Reached
from vertexkit.emulator.gcs.folders import Folders
from vertexkit.emulator.gcs.index import Index
from vertexkit.emulator.gcs.lookup import OrderedLookup
from vertexkit.emulator.gcs.records import (
    DEFAULT_CONTENT_TYPE,
    BucketInfo,
    ObjectInfo,
    Rows,
    from_outside,
    identity_of,
    matching,
)
from vertexkit.emulator.gcs.staging import Staged, StagingArea

_READ_BYTES = 1 << 20
_ODD_BATCH = 1000


class Attributes(NamedTuple):
    """The metadata that a new object gets."""

    content_type: str = DEFAULT_CONTENT_TYPE
    properties: str = ""
    """Every other writable field of the API's object resource, as JSON."""


class ObjectStore:
    """Buckets and objects below one data directory. Thread-safe.

    One process at a time may own a data directory; any number may read and write the files in it.
    """

    def __init__(self, data_dir: Path) -> None:
        root = data_dir / "gcs"
        odd = data_dir / "gcs-odd"
        self.uploads_dir = data_dir / "gcs-uploads"
        for folder in (root, odd, self.uploads_dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._staging = StagingArea(self.uploads_dir / "staging")
        self._folders = Folders(root, spelling.probed(self.uploads_dir))
        self._files = ObjectFiles(self._folders, odd)
        self._lister = listing.Lister(self._folders)
        self.index = Index(data_dir / "gcs.sqlite")
        self.lock = threading.RLock()
        """Held around every use of the index."""
        self._buckets = Buckets(self.index.buckets(), self.index.put_bucket)
        for bucket in self.index.buckets():
            self._folders.create(bucket.name)
        self._last_generation = 0
        self._writes = 0

    def close(self) -> None:
        """Close the files. Nothing needs saving."""
        with self.lock:
            self.index.close()
            self._folders.close()

    # Buckets

    def bucket_exists(self, bucket: str) -> bool:
        """Whether there is such a bucket."""
        return bucket in self._buckets

    def bucket(self, name: str) -> BucketInfo:
        """One bucket. Raises StorageError: 404."""
        return self._buckets.get(name)

    def buckets(self, project: str, prefix: str = "") -> list[BucketInfo]:
        """The buckets of a project, given by id or number, by name."""
        with self.lock:
            return self._buckets.list(project, prefix)

    def create_bucket(
        self,
        name: str,
        project: str,
        *,
        location: str = "US",
        storage_class: str = "STANDARD",
        attributes: dict[str, object] | None = None,
    ) -> BucketInfo:
        """Create a bucket. Raises StorageError: 400 or 409."""
        with self.lock:
            bucket = self._buckets.create(name, project, location, storage_class, attributes or {})
            self._folders.create(name)
            return bucket

    def update_bucket(
        self, name: str, change: Callable[[BucketInfo], BucketInfo], conditions: Conditions = UNCONDITIONAL
    ) -> BucketInfo:
        """Change a bucket's metadata. Raises StorageError: 404 or 412."""
        with self.lock:
            return self._buckets.update(name, change, conditions)

    def delete_bucket(self, name: str, conditions: Conditions = UNCONDITIONAL) -> None:
        """Delete an empty bucket. Raises StorageError: 404, 409 or 412."""
        with self.lock:
            conditions.check_bucket(self._buckets.get(name))
            occupied = self.page(name, listing.Query(limit=1)).items
            # The folder may hold what is no object (a pipe, a link); that is not ours to delete either.
            if occupied or not self._folders.remove_folder(name):
                raise errors.conflict("The bucket you tried to delete is not empty.", "BucketNotEmpty")
            self.index.drop_bucket(name)
            self._buckets.forget(name)

    # Reading

    def find(self, bucket: str, name: str) -> ObjectInfo | None:
        """The object of a name, or None."""
        with self.lock, self._files.reach(bucket, name) as place:
            return self._current(bucket, name, self.index.objects(bucket, name), place)

    def _current(self, bucket: str, name: str, rows: Rows, place: Reached) -> ObjectInfo | None:
        """The object of a name, of which ``rows`` are all the rows and ``place`` is the plain path."""
        status = place.status()
        if status is not None:
            return matching(rows, identity_of(status)) or from_outside(bucket, name, status)
        odd = [row for row in rows if row.odd]
        identity = self._files.odd_identity(bucket, name) if odd else None
        return None if identity is None else matching(odd, identity)

    def get(
        self,
        bucket: str,
        name: str,
        *,
        generation: int | None = None,
        conditions: Conditions = UNCONDITIONAL,
    ) -> ObjectInfo:
        """The object of a name, for an answer that holds its metadata.

        Raises:
            StorageError: 404, 412, or 304 if the reader has it already.
        """
        info = self._existing(bucket, name, generation)
        conditions.check_read(info)
        return info

    def open(
        self,
        bucket: str,
        name: str,
        *,
        generation: int | None = None,
        conditions: Conditions = UNCONDITIONAL,
    ) -> tuple[ObjectInfo, int]:
        """An object with an open descriptor of its file, which a later write or delete leaves whole.

        Raises:
            StorageError: 404, 412, or 304 if the reader has it already.
        """
        with self.lock:
            info = self.get(bucket, name, generation=generation, conditions=conditions)
            try:
                fd = self._files.open(info)
            except OSError:
                raise errors.no_such_object(bucket, name) from None
            status = os.fstat(fd)
            if identity_of(status) != info.identity:
                # Replaced from outside in this instant: what the descriptor holds is what is served.
                info = from_outside(bucket, name, status)
            return info, fd

    def with_crc32c(self, info: ObjectInfo) -> ObjectInfo:
        """The object with its crc32c, which for a file from outside is computed once and kept."""
        if info.crc32c is not None:
            return info
        try:
            fd = self._files.open(info)
        except OSError:
            return info
        try:
            crc32c = crc32c_of_file(fd)
            # A file changed this short a time ago may change again and keep its modification time.
            settled = time.time_ns() - info.identity.mtime_ns > listing.SETTLED_NS
            unchanged = settled and identity_of(os.fstat(fd)) == info.identity
        finally:
            os.close(fd)
        hashed = info._replace(crc32c=crc32c, known=True)
        if unchanged:
            with self.lock:
                current = self.find(info.bucket, info.name)
                if current is not None and current.crc32c is None and current.identity == info.identity:
                    self.index.put_object(current._replace(crc32c=hashed.crc32c))
        return hashed

    def page(self, bucket: str, query: listing.Query) -> listing.Page:
        """One page of a bucket's listing. Raises StorageError: 404."""
        self._buckets.get(bucket)

        def ordered(start: str) -> Iterator[str]:
            start = max(start, query.start)
            plain = self._lister.plain_names(bucket, query.prefix, start)
            return listing.merged(plain, self._odd_names(bucket, query.prefix, start))

        def find(name: str) -> ObjectInfo | None:
            if object_name_problem(name) is not None:
                # A file from outside may have a name that the API cannot say.
                return None
            # Behind a delimiter the names are far apart, and reading ahead would be in vain.
            return (None if query.delimiter else ahead.find(name)) or self.find(bucket, name)

        with OrderedLookup(
            bucket, self._folders, self._rows_from, lambda: self._writes, query.limit + 1
        ) as ahead:
            return listing.page(query, ordered, find)

    def _rows_from(self, bucket: str, name: str, limit: int) -> tuple[int, Rows]:
        """Rows of a bucket from a name on, and how many writes there had been."""
        with self.lock:
            return self._writes, self.index.objects_from(bucket, name, limit)

    def list(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object whose name starts with ``prefix``, in order. Raises StorageError: 404."""
        start: str | None = ""
        while start is not None:
            page = self.page(bucket, listing.Query(prefix=prefix, start=start))
            yield from page.items
            start = page.next_start

    def read(self, bucket: str, name: str) -> bytes:
        """The content of an object. Raises StorageError: 404."""
        info, fd = self.open(bucket, name)
        with os.fdopen(fd, "rb") as file:
            return file.read(info.size)

    def copy_tree(self, bucket: str, prefix: str, destination: Path) -> int:
        """Copy every object below a prefix into a folder, which becomes a private copy of it.

        Args:
            bucket: The bucket.
            prefix: ``a/b`` copies the object ``a/b/c`` to ``destination/c``; empty for the whole bucket.
            destination: The folder, made if it is missing.

        Returns:
            The number of objects copied. Markers of empty folders (``a/b/``) are not objects to copy.

        Raises:
            StorageError: 404 for a bucket that does not exist; 400 for a name that would leave the folder,
                or that no path can hold.
        """
        base = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
        destination.mkdir(parents=True, exist_ok=True)
        copied = 0
        for info in self.list(bucket, base):
            inside = info.name[len(base) :]
            if not inside or (inside.endswith("/") and info.size == 0):
                continue
            components = names.path_components(inside)
            if components is None:
                raise errors.invalid(f"gs://{bucket}/{info.name} has no place in a folder.")
            target = destination.joinpath(*components)
            target.parent.mkdir(parents=True, exist_ok=True)
            _, fd = self.open(bucket, info.name, generation=info.generation)
            with os.fdopen(fd, "rb") as source, target.open("xb") as copy:
                shutil.copyfileobj(source, copy, _READ_BYTES)
            copied += 1
        return copied

    # Writing

    def stage(self) -> Staged:
        """A temporary file to fill, then to ``commit`` or to ``discard``."""
        return self._staging.new()

    def write(
        self,
        bucket: str,
        name: str,
        data: bytes,
        content_type: str | None = None,
        *,
        attributes: Attributes | None = None,
        conditions: Conditions = UNCONDITIONAL,
        announced: Announced = NOTHING_ANNOUNCED,
    ) -> ObjectInfo:
        """Write an object that is in memory. Raises StorageError: 400, 404 or 412."""
        staged = self.stage()
        try:
            staged.write(data)
            given = attributes or Attributes(content_type or DEFAULT_CONTENT_TYPE)
            return self.commit(bucket, name, staged, given, conditions=conditions, announced=announced)
        finally:
            staged.discard()

    def commit(
        self,
        bucket: str,
        name: str,
        staged: Staged,
        attributes: Attributes,
        *,
        conditions: Conditions = UNCONDITIONAL,
        announced: Announced = NOTHING_ANNOUNCED,
    ) -> ObjectInfo:
        """Make a staged file the object of a name.

        Raises:
            StorageError: 400 for an impossible name or for bytes that are not those announced,
                404 for a bucket that does not exist, 412 for a precondition that does not hold.
        """
        names.checked_name(name)
        crc32c, md5 = staged.crc32c, staged.md5
        announced.verify(crc32c, md5)
        identity = staged.close()
        with self.lock, self._files.reach(bucket, name) as place:
            self._buckets.get(bucket)
            rows = self.index.objects(bucket, name)
            current = self._current(bucket, name, rows, place)
            conditions.check(current)
            now = times.now_us()
            info = ObjectInfo(
                bucket=bucket,
                name=name,
                generation=self._next_generation(now, current),
                metageneration=1,
                size=identity.size,
                crc32c=crc32c,
                md5=md5,
                content_type=attributes.content_type,
                created_us=now,
                updated_us=now,
                properties=attributes.properties,
                identity=identity,
                odd=not place.is_possible,
            )
            info = self._place(info, staged.path, rows, place)
            staged.is_placed = True
            return info

    def _place(self, info: ObjectInfo, path: str, rows: Rows, place: Reached) -> ObjectInfo:
        """Row, rename, and then away with ``rows``, those of the files that were there before."""
        self._writes += 1
        self.index.put_object(info)
        if not place.place(path):
            if not info.odd:
                info = info._replace(odd=True)
                self.index.put_object(info)
            self._files.place_oddly(path, info.bucket, info.name)
        if rows:
            self.index.drop_others(info)
        if not info.odd and any(row.odd for row in rows):
            self._files.remove_odd(info.bucket, info.name)
        return info

    def update(
        self,
        bucket: str,
        name: str,
        change: Callable[[ObjectInfo], ObjectInfo],
        *,
        generation: int | None = None,
        conditions: Conditions = UNCONDITIONAL,
    ) -> ObjectInfo:
        """Change an object's metadata. Raises StorageError: 404 or 412."""
        with self.lock:
            info = self._existing(bucket, name, generation)
            conditions.check(info)
            changed = change(info)._replace(
                metageneration=info.metageneration + 1, updated_us=times.now_us(), known=True
            )
            self.index.put_object(changed)
            return changed

    def delete(
        self,
        bucket: str,
        name: str,
        *,
        generation: int | None = None,
        conditions: Conditions = UNCONDITIONAL,
    ) -> None:
        """Delete an object. Raises StorageError: 404 or 412."""
        with self.lock:
            info = self._existing(bucket, name, generation)
            conditions.check(info)
            self._remove(info)

    def move(
        self,
        bucket: str,
        source: str,
        target: str,
        *,
        source_conditions: Conditions = UNCONDITIONAL,
        conditions: Conditions = UNCONDITIONAL,
    ) -> ObjectInfo:
        """Rename an object in one step. Raises StorageError: 400, 404 or 412."""
        names.checked_name(target)
        with self.lock, self._files.reach(bucket, target) as place:
            moving = self._existing(bucket, source, None)
            source_conditions.check(moving)
            rows = self.index.objects(bucket, target)
            current = self._current(bucket, target, rows, place)
            conditions.check(current)
            if source == target:
                raise errors.invalid("The source and destination object names must be different.")
            now = times.now_us()
            moved = moving._replace(
                name=target,
                generation=self._next_generation(now, current),
                metageneration=1,
                created_us=now,
                updated_us=now,
                odd=not place.is_possible,
                known=True,
            )
            moved = self._place(moved, self._files.path(moving), rows, place)
            self._remove(moving)
            return moved

    def _remove(self, info: ObjectInfo) -> None:
        """Remove the files of a name, the hidden one first, and then its rows."""
        if any(row.odd for row in self.index.objects(info.bucket, info.name)):
            self._files.remove_odd(info.bucket, info.name)
        if not info.odd:
            self._files.remove_plain(info.bucket, info.name)
        self.index.drop_objects(info.bucket, info.name)

    def _existing(self, bucket: str, name: str, generation: int | None) -> ObjectInfo:
        self._buckets.get(bucket)
        info = self.find(bucket, name)
        if info is None or generation not in (None, info.generation):
            raise errors.no_such_object(bucket, name if generation is None else f"{name}#{generation}")
        return info

    def _next_generation(self, now: int, current: ObjectInfo | None) -> int:
        before = max(self._last_generation, current.generation if current is not None else 0)
        self._last_generation = max(now, before + 1)
        return self._last_generation

    def _odd_names(self, bucket: str, prefix: str, start: str) -> Iterator[str]:
        at = max(prefix, start)
        while True:
            with self.lock:
                batch = self.index.odd_names(bucket, at, _ODD_BATCH)
            for name in batch:
                if not name.startswith(prefix):
                    return
                yield name
            if len(batch) < _ODD_BATCH:
                return
            at = batch[-1] + "\0"
