"""Requests that are refused: in the API's words, before anything has been changed."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pytest

from tests.unit.emulator.gcs.gcs_requests import Answer, ask
from vertexkit.emulator.gcs.app import storage_app
from vertexkit.emulator.gcs.store import ObjectStore


@pytest.fixture
def store(store: ObjectStore) -> ObjectStore:
    store.write("bucket", "a", b"content")
    return store


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


OBJECT = {
    "name": "new",
    "cacheControl": "no-cache",
    "contentDisposition": "inline",
    "contentEncoding": "identity",
    "contentLanguage": "de",
    "contentType": "text/plain",
    "crc32c": None,
    "customTime": "2026-01-01T00:00:00Z",
    "md5Hash": None,
    "metadata": {"key": "value"},
    "storageClass": "STANDARD",
}
BUCKET = {
    "name": "new-bucket",
    "billing": {"requesterPays": False},
    "hierarchicalNamespace": {"enabled": False},
    "iamConfiguration": {
        "bucketPolicyOnly": {"enabled": True},
        "publicAccessPrevention": "inherited",
        "uniformBucketLevelAccess": {"enabled": True},
    },
    "labels": {"key": "value"},
    "location": "US",
    "rpo": "DEFAULT",
    "softDeletePolicy": {"retentionDurationSeconds": "0"},
    "storageClass": "STANDARD",
    "versioning": {"enabled": False},
}
SOURCE = {"name": "a", "generation": None, "objectPreconditions": {"ifGenerationMatch": None}}
COMPOSED = {"sourceObjects": [SOURCE], "destination": OBJECT, "deleteSourceObjects": False}
POLICY = {
    "version": 3,
    "etag": "",
    "bindings": [{"role": "roles/storage.admin", "members": ["allUsers"], "condition": None}],
}
O = "/storage/v1/b/bucket/o"  # noqa: E741 (as the API calls it)
UPLOAD = "/upload/storage/v1/b/bucket/o?uploadType="
METHODS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/storage/v1/b?project=project", BUCKET),
    ("PATCH", "/storage/v1/b/bucket", BUCKET),
    ("PUT", "/storage/v1/b/bucket", BUCKET),
    ("PUT", "/storage/v1/b/bucket/iam", POLICY),
    ("PATCH", f"{O}/a", OBJECT),
    ("PUT", f"{O}/a", OBJECT),
    ("POST", f"{O}/a/copyTo/b/bucket/o/b", OBJECT),
    ("POST", f"{O}/a/rewriteTo/b/bucket/o/b", OBJECT),
    ("POST", f"{O}/b/compose", COMPOSED),
    ("POST", f"{UPLOAD}resumable", OBJECT),
    ("POST", f"{UPLOAD}multipart", OBJECT),
]
MADE_WITH = {"name", "location", "crc32c", "md5Hash"}
"""What only the methods that make something from the body read; the others pass it over."""


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every field in a resource."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in inner:
        yield (*path, key)
        yield from places(held, (*path, key))


def put_at(value: Any, path: tuple[Any, ...], wrong: Any) -> Any:
    """The resource with something else at a path."""
    if not path:
        return wrong
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = put_at(value[path[0]], path[1:], wrong)
    return changed


def sent_as(url: str, resource: Any) -> tuple[Any, dict[str, str]]:
    if not url.endswith("multipart"):
        return resource, {}
    body = b"--b\r\n\r\n" + orjson.dumps(resource) + b"\r\n--b\r\n\r\nx\r\n--b--"
    return body, {"content-type": "multipart/related; boundary=b"}


@pytest.mark.parametrize(("method", "url", "resource"), METHODS)
def test_every_field_is_asked_for_its_type(
    request_: Any, store: ObjectStore, method: str, url: str, resource: dict[str, Any]
) -> None:
    assert request_(method, url, *sent_as(url, resource)).status == 200
    if url == "/storage/v1/b?project=project":
        store.delete_bucket("new-bucket")
    for path in places(resource):
        for wrong in ("wr\x01ng", "\u20ac", 7, 1.5, True, [], ["x"], [{}], {}, {"x": []}):
            answer = request_(method, url, *sent_as(url, put_at(resource, path, wrong)))
            assert answer.status in {200, 400, 404, 409, 412, 501}, (path, wrong, answer.body)
            if answer.status == 200 and store.bucket_exists("new-bucket"):
                store.delete_bucket("new-bucket")
        # A list of lists is the type of no field.
        answer = request_(method, url, *sent_as(url, put_at(resource, path, [[]])))
        reads = "upload" in url or "project=" in url or path[-1] not in MADE_WITH or "sourceObjects" in path
        assert answer.status == (400 if reads else 200), (path, answer.body)
    assert request_("GET", "/storage/v1/b?project=project").status == 200
    assert request_("GET", "/storage/v1/b/bucket/iam").status == 200
    listed = request_("GET", O).json["items"]
    assert {request_("GET", f"/bucket/{item['name']}").status for item in listed} == {200}


@pytest.mark.parametrize(
    "wrong", ["foo", {"uniformBucketLevelAccess": "x"}, {"bucketPolicyOnly": {"enabled": 1}}]
)
def test_a_bucket_s_access_that_makes_no_sense_is_not_kept(request_: Any, wrong: Any) -> None:
    before = request_("GET", "/storage/v1/b/bucket").json
    body = {"iamConfiguration": wrong}
    for method, url in (("PATCH", "/bucket"), ("PUT", "/bucket"), ("POST", "?project=project")):
        answer = request_(method, f"/storage/v1/b{url}", {"name": "new-bucket", **body})
        assert answer.status == 400
    assert request_("GET", "/storage/v1/b?project=project").json["items"] == [before]


def test_a_request_whose_answer_cannot_be_selected_changes_nothing(request_: Any, store: ObjectStore) -> None:
    assert request_("PATCH", f"{O}/a?fields=a(", {"metadata": {"k": "v"}}).status == 400
    assert request_("DELETE", f"{O}/a?fields=a(").status == 400
    info = store.find("bucket", "a")
    assert info is not None
    assert (info.metageneration, info.properties) == (1, "")


@pytest.mark.parametrize("field", ["cacheControl", "contentDisposition", "contentLanguage", "contentType"])
@pytest.mark.parametrize("value", ["a\r\nb: c", "a\0", "a\x7f"])
def test_what_no_header_can_hold_is_no_metadata(request_: Any, field: str, value: str) -> None:
    for method, url, resource in METHODS[4:]:
        body = {**resource, "destination": {field: value}} if url.endswith("compose") else {field: value}
        answer = request_(method, url, *sent_as(url, {"name": "n", **body}))
        assert (answer.status, field in answer.json["error"]["message"]) == (400, True)
    part = b"--b\r\n\r\n{}\r\n--b\r\nContent-Type: a\x01b\r\n\r\nx\r\n--b--"
    headers = {"content-type": "multipart/related; boundary=b"}
    assert request_("POST", f"{UPLOAD}multipart&name=n", part, headers).status == 400
    assert request_("PUT", "/bucket/n", b"x", {"content-type": "a\x01b"}).status == 400


@pytest.mark.parametrize("fields", ["a(" * 3000 + "b" + ")" * 3000, "a/" * 3000 + "b"])
def test_a_selection_that_is_too_deep_is_refused(request_: Any, fields: str) -> None:
    assert request_("GET", f"{O}?fields={fields}").status == 400


@pytest.mark.parametrize(
    ("span", "status", "content"),
    [
        (f"bytes={'9' * 5000}-", 416, None),
        (f"bytes=1-{'9' * 5000}", 206, b"ontent"),
        (f"bytes=-{'9' * 5000}", 206, b"content"),
        ("bytes=\u0661-", 200, b"content"),
    ],
)
def test_a_range_may_have_any_number(request_: Any, span: str, status: int, content: bytes | None) -> None:
    answer = request_("GET", "/bucket/a", headers={"range": span})
    assert answer.status == status
    assert content in (None, answer.body)


@pytest.mark.parametrize("number", ["9" * 5000, "\u00b2"])
def test_a_size_that_is_no_number_is_refused(request_: Any, number: str) -> None:
    headers = {"x-upload-content-length": number}
    assert request_("POST", f"{UPLOAD}resumable&name=n", {}, headers).status == 400
    copy = {"x-goog-copy-source": "bucket/a", "x-goog-copy-source-generation": number}
    assert request_("PUT", "/bucket/n", b"", copy).status == 400
    location = request_("POST", f"{UPLOAD}resumable&name=n", {}).headers[b"location"].decode()
    session = location.removeprefix("http://localhost")
    assert request_("PUT", session, b"x", {"content-range": f"bytes 0-0/{number}"}).status == 400


@pytest.mark.parametrize("header", ["content-md5", "x-goog-hash"])
def test_a_checksum_that_is_not_ascii_is_no_match(request_: Any, header: str) -> None:
    value = "\u00fc" if header == "content-md5" else "crc32c=\u00fc"
    for method, url in (("PUT", "/bucket/n"), ("POST", f"{UPLOAD}media&name=n")):
        assert request_(method, url, b"x", {header: value}).status == 400


@pytest.mark.parametrize(
    "bad",
    [
        b"nonsense",
        b"GET http://[ HTTP/1.1",
        b"GET /bucket/a HTTP/1.1",
        b"GET /storage/v1/b/bucket/o/a?alt=media HTTP/1.1",
    ],
)
def test_a_bad_call_of_a_batch_is_refused_alone(request_: Any, store: ObjectStore, bad: bytes) -> None:
    store.write("bucket", "b", b"x")
    store.write("bucket", "c", b"x")
    calls = [b"DELETE /storage/v1/b/bucket/o/b HTTP/1.1", bad, b"DELETE /storage/v1/b/bucket/o/c HTTP/1.1"]
    body = b"".join(b"--b\r\nContent-ID: <%d>\r\n\r\n%s\r\n\r\n\r\n" % call for call in enumerate(calls))
    answer = request_(
        "POST", "/batch/storage/v1", body + b"--b--", {"content-type": "multipart/mixed; boundary=b"}
    )
    assert answer.status == 200
    statuses = re.findall(rb"response-(\d)>\r\n\r\nHTTP/1.1 (\d+)", answer.body)
    assert statuses == [(b"0", b"204"), (b"1", b"400"), (b"2", b"204")]
    assert [info.name for info in store.list("bucket")] == ["a"]
