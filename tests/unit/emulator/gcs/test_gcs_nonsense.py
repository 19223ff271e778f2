"""Requests that make no sense: every one gets an answer, and none of them is a crash."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vertexkit.emulator.gcs.app import StorageApp, storage_app
from vertexkit.emulator.gcs.store import ObjectStore

BUCKET = st.sampled_from(["bucket", "no-such-bucket", ".."])
NAME = st.sampled_from(["a", "a%2Fb", "..", "%2F", "x" * 1025, "%00", "%ff"]) | st.text(max_size=5).map(
    lambda text: quote(text, safe="")
)
PATH = st.one_of(
    st.just("/storage/v1/b"),
    st.builds(
        "/storage/v1/b/{}{}".format, BUCKET, st.sampled_from(["", "/o", "/iam", "/iam/testPermissions"])
    ),
    st.builds("/storage/v1/b/{}/o/{}{}".format, BUCKET, NAME, st.sampled_from(["", "/compose", "/acl"])),
    st.builds(
        "/storage/v1/b/{}/o/{}/{}/b/{}/o/{}".format,
        BUCKET,
        NAME,
        st.sampled_from(["copyTo", "rewriteTo"]),
        BUCKET,
        NAME,
    ),
    st.builds("/storage/v1/b/{}/o/{}/moveTo/o/{}".format, BUCKET, NAME, NAME),
    st.builds("/upload/storage/v1/b/{}/o".format, BUCKET),
    st.builds("/download/storage/v1/b/{}/o/{}".format, BUCKET, NAME),
    st.builds("/{}".format, BUCKET),
    st.builds("/{}/{}".format, BUCKET, NAME),
    st.sampled_from(["/", "/batch/storage/v1", "/token", "//", "/storage", "/storage/v1/"]),
)
PARAMETERS = [
    *[
        "alt",
        "delimiter",
        "endOffset",
        "fields",
        "generation",
        "ifGenerationMatch",
        "ifMetagenerationNotMatch",
    ],
    *["includeTrailingDelimiter", "matchGlob", "max-keys", "maxResults", "name", "pageToken", "partNumber"],
    *["prefix", "project", "startOffset", "uploadId", "uploadType", "upload_id", "uploads", "list-type"],
    *["continuation-token", "marker", "max-parts", "permissions", "sourceGeneration"],
]
VALUE = st.sampled_from(
    ["", "0", "1", "-1", "99999999999999999999", "media", "multipart", "resumable", "a", "/"]
)
QUERY = st.dictionaries(st.sampled_from(PARAMETERS), VALUE | st.text(max_size=4), max_size=4)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            *["content-type", "content-range", "content-length", "content-md5", "range", "x-goog-hash"],
            *[
                "x-goog-if-generation-match",
                "if-match",
                "if-none-match",
                "if-modified-since",
                "accept-encoding",
            ],
            *["x-goog-copy-source", "x-goog-meta-a", "content-encoding", "x-upload-content-length"],
        ]
    ),
    st.sampled_from(
        [
            *[
                "",
                "*",
                "1",
                "-1",
                "bytes */*",
                "bytes 0-1/2",
                "bytes=0-",
                "bytes=-",
                "gzip",
                "md5=x,crc32c=y",
            ],
            *[
                "multipart/related; boundary=b",
                "multipart/mixed; boundary=b",
                "bucket/a",
                "/",
                "\xff",
                "99" * 20,
            ],
        ]
    ),
    max_size=4,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
RESOURCE = st.dictionaries(
    st.sampled_from(
        [
            *[
                "name",
                "metadata",
                "contentType",
                "storageClass",
                "labels",
                "acl",
                "crc32c",
                "md5Hash",
                "size",
            ],
            *[
                "sourceObjects",
                "destination",
                "bindings",
                "etag",
                "versioning",
                "billing",
                "softDeletePolicy",
            ],
            *["location", "iamConfiguration", "contentEncoding", "customTime", "lifecycle"],
        ]
    ),
    JSON,
    max_size=4,
)
BODY = st.one_of(
    st.binary(max_size=30),
    JSON.map(orjson.dumps),
    RESOURCE.map(orjson.dumps),
    RESOURCE.map(lambda resource: b"--b\r\n\r\n" + orjson.dumps(resource) + b"\r\n--b\r\n\r\nx\r\n--b--"),
    st.just(b"--b\r\n\r\nPATCH /storage/v1/b/bucket/o/a HTTP/1.1\r\n\r\n{}\r\n--b--"),
    st.just(b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>"),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    opened = ObjectStore(tmp_path_factory.mktemp("nonsense") / "data")
    opened.create_bucket("bucket", "project")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def app(store: ObjectStore) -> StorageApp:
    return storage_app(store)


async def answer(
    app: StorageApp, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes
) -> int:
    sent: list[Any] = []
    waiting = [
        {"type": "http.request", "body": body[:5], "more_body": True},
        {"type": "http.request", "body": body[5:], "more_body": False},
    ]

    async def receive() -> Any:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    pairs = "&".join(f"{quote(key)}={quote(value, safe='')}" for key, value in query.items())
    scope = {
        "type": "http",
        "method": method,
        "scheme": "http",
        "raw_path": path.encode(),
        "query_string": pairs.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
    }
    await app(scope, receive, send)
    assert sent[0]["type"] == "http.response.start"
    assert not sent[-1].get("more_body")
    status: int = sent[0]["status"]
    assert status not in (204, 304) or not b"".join(message.get("body", b"") for message in sent[1:])
    return status


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    method=st.sampled_from(["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS"]),
    path=PATH,
    query=QUERY,
    headers=HEADERS,
    body=BODY,
)
def test_nonsense_gets_an_answer(
    app: StorageApp, store: ObjectStore, method: str, path: str, query: Any, headers: Any, body: bytes
) -> None:
    if not store.bucket_exists("bucket"):
        store.create_bucket("bucket", "project")
    store.write("bucket", "a", b"content")
    status = asyncio.run(answer(app, method, path, query, headers, body))
    assert status != 500
    assert 200 <= status < 600


def _full_of_rows() -> sqlite3.Error:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


@pytest.mark.parametrize(
    ("failure", "answered"),
    [
        (OSError(5, "Input/output error"), 500),
        (sqlite3.ProgrammingError("closed"), 500),
        # Clients repeat a 500 for minutes, and a full disk stays full.
        (OSError(28, "No space left on device"), 413),
        (_full_of_rows(), 413),
    ],
)
def test_a_failure_of_ours_is_told_in_the_client_s_form(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
    answered: int,
) -> None:
    broken = ObjectStore(tmp_path)
    broken.create_bucket("bucket", "project")

    def fail() -> None:
        raise failure

    monkeypatch.setattr(broken, "stage", fail)
    status = asyncio.run(
        answer(
            storage_app(broken),
            "POST",
            "/upload/storage/v1/b/bucket/o",
            {"uploadType": "media", "name": "a"},
            {},
            b"x",
        )
    )
    assert status == answered
    assert (str(failure) in caplog.text) == (answered == 500)
    broken.close()
