"""Objects as files: written from outside, odd names, links, and folders in each other's way."""

import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from google.api_core import exceptions
from storage_server import StorageServer, in_thread

ODD_NAMES = [
    "/leading",
    "trailing/",
    "two//slashes",
    "../../up",
    "a/../b",
    "./here",
    "a/./b",
    "a/..",
    "/",
    "//",
]
ODD_NAMES += ["nul\0byte", "long/" + "x" * 300, "ü" * 200]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageServer]:
    with in_thread(tmp_path_factory.mktemp("around") / "data") as running:
        yield running


@pytest.fixture
def bucket(server: StorageServer) -> Any:
    return server.client().create_bucket(f"bucket-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def folder(server: StorageServer, bucket: Any) -> Path:
    """The bucket's folder."""
    return server.folder(bucket.name)


def names(bucket: Any, **query: Any) -> list[str]:
    return [blob.name for blob in bucket.list_blobs(**query)]


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_a_file_from_outside_is_an_object(bucket: Any, folder: Path) -> None:
    (folder / "made").mkdir()
    (folder / "made" / "model.json").write_bytes(b"{}")
    assert names(bucket) == ["made/model.json"]
    blob = bucket.get_blob("made/model.json")
    assert (blob.size, blob.content_type, blob.metageneration) == (2, "application/json", 1)
    assert blob.download_as_bytes() == b"{}"
    listed = next(iter(bucket.list_blobs()))
    assert listed.crc32c == blob.crc32c is not None
    assert listed.generation == blob.generation


def test_a_file_from_outside_keeps_its_generation_until_it_changes(bucket: Any, folder: Path) -> None:
    (folder / "a").write_bytes(b"one")
    first = bucket.get_blob("a")
    assert bucket.get_blob("a").generation == first.generation
    os.utime(folder / "a", ns=(1, 1))
    (folder / "a").write_bytes(b"two")
    second = bucket.get_blob("a")
    assert second.generation > first.generation
    assert second.crc32c != first.crc32c
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("a").upload_from_string(b"x", if_generation_match=first.generation)
    bucket.blob("a").upload_from_string(b"three", if_generation_match=second.generation)
    assert (folder / "a").read_bytes() == b"three"


def test_a_file_from_outside_can_be_described_copied_and_deleted(bucket: Any, folder: Path) -> None:
    (folder / "a").write_bytes(b"content")
    blob = bucket.get_blob("a")
    blob.metadata = {"k": "v"}
    blob.patch()
    copy = bucket.copy_blob(blob, bucket, "copy")
    assert (copy.metadata, copy.crc32c) == ({"k": "v"}, blob.crc32c)
    bucket.blob("whole").compose([blob, copy])
    assert bucket.blob("whole").download_as_bytes() == b"contentcontent"
    blob.delete()
    assert not (folder / "a").exists()


def test_a_file_changed_from_outside_loses_its_metadata(bucket: Any, folder: Path) -> None:
    blob = bucket.blob("a")
    blob.metadata = {"k": "v"}
    blob.upload_from_string(b"ours")
    (folder / "a").write_bytes(b"theirs")
    found = bucket.get_blob("a")
    assert (found.metadata, found.size, found.download_as_bytes()) == (None, 6, b"theirs")
    assert found.generation > blob.generation


def test_a_file_removed_from_outside_is_gone(bucket: Any, folder: Path) -> None:
    bucket.blob("a").upload_from_string(b"x")
    (folder / "a").unlink()
    assert names(bucket) == []
    assert bucket.get_blob("a") is None
    bucket.blob("a").upload_from_string(b"again", if_generation_match=0)
    assert bucket.blob("a").download_as_bytes() == b"again"


def test_a_listing_sees_a_change_from_outside_at_once(bucket: Any, folder: Path) -> None:
    for number in range(5):
        (folder / f"{number}").touch()
        assert names(bucket) == [str(seen) for seen in range(number + 1)]


def test_a_name_that_the_api_cannot_say_is_passed_over(bucket: Any, folder: Path) -> None:
    (folder / "a\nb").touch()
    (folder / "fine").touch()
    (folder / os.fsdecode(b"not utf-8 \xff")).touch()
    assert names(bucket) == ["fine"]


def test_only_objects_are_in_a_bucket_s_folder(bucket: Any, folder: Path) -> None:
    bucket.blob("a/b").upload_from_string(b"x")
    bucket.blob("a/c").upload_from_string(b"x" * 10_000_000)
    bucket.blob("whole").compose([bucket.blob("a/b"), bucket.blob("a/c")])
    with pytest.raises(exceptions.BadRequest):
        requests_like_bad_upload(bucket)
    assert files_below(folder) == {"a/b", "a/c", "whole"}
    for name in ("a/b", "a/c", "whole"):
        bucket.blob(name).delete()
    assert list(folder.iterdir()) == []


def requests_like_bad_upload(bucket: Any) -> None:
    blob = bucket.blob("wrong")
    blob.md5_hash = "1B2M2Y8AsgTpgAmY7PhCfg=="
    blob.upload_from_string(b"not that")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_odd_name_is_as_good_as_any(bucket: Any, folder: Path, server: StorageServer, name: str) -> None:
    around = server.data_dir.parent
    outside = set(around.iterdir())
    blob = bucket.blob(name)
    blob.upload_from_string(b"first")
    blob.upload_from_string(b"second", if_generation_match=blob.generation)
    assert names(bucket) == [name]
    assert bucket.get_blob(name).download_as_bytes() == b"second"
    assert names(bucket, prefix=name[:1]) == [name]
    copy = bucket.copy_blob(blob, bucket, "plain")
    assert copy.download_as_bytes() == b"second"
    assert files_below(folder) == {"plain"}
    bucket.move_blob(copy, name)
    assert names(bucket) == [name]
    bucket.delete_blob(name)
    assert names(bucket) == []
    assert files_below(folder) == set()
    assert set(around.iterdir()) == outside
    assert not any((server.data_dir / "gcs-odd").iterdir())


def test_odd_and_plain_names_are_listed_in_one_order(bucket: Any) -> None:
    given = ["a", "a/", "a//b", "a/b", "a/b/", "b", "b/c", "/", "c/../d", "c/d"]
    for name in given:
        bucket.blob(name).upload_from_string(b"x")
    assert names(bucket) == sorted(given)
    assert [name for page in bucket.list_blobs(page_size=1).pages for name in [b.name for b in page]] == (
        sorted(given)
    )
    listed = bucket.list_blobs(prefix="a/", delimiter="/")
    assert [blob.name for blob in listed] == ["a/", "a/b"]
    assert listed.prefixes == {"a//", "a/b/"}


def test_a_file_and_a_folder_of_one_name(bucket: Any, folder: Path) -> None:
    bucket.blob("a").upload_from_string(b"file")
    bucket.blob("a/b/c").upload_from_string(b"below")
    bucket.blob("d/e").upload_from_string(b"below")
    bucket.blob("d").upload_from_string(b"file")
    assert names(bucket) == ["a", "a/b/c", "d", "d/e"]
    assert bucket.blob("a/b/c").download_as_bytes() == b"below"
    assert bucket.blob("d").download_as_bytes() == b"file"

    bucket.blob("a").delete()
    bucket.blob("a/b/c").upload_from_string(b"now plain")
    assert (folder / "a/b/c").read_bytes() == b"now plain"
    bucket.blob("d/e").delete()
    bucket.blob("d").upload_from_string(b"now plain")
    assert (folder / "d").read_bytes() == b"now plain"
    assert names(bucket) == ["a/b/c", "d"]
    bucket.blob("a/b/c").delete()
    bucket.blob("d").delete()
    assert names(bucket) == []


def test_a_file_from_outside_hides_the_odd_object_of_its_name(bucket: Any, folder: Path) -> None:
    bucket.blob("a").upload_from_string(b"file")
    bucket.blob("a/b").upload_from_string(b"odd")
    bucket.blob("a").delete()
    (folder / "a").mkdir()
    (folder / "a" / "b").write_bytes(b"outside")
    assert names(bucket) == ["a/b"]
    assert bucket.blob("a/b").download_as_bytes() == b"outside"
    bucket.blob("a/b").delete()
    assert names(bucket) == []
    assert bucket.get_blob("a/b") is None


def test_links_are_neither_listed_nor_followed(bucket: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "file").symlink_to(tmp_path / "secret")
    (folder / "folder").symlink_to(tmp_path)
    (folder / "real").touch()
    assert names(bucket) == ["real"]
    assert names(bucket, prefix="folder/") == []
    for name in ("file", "folder/secret", "folder"):
        assert bucket.get_blob(name) is None
        with pytest.raises(exceptions.NotFound):
            bucket.blob(name).delete()


def test_a_write_replaces_a_link_and_never_follows_it(bucket: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "file").symlink_to(tmp_path / "secret")
    (folder / "folder").symlink_to(tmp_path)
    for name in ("file", "folder/secret", "folder/new"):
        bucket.blob(name).upload_from_string(b"written")
        assert bucket.blob(name).download_as_bytes() == b"written"
    assert (tmp_path / "secret").read_bytes() == b"secret"
    assert files_below(tmp_path) == {"secret"}
    assert (folder / "folder").is_symlink()
    assert names(bucket) == ["file", "folder/new", "folder/secret"]


def test_a_link_in_place_of_a_bucket_s_folder_is_not_followed(
    bucket: Any, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    folder.rmdir()
    folder.symlink_to(tmp_path)
    assert names(bucket) == []
    assert bucket.get_blob("secret") is None
    bucket.blob("new").upload_from_string(b"x")
    assert files_below(tmp_path) == {"secret"}


def test_a_pipe_is_no_object_and_holds_nothing_up(bucket: Any, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert names(bucket) == []
    assert bucket.get_blob("pipe") is None
    bucket.blob("pipe").upload_from_string(b"x")
    assert stat.S_ISREG((folder / "pipe").stat().st_mode)


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/{bucket}/../../secret",
        "/{bucket}/%2e%2e%2f..%2fsecret",
    ],
)
def test_no_path_leads_out_of_the_data_directory(bucket: Any, server: StorageServer, path: str) -> None:
    secret = server.data_dir.parent / "secret"
    secret.write_bytes(b"secret")
    (server.data_dir / "gcs" / "secret").write_bytes(b"secret")
    for start in ("", "/storage/v1/b", "/download/storage/v1/b"):
        url = f"{server.url}{start}{path.format(bucket=bucket.name)}"
        prepared = requests.Request("GET", url, params={"alt": "media"}).prepare()
        prepared.url = f"{url}?alt=media"
        with requests.Session() as session:
            answer = session.send(prepared)
        assert answer.status_code >= 400
        assert answer.content != b"secret"
    (server.data_dir / "gcs" / "secret").unlink()


def test_the_data_directory_is_for_its_owner_only(server: StorageServer) -> None:
    for folder in ("gcs", "gcs-odd", "gcs-uploads"):
        assert stat.S_IMODE((server.data_dir / folder).stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "name", ["tab\tand\x01control", "ü/ß", "a b+c%20?d#e&f", "..a", "a..", "-rf", "x" * 255]
)
def test_whatever_a_path_can_hold_is_a_file(bucket: Any, folder: Path, name: str) -> None:
    bucket.blob(name).upload_from_string(b"x")
    assert (folder / name).read_bytes() == b"x"
    assert names(bucket) == [name]


def test_an_encoded_slash_and_a_plain_one_are_the_same_name(bucket: Any, server: StorageServer) -> None:
    bucket.blob("a/b c").upload_from_string(b"x")
    for path in ("a/b%20c", "a%2Fb%20c"):
        assert requests.get(f"{server.url}/{bucket.name}/{path}").content == b"x"
    url = f"{server.url}/storage/v1/b/{bucket.name}/o/{quote('a/b c', safe='')}"
    assert requests.get(url).json()["name"] == "a/b c"


def test_a_url_that_is_not_utf_8_is_refused(bucket: Any, server: StorageServer) -> None:
    assert requests.get(f"{server.url}/{bucket.name}/%ff").status_code == 400
    assert requests.get(f"{server.url}/storage/v1/b/{bucket.name}/o/%ff").status_code == 400
