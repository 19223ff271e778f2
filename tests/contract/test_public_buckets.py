"""Buckets that do not exist here, read from another Cloud Storage: a second server, over real HTTP."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.oauth2.credentials import Credentials
from storage_server import StorageServer, in_thread

from vertexkit.emulator.gcs.public import PublicBuckets

CONTENT = os.urandom(3_000_000)
NAME = "tf-keras-datasets/ä b+c.npz"


class Upstream:
    """Notes the requests that the real Cloud Storage would get, and refuses those for a private bucket."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def wrap(self, application: Any) -> Any:
        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                self.seen.append(scope)
                if b"private-bucket" in scope["raw_path"]:
                    await send({"type": "http.response.start", "status": 401, "headers": []})
                    await send({"type": "http.response.body", "body": b"Anonymous caller"})
                    return
            await application(scope, receive, send)

        return wrapped


@pytest.fixture(scope="module")
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[StorageServer]:
    """What stands for the real Cloud Storage, with a public bucket."""
    with in_thread(tmp_path_factory.mktemp("real"), wrap=upstream.wrap) as server:
        bucket = server.client().create_bucket("public-bucket")
        bucket.blob(NAME).upload_from_string(CONTENT, content_type="application/x-npz")
        for number in range(3):
            bucket.blob(f"many/{number}.txt").upload_from_string(f"{number}")
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, real: StorageServer) -> Iterator[StorageServer]:
    """The local Cloud Storage."""
    with (
        contextlib.closing(PublicBuckets(real.url)) as public,
        in_thread(tmp_path_factory.mktemp("local"), public=public) as running,
    ):
        yield running


@pytest.fixture
def bucket(server: StorageServer) -> Any:
    return server.client().bucket("public-bucket")


def test_an_object_is_read_by_its_plain_address(server: StorageServer) -> None:
    address = f"{server.url}/public-bucket/tf-keras-datasets/%C3%A4%20b%2Bc.npz"

    whole = requests.get(address, timeout=30)
    part = requests.get(address, headers={"Range": "bytes=10-19"}, timeout=30)
    head = requests.head(address, timeout=30)

    assert whole.content == CONTENT
    assert whole.headers["content-type"] == "application/x-npz"
    assert whole.headers["x-goog-hash"].startswith("crc32c=")
    assert (part.status_code, part.content) == (206, CONTENT[10:20])
    assert head.headers["content-length"] == str(len(CONTENT))
    assert head.content == b""


def test_googles_client_reads_and_lists_it(bucket: Any) -> None:
    blob = bucket.get_blob(NAME)

    # By the link in its metadata, which must lead back here, and by its name.
    assert blob.download_as_bytes() == CONTENT
    assert bucket.blob(NAME).download_as_bytes(start=5, end=9) == CONTENT[5:10]
    assert [found.name for found in bucket.list_blobs(prefix="many/", page_size=2)] == [
        "many/0.txt",
        "many/1.txt",
        "many/2.txt",
    ]
    assert not bucket.blob("no-such-object").exists()
    with pytest.raises(exceptions.NotFound):
        bucket.blob("no-such-object").download_as_bytes()


def test_its_links_lead_to_the_local_server(server: StorageServer) -> None:
    listing = requests.get(f"{server.url}/storage/v1/b/public-bucket/o", timeout=30).json()

    for item in listing["items"]:
        assert item["mediaLink"].startswith(f"{server.url}/download/")
        assert item["selfLink"].startswith(f"{server.url}/storage/")


def test_it_is_asked_without_credentials(server: StorageServer, upstream: Upstream, tmp_path: Path) -> None:
    from google.cloud import storage

    client = storage.Client(
        project="p", credentials=Credentials("secret"), client_options={"api_endpoint": server.url}
    )
    upstream.seen.clear()

    client.bucket("public-bucket").blob("many/1.txt").download_as_bytes()
    requests.get(
        f"{server.url}/storage/v1/b/public-bucket/o?access_token=secret",
        headers={"Cookie": "secret=1"},
        timeout=30,
    )

    # Google's client asks for the bucket besides, in the background.
    assert len(upstream.seen) >= 2
    for scope in upstream.seen:
        assert b"secret" not in scope["query_string"]
        assert not any(b"secret" in value for _, value in scope["headers"])


def test_metadata_in_a_batch_is_read_too(server: StorageServer) -> None:
    client = server.client()
    bucket = client.bucket("public-bucket")
    known = bucket.blob("many/2.txt")
    with client.batch():
        known.reload()
    assert known.size == 1


def test_nothing_is_written_to_it(bucket: Any, real: StorageServer) -> None:
    before = [blob.name for blob in real.client().list_blobs("public-bucket")]

    for write in (
        lambda: bucket.blob("new").upload_from_string("x"),
        lambda: bucket.blob(NAME).delete(),
        lambda: bucket.delete(),
    ):
        with pytest.raises(exceptions.Forbidden, match="only reads"):
            write()

    assert [blob.name for blob in real.client().list_blobs("public-bucket")] == before


def test_a_bucket_of_ones_own_hides_the_public_one(server: StorageServer, real: StorageServer) -> None:
    real.client().create_bucket("both-have-it").blob("x").upload_from_string("theirs")
    mine = server.client().create_bucket("both-have-it")

    assert not mine.blob("x").exists()
    mine.blob("x").upload_from_string("mine")
    assert mine.blob("x").download_as_bytes() == b"mine"
    assert real.client().bucket("both-have-it").blob("x").download_as_bytes() == b"theirs"


def test_a_bucket_that_is_nowhere_is_not_found(server: StorageServer, upstream: Upstream) -> None:
    nowhere = server.client().bucket("nowhere-at-all")

    assert not nowhere.exists()
    with pytest.raises(exceptions.NotFound):
        nowhere.blob("x").upload_from_string("x")
    assert requests.get(f"{server.url}/No_Bucket!/x", timeout=30).status_code == 404
    assert not any(b"No_Bucket" in scope["raw_path"] for scope in upstream.seen)


def test_a_bucket_that_is_not_public_is_forbidden(server: StorageServer) -> None:
    with pytest.raises(exceptions.Forbidden, match="not public"):
        server.client().bucket("private-bucket").blob("x").download_as_bytes()


def test_without_the_option_nothing_is_asked(tmp_path: Path, real: StorageServer, upstream: Upstream) -> None:
    with in_thread(tmp_path) as alone:
        answer = requests.get(f"{alone.url}/public-bucket/only-asked-for-here", timeout=30)

    assert answer.status_code == 404
    assert "could not be reached" not in answer.text
    assert not any(b"only-asked-for-here" in scope["raw_path"] for scope in upstream.seen)


def test_where_it_cannot_be_reached_the_404_says_so_and_soon(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    with (
        contextlib.closing(PublicBuckets(f"http://127.0.0.1:{closed}")) as public,
        in_thread(tmp_path, public=public) as alone,
    ):
        started = time.monotonic()
        answers = [requests.get(f"{alone.url}/tensorflow/{i}.npz", timeout=30) for i in range(20)]

        assert {answer.status_code for answer in answers} == {404}
        assert all("could not be reached (ConnectionError)" in answer.text for answer in answers)
        assert time.monotonic() - started < 5
        with pytest.raises(exceptions.NotFound, match="could not be reached"):
            alone.client().bucket("tensorflow").blob("x").upload_from_string("x")


def test_a_connection_that_breaks_in_the_middle_is_noticed(tmp_path: Path) -> None:
    def broken(application: Any) -> Any:
        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return
            length = [(b"content-length", b"1000000")]
            await send({"type": "http.response.start", "status": 200, "headers": length})
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
            raise ConnectionError("the real Cloud Storage has gone")

        return wrapped

    with (
        in_thread(tmp_path / "broken", wrap=broken) as real,
        contextlib.closing(PublicBuckets(real.url)) as public,
        in_thread(tmp_path / "local", public=public) as alone,
        pytest.raises(requests.RequestException),
    ):
        _ = requests.get(f"{alone.url}/public-bucket/x", timeout=30).content
