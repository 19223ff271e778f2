"""Buckets: rows, and the rule that only an empty one can be deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from vertexkit._core.names import bucket_name_problem
from vertexkit.emulator.gcs import errors, times
from vertexkit.emulator.gcs.conditions import UNCONDITIONAL, Conditions
from vertexkit.emulator.gcs.records import BucketInfo
from vertexkit.emulator.projects import project_number


class Buckets:
    """The buckets of a store. The caller holds the store's lock."""

    def __init__(self, rows: Iterable[BucketInfo], write: Callable[[BucketInfo], None]) -> None:
        # A bucket is asked for with every request, and changed rarely: the rows are kept in memory.
        self._buckets = {bucket.name: bucket for bucket in rows}
        self._write = write

    def __contains__(self, name: str) -> bool:
        return name in self._buckets

    def get(self, name: str) -> BucketInfo:
        """One bucket.

        Raises:
            StorageError: 404.
        """
        bucket = self._buckets.get(name)
        if bucket is None:
            raise errors.no_such_bucket()
        return bucket

    def list(self, project: str, prefix: str = "") -> list[BucketInfo]:
        """The buckets of a project, given by id or number, by name."""
        number = project_number(project)
        return [
            bucket
            for name, bucket in sorted(self._buckets.items())
            if name.startswith(prefix) and project_number(bucket.project) == number
        ]

    def create(
        self, name: str, project: str, location: str, storage_class: str, attributes: dict[str, Any]
    ) -> BucketInfo:
        """Create a bucket.

        Raises:
            StorageError: 400 for an impossible name, 409 for one that is taken.
        """
        problem = bucket_name_problem(name)
        if problem is not None:
            raise errors.invalid(f"Invalid bucket name: '{name}': {problem}.", xml_code="InvalidBucketName")
        taken = self._buckets.get(name)
        if taken is not None:
            raise errors.conflict(_taken(taken, project), "BucketAlreadyOwnedByYou")
        now = times.now_us()
        properties = orjson.dumps(attributes).decode()
        return self._put(
            BucketInfo(name, project, location.upper(), storage_class, 1, now, now, properties, "")
        )

    def update(
        self, name: str, change: Callable[[BucketInfo], BucketInfo], conditions: Conditions = UNCONDITIONAL
    ) -> BucketInfo:
        """Change a bucket's metadata.

        Raises:
            StorageError: 404 or 412.
        """
        bucket = self.get(name)
        conditions.check_bucket(bucket)
        changed = change(bucket)
        return self._put(
            changed._replace(metageneration=bucket.metageneration + 1, updated_us=times.now_us())
        )

    def forget(self, name: str) -> None:
        """Forget a bucket whose row is gone."""
        del self._buckets[name]

    def _put(self, bucket: BucketInfo) -> BucketInfo:
        self._write(bucket)
        self._buckets[bucket.name] = bucket
        return bucket


def _taken(taken: BucketInfo, project: str) -> str:
    if project_number(taken.project) == project_number(project):
        return "Your previous request to create the named bucket succeeded and you already own it."
    return (
        "The requested bucket name is not available. The bucket namespace is shared by all users of the "
        "system. Please select a different name and try again."
    )
