"""Artifacts: what a prebuilt container could load, in a folder and in a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from vertexkit.artifacts import check_artifact
from vertexkit.images import serving_image
from vertexkit.saved_model import _message_class

SKLEARN = serving_image("sklearn")


@pytest.fixture
def saved_model(tmp_path: Path) -> Path:
    """A folder with the smallest SavedModel that can be served: versions of it are in its parent."""
    message = _message_class()()
    graph = message.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    signature = graph.signature_def["serving_default"]
    signature.inputs["images"].dtype = 4
    signature.outputs["output_0"].dtype = 1
    folder = tmp_path / "my_model" / "0001"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(message.SerializeToString())
    return folder


def test_a_saved_model_is_taken(saved_model: Path) -> None:
    assert check_artifact(saved_model) == []
    assert check_artifact(str(saved_model), image=serving_image("tensorflow")) == []


def test_the_folder_above_is_told_which_folder_was_meant(saved_model: Path) -> None:
    (found,) = check_artifact(saved_model.parent)
    assert str(saved_model) in (found.remedy or "")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (found,) = check_artifact(tmp_path / "nothing")
    assert (found.argument, "does not exist" in found.problem) == ("artifact", True)


def test_a_torn_saved_model_is_refused(saved_model: Path) -> None:
    file = saved_model / "saved_model.pb"
    file.write_bytes(file.read_bytes()[:-3])
    assert len(check_artifact(saved_model)) == 1


def test_a_keras_file_is_told_how_to_export(tmp_path: Path) -> None:
    file = tmp_path / "model.keras"
    file.write_bytes(b"PK")
    (found,) = check_artifact(file)
    assert ".export(" in (found.remedy or "")


@pytest.mark.parametrize(
    ("name", "taken"), [("model.joblib", True), ("model.pkl", True), ("other.pkl", False)]
)
def test_another_framework_s_artifact_needs_its_own_file(tmp_path: Path, name: str, taken: bool) -> None:
    (tmp_path / name).write_bytes(b"")
    assert (check_artifact(tmp_path, image=SKLEARN) == []) == taken


def test_what_a_container_of_one_s_own_loads_is_not_checked(tmp_path: Path) -> None:
    assert check_artifact(tmp_path, image="us-docker.pkg.dev/my/own/image:1") == []
    assert len(check_artifact(tmp_path / "nothing", image="us-docker.pkg.dev/my/own/image:1")) == 1


def test_a_uri_is_checked_without_looking_when_nobody_has_looked() -> None:
    assert check_artifact("gs://bucket-1/model") == []
    assert len(check_artifact("gs://B/model")) == 1


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ([], "holds no object"),
        (["variables/variables.index"], "no saved_model.pb"),
        (["0001/saved_model.pb", "0001/variables/variables.index"], "no saved_model.pb"),
    ],
)
def test_objects_that_are_no_saved_model_are_refused(objects: list[str], words: str) -> None:
    (found,) = check_artifact("gs://bucket-1/model/", objects=objects)
    assert words in found.problem


def test_objects_of_a_saved_model_are_taken() -> None:
    objects = ["saved_model.pb", "variables/variables.index"]
    assert check_artifact("gs://bucket-1/model", objects=objects) == []


def test_a_uri_one_level_too_high_is_told_which_was_meant() -> None:
    (found,) = check_artifact("gs://bucket-1/model/", objects=["0001/saved_model.pb", "0002/saved_model.pb"])
    assert "gs://bucket-1/model/0001" in (found.remedy or "")
