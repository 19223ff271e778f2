"""Objects of the Cloud Storage server, through Google's own client and plain HTTP."""

import base64
import gzip
import hashlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import google_crc32c
import pytest
import requests
from google.api_core import exceptions
from storage_server import StorageServer

GZIPPED = gzip.compress(b"plain words " * 1000)


@pytest.fixture
def bucket(server: StorageServer) -> Any:
    return server.client().create_bucket(f"bucket-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def api(server: StorageServer, bucket: Any) -> str:
    """The URL of the bucket's objects."""
    return f"{server.url}/storage/v1/b/{bucket.name}/o"


def names(listed: Any) -> list[str]:
    return [blob.name for blob in listed]


def test_what_was_written_is_read(bucket: Any, server: StorageServer) -> None:
    blob = bucket.blob("models/1/saved model.pb")
    blob.upload_from_string(b"graph", content_type="application/x-protobuf")
    found = bucket.get_blob(blob.name)
    assert found.download_as_bytes() == b"graph"
    assert (found.size, found.content_type) == (5, "application/x-protobuf")
    assert base64.b64decode(found.crc32c) == google_crc32c.value(b"graph").to_bytes(4, "big")
    assert base64.b64decode(found.md5_hash) == hashlib.md5(b"graph").digest()
    assert (server.folder(bucket.name) / blob.name).read_bytes() == b"graph"


def test_an_object_that_is_not_there_is_not_found(bucket: Any, api: str) -> None:
    assert bucket.get_blob("nothing") is None
    assert not bucket.blob("nothing").exists()
    with pytest.raises(exceptions.NotFound, match="No such object"):
        bucket.blob("nothing").download_as_bytes()
    with pytest.raises(exceptions.NotFound):
        bucket.blob("nothing").delete()
    error = requests.get(f"{api}/nothing").json()["error"]
    assert error["code"] == 404
    assert error["message"] == f"No such object: {bucket.name}/nothing"
    assert requests.get(f"{api}/nothing?alt=media").text == f"No such object: {bucket.name}/nothing"


def test_an_overwrite_is_a_new_generation(bucket: Any) -> None:
    blob = bucket.blob("a")
    blob.upload_from_string(b"one")
    first = blob.generation
    blob.upload_from_string(b"two")
    assert blob.generation > first
    assert blob.metageneration == 1
    with pytest.raises(exceptions.NotFound):
        bucket.blob("a", generation=first).download_as_bytes()
    assert bucket.blob("a", generation=blob.generation).download_as_bytes() == b"two"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=2-4", b"234"),
        ("bytes=7-", b"789"),
        ("bytes=-3", b"789"),
        ("bytes=-100", b"0123456789"),
        ("bytes=8-100", b"89"),
    ],
)
def test_a_range_is_that_part(bucket: Any, api: str, header: str, expected: bytes) -> None:
    bucket.blob("digits").upload_from_string(b"0123456789")
    answer = requests.get(f"{api}/digits?alt=media", headers={"Range": header})
    assert (answer.status_code, answer.content) == (206, expected)
    start = b"0123456789".index(expected)
    assert answer.headers["Content-Range"] == f"bytes {start}-{start + len(expected) - 1}/10"


@pytest.mark.parametrize("header", ["bytes=5-2", "bytes=-", "lines=1-2", "bytes=0-1,4-5"])
def test_a_range_that_makes_no_sense_is_passed_over(bucket: Any, api: str, header: str) -> None:
    bucket.blob("digits").upload_from_string(b"0123456789")
    answer = requests.get(f"{api}/digits?alt=media", headers={"Range": header})
    assert (answer.status_code, answer.content) == (200, b"0123456789")


@pytest.mark.parametrize(("content", "header"), [(b"01", "bytes=2-"), (b"", "bytes=0-"), (b"01", "bytes=-0")])
def test_a_range_behind_the_end_is_not_satisfiable(
    bucket: Any, api: str, content: bytes, header: str
) -> None:
    bucket.blob("short").upload_from_string(content)
    answer = requests.get(f"{api}/short?alt=media", headers={"Range": header})
    assert answer.status_code == 416
    assert requests.get(f"{api}/short?alt=media").content == content


def test_a_file_can_be_read_in_pieces(bucket: Any) -> None:
    content = bytes(range(256)) * 5000
    bucket.blob("seekable").upload_from_string(content)
    with bucket.blob("seekable").open("rb", chunk_size=1 << 18) as file:
        file.seek(1000)
        assert file.read(10) == content[1000:1010]
        file.seek(-5, 2)
        assert file.read() == content[-5:]


def test_metadata_is_kept_changed_and_removed(bucket: Any) -> None:
    blob = bucket.blob("described")
    blob.metadata = {"a": "1", "b": "zwei"}
    blob.cache_control = "no-store"
    blob.content_disposition = "attachment"
    blob.content_language = "de"
    blob.upload_from_string(b"x", content_type="text/x-thing")

    found = bucket.get_blob("described")
    assert found.metadata == {"a": "1", "b": "zwei"}
    assert (found.cache_control, found.content_disposition, found.content_language) == (
        "no-store",
        "attachment",
        "de",
    )
    found.metadata = {"a": None, "c": "3"}
    found.cache_control = None
    found.patch()

    changed = bucket.get_blob("described")
    assert changed.metadata == {"b": "zwei", "c": "3"}
    assert changed.cache_control is None
    assert changed.content_type == "text/x-thing"
    assert (changed.generation, changed.metageneration) == (found.generation, 2)
    assert changed.download_as_bytes() == b"x"


def test_an_update_replaces_all_metadata(bucket: Any) -> None:
    blob = bucket.blob("described")
    blob.metadata = {"a": "1"}
    blob.upload_from_string(b"x")
    blob.metadata = {"b": "2"}
    blob.update()
    assert bucket.get_blob("described").metadata == {"b": "2"}


def test_null_metadata_removes_all_of_it(bucket: Any, api: str) -> None:
    blob = bucket.blob("described")
    blob.metadata = {"a": "1"}
    blob.upload_from_string(b"x")
    assert "metadata" not in requests.patch(f"{api}/described", json={"metadata": None}).json()


def test_refused_metadata_changes_nothing(bucket: Any, api: str) -> None:
    bucket.blob("described").upload_from_string(b"x")
    for patch, status in [
        ({"metadata": {"a": 1}}, 400),
        ({"storageClass": "GOLD"}, 400),
        ({"temporaryHold": True}, 501),
        ({"acl": [{"entity": "allUsers", "role": "READER"}]}, 501),
    ]:
        assert requests.patch(f"{api}/described", json=patch).status_code == status
    assert bucket.get_blob("described").metageneration == 1


def test_the_storage_class_is_changed_by_a_rewrite(bucket: Any) -> None:
    blob = bucket.blob("cold")
    blob.metadata = {"kept": "yes"}
    blob.upload_from_string(b"x")
    blob.update_storage_class("COLDLINE")
    found = bucket.get_blob("cold")
    assert (found.storage_class, found.metadata) == ("COLDLINE", {"kept": "yes"})


TREE = ["a", "a-b", "a/1", "a/2/x", "a/2/y", "a0", "b/", "b/c", "z"]


@pytest.fixture
def tree(bucket: Any) -> Any:
    for name in TREE:
        bucket.blob(name).upload_from_string(b"x")
    return bucket


def test_objects_are_listed_in_order(tree: Any) -> None:
    assert names(tree.list_blobs()) == sorted(TREE)
    assert names(tree.list_blobs(prefix="a/")) == ["a/1", "a/2/x", "a/2/y"]
    assert names(tree.list_blobs(prefix="a/2")) == ["a/2/x", "a/2/y"]
    assert names(tree.list_blobs(prefix="nothing")) == []


def test_a_delimiter_folds_names_into_prefixes(tree: Any) -> None:
    listed = tree.list_blobs(delimiter="/")
    assert names(listed) == ["a", "a-b", "a0", "z"]
    assert sorted(listed.prefixes) == ["a/", "b/"]
    listed = tree.list_blobs(prefix="a/", delimiter="/")
    assert names(listed) == ["a/1"]
    assert listed.prefixes == {"a/2/"}
    listed = tree.list_blobs(delimiter="/", include_trailing_delimiter=True)
    assert names(listed) == ["a", "a-b", "a0", "b/", "z"]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pages_hold_what_one_page_would(tree: Any, size: int) -> None:
    assert names(tree.list_blobs(page_size=size)) == sorted(TREE)
    listed = tree.list_blobs(delimiter="/", page_size=size)
    assert (names(listed), sorted(listed.prefixes)) == (["a", "a-b", "a0", "z"], ["a/", "b/"])


def test_a_page_counts_objects_and_prefixes_together(tree: Any, api: str) -> None:
    page = requests.get(api, params={"delimiter": "/", "maxResults": 3}).json()
    assert len(page.get("items", [])) + len(page.get("prefixes", [])) == 3
    assert "nextPageToken" in page
    page = requests.get(api, params={"delimiter": "/", "maxResults": 6}).json()
    assert "nextPageToken" not in page


def test_offsets_bound_a_listing(tree: Any) -> None:
    assert names(tree.list_blobs(start_offset="a/2/y")) == ["a/2/y", "a0", "b/", "b/c", "z"]
    assert names(tree.list_blobs(end_offset="a/1")) == ["a", "a-b"]
    assert names(tree.list_blobs(start_offset="a/1", end_offset="a0")) == ["a/1", "a/2/x", "a/2/y"]


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("a*", ["a", "a-b", "a0"]),
        ("**", sorted(TREE)),
        ("a/**", ["a/1", "a/2/x", "a/2/y"]),
        ("**/x", ["a/2/x"]),
        ("**z", ["z"]),
        ("?", ["a", "z"]),
        ("a[0-9]", ["a0"]),
        ("a/*/{x,q}", ["a/2/x"]),
        ("nothing*", []),
    ],
)
def test_a_glob_chooses_names(tree: Any, glob: str, expected: list[str]) -> None:
    assert names(tree.list_blobs(match_glob=glob)) == expected


def test_a_malformed_glob_or_token_is_refused(tree: Any, api: str) -> None:
    assert requests.get(api, params={"matchGlob": "a{b"}).status_code == 400
    assert requests.get(api, params={"pageToken": "\x00"}).status_code == 400
    assert requests.get(api, params={"maxResults": "many"}).status_code == 400


def test_only_the_fields_asked_for_are_answered(tree: Any, api: str) -> None:
    page = requests.get(api, params={"fields": "items(name,size),prefixes", "delimiter": "/"}).json()
    assert page == {
        "items": [{"name": name, "size": "1"} for name in ["a", "a-b", "a0", "z"]],
        "prefixes": ["a/", "b/"],
    }
    assert requests.get(f"{api}/a", params={"fields": "bucket"}).json() == {"bucket": tree.name}
    assert requests.get(api, params={"fields": "items(name"}).status_code == 400


def test_a_bucket_that_is_not_there_has_no_listing(server: StorageServer) -> None:
    with pytest.raises(exceptions.NotFound):
        list(server.client().list_blobs("no-such-bucket"))


def test_objects_are_composed(bucket: Any) -> None:
    parts = []
    for number in range(3):
        blob = bucket.blob(f"part{number}")
        blob.upload_from_string(bytes([number]) * 100_000)
        parts.append(blob)
    whole = bucket.blob("whole")
    whole.content_type = "text/plain"
    whole.compose(parts)
    twin = bucket.blob("twin")
    twin.upload_from_string(b"".join(bytes([number]) * 100_000 for number in range(3)))
    assert whole.download_as_bytes() == twin.download_as_bytes()
    assert (whole.crc32c, whole.component_count, whole.content_type) == (twin.crc32c, 3, "text/plain")
    assert whole.md5_hash is None
    whole.compose([whole, parts[0]])
    assert whole.component_count == 4
    assert whole.size == 400_000


def test_a_composition_has_at_most_32_sources(bucket: Any) -> None:
    blob = bucket.blob("part")
    blob.upload_from_string(b"x")
    bucket.blob("whole").compose([blob] * 32)
    assert bucket.blob("whole").download_as_bytes() == b"x" * 32
    with pytest.raises(exceptions.BadRequest, match="32"):
        bucket.blob("too much").compose([blob] * 33)
    assert not bucket.blob("too much").exists()


def test_a_composition_keeps_to_the_generations_asked_for(bucket: Any) -> None:
    blob = bucket.blob("part")
    blob.upload_from_string(b"x")
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("whole").compose([blob], if_source_generation_match=[blob.generation + 1])
    with pytest.raises(exceptions.NotFound):
        bucket.blob("whole").compose([bucket.blob("nothing")])
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("part").compose([blob], if_generation_match=0)
    assert names(bucket.list_blobs()) == ["part"]


def test_a_composition_deletes_its_sources_if_asked_to(bucket: Any) -> None:
    for name in ("a", "b"):
        bucket.blob(name).upload_from_string(name.encode())
    bucket.blob("a").compose([bucket.blob("a"), bucket.blob("b")], delete_source_objects=True)
    assert names(bucket.list_blobs()) == ["a"]
    assert bucket.blob("a").download_as_bytes() == b"ab"


def test_a_copy_keeps_metadata(bucket: Any, server: StorageServer) -> None:
    other = server.client().create_bucket(f"other-{uuid.uuid4().hex[:12]}")
    blob = bucket.blob("original")
    blob.metadata = {"a": "1"}
    blob.upload_from_string(b"x" * 2_000_000, content_type="text/x-thing")
    copy = bucket.copy_blob(blob, other, "copy")
    assert (copy.metadata, copy.content_type, copy.crc32c) == ({"a": "1"}, "text/x-thing", blob.crc32c)
    assert copy.md5_hash == blob.md5_hash
    assert copy.download_as_bytes() == b"x" * 2_000_000


def test_a_rewrite_keeps_or_replaces_metadata(bucket: Any) -> None:
    blob = bucket.blob("original")
    blob.metadata = {"a": "1"}
    blob.upload_from_string(b"xyz")
    kept = bucket.blob("kept")
    token, rewritten, size = kept.rewrite(blob)
    assert (token, rewritten, size) == (None, 3, 3)
    replaced = bucket.blob("replaced")
    replaced.metadata = {"b": "2"}
    replaced.rewrite(blob)
    assert bucket.get_blob("kept").metadata == {"a": "1"}
    assert bucket.get_blob("replaced").metadata == {"b": "2"}


def test_the_older_copy_method_answers_with_the_object(bucket: Any, api: str) -> None:
    bucket.blob("a").upload_from_string(b"x")
    answer = requests.post(f"{api}/a/copyTo/b/{bucket.name}/o/{quote('b/c', safe='')}")
    assert (answer.status_code, answer.json()["name"]) == (200, "b/c")
    assert bucket.blob("b/c").download_as_bytes() == b"x"


def test_a_move_leaves_nothing_behind(bucket: Any, api: str, server: StorageServer) -> None:
    blob = bucket.blob("from/here")
    blob.metadata = {"a": "1"}
    blob.upload_from_string(b"x")
    bucket.blob("to/there").upload_from_string(b"old")
    moved = bucket.move_blob(blob, "to/there")
    assert names(bucket.list_blobs()) == ["to/there"]
    assert (moved.metadata, moved.crc32c, moved.md5_hash) == ({"a": "1"}, blob.crc32c, blob.md5_hash)
    assert moved.generation > blob.generation
    assert moved.download_as_bytes() == b"x"
    assert not (server.folder(bucket.name) / "from").exists()
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.move_blob(moved, "elsewhere", if_source_generation_match=1)


def test_preconditions_guard_every_change(bucket: Any) -> None:
    blob = bucket.blob("guarded")
    blob.upload_from_string(b"one", if_generation_match=0)
    generation = blob.generation
    changes = [
        lambda **guards: bucket.blob("guarded").upload_from_string(b"two", **guards),
        lambda **guards: bucket.blob("guarded").delete(**guards),
        lambda **guards: bucket.blob("guarded").patch(**guards),
        lambda **guards: bucket.blob("guarded").rewrite(bucket.blob("guarded"), **guards),
        lambda **guards: bucket.blob("guarded").compose([bucket.blob("guarded")], **guards),
    ]
    for change in changes:
        with pytest.raises(exceptions.PreconditionFailed):
            change(if_generation_match=0)
        with pytest.raises(exceptions.PreconditionFailed):
            change(if_generation_match=generation + 1)
        with pytest.raises(exceptions.PreconditionFailed):
            change(if_metageneration_match=2)
    for change in changes[:3]:
        with pytest.raises(exceptions.PreconditionFailed):
            change(if_generation_not_match=generation)
        with pytest.raises(exceptions.PreconditionFailed):
            change(if_metageneration_not_match=1)
    assert bucket.get_blob("guarded").generation == generation
    changes[1](if_generation_match=generation, if_metageneration_match=1)
    assert not blob.exists()


def test_preconditions_guard_reading(bucket: Any, api: str) -> None:
    blob = bucket.blob("guarded")
    blob.upload_from_string(b"x")
    for url in (f"{api}/guarded", f"{api}/guarded?alt=media"):
        known = {"ifGenerationNotMatch": blob.generation}
        assert requests.get(url, params=known).status_code == 304
        assert requests.get(url, params={"ifGenerationMatch": 1}).status_code == 412
        assert requests.get(url, params={"ifMetagenerationMatch": 2}).status_code == 412
        assert requests.get(url, params={"ifMetagenerationNotMatch": 1}).status_code == 304
        assert requests.get(url, params={"ifGenerationMatch": blob.generation}).status_code == 200
    error = requests.get(f"{api}/guarded", params={"ifGenerationMatch": 1}).json()["error"]
    assert error["errors"][0]["reason"] == "conditionNotMet"
    assert requests.get(f"{api}/guarded", params={"ifGenerationMatch": "x"}).status_code == 400


def test_the_source_of_a_rewrite_is_guarded_too(bucket: Any) -> None:
    source = bucket.blob("source")
    source.upload_from_string(b"x")
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("copy").rewrite(source, if_source_generation_match=1)
    bucket.blob("copy").rewrite(source, if_source_generation_match=source.generation)
    assert bucket.blob("copy").exists()


def test_of_many_that_create_an_object_one_wins(bucket: Any) -> None:
    def create(number: int) -> bool:
        try:
            bucket.blob("prize").upload_from_string(str(number), if_generation_match=0)
        except exceptions.PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(create, range(16)))
    assert won.count(True) == 1
    assert bucket.blob("prize").download_as_text() == str(won.index(True))


def test_a_batch_deletes_and_patches(bucket: Any, server: StorageServer) -> None:
    blobs = [bucket.blob(f"item {number}/ü") for number in range(20)]
    for blob in blobs:
        blob.upload_from_string(b"x")
    client = bucket.client
    with client.batch():
        for blob in blobs[:19]:
            bucket.delete_blob(blob.name)
        blobs[19].metadata = {"a": "1"}
        blobs[19].patch()
    assert names(bucket.list_blobs()) == [blobs[19].name]
    assert bucket.get_blob(blobs[19].name).metadata == {"a": "1"}


def test_a_failure_in_a_batch_is_that_call_s_own(bucket: Any) -> None:
    bucket.blob("there").upload_from_string(b"x")
    with pytest.raises(exceptions.NotFound, match="No such object"), bucket.client.batch():
        bucket.delete_blob("nothing")
        bucket.delete_blob("there")
    assert not bucket.blob("there").exists()


def test_a_batch_holds_at_most_100_calls(server: StorageServer, bucket: Any) -> None:
    call = (
        f"--b\r\nContent-Type: application/http\r\n\r\nGET /storage/v1/b/{bucket.name} HTTP/1.1\r\n\r\n\r\n"
    )
    headers = {"Content-Type": "multipart/mixed; boundary=b"}
    url = f"{server.url}/batch/storage/v1"
    assert requests.post(url, data=call * 100 + "--b--", headers=headers).text.count("HTTP/1.1 200") == 100
    assert requests.post(url, data=call * 101 + "--b--", headers=headers).status_code == 400
    assert requests.post(url, data=call, headers=headers).status_code == 400


def test_a_packed_object_is_unpacked_for_who_cannot(bucket: Any, api: str) -> None:
    blob = bucket.blob("packed")
    blob.content_encoding = "gzip"
    blob.upload_from_string(GZIPPED, content_type="text/plain")
    assert blob.size == len(GZIPPED)
    assert blob.download_as_bytes() == gzip.decompress(GZIPPED)
    assert blob.download_as_bytes(raw_download=True) == GZIPPED
    answer = requests.get(f"{api}/packed?alt=media", headers={"Accept-Encoding": "identity"}, stream=True)
    assert answer.raw.read() == gzip.decompress(GZIPPED)
    assert "Content-Encoding" not in answer.headers
    answer = requests.get(f"{api}/packed?alt=media", headers={"Accept-Encoding": "gzip"}, stream=True)
    assert answer.raw.read(decode_content=False) == GZIPPED
    assert answer.headers["Content-Encoding"] == "gzip"


def test_what_is_packed_by_name_only_is_served_as_it_is(bucket: Any, api: str) -> None:
    blob = bucket.blob("not packed")
    blob.content_encoding = "gzip"
    blob.upload_from_string(b"plain")
    url = f"{api}/{quote('not packed')}?alt=media"
    answer = requests.get(url, headers={"Accept-Encoding": "identity"}, stream=True)
    assert answer.raw.read(decode_content=False) == b"plain"


def test_encryption_keys_of_customers_are_refused_by_name(bucket: Any) -> None:
    with pytest.raises(exceptions.GoogleAPICallError, match="customer-supplied encryption keys"):
        bucket.blob("secret", encryption_key=b"k" * 32).upload_from_string(b"x")
    assert not bucket.blob("secret").exists()


def test_access_control_lists_are_refused_by_name(bucket: Any) -> None:
    with pytest.raises(exceptions.GoogleAPICallError, match="access control lists"):
        bucket.blob("public").upload_from_string(b"x", predefined_acl="publicRead")
    assert not bucket.blob("public").exists()
