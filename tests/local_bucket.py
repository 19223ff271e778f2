"""A bucket of the local Cloud Storage, by plain HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import requests


class Bucket:
    """A new bucket of a project.

    Args:
        address: Where the local Cloud Storage is.
        project: Whose it is to be.
        name: What it is to be called; by its project if this is not given.
    """

    def __init__(self, address: str, project: str, name: str = "") -> None:
        self.bucket = name or f"batch-{project}"
        self._address = address
        answer = requests.post(f"{address}/storage/v1/b?project={project}", json={"name": self.bucket})
        assert answer.ok, answer.text

    @classmethod
    def at(cls, address: str, project: str, name: str = "") -> Bucket:
        """A bucket of a project that is there already, as of another emulator on the same data."""
        bucket = cls.__new__(cls)
        bucket.bucket, bucket._address = name or f"batch-{project}", address
        return bucket

    def put(self, name: str, data: bytes) -> str:
        """Write an object; its URI."""
        requests.post(
            f"{self._address}/upload/storage/v1/b/{self.bucket}/o",
            params={"uploadType": "media", "name": name},
            data=data,
        ).raise_for_status()
        return f"gs://{self.bucket}/{name}"

    def put_folder(self, name: str, folder: Path) -> str:
        for path in folder.rglob("*"):
            if path.is_file():
                self.put(f"{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())
        return f"gs://{self.bucket}/{name}"

    def names(self, prefix: str = "") -> list[str]:
        answer = requests.get(f"{self._address}/storage/v1/b/{self.bucket}/o", params={"prefix": prefix})
        return [item["name"] for item in answer.json().get("items", [])]

    def delete_all(self, prefix: str) -> list[str]:
        """Delete the objects of a prefix; their names."""
        names = self.names(prefix)
        for name in names:
            requests.delete(self._url(name)).raise_for_status()
        return names

    def text(self, name: str) -> str:
        answer = requests.get(self._url(name), params={"alt": "media"})
        assert answer.ok, answer.text
        return answer.text

    def files(self, directory: str, kind: str) -> list[str]:
        """The contents of a batch prediction's files of a kind, in order."""
        inside = directory.removeprefix(f"gs://{self.bucket}/")
        return [self.text(name) for name in self.names(f"{inside}/prediction.{kind}-")]

    def lines(self, directory: str, kind: str = "results") -> list[Any]:
        return [json.loads(line) for text in self.files(directory, kind) for line in text.splitlines()]

    def _url(self, name: str) -> str:
        quoted = requests.utils.quote(name, safe="")
        return f"{self._address}/storage/v1/b/{self.bucket}/o/{quoted}"
