"""Buckets in memory, for what is sent beside a job."""

from __future__ import annotations

import pytest

from vertexkit import bucket_checks, errors, job_creation, training_packages, training_submission


class Storage:
    """Buckets in memory, in place of `vertexkit.storage`."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, bytes]] = {"my-bucket": {}}
        self.locations = {"my-bucket": "us-central1"}
        self.writes = 0

    def get(self, name: str) -> Folder:
        if name not in self.objects:
            raise errors.NotFound("no such bucket")
        return Folder(self, name)

    def default(self) -> Folder:
        return self.get("my-bucket")


class Folder:
    """One bucket in memory."""

    def __init__(self, storage: Storage, name: str) -> None:
        self._storage = storage
        self.objects = storage.objects[name]
        self.uri, self.location = f"gs://{name}", storage.locations[name]

    def write(self, name: str, data: bytes) -> None:
        self._storage.writes += 1
        self.objects[name] = data

    def exists(self, name: str) -> bool:
        return name in self.objects

    def delete(self, name: str) -> int:
        gone = [one for one in self.objects if one == name or one.startswith(f"{name}/")]
        if not gone:
            raise errors.NotFound(name)
        for one in gone:
            del self.objects[one]
        return len(gone)


def storage_in_memory(monkeypatch: pytest.MonkeyPatch) -> Storage:
    """What jobs are sent to from now on."""
    storage = Storage()
    for module in (bucket_checks, training_packages, training_submission):
        monkeypatch.setattr(module, "Buckets", lambda _: storage)
    for module in (training_packages, job_creation):
        monkeypatch.setattr(module, "Bucket", lambda _, name: storage.get(name))
    return storage
