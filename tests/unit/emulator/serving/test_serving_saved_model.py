"""Where a SavedModel may lie in the folder that a replica is given."""

import pytest

from vertexkit.emulator.serving.model_server.errors import LoadError
from vertexkit.emulator.serving.model_server.saved_model import find_saved_model


def put_saved_model(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "saved_model.pb").write_bytes(b"")
    return folder


def test_a_saved_model_at_the_root_is_found(tmp_path):
    assert find_saved_model(put_saved_model(tmp_path)) == tmp_path


def test_a_saved_model_in_its_only_version_is_found(tmp_path):
    version = put_saved_model(tmp_path / "0001")
    (tmp_path / "notes").mkdir()
    (tmp_path / "2").mkdir()
    assert find_saved_model(tmp_path) == version


def test_a_folder_without_a_saved_model_is_refused_with_what_it_holds(tmp_path):
    (tmp_path / "weights.h5").write_bytes(b"")
    put_saved_model(tmp_path / "export")
    with pytest.raises(LoadError, match=r"saved_model|SavedModel.*export, weights\.h5"):
        find_saved_model(tmp_path)


def test_several_versions_are_refused_by_name(tmp_path):
    for version in ("1", "10", "2"):
        put_saved_model(tmp_path / version)
    with pytest.raises(LoadError, match="1, 2, 10"):
        find_saved_model(tmp_path)
