"""Every way of uploading to the Cloud Storage server: through Google's client and by hand."""

import base64
import hashlib
import json
import os
import socket
import sys
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import google_crc32c
import pytest
import requests
from google.api_core import exceptions
from google.cloud.storage import transfer_manager
from storage_server import StorageServer, in_process

from vertexkit.emulator.gcs import uploads

QUANTUM = 1 << 18


@pytest.fixture
def bucket(server: StorageServer) -> Any:
    return server.client().create_bucket(f"bucket-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def url(server: StorageServer, bucket: Any) -> str:
    """The URL to upload to."""
    return f"{server.url}/upload/storage/v1/b/{bucket.name}/o"


def crc32c(content: bytes) -> str:
    return base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()


def md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content).digest()).decode()


def start(url: str, name: str, **query: Any) -> str:
    """Start a resumable upload; its session's URL."""
    answer = requests.post(url, params={"uploadType": "resumable", "name": name, **query})
    assert answer.status_code == 200, answer.text
    return answer.headers["Location"]


def put(session: str, content: bytes, content_range: str) -> requests.Response:
    return requests.put(session, data=content, headers={"Content-Range": content_range})


def nothing_is_left(server: StorageServer) -> bool:
    """Whether no bytes of an unfinished upload are on the disk."""
    return not [path for path in (server.data_dir / "gcs-uploads").rglob("*") if path.is_file()]


def test_a_simple_upload(bucket: Any, url: str) -> None:
    answer = requests.post(
        url, params={"uploadType": "media", "name": "a b"}, data=b"x", headers={"Content-Type": "text/a"}
    )
    resource = answer.json()
    assert (resource["name"], resource["size"], resource["contentType"]) == ("a b", "1", "text/a")
    assert bucket.blob("a b").download_as_bytes() == b"x"


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("content", [b"", b"x", b"--b", b"\r\n--", b"\n\n--c--\r\n", os.urandom(300_000)])
def test_a_multipart_upload(bucket: Any, url: str, end: bytes, content: bytes) -> None:
    resource = json.dumps({"name": "parts", "metadata": {"a": "1"}, "crc32c": crc32c(content)}).encode()
    parts = [b"--b", b"Content-Type: application/json", b"", resource, b"--b"]
    body = end.join([*parts, b"Content-Type: text/a", b"", content, b"--b--"])
    headers = {"Content-Type": 'multipart/related; boundary="b"'}
    answer = requests.post(url, params={"uploadType": "multipart"}, data=body, headers=headers)
    assert answer.status_code == 200, answer.text
    blob = bucket.get_blob("parts")
    assert (blob.content_type, blob.metadata) == ("text/a", {"a": "1"})
    assert blob.download_as_bytes() == content


def test_a_multipart_upload_that_is_cut_short_is_nothing(bucket: Any, url: str) -> None:
    whole = b'--b\r\n\r\n{"name": "cut"}\r\n--b\r\n\r\ncontent\r\n--b--'
    headers = {"Content-Type": "multipart/related; boundary=b"}
    for size in range(len(whole)):
        answer = requests.post(url, params={"uploadType": "multipart"}, data=whole[:size], headers=headers)
        assert answer.status_code == 400, whole[:size]
    assert not bucket.blob("cut").exists()
    requests.post(url, params={"uploadType": "multipart"}, data=whole, headers=headers).raise_for_status()
    assert bucket.blob("cut").download_as_bytes() == b"content"


@pytest.mark.parametrize(
    ("query", "body", "status"),
    [
        ({"uploadType": "media"}, b"x", 400),
        ({"uploadType": "media", "name": ""}, b"x", 400),
        ({"uploadType": "carrier-pigeon", "name": "a"}, b"x", 400),
        ({"name": "a"}, b"x", 400),
        ({"uploadType": "multipart"}, b"x", 400),
        ({"uploadType": "media", "name": "x" * 1025}, b"x", 400),
        ({"uploadType": "media", "name": "é" * 513}, b"x", 400),
        ({"uploadType": "media", "name": "two\nlines"}, b"x", 400),
        ({"uploadType": "media", "name": ".."}, b"x", 400),
    ],
)
def test_a_malformed_upload_is_refused(
    bucket: Any, url: str, query: dict[str, str], body: bytes, status: int
) -> None:
    answer = requests.post(url, params=query, data=body)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == status
    assert list(bucket.list_blobs()) == []


def test_a_name_may_have_1024_bytes(bucket: Any) -> None:
    for name in ("x" * 1024, "é" * 512):
        bucket.blob(name).upload_from_string(b"x")
        assert bucket.blob(name).download_as_bytes() == b"x"
    with pytest.raises(exceptions.BadRequest, match="1024"):
        bucket.blob("x" * 1025).upload_from_string(b"x")


@pytest.mark.parametrize("checksum", ["md5", "crc32c", "auto", None])
@pytest.mark.parametrize("chunk_size", [None, QUANTUM, 4 * QUANTUM])
def test_google_s_client_verifies_what_it_sends(bucket: Any, checksum: str, chunk_size: int) -> None:
    content = os.urandom(2_500_000)
    blob = bucket.blob("verified", chunk_size=chunk_size)
    blob.upload_from_string(content, checksum=checksum)
    found = bucket.get_blob("verified")
    assert (found.crc32c, found.md5_hash) == (crc32c(content), md5(content))
    assert found.download_as_bytes(checksum=checksum or "auto") == content


@pytest.mark.parametrize("field", ["md5Hash", "crc32c"])
def test_a_wrong_checksum_is_refused_and_nothing_stored(
    bucket: Any, url: str, field: str, server: StorageServer
) -> None:
    wrong = md5(b"other") if field == "md5Hash" else crc32c(b"other")
    bucket.blob("sum").upload_from_string(b"before")
    resource = json.dumps({"name": "sum", field: wrong})
    body = f"--b\r\n\r\n{resource}\r\n--b\r\n\r\ncontent\r\n--b--"
    headers = {"Content-Type": "multipart/related; boundary=b"}
    answer = requests.post(url, params={"uploadType": "multipart"}, data=body, headers=headers)
    assert answer.status_code == 400
    assert wrong in answer.json()["error"]["message"]

    session = requests.post(url, params={"uploadType": "resumable"}, json=json.loads(resource))
    answer = put(session.headers["Location"], b"content", "bytes 0-6/7")
    assert answer.status_code == 400

    header = {"X-Goog-Hash": f"{field.removesuffix('Hash')}={wrong}"}
    answer = requests.put(f"{server.url}/{bucket.name}/sum", data=b"content", headers=header)
    assert (answer.status_code, b"BadDigest" in answer.content) == (400, True)
    answer = requests.put(start(url, "sum"), data=b"content", headers=header)
    assert answer.status_code == 400

    assert bucket.blob("sum").download_as_bytes() == b"before"
    assert nothing_is_left(server)


def test_a_wrong_content_md5_is_refused(bucket: Any, server: StorageServer) -> None:
    target = f"{server.url}/{bucket.name}/sum"
    wrong = requests.put(target, data=b"x", headers={"Content-MD5": md5(b"y")})
    assert (wrong.status_code, b"BadDigest" in wrong.content) == (400, True)
    assert not bucket.blob("sum").exists()
    assert requests.put(target, data=b"x", headers={"Content-MD5": md5(b"x")}).status_code == 200


def test_a_resumable_upload_in_pieces(bucket: Any, url: str, server: StorageServer) -> None:
    content = os.urandom(2 * QUANTUM + 100)
    session = start(url, "pieces")
    answer = put(session, b"", "bytes */*")
    assert (answer.status_code, "Range" in answer.headers) == (308, False)
    answer = put(session, content[:QUANTUM], f"bytes 0-{QUANTUM - 1}/*")
    assert (answer.status_code, answer.headers["Range"]) == (308, f"bytes=0-{QUANTUM - 1}")
    assert not bucket.blob("pieces").exists()
    answer = put(session, b"", f"bytes */{len(content)}")
    assert (answer.status_code, answer.headers["Range"]) == (308, f"bytes=0-{QUANTUM - 1}")
    answer = put(session, content[QUANTUM:], f"bytes {QUANTUM}-{len(content) - 1}/{len(content)}")
    assert (answer.status_code, answer.json()["md5Hash"]) == (200, md5(content))
    assert bucket.blob("pieces").download_as_bytes() == content
    # Whoever did not hear of the end asks again, and is told.
    again = put(session, b"", f"bytes */{len(content)}")
    assert (again.status_code, again.json()["generation"]) == (200, answer.json()["generation"])
    assert nothing_is_left(server)


def test_a_resumable_upload_of_unknown_size(bucket: Any, url: str) -> None:
    session = start(url, "unknown")
    put(session, b"x" * QUANTUM, f"bytes 0-{QUANTUM - 1}/*")
    assert put(session, b"", f"bytes */{QUANTUM}").status_code == 200
    assert bucket.get_blob("unknown").size == QUANTUM


def test_a_resumable_upload_at_once(bucket: Any, url: str) -> None:
    assert requests.put(start(url, "at once"), data=b"content").status_code == 200
    assert requests.put(start(url, "empty"), data=b"").status_code == 200
    assert put(start(url, "empty too"), b"", "bytes */0").status_code == 200
    assert {blob.name: blob.size for blob in bucket.list_blobs()} == {
        "at once": 7,
        "empty": 0,
        "empty too": 0,
    }


def test_pieces_that_were_taken_before_are_passed_over(bucket: Any, url: str) -> None:
    content = os.urandom(3 * QUANTUM)
    session = start(url, "overlap")
    put(session, content[: 2 * QUANTUM], f"bytes 0-{2 * QUANTUM - 1}/*")
    answer = put(session, content[QUANTUM:], f"bytes {QUANTUM}-{3 * QUANTUM - 1}/{3 * QUANTUM}")
    assert answer.json()["crc32c"] == crc32c(content)


@pytest.mark.parametrize(
    ("content", "content_range"),
    [
        (b"x" * QUANTUM, f"bytes {QUANTUM}-{2 * QUANTUM - 1}/*"),
        (b"x" * 10, "bytes 0-9/*"),
        (b"x" * 10, "bytes 0-19/20"),
        (b"x" * 10, "bytes 9-0/10"),
        (b"x" * 10, "bytes 0-9/5"),
        (b"x" * 10, "all of it"),
    ],
)
def test_a_piece_that_does_not_fit_is_refused(
    bucket: Any, url: str, content: bytes, content_range: str
) -> None:
    session = start(url, "gap")
    assert put(session, content, content_range).status_code == 400
    assert put(session, b"whole", "bytes 0-4/5").status_code == 200
    assert bucket.blob("gap").download_as_bytes() == b"whole"


def test_the_size_announced_at_the_start_holds(bucket: Any, url: str) -> None:
    headers = {"X-Upload-Content-Length": "5", "X-Upload-Content-Type": "text/a"}
    answer = requests.post(url, params={"uploadType": "resumable", "name": "five"}, headers=headers)
    session = answer.headers["Location"]
    assert put(session, b"123456", "bytes 0-5/6").status_code == 400
    assert put(session, b"12345", "bytes 0-4/5").json()["contentType"] == "text/a"


def test_an_upload_goes_on_after_a_lost_connection(bucket: Any, url: str) -> None:
    content = os.urandom(3 * QUANTUM)
    session = start(url, "lost")
    parts = urlsplit(session)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content[: 2 * QUANTUM + 5])
    while (status := put(session, b"", f"bytes */{len(content)}")).headers.get("Range") is None:
        assert status.status_code == 308
    taken = int(status.headers["Range"].rpartition("-")[2]) + 1
    assert 0 < taken <= 2 * QUANTUM + 5
    answer = put(session, content[taken:], f"bytes {taken}-{len(content) - 1}/{len(content)}")
    assert answer.json()["md5Hash"] == md5(content)
    assert bucket.blob("lost").download_as_bytes() == content


def test_a_cancelled_upload_has_ended(bucket: Any, url: str, server: StorageServer) -> None:
    session = start(url, "cancelled")
    put(session, b"x" * QUANTUM, f"bytes 0-{QUANTUM - 1}/*")
    assert requests.delete(session).status_code == 499
    assert put(session, b"", "bytes */*").status_code == 499
    assert not bucket.blob("cancelled").exists()
    assert nothing_is_left(server)


def test_an_upload_that_never_was_is_not_found(url: str) -> None:
    answer = put(f"{url}?uploadType=resumable&upload_id=nonsense", b"", "bytes */*")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, 404)


def test_preconditions_hold_at_the_start_and_at_the_end(bucket: Any, url: str) -> None:
    session = start(url, "raced", ifGenerationMatch=0)
    bucket.blob("raced").upload_from_string(b"first")
    assert put(session, b"second", "bytes 0-5/6").status_code == 412
    answer = requests.post(url, params={"uploadType": "resumable", "name": "raced", "ifGenerationMatch": 0})
    assert answer.status_code == 412
    assert bucket.blob("raced").download_as_bytes() == b"first"


def test_an_upload_to_no_bucket_is_not_found(server: StorageServer) -> None:
    for kind in ("media", "resumable"):
        answer = requests.post(
            f"{server.url}/upload/storage/v1/b/no-such-bucket/o", params={"uploadType": kind, "name": "a"}
        )
        assert answer.status_code == 404
    answer = requests.put(f"{server.url}/no-such-bucket/a", data=b"x")
    assert (answer.status_code, b"NoSuchBucket" in answer.content) == (404, True)


def test_more_uploads_are_open_than_files_may_be(
    bucket: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_OPEN_SESSIONS", 2)
    sessions = [start(url, f"open {number}") for number in range(6)]
    content = os.urandom(2 * QUANTUM)
    for session in sessions:
        assert put(session, content[:QUANTUM], f"bytes 0-{QUANTUM - 1}/*").status_code == 308
    for session in sessions:
        answer = put(session, content[QUANTUM:], f"bytes {QUANTUM}-{2 * QUANTUM - 1}/{2 * QUANTUM}")
        assert answer.json()["md5Hash"] == md5(content)
    assert len(list(bucket.list_blobs())) == 6


@pytest.mark.parametrize("target", ["no-such-bucket/a", "{bucket}/taken", "{bucket}/" + "x" * 1025])
def test_a_large_upload_that_is_bound_to_fail_is_told_so(
    bucket: Any, server: StorageServer, target: str
) -> None:
    bucket.blob("taken").upload_from_string(b"x")
    answer = requests.put(
        f"{server.url}/{target.format(bucket=bucket.name)}",
        data=b"x" * 30_000_000,
        headers={"x-goog-if-generation-match": "0"},
    )
    assert answer.status_code in {400, 404, 412}
    assert bucket.blob("taken").download_as_bytes() == b"x"


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_memory_does_not_grow_with_an_object(tmp_path: Path) -> None:
    size = 150 << 20

    def peak() -> int:
        assert alone.process is not None
        status = Path(f"/proc/{alone.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) << 10

    with in_process(tmp_path) as alone:
        alone.client().create_bucket("bucket").blob("small").upload_from_string(b"x" * 1_000_000)
        before = peak()
        pieces = (b"x" * (1 << 20) for _ in range(size >> 20))
        requests.put(f"{alone.url}/bucket/large", data=pieces).raise_for_status()
        with requests.get(f"{alone.url}/bucket/large", stream=True) as answer:
            assert sum(map(len, answer.iter_content(1 << 20))) == size
        session = start(f"{alone.url}/upload/storage/v1/b/bucket/o", "resumed")
        requests.put(session, data=(b"x" * (1 << 20) for _ in range(size >> 20))).raise_for_status()
        assert peak() - before < 60 << 20


def test_many_files_go_up_and_come_down(bucket: Any, tmp_path: Path) -> None:
    names = [f"file {number}.bin" for number in range(40)]
    (tmp_path / "up").mkdir()
    for name in names:
        (tmp_path / "up" / name).write_bytes(name.encode() * 100)
    threads = {"worker_type": transfer_manager.THREAD, "max_workers": 8, "raise_exception": True}
    transfer_manager.upload_many_from_filenames(
        bucket, names, source_directory=str(tmp_path / "up"), blob_name_prefix="many/", **threads
    )
    assert len(list(bucket.list_blobs(prefix="many/"))) == 40
    transfer_manager.download_many_to_path(
        bucket, names, destination_directory=str(tmp_path / "down"), blob_name_prefix="many/", **threads
    )
    for name in names:
        assert (tmp_path / "down" / name).read_bytes() == name.encode() * 100


@pytest.mark.parametrize("checksum", ["md5", "crc32c"])
def test_a_file_goes_up_and_comes_down_in_parallel_parts(
    bucket: Any, tmp_path: Path, server: StorageServer, checksum: str
) -> None:
    content = os.urandom(12_000_001)
    (tmp_path / "big").write_bytes(content)
    threads = {"worker_type": transfer_manager.THREAD, "max_workers": 4}
    blob = bucket.blob("big file")
    blob.metadata = {"a": "ü"}
    transfer_manager.upload_chunks_concurrently(
        str(tmp_path / "big"), blob, chunk_size=5 << 20, checksum=checksum, **threads
    )
    found = bucket.get_blob("big file")
    assert (found.crc32c, found.size, found.metadata) == (crc32c(content), len(content), {"a": "ü"})
    transfer_manager.download_chunks_concurrently(
        found, str(tmp_path / "back"), chunk_size=5 << 20, **threads
    )
    assert (tmp_path / "back").read_bytes() == content
    assert nothing_is_left(server)


def test_the_environment_points_google_s_client_at_the_server(
    server: StorageServer, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.cloud import storage

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    client = storage.Client(project="storage-tests")
    client.bucket(bucket.name).blob("a").upload_from_string(b"x" * 10_000_000)
    assert bucket.get_blob("a").size == 10_000_000
