"""The XML API of the Cloud Storage server, through obstore (Rust's object_store) and by hand."""

import base64
import json
import os
import uuid
from typing import Any
from xml.etree import ElementTree

import google_crc32c
import obstore
import pytest
import requests
from obstore.exceptions import AlreadyExistsError, NotModifiedError, PreconditionError
from obstore.store import GCSStore
from storage_server import StorageServer


@pytest.fixture
def bucket(server: StorageServer) -> Any:
    return server.client().create_bucket(f"bucket-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def store(server: StorageServer, bucket: Any) -> GCSStore:
    key = {
        "gcs_base_url": server.url,
        "disable_oauth": True,
        "client_email": "",
        "private_key": "",
        "private_key_id": "",
    }
    return GCSStore(bucket.name, service_account_key=json.dumps(key), client_options={"allow_http": True})


@pytest.fixture
def url(server: StorageServer, bucket: Any) -> str:
    """The bucket's URL in the XML API."""
    return f"{server.url}/{bucket.name}"


def paths(store: GCSStore, prefix: str | None = None) -> list[str]:
    return [meta["path"] for batch in obstore.list(store, prefix) for meta in batch]


@pytest.mark.parametrize("name", ["a", "a/b c", "ü/ß%2F", "a+b&c=d?e#f", "..name", "x" * 1024])
def test_what_was_put_is_got(store: GCSStore, bucket: Any, name: str) -> None:
    put = obstore.put(store, name, b"content")
    got = obstore.get(store, name)
    assert bytes(got.bytes()) == b"content"
    assert got.meta["size"] == 7
    assert got.meta["e_tag"] == put["e_tag"]
    assert got.meta["version"] == put["version"] == str(bucket.get_blob(name).generation)
    assert paths(store) == [name]


def test_attributes_are_kept(store: GCSStore, bucket: Any) -> None:
    attributes = {"Content-Type": "text/a", "Cache-Control": "no-store", "my-key": "my value"}
    obstore.put(store, "described", b"x", attributes=attributes)
    assert obstore.get(store, "described").attributes == attributes
    blob = bucket.get_blob("described")
    assert (blob.content_type, blob.cache_control) == ("text/a", "no-store")
    assert blob.metadata == {"my-key": "my value"}


def test_a_large_object_goes_up_in_parts(store: GCSStore, bucket: Any, server: StorageServer) -> None:
    content = os.urandom(11 << 20)
    obstore.put(store, "big", content, chunk_size=5 << 20, use_multipart=True)
    assert bytes(obstore.get(store, "big").bytes()) == content
    crc = base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()
    assert requests.head(f"{server.url}/{bucket.name}/big").headers["x-goog-hash"] == f"crc32c={crc}"


def test_ranges_are_parts_of_it(store: GCSStore) -> None:
    obstore.put(store, "digits", b"0123456789")
    assert bytes(obstore.get_range(store, "digits", start=2, end=5)) == b"234"
    assert [bytes(part) for part in obstore.get_ranges(store, "digits", starts=[0, 8], ends=[1, 10])] == [
        b"0",
        b"89",
    ]
    assert bytes(obstore.get(store, "digits", options={"range": {"suffix": 3}}).bytes()) == b"789"


def test_an_object_is_created_once(store: GCSStore) -> None:
    obstore.put(store, "once", b"first", mode="create")
    with pytest.raises(AlreadyExistsError):
        obstore.put(store, "once", b"second", mode="create")
    assert bytes(obstore.get(store, "once").bytes()) == b"first"


def test_an_update_wants_the_version_it_knows(store: GCSStore) -> None:
    first = obstore.put(store, "updated", b"first")
    obstore.put(store, "updated", b"second", mode=first)
    with pytest.raises(PreconditionError):
        obstore.put(store, "updated", b"third", mode=first)
    assert bytes(obstore.get(store, "updated").bytes()) == b"second"


def test_what_is_known_is_not_sent_again(store: GCSStore) -> None:
    etag = obstore.put(store, "known", b"x")["e_tag"]
    with pytest.raises(NotModifiedError):
        obstore.get(store, "known", options={"if_none_match": etag})
    with pytest.raises(PreconditionError):
        obstore.get(store, "known", options={"if_match": '"other"'})
    modified = obstore.head(store, "known")["last_modified"]
    with pytest.raises(NotModifiedError):
        obstore.get(store, "known", options={"if_modified_since": modified})
    assert bytes(obstore.get(store, "known", options={"if_match": etag}).bytes()) == b"x"


def test_what_is_not_there_is_not_found(store: GCSStore, url: str) -> None:
    for ask in (obstore.get, obstore.head, obstore.delete):
        with pytest.raises(FileNotFoundError):
            ask(store, "nothing")
    root = ElementTree.fromstring(requests.get(f"{url}/nothing").content)
    assert (root.tag, root.findtext("Code")) == ("Error", "NoSuchKey")
    head = requests.head(f"{url}/nothing")
    assert (head.status_code, head.content) == (404, b"")


def test_copies_renames_and_deletes(store: GCSStore) -> None:
    obstore.put(store, "a b/ü", b"x", attributes={"k": "v"})
    obstore.copy(store, "a b/ü", "copy")
    assert obstore.get(store, "copy").attributes["k"] == "v"
    with pytest.raises(AlreadyExistsError):
        obstore.copy(store, "a b/ü", "copy", overwrite=False)
    obstore.rename(store, "copy", "renamed")
    assert paths(store) == ["a b/ü", "renamed"]
    obstore.delete(store, ["a b/ü", "renamed"])
    assert paths(store) == []


def test_listings_of_many_pages(store: GCSStore, bucket: Any, server: StorageServer) -> None:
    folder = server.folder(bucket.name) / "many"
    folder.mkdir()
    for number in range(2500):
        (folder / f"{number:05d}").touch()
    assert paths(store) == [f"many/{number:05d}" for number in range(2500)]
    assert paths(store, "many") == [f"many/{number:05d}" for number in range(2500)]
    listed = obstore.list_with_delimiter(store)
    assert (listed["common_prefixes"], list(listed["objects"])) == (["many"], [])
    after = [meta["path"] for batch in obstore.list(store, offset="many/02497") for meta in batch]
    assert after == ["many/02498", "many/02499"]


def test_a_listing_by_marker_and_its_keys_in_url_encoding(bucket: Any, url: str) -> None:
    for name in ("a&b", "c<d", "e\x01f"):
        bucket.blob(name).upload_from_string(b"x")
    namespace = {"": "http://s3.amazonaws.com/doc/2006-03-01/"}
    root = ElementTree.fromstring(requests.get(url, params={"max-keys": 1}).content)
    assert [key.text for key in root.findall("Contents/Key", namespace)] == ["a&b"]
    marker = root.findtext("NextMarker", namespaces=namespace)
    root = ElementTree.fromstring(requests.get(url, params={"marker": marker, "max-keys": 1}).content)
    assert [key.text for key in root.findall("Contents/Key", namespace)] == ["c<d"]
    root = ElementTree.fromstring(requests.get(url, params={"encoding-type": "url"}).content)
    assert [key.text for key in root.findall("Contents/Key", namespace)] == ["a%26b", "c%3Cd", "e%01f"]


def initiated(url: str) -> str:
    root = ElementTree.fromstring(requests.post(f"{url}?uploads").content)
    upload_id = root.findtext("{http://s3.amazonaws.com/doc/2006-03-01/}UploadId")
    assert upload_id
    return upload_id


def completed(url: str, upload: str, *parts: tuple[int, str]) -> requests.Response:
    chosen = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in parts)
    body = f"<CompleteMultipartUpload>{chosen}</CompleteMultipartUpload>"
    return requests.post(url, params={"uploadId": upload}, data=body)


def test_parts_are_replaced_listed_and_chosen(bucket: Any, url: str) -> None:
    url = f"{url}/parts"
    upload = initiated(url)
    etags = {}
    for number, content in [(3, b"c"), (1, b"old"), (2, b"not chosen"), (1, b"a")]:
        answer = requests.put(url, params={"uploadId": upload, "partNumber": number}, data=content)
        etags[number] = answer.headers["ETag"]
    listing = requests.get(url, params={"uploadId": upload, "max-parts": 2}).text
    assert "<PartNumber>2<" in listing
    assert "<IsTruncated>true<" in listing
    assert "<PartNumber>3<" not in listing
    listing = requests.get(url, params={"uploadId": upload, "part-number-marker": 2}).text
    assert "<PartNumber>3<" in listing
    assert upload in requests.get(f"{url.rpartition('/')[0]}?uploads").text
    assert not bucket.blob("parts").exists()

    assert completed(url, upload, (1, etags[1]), (3, etags[3])).status_code == 200
    assert bucket.blob("parts").download_as_bytes() == b"ac"
    assert completed(url, upload, (1, etags[1])).status_code == 404


def test_a_completion_that_does_not_fit_leaves_the_upload_open(bucket: Any, url: str) -> None:
    url = f"{url}/parts"
    upload = initiated(url)
    for number in (1, 2):
        requests.put(url, params={"uploadId": upload, "partNumber": number}, data=b"x")
    etag = '"9dd4e461268c8034f5c8564e155c67a6"'
    for parts, code in [
        ([(1, '"wrong"')], "InvalidPart"),
        ([(7, etag)], "InvalidPart"),
        ([(2, etag), (1, etag)], "InvalidPartOrder"),
        ([], "MalformedXML"),
    ]:
        answer = completed(url, upload, *parts)
        assert (answer.status_code, f"<Code>{code}</Code>" in answer.text) == (400, True), answer.text
    body = b'<!DOCTYPE a [<!ENTITY b "c">]><CompleteMultipartUpload/>'
    assert requests.post(url, params={"uploadId": upload}, data=body).status_code == 400
    assert completed(url, upload, (1, etag), (2, etag)).status_code == 200
    assert bucket.blob("parts").download_as_bytes() == b"xx"


def test_an_aborted_upload_leaves_nothing(server: StorageServer, url: str) -> None:
    url = f"{url}/parts"
    upload = initiated(url)
    part = {"uploadId": upload, "partNumber": "1"}
    assert requests.put(url, params=part, data=b"x").status_code == 200
    assert requests.delete(url, params={"uploadId": upload}).status_code == 204
    answer = requests.put(url, params=part, data=b"x")
    assert (answer.status_code, "NoSuchUpload" in answer.text) == (404, True)
    assert not [path for path in (server.data_dir / "gcs-uploads").rglob("*") if path.is_file()]


@pytest.mark.parametrize("number", ["0", "10001", "one"])
def test_a_part_has_a_number(url: str, number: str) -> None:
    upload = initiated(f"{url}/parts")
    answer = requests.put(f"{url}/parts", params={"uploadId": upload, "partNumber": number}, data=b"x")
    assert answer.status_code == 400


@pytest.mark.parametrize("query", ["acl", "versions", "cors"])
def test_what_is_not_done_is_refused_by_name(store: GCSStore, url: str, query: str) -> None:
    obstore.put(store, "a", b"x")
    for target in (url, f"{url}/a"):
        answer = requests.get(f"{target}?{query}")
        assert (answer.status_code, f"?{query}" in answer.text) == (501, True)
