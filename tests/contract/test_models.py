"""Models, through vertexkit, against a real local Vertex AI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import vertexkit as vk


def test_an_uploaded_model_is_found_by_every_name(
    session: vk.Session, scaling_models: dict[int, Path]
) -> None:
    model = session.models.upload("scaling", scaling_models[2], version_aliases=["candidate"])
    for name in (
        "scaling",
        "scaling@1",
        "scaling@candidate",
        model.id,
        f"{model.id}@default",
        model.resource_name,
        model.versioned_name,
    ):
        assert session.models.get(name) == model
    assert session.models.list() == [model]
    assert session.models.list(filter='display_name="other"') == []
    assert str(model.signature) == "serving_default(x: float32[?, 3]) -> scaled: float32[?, 3]"
    assert str(session.models.get("scaling").signature) == str(model.signature)
    assert set(model.version_aliases) == {"default", "candidate"}


def test_its_files_are_whole_where_it_says(
    session: vk.Session, scaling_models: dict[int, Path], tmp_path: Path
) -> None:
    model = session.models.upload("scaling", scaling_models[2])
    assert model.artifact_uri is not None
    session.bucket.download_dir(model.artifact_uri, tmp_path)
    for file in scaling_models[2].rglob("*"):
        if file.is_file():
            assert (tmp_path / file.relative_to(scaling_models[2])).read_bytes() == file.read_bytes()


def test_files_that_are_in_a_bucket_already_are_used_there(
    session: vk.Session, scaling_models: dict[int, Path]
) -> None:
    uri = session.bucket.upload_dir(scaling_models[2], "models/two").uri
    model = session.models.upload("scaling", uri)
    assert model.artifact_uri == uri
    assert str(model.signature) == "serving_default(x: float32[?, 3]) -> scaled: float32[?, 3]"


def test_the_same_prefix_again_sends_nothing_again(
    session: vk.Session, scaling_models: dict[int, Path]
) -> None:
    first = session.models.upload("scaling", scaling_models[2], prefix="models/two")
    before = {item.name: item.generation for item in session.bucket.list("models/two/")}
    second = session.models.upload("scaling", scaling_models[2], prefix="models/two", new_version=True)
    assert {item.name: item.generation for item in session.bucket.list("models/two/")} == before
    assert first.artifact_uri == second.artifact_uri


def test_uploading_twice_makes_two_models_and_a_name_for_both_is_ambiguous(
    session: vk.Session, scaling_models: dict[int, Path]
) -> None:
    first = session.models.upload("scaling", scaling_models[2])
    second = session.models.upload("scaling", scaling_models[3])
    assert first.id != second.id
    with pytest.raises(vk.InvalidArgument, match=first.id) as raised:
        session.models.get("scaling")
    assert second.id in str(raised.value)


def test_versions_and_their_aliases(session: vk.Session, scaling_models: dict[int, Path]) -> None:
    model = session.models.upload("scaling", scaling_models[2])
    second = model.upload_version(scaling_models[3], version_aliases=["candidate"])
    third = model.upload_version(scaling_models[3], default=False)
    assert [version.version_id for version in model.versions()] == ["1", "2", "3"]
    assert set(second.version_aliases) == {"candidate", "default"}
    assert third.version_aliases == ()
    assert session.models.get("scaling").version_id == "2"

    model.set_default(1)
    assert session.models.get("scaling").version_id == "1"
    third.add_aliases("candidate")
    assert model.version("candidate") == third
    third.remove_aliases("candidate")
    with pytest.raises(vk.NotFound):
        model.version("candidate")

    second.delete()
    second.delete()
    assert [version.version_id for version in model.versions()] == ["1", "3"]
    model.delete()
    model.delete()
    assert session.models.list() == []


def test_cleaning_up_another_sessions_version_leaves_the_model_as_it_was(
    session: vk.Session, scaling_models: dict[int, Path]
) -> None:
    model = session.models.upload("scaling", scaling_models[2])
    with vk.connect(session.project, emulator=session.target.rest_url, temporary=True) as other:
        other.models.upload("scaling", scaling_models[3], new_version=True)
        assert session.models.get("scaling").version_id == "2"
    assert session.models.get("scaling").version_id == "1"
    assert [version.version_id for version in model.versions()] == ["1"]
    assert {item.name.split("/")[0] for item in session.bucket.list()} == {"vertexkit"}


def test_a_model_that_is_deployed_is_not_deleted(
    session: vk.Session, scaling_models: dict[int, Path]
) -> None:
    model = session.models.upload("scaling", scaling_models[2])
    endpoint = model.deploy()
    with pytest.raises(vk.FailedPrecondition, match=endpoint.resource_name):
        model.delete()
    assert endpoint.predict([[1.0, 2.0, 3.0]]).tolist() == [[2.0, 4.0, 6.0]]


def test_a_model_that_is_refused_leaves_no_files(
    session: vk.Session, scaling_models: dict[int, Path], inject: Any
) -> None:
    inject({"method": "ModelService.UploadModel", "status": 403})
    with pytest.raises(vk.PermissionDenied):
        session.models.upload("scaling", scaling_models[2])
    assert session.bucket.list() == []
    assert session.models.list() == []


def test_googles_client_sees_the_same_model(session: vk.Session, scaling_models: dict[int, Path]) -> None:
    model = session.models.upload("scaling", scaling_models[2], labels={"a": "b"})
    theirs = model.to_aiplatform()
    assert theirs.versioned_resource_name == model.versioned_name
    assert theirs.uri == model.artifact_uri
    assert theirs.labels == model.labels
    assert theirs.predict_schemata.instance_schema_uri.endswith(".schemata/instance.yaml")
