"""Requests that are refused: in the API's words, before anything has been changed."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.emulator.gcs.gcs_requests import Answer, ask
from vertexkit.emulator.gcs.app import storage_app
from vertexkit.emulator.gcs.store import ObjectStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    opened = ObjectStore(tmp_path / "data")
    opened.create_bucket("bucket", "project")
    opened.write("bucket", "a", b"content")
    yield opened
    opened.close()


@pytest.fixture
def request_(store: ObjectStore) -> Any:
    """Sends one request to the API over the store."""
    app = storage_app(store)

    def send(method: str, url: str, body: Any = b"", headers: Mapping[str, str] | None = None) -> Answer:
        return asyncio.run(ask(app, method, url, body, headers))

    return send


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_a_subresource_is_not_taken_for_the_object(request_: Any, store: ObjectStore, method: str) -> None:
    assert request_(method, "/bucket/a?acl", b"<AccessControlList/>").status == 501
    assert store.read("bucket", "a") == b"content"


def test_a_subresource_is_not_taken_for_the_bucket(request_: Any) -> None:
    assert request_("HEAD", "/bucket?acl").status == 501
    assert request_("HEAD", "/bucket").status == 200
