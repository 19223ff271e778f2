"""Buckets in memory, for what is sent beside a job, or is a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from vertexkit import (
    batch_submission,
    bucket_checks,
    errors,
    job_creation,
    staging,
    training_packages,
    training_submission,
)
from vertexkit._transfer.values import ObjectInfo, UploadReport


class Storage:
    """Buckets in memory, in place of `vertexkit.storage`."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, bytes]] = {"my-bucket": {}}
        self.locations = {"my-bucket": "us-central1"}
        self.writes = 0
        self.uploading: BaseException | None = None
        """What an upload fails with, after its first file."""

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
        self.name, self.uri, self.location = name, f"gs://{name}", storage.locations[name]

    def list(self, prefix: str = "") -> list[ObjectInfo]:
        return [ObjectInfo(name, 1, "", 1) for name in self.objects if name.startswith(prefix)]

    def upload_dir(self, folder: str, prefix: str) -> UploadReport:
        for file in sorted(Path(folder).rglob("*")):
            if file.is_file():
                self.objects[f"{prefix}/{file.relative_to(folder)}"] = file.read_bytes()
                if self._storage.uploading is not None:
                    raise self._storage.uploading
        return UploadReport(f"{self.uri}/{prefix}", 1, 1, 0, 1, 0.1)

    def write(self, name: str, data: str | bytes, *, content_type: str | None = None) -> str:
        self._storage.writes += 1
        self.objects[name] = data if isinstance(data, bytes) else data.encode()
        return f"{self.uri}/{name}"

    def read(self, name: str) -> bytes:
        return self.objects[name]

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
    """What jobs and models are sent to from now on."""
    storage = Storage()
    for module in (batch_submission, bucket_checks, staging, training_packages, training_submission):
        monkeypatch.setattr(module, "Buckets", lambda _: storage)
    for module in (job_creation, staging, training_packages):
        monkeypatch.setattr(module, "Bucket", lambda _, name: storage.get(name))
    return storage
