"""Names that some file systems take for one and the same stay different objects."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vertexkit.emulator.gcs import spelling
from vertexkit.emulator.gcs.spelling import Spelling, probed
from vertexkit.emulator.gcs.store import ObjectStore

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"
NAMES = ["Model/A", "a", "A", "model/a", "model/A", COMPOSED, DECOMPOSED]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """A store that has been told that its file system is like macOS's."""
    monkeypatch.setattr(spelling, "probed", lambda _folder: Spelling(ignores_case=True, ignores_form=True))
    opened = ObjectStore(tmp_path / "data")
    opened.create_bucket("bucket", "project")
    yield opened
    opened.close()


@pytest.fixture
def folder(store: ObjectStore) -> Path:
    return store.uploads_dir.parent / "gcs" / "bucket"


def test_no_two_objects_have_files_that_differ_in_spelling_alone(store: ObjectStore, folder: Path) -> None:
    for name in NAMES:
        store.write("bucket", name, name.encode())
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {"a", "model/a", COMPOSED}
    assert [info.name for info in store.list("bucket")] == sorted(NAMES)
    assert [info.name for info in store.list("bucket", "Model/")] == ["Model/A"]
    for name in NAMES:
        assert store.read("bucket", name) == name.encode()
    for name in NAMES:
        store.delete("bucket", name)
    assert list(store.list("bucket")) == []


def test_a_file_from_outside_keeps_its_spelling(store: ObjectStore, folder: Path) -> None:
    (folder / "Out").mkdir()
    (folder / "Out" / "Events.V2").write_bytes(b"outside")
    assert [info.name for info in store.list("bucket")] == ["Out/Events.V2"]
    assert [info.name for info in store.list("bucket", "Out/")] == ["Out/Events.V2"]
    assert store.read("bucket", "Out/Events.V2") == b"outside"
    store.write("bucket", "Out/Events.V2", b"written")
    assert (folder / "Out" / "Events.V2").read_bytes() == b"written"
    store.delete("bucket", "Out/Events.V2")
    assert store.find("bucket", "Out/Events.V2") is None


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's file systems tell all names apart")
def test_a_file_system_that_tells_all_names_apart_is_known(tmp_path: Path) -> None:
    assert probed(tmp_path) == Spelling(ignores_case=False, ignores_form=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_confuses_names_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lexists = spelling.os.path.lexists
    for confused, expected in (("A", Spelling(True, False)), ("e\u0301", Spelling(False, True))):
        monkeypatch.setattr(
            spelling.os.path,
            "lexists",
            lambda path, like=confused: path.endswith(f"/{like}") or lexists(path),
        )
        assert probed(tmp_path) == expected
