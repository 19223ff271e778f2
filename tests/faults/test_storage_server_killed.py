"""The Cloud Storage server, killed: what was acknowledged is there, what was not is whole or absent."""

import hashlib
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from storage_server import StorageServer, in_process

QUANTUM = 1 << 18
KILLS = 3


def put(server: StorageServer, name: str, content: bytes) -> requests.Response:
    return requests.put(f"{server.url}/bucket/{name}", data=content)


def make_bucket(server: StorageServer) -> None:
    requests.post(f"{server.url}/storage/v1/b?project=p", json={"name": "bucket"}).raise_for_status()


def listed(server: StorageServer) -> dict[str, Any]:
    """Every object by name."""
    return {blob.name: blob for blob in server.client().list_blobs("bucket")}


def unfinished(data_dir: Path) -> list[Path]:
    """Files of writes that have not become objects."""
    return [file for file in (data_dir / "gcs-uploads").rglob("*") if file.is_file()]


def sealed(body: bytes) -> bytes:
    """Content that says whether it is whole: its digest, and then the rest."""
    return hashlib.sha256(body).digest() + body


def is_whole(content: bytes) -> bool:
    return hashlib.sha256(content[32:]).digest() == content[:32]


def test_acknowledged_writes_survive_and_torn_ones_are_never_seen(tmp_path: Path) -> None:
    acknowledged: dict[str, bytes] = {}
    deleted: set[str] = set()
    for turn in range(KILLS):
        with in_process(tmp_path) as server:
            if turn == 0:
                make_bucket(server)
            threads = [
                threading.Thread(target=_keep_writing, args=(server, turn, number, acknowledged, deleted))
                for number in range(4)
            ]
            before = len(acknowledged)
            for thread in threads:
                thread.start()
            while len(acknowledged) < before + 60:
                assert any(thread.is_alive() for thread in threads)
                time.sleep(0.01)
            server.kill()
            for thread in threads:
                thread.join()
    with in_process(tmp_path) as server:
        found = listed(server)
        assert acknowledged.keys() - deleted <= found.keys()
        assert not deleted & found.keys()
        for name, blob in found.items():
            content = blob.download_as_bytes()
            assert is_whole(content), name
            assert blob.md5_hash is not None, "it was taken for a file from outside"
            if name in acknowledged and not name.startswith("shared"):
                assert content == acknowledged[name]
    assert not unfinished(tmp_path)


def _keep_writing(
    server: StorageServer, turn: int, number: int, acknowledged: dict[str, bytes], deleted: set[str]
) -> None:
    """Write, overwrite and delete until the server dies."""
    session = requests.Session()
    count = 0
    try:
        while True:
            count += 1
            size = 2_000_000 if count % 10 == 0 else 5_000
            for name in (f"own/{turn}-{number}/{count}", "shared/overwritten", f"odd//{number}"):
                content = sealed(os.urandom(size))
                answer = session.put(f"{server.url}/bucket/{name}", data=content)
                if answer.status_code == 200 and not name.startswith("odd"):
                    acknowledged[name] = content
            if count % 3 == 0:
                name = f"own/{turn}-{number}/{count}"
                # From here on it may be gone, acknowledged or not.
                content = acknowledged.pop(name)
                if session.delete(f"{server.url}/bucket/{name}").status_code == 204:
                    deleted.add(name)
    except requests.RequestException:
        pass


def test_a_resumable_upload_outlives_the_server(tmp_path: Path) -> None:
    content = os.urandom(5 * QUANTUM + 77)
    with in_process(tmp_path) as server:
        make_bucket(server)
        query = {"uploadType": "resumable", "name": "resumed", "ifGenerationMatch": "0"}
        resource = {"metadata": {"a": "1"}, "contentType": "text/a"}
        started = requests.post(f"{server.url}/upload/storage/v1/b/bucket/o", params=query, json=resource)
        path = started.headers["Location"].removeprefix(server.url)
        half = requests.put(
            f"{server.url}{path}",
            data=content[: 2 * QUANTUM],
            headers={"Content-Range": f"bytes 0-{2 * QUANTUM - 1}/*"},
        )
        assert half.status_code == 308
        server.kill()
    with in_process(tmp_path) as server:
        assert listed(server) == {}
        status = requests.put(f"{server.url}{path}", headers={"Content-Range": "bytes */*"})
        taken = int(status.headers["Range"].rpartition("-")[2]) + 1
        assert (status.status_code, taken) == (308, 2 * QUANTUM)
        span = f"bytes {taken}-{len(content) - 1}/{len(content)}"
        done = requests.put(f"{server.url}{path}", data=content[taken:], headers={"Content-Range": span})
        assert done.status_code == 200
        server.kill()
    with in_process(tmp_path) as server:
        again = requests.put(f"{server.url}{path}", headers={"Content-Range": "bytes */*"})
        assert again.json()["generation"] == done.json()["generation"]
        blob = listed(server)["resumed"]
        assert blob.download_as_bytes() == content
        assert (blob.metadata, blob.content_type) == ({"a": "1"}, "text/a")


def test_a_cancelled_upload_stays_cancelled(tmp_path: Path) -> None:
    with in_process(tmp_path) as server:
        make_bucket(server)
        query = {"uploadType": "resumable", "name": "cancelled"}
        started = requests.post(f"{server.url}/upload/storage/v1/b/bucket/o", params=query)
        path = started.headers["Location"].removeprefix(server.url)
        assert requests.delete(f"{server.url}{path}").status_code == 499
        server.kill()
    with in_process(tmp_path) as server:
        status = requests.put(f"{server.url}{path}", headers={"Content-Range": "bytes */*"})
        assert status.status_code == 499


def test_the_parts_of_a_multipart_upload_outlive_the_server(tmp_path: Path) -> None:
    with in_process(tmp_path) as server:
        make_bucket(server)
        url = f"{server.url}/bucket/parts"
        upload = requests.post(f"{url}?uploads").text.partition("<UploadId>")[2].partition("<")[0]
        etag = requests.put(url, params={"uploadId": upload, "partNumber": 1}, data=b"first").headers["ETag"]
        server.kill()
    with in_process(tmp_path) as server:
        url = f"{server.url}/bucket/parts"
        second = requests.put(url, params={"uploadId": upload, "partNumber": 2}, data=b"second").headers[
            "ETag"
        ]
        chosen = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{value}</ETag></Part>"
            for number, value in ((1, etag), (2, second))
        )
        body = f"<CompleteMultipartUpload>{chosen}</CompleteMultipartUpload>"
        assert requests.post(url, params={"uploadId": upload}, data=body).status_code == 200
        assert listed(server)["parts"].download_as_bytes() == b"firstsecond"


def test_everything_is_kept_over_a_restart(tmp_path: Path) -> None:
    with in_process(tmp_path) as server:
        client = server.client()
        bucket = client.bucket("bucket")
        bucket.labels = {"a": "1"}
        client.create_bucket(bucket, location="europe-west4")
        blob = bucket.blob("odd//name")
        blob.metadata = {"k": "v"}
        blob.upload_from_string(b"content", content_type="text/a")
        (server.folder("bucket") / "outside").write_bytes(b"outside")
        server.kill()
    with in_process(tmp_path) as server:
        bucket = server.client().get_bucket("bucket")
        assert (bucket.labels, bucket.location) == ({"a": "1"}, "EUROPE-WEST4")
        found = bucket.get_blob("odd//name")
        assert (found.metadata, found.generation, found.content_type) == (
            {"k": "v"},
            blob.generation,
            "text/a",
        )
        found.upload_from_string(b"more", if_generation_match=blob.generation)
        assert found.generation > blob.generation
        assert bucket.blob("outside").download_as_bytes() == b"outside"


@pytest.mark.parametrize("sent", [0, 100, 3_000_000])
def test_a_body_that_breaks_off_is_nothing(tmp_path: Path, sent: int) -> None:
    with in_process(tmp_path) as server:
        make_bucket(server)
        put(server, "kept", b"before")
        address = urlsplit(server.url)
        for method, path in [
            ("PUT", "/bucket/kept"),
            ("POST", "/upload/storage/v1/b/bucket/o?uploadType=media&name=kept"),
        ]:
            with socket.create_connection((address.hostname, address.port)) as connection:
                head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n"
                connection.sendall(head.encode() + b"x" * sent)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass
        assert requests.get(f"{server.url}/bucket/kept").content == b"before"
        assert list(listed(server)) == ["kept"]
        # The server notices a little later than the client that there is nobody any more.
        deadline = time.monotonic() + 20
        while (left := unfinished(tmp_path)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not left
