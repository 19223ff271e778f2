"""Objects become files for a job, or it is said which one is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vertexkit.emulator.errors import ApiError
from vertexkit.emulator.gcs.store import ObjectStore
from vertexkit.emulator.services.staged_objects import fetch


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[ObjectStore]:
    store = ObjectStore(tmp_path)
    store.create_bucket("jobs", "my-project")
    yield store
    store.close()


def test_a_file_becomes_a_copy_of_the_object(objects: ObjectStore, tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    objects.write("jobs", "packages/a.tar.gz", content)
    fetch(objects, "gs://jobs/packages/a.tar.gz", tmp_path / "a.tar.gz")
    assert (tmp_path / "a.tar.gz").read_bytes() == content


@pytest.mark.parametrize("uri", ["gs://jobs/none.tar.gz", "gs://no-such-bucket/a.tar.gz"])
def test_what_has_gone_meanwhile_is_named(objects: ObjectStore, tmp_path: Path, uri: str) -> None:
    with pytest.raises(ApiError, match=uri) as caught:
        fetch(objects, uri, tmp_path / "a.tar.gz")
    assert caught.value.code.name == "NOT_FOUND"
    assert not (tmp_path / "a.tar.gz").exists()
