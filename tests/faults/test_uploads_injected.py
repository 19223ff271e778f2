"""Errors, lost answers and resets at every call of a transfer: nothing is lost, nothing is left wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

import vertexkit as vk
from tests.conftest import RunningEmulator
from vertexkit import errors
from vertexkit._transfer import patience
from vertexkit._transfer.jobs import LARGE_BYTES
from vertexkit.storage import Bucket

Inject = Callable[..., Callable[[], list[int]]]

FILES = {f"{number:03}": os.urandom(100 + number) for number in range(60)}
LARGE = {"large": os.urandom(3 * LARGE_BYTES)}


@pytest.fixture(autouse=True)
def settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERTEXKIT_NO_BACKOFF", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def bucket(emulator: RunningEmulator, project: str) -> Iterator[Bucket]:
    with vk.connect(project=project, emulator=emulator.rest, progress=False) as session:
        yield session.buckets.create(f"{project}-bucket")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "m"
    folder.mkdir()
    for name, data in (FILES | LARGE).items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(params=["obstore", "google"])
def engine(request: pytest.FixtureRequest) -> Literal["obstore", "google"]:
    return request.param  # type: ignore[no-any-return] # one of the two above


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "fault",
    [{"status": 503}, {"status": 429}, {"status": 500}, {"reset": True}, {"reset": True, "after_work": True},
     {"status": 503, "after_work": True}],
    ids=lambda fault: "-".join(f"{key}={value}" for key, value in fault.items()),
)  # fmt: skip
def test_a_third_of_all_calls_failing_costs_no_file(
    bucket: Bucket, folder: Path, tmp_path: Path, engine: Any, inject: Inject, fault: dict[str, Any]
) -> None:
    # Every call on this bucket, of either API.
    rule = {"storage": f"*{bucket.name}*", "probability": 0.33, "seed": 11, **fault}
    struck = inject(rule)
    report = bucket.upload_dir(folder, engine=engine)
    assert struck()[0] > 10
    assert report.uploaded == len(FILES | LARGE)
    inject()
    assert {
        item.name.removeprefix("m/"): bucket.read(item.name) for item in bucket.list("m/")
    } == FILES | LARGE

    struck = inject(rule)
    down = bucket.download_dir("m", tmp_path / "out", engine=engine)
    assert struck()[0] > 10
    assert down.downloaded == len(FILES | LARGE)
    assert contents(tmp_path / "out") == FILES | LARGE

    assert bucket.delete("m") == len(FILES | LARGE)
    inject()
    assert bucket.list() == []


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 500}, {"reset": True, "after_work": True}])
def test_single_calls_are_tried_again_too(
    bucket: Bucket, tmp_path: Path, inject: Inject, fault: dict[str, Any]
) -> None:
    (tmp_path / "f").write_bytes(b"file")
    for call, result in (
        (lambda: bucket.write("a", b"data"), f"{bucket.uri}/a"),
        (lambda: bucket.read("a"), b"data"),
        (lambda: bucket.exists("a"), True),
        (lambda: bucket.upload_file(tmp_path / "f"), f"{bucket.uri}/f"),
        (lambda: bucket.download_file("f", tmp_path / "g").read_bytes(), b"file"),
        (lambda: [item.name for item in bucket.list()], ["a", "f"]),
    ):
        struck = inject({"storage": f"*{bucket.name}*", "times": 1, **fault})
        assert call() == result
        assert struck() == [1]


def test_a_file_that_the_service_refuses_is_the_only_one_missing(
    bucket: Bucket, folder: Path, inject: Inject
) -> None:
    inject({"storage": f"PUT /{bucket.name}/m/007", "status": 403})
    with pytest.raises(errors.TransferFailed) as caught:
        bucket.upload_dir(folder)
    assert list(caught.value.failures) == [str(folder / "007")]
    assert "Injected fault: 403" in caught.value.failures[str(folder / "007")]
    inject()
    assert len(bucket.list("m/")) == len(FILES | LARGE) - 1
    assert bucket.upload_dir(folder).uploaded == 1


def test_a_service_that_stays_away_is_given_up_with_every_file_named(
    bucket: Bucket, folder: Path, inject: Inject, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "SECONDS_WITHOUT_SUCCESS", 0.5)
    inject(
        {"storage": f"PUT *{bucket.name}*", "status": 503},
        {"storage": f"POST *{bucket.name}*", "status": 503},
    )
    with pytest.raises(errors.TransferFailed) as caught:
        bucket.upload_dir(folder, engine=engine)
    assert set(caught.value.failures) == {str(folder / name) for name in FILES | LARGE}
    inject()
    assert bucket.list() == []


def test_files_whose_arrival_cannot_be_checked_are_not_said_to_have_arrived(
    bucket: Bucket, folder: Path, inject: Inject
) -> None:
    (folder / "large").unlink()
    inject({"storage": f"GET /storage/v1/b/{bucket.name}/o", "status": 403, "skip": 1})
    with pytest.raises(errors.TransferFailed, match="could not be checked") as caught:
        bucket.upload_dir(folder)
    assert set(caught.value.failures) == {str(folder / name) for name in FILES}
    inject()
    assert bucket.upload_dir(folder).skipped == len(FILES)


def test_an_object_that_cannot_be_deleted_is_named(bucket: Bucket, folder: Path, inject: Inject) -> None:
    bucket.upload_dir(folder)
    inject({"storage": f"DELETE /{bucket.name}/m/007", "status": 403})
    with pytest.raises(errors.CleanupIncomplete, match="Injected fault: 403") as caught:
        bucket.delete("m")
    assert list(caught.value.failures) == [f"{bucket.uri}/m/007"]
    inject()
    assert [item.name for item in bucket.list()] == ["m/007"]


def test_an_upload_that_must_not_replace_anything_is_not_fooled_by_its_own_lost_answer(
    bucket: Bucket, tmp_path: Path, inject: Inject
) -> None:
    (tmp_path / "f").write_bytes(b"file")
    inject({"storage": f"POST *{bucket.name}*", "reset": True, "after_work": True, "times": 1})
    # What became of it is unknown, and that is what is said; not that somebody else was first.
    with pytest.raises(errors.Unavailable):
        bucket.upload_file(tmp_path / "f", overwrite=False)
    assert bucket.read("f") == b"file"
