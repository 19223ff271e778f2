"""Files to and from a bucket, through each engine; Google's own client looks at what is there."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

import vertexkit as vk
from tests.conftest import RunningEmulator
from vertexkit import errors
from vertexkit._transfer.jobs import LARGE_BYTES
from vertexkit._transfer.obstore_engine import ObstoreEngine
from vertexkit.session import Session
from vertexkit.storage import Bucket, Buckets

Engine = Literal["obstore", "google"]

ODD_NAMES = [
    "with space", "ünïcödé/ß", "percent%20sign", "hash#question?", "plus+and&equals=", "star*[x]{y}",
    "back\\slash", "quote'\"", "tab\there", "colon:semi;", "~tilde", "...", "a..b", "-dash", "日本語.txt",
    "emoji-😀", "\x7fdelete",
]  # fmt: skip


@pytest.fixture
def session(emulator: RunningEmulator, project: str) -> Iterator[Session]:
    with vk.connect(project=project, emulator=emulator.rest, progress=False) as connected:
        yield connected


@pytest.fixture
def bucket(session: Session, project: str) -> Bucket:
    return session.buckets.create(f"{project}-bucket")


@pytest.fixture
def google(emulator: RunningEmulator, project: str, bucket: Bucket) -> Iterator[storage.Bucket]:
    """The same bucket in Google's own client."""
    client = storage.Client(
        project=project,
        credentials=AnonymousCredentials(),
        client_options=ClientOptions(api_endpoint=emulator.storage),
    )
    yield client.bucket(bucket.name)
    client.close()


@pytest.fixture(params=["obstore", "google"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param  # type: ignore[no-any-return] # one of the two above


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, so that no upload goes on from another test's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def make(folder: Path, files: dict[str, bytes]) -> Path:
    for relative, data in files.items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def stored(google: storage.Bucket) -> dict[str, bytes]:
    return {blob.name: blob.download_as_bytes() for blob in google.list_blobs()}


MODEL = {
    "saved_model.pb": b"graph" * 100,
    "variables/variables.index": b"index",
    "variables/variables.data-00000-of-00001": os.urandom(LARGE_BYTES + 12345),
    "assets/empty": b"",
    ".hidden": b"hidden",
}


# -- up ------------------------------------------------------------------------------------------


def test_a_folder_arrives_whole_under_its_own_name(
    bucket: Bucket, google: storage.Bucket, tmp_path: Path, engine: Engine
) -> None:
    folder = make(tmp_path / "my_model", MODEL)
    report = bucket.upload_dir(folder, engine=engine)
    assert stored(google) == {f"my_model/{name}": data for name, data in MODEL.items()}
    assert report.uri == f"gs://{bucket.name}/my_model"
    assert (report.files, report.uploaded, report.skipped) == (5, 5, 0)
    assert report.bytes == sum(map(len, MODEL.values()))


@pytest.mark.parametrize(
    ("prefix", "start"),
    [("", ""), ("models/mnist", "models/mnist/"), ("models/mnist/", "models/mnist/"), ("a//b", "a//b/")],
)
def test_a_prefix_says_where_the_files_go(
    bucket: Bucket, google: storage.Bucket, tmp_path: Path, engine: Engine, prefix: str, start: str
) -> None:
    folder = make(tmp_path / "f", {"a": b"1", "b/c": b"2"})
    bucket.upload_dir(folder, prefix, engine=engine)
    assert stored(google) == {f"{start}a": b"1", f"{start}b/c": b"2"}


def test_a_uri_is_understood_wherever_a_path_is(
    bucket: Bucket, google: storage.Bucket, tmp_path: Path
) -> None:
    folder = make(tmp_path / "f", {"a": b"1"})
    bucket.upload_dir(folder, f"{bucket.uri}/here")
    assert bucket.read(f"{bucket.uri}/here/a") == b"1"
    assert bucket.exists(f"{bucket.uri}/here/a")
    bucket.write(f"{bucket.uri}/here/b", b"2")
    assert [item.name for item in bucket.list(f"{bucket.uri}/here/")] == ["here/a", "here/b"]
    bucket.download_dir(f"{bucket.uri}/here", tmp_path / "out")
    assert contents(tmp_path / "out") == {"a": b"1", "b": b"2"}
    assert bucket.download_file(f"{bucket.uri}/here/b", tmp_path).read_bytes() == b"2"
    bucket.upload_file(folder / "a", f"{bucket.uri}/c")
    assert bucket.delete(f"{bucket.uri}/here") == 2
    assert set(stored(google)) == {"c"}
    with pytest.raises(errors.InvalidArgument, match="another-bucket"):
        bucket.upload_dir(folder, "gs://another-bucket/here")


def test_what_is_there_and_equal_is_not_sent_again(
    bucket: Bucket, google: storage.Bucket, tmp_path: Path, engine: Engine
) -> None:
    folder = make(tmp_path / "m", MODEL)
    bucket.upload_dir(folder, engine=engine)
    before = {blob.name: blob.generation for blob in google.list_blobs()}
    # One file of another size, one of the same size, one new.
    make(folder, {"saved_model.pb": b"other", "variables/variables.index": b"INDEX", "new": b"new"})
    report = bucket.upload_dir(folder, engine=engine)
    assert (report.files, report.uploaded, report.skipped) == (6, 3, 3)
    after = {blob.name: blob.generation for blob in google.list_blobs()}
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"m/saved_model.pb", "m/variables/variables.index", "m/new"}
    assert stored(google) == {f"m/{name}": data for name, data in contents(folder).items()}


def test_a_pattern_sends_what_matches_and_no_more(
    bucket: Bucket, google: storage.Bucket, tmp_path: Path, engine: Engine
) -> None:
    folder = make(tmp_path / "m", MODEL)
    report = bucket.upload_dir(folder, pattern="variables/*", engine=engine)
    assert report.files == 2
    assert all(name.startswith("m/variables/") for name in stored(google))


def test_names_that_are_hard_to_write_come_back_as_they_were(
    bucket: Bucket, google: storage.Bucket, tmp_path: Path, engine: Engine
) -> None:
    files = {name: name.encode() for name in ODD_NAMES}
    folder = make(tmp_path / "odd", files)
    bucket.upload_dir(folder, "odd", engine=engine)
    assert {blob.name for blob in google.list_blobs()} == {f"odd/{name}" for name in files}
    bucket.download_dir("odd", tmp_path / "back", engine=engine)
    assert contents(tmp_path / "back") == files
    assert bucket.upload_dir(folder, "odd", engine=engine).skipped == len(files)
    assert bucket.delete("odd") == len(files)


def test_one_error_names_every_file_that_did_not_arrive_and_the_others_are_there(
    bucket: Bucket, google: storage.Bucket, tmp_path: Path, engine: Engine
) -> None:
    folder = make(tmp_path / "m", {"good": b"1", "line\nbreak": b"2", "a/good": b"3"})
    (folder / "broken").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    with pytest.raises(errors.TransferFailed) as caught:
        bucket.upload_dir(folder, engine=engine)
    assert {Path(path).name for path in caught.value.failures} == {"line\nbreak", "broken", "pipe"}
    assert "3 of 5 files" in str(caught.value)
    assert "link to nothing" in str(caught.value)
    assert stored(google) == {"m/good": b"1", "m/a/good": b"3"}


def test_a_file_that_vanishes_after_it_was_found_is_named(
    bucket: Bucket, google: storage.Bucket, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vertexkit._transfer import upload

    folder = make(tmp_path / "m", {"stays": b"1", "goes": b"2"})

    real = upload.existing_objects

    def existing_objects(*arguments: Any, **options: Any) -> Any:
        (folder / "goes").unlink(missing_ok=True)
        return real(*arguments, **options)

    monkeypatch.setattr(upload, "existing_objects", existing_objects)
    with pytest.raises(errors.TransferFailed, match="No such file") as caught:
        bucket.upload_dir(folder, engine=engine)
    assert list(caught.value.failures) == [str(folder / "goes")]
    assert stored(google) == {"m/stays": b"1"}


@pytest.mark.parametrize("size", [1, LARGE_BYTES])
def test_a_file_that_may_not_be_read_is_named(
    bucket: Bucket, google: storage.Bucket, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path / "m", {"open": b"1", "closed": b"2" * size})

    def refuse(path: Any, *arguments: Any, **options: Any) -> Any:
        # Root, whom tests may run as, may read every file.
        if Path(os.fsdecode(path)).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return real(path, *arguments, **options)

    real, real_open = os.open, Path.open
    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(
        Path,
        "open",
        lambda path, *a, **k: refuse(path, 0) if path.name == "closed" else real_open(path, *a, **k),
    )
    with pytest.raises(errors.TransferFailed) as caught:
        bucket.upload_dir(folder)
    assert caught.value.failures == {str(folder / "closed"): "Permission denied"}
    assert stored(google) == {"m/open": b"1"}


@pytest.mark.parametrize("case", ["missing", "empty", "file", "no match"])
def test_a_folder_with_nothing_to_send_is_refused(bucket: Bucket, tmp_path: Path, case: str) -> None:
    folder = tmp_path / "folder"
    if case == "file":
        folder.touch()
    elif case != "missing":
        (folder / "inner").mkdir(parents=True)
    if case == "no match":
        (folder / "a").touch()
    with pytest.raises(errors.InvalidArgument) as caught:
        bucket.upload_dir(folder, pattern="*.pb" if case == "no match" else "**/*")
    assert caught.value.argument == ("pattern" if case == "no match" else "folder")
    assert bucket.list() == []


@pytest.mark.parametrize("arguments", [{"threads": 0}, {"engine": "gsutil"}, {"pattern": "/abs"}])
def test_arguments_that_make_no_sense_are_refused(
    bucket: Bucket, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    folder = make(tmp_path / "m", {"a": b"1"})
    with pytest.raises(errors.InvalidArgument, match=next(iter(arguments))):
        bucket.upload_dir(folder, **arguments)


def test_a_bucket_that_is_not_there_is_one_error(session: Session, tmp_path: Path, engine: Engine) -> None:
    folder = make(tmp_path / "m", {"a": b"1"})
    missing = Bucket(session._context, "no-such-bucket-here")
    with pytest.raises(errors.NotFound, match="no-such-bucket-here"):
        missing.upload_dir(folder, engine=engine)
    with pytest.raises(errors.NotFound, match="no-such-bucket-here"):
        missing.download_dir("", tmp_path / "x", engine=engine)
    assert not missing.exists()


def test_more_files_than_a_page_of_a_listing_are_all_checked(bucket: Bucket, tmp_path: Path) -> None:
    folder = make(tmp_path / "m", {f"{number:05}": str(number).encode() for number in range(1100)})
    assert bucket.upload_dir(folder).uploaded == 1100
    assert bucket.upload_dir(folder).skipped == 1100
    assert bucket.download_dir("m", tmp_path / "out").downloaded == 1100
    assert contents(tmp_path / "out") == contents(folder)
    assert bucket.delete("m") == 1100
    assert bucket.list() == []


def test_other_objects_between_the_names_do_not_hide_them(
    bucket: Bucket, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vertexkit._transfer import existing

    monkeypatch.setattr(existing, "_OTHERS", 3)
    bucket.upload_dir(make(tmp_path / "others", {f"m{number}": b"" for number in range(9)}), "")
    folder = make(tmp_path / "f", {"a": b"1", "m5": b"", "z": b"2"})
    report = bucket.upload_dir(folder, "", engine=engine)
    assert (report.uploaded, report.skipped) == (2, 1)
    assert bucket.read("z") == b"2"


def test_damage_on_the_way_is_found_and_mended(
    bucket: Bucket, google: storage.Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path / "m", {"a": b"aaaa", "b": b"bbbb"})
    real, struck = ObstoreEngine.put, threading.Event()

    def put(self: ObstoreEngine, name: str, data: bytes, content_type: str) -> int | None:
        if name == "m/a" and not struck.is_set():
            struck.set()
            data = b"aaXa"
        return real(self, name, data, content_type)

    monkeypatch.setattr(ObstoreEngine, "put", put)
    report = bucket.upload_dir(folder)
    assert struck.is_set()
    assert (report.uploaded, report.bytes) == (2, 8)
    assert stored(google) == {"m/a": b"aaaa", "m/b": b"bbbb"}


def test_what_arrives_damaged_every_time_is_not_left_there(
    bucket: Bucket, google: storage.Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path / "m", {"a": b"aaaa", "b": b"bbbb"})
    real = ObstoreEngine.put

    def put(self: ObstoreEngine, name: str, data: bytes, content_type: str) -> int | None:
        return real(self, name, b"aaXa" if name == "m/a" else data, content_type)

    monkeypatch.setattr(ObstoreEngine, "put", put)
    with pytest.raises(errors.ChecksumMismatch) as caught:
        bucket.upload_dir(folder)
    assert list(caught.value.failures) == [str(folder / "a")]
    assert stored(google) == {"m/b": b"bbbb"}


def test_what_somebody_else_writes_meanwhile_is_reported_and_left_alone(
    bucket: Bucket, google: storage.Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path / "m", {"a": b"ours"})
    real = ObstoreEngine.put

    def put(self: ObstoreEngine, name: str, data: bytes, content_type: str) -> int | None:
        generation = real(self, name, data, content_type)
        google.blob(name).upload_from_string(b"theirs")
        return generation

    monkeypatch.setattr(ObstoreEngine, "put", put)
    with pytest.raises(errors.TransferFailed, match="somebody else"):
        bucket.upload_dir(folder)
    assert stored(google) == {"m/a": b"theirs"}


def test_a_proxy_for_the_internet_does_not_divert_what_is_local(
    bucket: Bucket, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:9")
    folder = make(tmp_path / "m", {"a": b"1", "large": b"x" * LARGE_BYTES})
    assert bucket.upload_dir(folder, engine=engine).uploaded == 2


# -- down ----------------------------------------------------------------------------------------


def test_a_folder_comes_back_as_it_was(bucket: Bucket, tmp_path: Path, engine: Engine) -> None:
    folder = make(tmp_path / "m", MODEL)
    bucket.upload_dir(folder)
    report = bucket.download_dir("m", tmp_path / "deep" / "out", engine=engine)
    assert contents(tmp_path / "deep" / "out") == MODEL
    assert (report.files, report.downloaded, report.skipped) == (5, 5, 0)
    assert report.bytes == sum(map(len, MODEL.values()))
    make(tmp_path / "deep" / "out", {"saved_model.pb": b"other", ".hidden": b"HIDDEN"})
    again = bucket.download_dir("m", tmp_path / "deep" / "out", engine=engine)
    assert (again.downloaded, again.skipped) == (2, 3)
    assert contents(tmp_path / "deep" / "out") == MODEL


def test_a_download_takes_the_folder_and_not_its_namesakes(
    bucket: Bucket, tmp_path: Path, engine: Engine
) -> None:
    for name in ("m/a", "m/b.txt", "m2/c", "m"):
        bucket.write(name, name)
    bucket.download_dir("m", tmp_path / "out", engine=engine)
    assert contents(tmp_path / "out") == {"a": b"m/a", "b.txt": b"m/b.txt"}
    bucket.download_dir("m", tmp_path / "txt", pattern="*.txt", engine=engine)
    assert set(contents(tmp_path / "txt")) == {"b.txt"}
    with pytest.raises(errors.NotFound, match="nothing"):
        bucket.download_dir("nothing", tmp_path / "none", engine=engine)


def test_no_object_is_written_outside_the_folder(
    bucket: Bucket, google: storage.Bucket, tmp_path: Path, engine: Engine
) -> None:
    bad = ["p/../escaped", "p//etc/escaped", "p/a/../../escaped", "p/./x", "p/C:/escaped", "p/a//b"]
    for name in [*bad, "p/good"]:
        google.blob(name).upload_from_string(b"x")
    out = tmp_path / "a" / "b" / "out"
    with pytest.raises(errors.TransferFailed) as caught:
        bucket.download_dir("p", out, engine=engine)
    assert set(caught.value.failures) == {f"{bucket.uri}/{name}" for name in bad}
    assert contents(tmp_path) == {"a/b/out/good": b"x"}


def test_a_link_in_the_folder_does_not_lead_a_download_out_of_it(
    bucket: Bucket, tmp_path: Path, engine: Engine
) -> None:
    bucket.write("p/link/file", b"x")
    bucket.write("p/good", b"x")
    (tmp_path / "outside").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "outside", target_is_directory=True)
    with pytest.raises(errors.TransferFailed, match="by a link"):
        bucket.download_dir("p", tmp_path / "out", engine=engine)
    assert list((tmp_path / "outside").iterdir()) == []
    assert (tmp_path / "out" / "good").read_bytes() == b"x"


def test_an_object_that_is_also_a_folder_is_a_failure_and_nothing_is_lost_silently(
    bucket: Bucket, tmp_path: Path, engine: Engine
) -> None:
    bucket.write("p/a", b"file")
    bucket.write("p/a/b", b"below")
    with pytest.raises(errors.TransferFailed) as caught:
        bucket.download_dir("p", tmp_path / "out", engine=engine)
    assert len(caught.value.failures) == 1
    assert len(contents(tmp_path / "out")) == 1


def test_names_that_the_file_system_does_not_keep_apart_do_not_overwrite_each_other(
    bucket: Bucket, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vertexkit._transfer import download

    for name in ("p/Weights", "p/weights", "p/other"):
        bucket.write(name, name)
    if download._keeps_case(tmp_path):
        assert bucket.download_dir("p", tmp_path / "kept", engine=engine).downloaded == 3
    monkeypatch.setattr(download, "_keeps_case", lambda root: False)
    with pytest.raises(errors.TransferFailed, match="case only") as caught:
        bucket.download_dir("p", tmp_path / "out", engine=engine)
    assert set(caught.value.failures) == {f"{bucket.uri}/p/Weights", f"{bucket.uri}/p/weights"}
    assert contents(tmp_path / "out") == {"other": b"p/other"}


def test_the_marks_that_a_console_makes_for_folders_become_folders(
    bucket: Bucket, google: storage.Bucket, tmp_path: Path, engine: Engine
) -> None:
    for name in ("p/", "p/empty/", "p/x"):
        google.blob(name).upload_from_string(b"")
    report = bucket.download_dir("p", tmp_path / "out", engine=engine)
    assert report.files == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["empty", "x"]


@pytest.mark.parametrize("size", [10_000, LARGE_BYTES * 2])
def test_what_is_stored_compressed_becomes_a_file_that_is_not(
    bucket: Bucket, google: storage.Bucket, tmp_path: Path, engine: Engine, size: int
) -> None:
    data = os.urandom(size)
    blob = google.blob("p/data.json")
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(data))
    bucket.download_dir("p", tmp_path / "out", engine=engine)
    assert contents(tmp_path / "out") == {"data.json": data}
    assert bucket.read("p/data.json") == data
    assert bucket.download_file("p/data.json", tmp_path / "one").read_bytes() == data


@pytest.mark.parametrize("size", [10_000, LARGE_BYTES])
def test_all_members_of_what_is_stored_compressed_are_expanded(
    bucket: Bucket, google: storage.Bucket, tmp_path: Path, engine: Engine, size: int
) -> None:
    halves = os.urandom(size), os.urandom(size)
    blob = google.blob("p/shard.jsonl")
    blob.content_encoding = "gzip"
    blob.upload_from_string(b"".join(map(gzip.compress, halves)))
    bucket.download_dir("p", tmp_path / "out", engine=engine)
    assert contents(tmp_path / "out") == {"shard.jsonl": b"".join(halves)}
    assert bucket.read("p/shard.jsonl") == b"".join(halves)


@pytest.mark.parametrize("size", [10_000, LARGE_BYTES * 2])
@pytest.mark.parametrize("damage", ["cut short", "something else"])
def test_what_is_said_to_be_compressed_and_is_not_becomes_no_file(
    bucket: Bucket, google: storage.Bucket, tmp_path: Path, engine: Engine, size: int, damage: str
) -> None:
    data = os.urandom(size)
    blob = google.blob("p/torn.json")
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(data)[:-100] if damage == "cut short" else data)
    with pytest.raises(errors.TransferFailed, match="gzip"):
        bucket.download_dir("p", tmp_path / "out", engine=engine)
    with pytest.raises(errors.TransferFailed, match="gzip"):
        bucket.download_file("p/torn.json", tmp_path / "one")
    with pytest.raises(errors.TransferFailed, match="gzip"):
        bucket.read("p/torn.json")
    assert not (tmp_path / "out" / "torn.json").exists()
    assert not (tmp_path / "one").exists()


def test_a_damaged_download_is_not_left_there(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.write("p/a", b"aaaa")
    bucket.write("p/b", b"bbbb")
    real = ObstoreEngine.get

    def get(self: ObstoreEngine, name: str, generation: int, size: int) -> bytes:
        return b"aaXa" if name == "p/a" else real(self, name, generation, size)

    monkeypatch.setattr(ObstoreEngine, "get", get)
    with pytest.raises(errors.ChecksumMismatch) as caught:
        bucket.download_dir("p", tmp_path / "out")
    assert list(caught.value.failures) == [f"{bucket.uri}/p/a"]
    assert contents(tmp_path / "out") == {"b": b"bbbb"}


def test_a_folder_that_cannot_be_made_is_refused(bucket: Bucket, tmp_path: Path) -> None:
    bucket.write("p/a", b"x")
    (tmp_path / "file").touch()
    with pytest.raises(errors.InvalidArgument, match="folder="):
        bucket.download_dir("p", tmp_path / "file")


# -- one file ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 10, LARGE_BYTES + 1])
def test_one_file_goes_up_and_comes_down(
    bucket: Bucket, google: storage.Bucket, tmp_path: Path, size: int
) -> None:
    data = os.urandom(size)
    path = tmp_path / "weights.json"
    path.write_bytes(data)
    assert bucket.upload_file(path) == f"{bucket.uri}/weights.json"
    assert bucket.upload_file(path, "models/", content_type="text/x") == f"{bucket.uri}/models/weights.json"
    assert stored(google) == {"weights.json": data, "models/weights.json": data}
    assert google.get_blob("weights.json").content_type == "application/json"
    assert google.get_blob("models/weights.json").content_type == "text/x"
    (tmp_path / "into").mkdir()
    assert bucket.download_file("weights.json", tmp_path / "into") == tmp_path / "into" / "weights.json"
    assert bucket.download_file("weights.json", tmp_path / "other") == tmp_path / "other"
    assert (tmp_path / "other").read_bytes() == (tmp_path / "into" / "weights.json").read_bytes() == data
    assert sorted(each.name for each in tmp_path.iterdir()) == ["into", "other", "weights.json"]


@pytest.mark.parametrize("size", [10, LARGE_BYTES])
def test_an_object_is_not_replaced_when_that_is_not_wanted(bucket: Bucket, tmp_path: Path, size: int) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"n" * size)
    bucket.write("f", b"old")
    with pytest.raises(errors.AlreadyExists, match="overwrite"):
        bucket.upload_file(path, overwrite=False)
    assert bucket.read("f") == b"old"
    bucket.upload_file(path, "g", overwrite=False)
    assert len(bucket.read("g")) == size
    bucket.upload_file(path)
    assert len(bucket.read("f")) == size


@pytest.mark.parametrize("case", ["missing", "folder", "pipe", "name"])
def test_what_is_no_file_is_refused(bucket: Bucket, tmp_path: Path, case: str) -> None:
    path = tmp_path / "f"
    if case == "folder":
        path.mkdir()
    elif case == "pipe":
        os.mkfifo(path)
    elif case == "name":
        path.touch()
    with pytest.raises(errors.InvalidArgument, match="name=" if case == "name" else "path="):
        bucket.upload_file(path, "line\nbreak" if case == "name" else None)


def test_bytes_and_text_are_written_and_read(bucket: Bucket, google: storage.Bucket) -> None:
    assert bucket.write("notes/a.txt", "grüße") == f"{bucket.uri}/notes/a.txt"
    bucket.write("notes/b", memoryview(b"bytes"), content_type="x/y")
    assert bucket.read("notes/a.txt") == "grüße".encode()
    assert bucket.read("notes/b") == b"bytes"
    assert google.get_blob("notes/a.txt").content_type == "text/plain"
    assert google.get_blob("notes/b").content_type == "x/y"
    assert bucket.exists("notes/a.txt")
    assert not bucket.exists("notes")
    with pytest.raises(errors.NotFound):
        bucket.read("nothing")
    with pytest.raises(errors.NotFound):
        bucket.download_file("nothing")
    with pytest.raises(errors.InvalidArgument, match="data="):
        bucket.write("x", 7)  # type: ignore[arg-type] # the point


def test_a_list_tells_names_sizes_and_checksums(bucket: Bucket, google: storage.Bucket) -> None:
    for name in ("m/a.pb", "m/deep/b.pb", "m2/c", "é"):
        bucket.write(name, name)
    listed = {item.name: item for item in bucket.list()}
    for blob in google.list_blobs():
        item = listed.pop(blob.name)
        assert (item.size, item.crc32c, item.generation) == (blob.size, blob.crc32c, blob.generation)
        assert item.uri == f"{bucket.uri}/{blob.name}"
    assert listed == {}
    assert [item.name for item in bucket.list("m")] == ["m/a.pb", "m/deep/b.pb", "m2/c"]
    assert [item.name for item in bucket.list("m/")] == ["m/a.pb", "m/deep/b.pb"]
    assert [item.name for item in bucket.list("m/", pattern="*.pb")] == ["m/a.pb"]


# -- deleting, and buckets -----------------------------------------------------------------------


def test_deleting_a_folder_never_takes_its_namesakes(bucket: Bucket) -> None:
    for name in ("m", "m/a", "m/deep/b", "m2", "m2/c", "mm/d"):
        bucket.write(name, b"x")
    assert bucket.delete("m") == 3
    assert [item.name for item in bucket.list()] == ["m2", "m2/c", "mm/d"]
    bucket.write("m", b"x")
    bucket.write("m/a", b"x")
    assert bucket.delete("m/") == 1
    assert bucket.exists("m")
    with pytest.raises(errors.NotFound, match="nothing"):
        bucket.delete("nothing")
    with pytest.raises(errors.InvalidArgument, match="force=True"):
        bucket.delete("")
    with pytest.raises(errors.InvalidArgument, match="force"):
        bucket.delete("m", force=True)
    assert bucket.exists("m")


def test_a_bucket_with_something_in_it_is_only_deleted_by_force(session: Session, bucket: Bucket) -> None:
    bucket.write("a", b"x")
    with pytest.raises(errors.FailedPrecondition, match="force=True"):
        bucket.delete()
    assert bucket.exists("a")
    session.buckets.delete(bucket.uri, force=True)
    assert not bucket.exists()
    with pytest.raises(errors.NotFound):
        session.buckets.get(bucket.name)
    with pytest.raises(errors.NotFound):
        session.buckets.delete(bucket.name)
    assert session.cleanup().deleted == ()


def test_a_new_bucket_is_in_the_sessions_region_with_uniform_access_and_its_labels(
    session: Session, google: storage.Bucket, project: str
) -> None:
    name = f"{project}-new"
    made = session.buckets.create(f"gs://{name}", labels={"team": "vision"})
    assert (made.name, made.location, made.uri) == (name, "us-central1", f"gs://{name}")
    seen = google.client.get_bucket(name)
    assert seen.location == "US-CENTRAL1"
    assert seen.labels == {"team": "vision", "vertexkit_session": session.id}
    assert seen.iam_configuration.uniform_bucket_level_access_enabled
    assert name in [each.name for each in session.buckets.list()]
    assert session.buckets.get(name).location == "us-central1"


def test_a_bucket_that_is_there_already_is_said_to_be(session: Session, bucket: Bucket) -> None:
    with pytest.raises(errors.AlreadyExists, match="exist_ok"):
        session.buckets.create(bucket.name)
    assert session.buckets.create(bucket.name, exist_ok=True).name == bucket.name
    with pytest.raises(errors.FailedPrecondition, match="us-central1 and not in europe-west4"):
        session.buckets.create(bucket.name, location="europe-west4", exist_ok=True)


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [({"name": "UPPER"}, "name="), ({"name": "ab"}, "name="), ({"name": "gs://b/x"}, "name="),
     ({"name": "fine-name", "labels": {"Bad": "x"}}, "labels")],
)  # fmt: skip
def test_a_bucket_that_cannot_be_is_refused_before_anything_is_sent(
    session: Session, arguments: dict[str, Any], wrong: str
) -> None:
    with pytest.raises(errors.InvalidArgument, match=wrong):
        session.buckets.create(**arguments)


def test_the_default_bucket_is_made_when_first_needed_and_only_once(session: Session, project: str) -> None:
    assert session.buckets.list() == []
    assert session.bucket.name == f"{project}-vertexkit-us-central1"
    session.bucket.write("a", b"x")
    assert [each.name for each in session.buckets.list()] == [session.bucket.name]


def test_cleanup_deletes_the_buckets_that_the_session_created_and_no_others(
    session: Session, emulator: RunningEmulator, project: str
) -> None:
    with vk.connect(project=project, emulator=emulator.rest) as other:
        theirs = other.buckets.create(f"{project}-theirs")
    session.buckets.create(theirs.name, exist_ok=True)
    ours = session.buckets.create(f"{project}-ours")
    ours.write("a", b"x")
    assert session.cleanup().deleted == (ours.uri,)
    assert [each.name for each in session.buckets.list()] == [theirs.name]


def test_what_is_printed_tells_what_it_is(session: Session, bucket: Bucket, tmp_path: Path) -> None:
    assert repr(bucket) == f"<Bucket {bucket.uri} in us-central1>"
    assert session.project in repr(session.buckets)
    folder = make(tmp_path / "m", {"a": b"x" * 1500, "b": b""})
    assert str(bucket.upload_dir(folder)).startswith(f"{bucket.uri}/m: 2 files uploaded (1.5 kB in ")
    assert str(bucket.upload_dir(folder)).endswith(", 2 there already")
    assert str(bucket.list()[0]) == f"{bucket.uri}/m/a (1.5 kB)"


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda bucket: bucket.upload_file(5), "path"),
        (lambda bucket: bucket.upload_file("a\0b"), "path"),
        (lambda bucket: bucket.upload_file(None), "path"),
        (lambda bucket: bucket.upload_dir(b"folder"), "folder"),
        (lambda bucket: bucket.upload_dir(".", threads=True), "threads"),
        (lambda bucket: bucket.upload_dir(".", threads="4"), "threads"),
        (lambda bucket: bucket.upload_dir(".", pattern="/x"), "pattern"),
        (lambda bucket: bucket.download_file("name", 5), "path"),
        (lambda bucket: bucket.download_file(5), "name"),
        (lambda bucket: bucket.download_dir("", 5), "folder"),
        (lambda bucket: bucket.download_dir(None, "out"), "prefix"),
        (lambda bucket: bucket.write("name", b"", content_type=5), "content_type"),
        (lambda bucket: bucket.list(5), "prefix"),
    ],
)
def test_what_is_no_path_name_or_number_is_refused_before_anything_is_sent(
    bucket: Bucket, call: Callable[[Any], object], argument: str
) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        call(bucket)
    assert caught.value.argument == argument
    assert bucket.list() == []


@pytest.mark.parametrize(
    "wrong", [{"location": 5}, {"labels": 5}, {"labels": {"A": "x"}}, {"labels": {"a": 5}}]
)
def test_a_bucket_that_could_not_be_made_so_is_not_asked_for(bucket: Bucket, wrong: dict[str, Any]) -> None:
    buckets = Buckets(bucket._context)
    before = {found.name for found in buckets.list()}
    with pytest.raises(errors.InvalidArgument, match=next(iter(wrong))):
        buckets.create("vertexkit-never-made", **wrong)
    assert {found.name for found in buckets.list()} == before
