"""Models through Google's own clients, high-level and generated, over each transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from local_bucket import Bucket

IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"


@pytest.fixture
def artifact(emulator: Any, project: str, scaling_models: Mapping[int, Path]) -> str:
    """``gs://`` URI of a real SavedModel."""
    bucket = Bucket(emulator.storage, project, f"models-{project}")
    return bucket.put_folder("double", scaling_models[2])


@pytest.fixture
def models(generated: Callable[[str], Any]) -> Any:
    """The generated client of ModelService."""
    return generated("ModelServiceClient")


def upload(aiplatform: Any, artifact: str, **options: Any) -> Any:
    return aiplatform.Model.upload(
        **{
            "display_name": "double",
            "artifact_uri": artifact,
            "serving_container_image_uri": IMAGE,
            **options,
        }
    )


def test_a_model_is_uploaded_found_changed_and_deleted(aiplatform: Any, artifact: str) -> None:
    from google.api_core import exceptions

    model = upload(aiplatform, artifact, description="x 2", labels={"stage": "test"}, model_id="my-double")
    assert model.resource_name.endswith("/models/my-double")
    assert (model.version_id, model.version_aliases) == ("1", ["default"])
    assert model.uri == artifact
    assert model.container_spec.image_uri == IMAGE
    assert [one.name for one in model.supported_deployment_resources_types] == ["DEDICATED_RESOURCES"]
    model.update(display_name="twice", labels={"stage": "prod"})
    found = aiplatform.Model("my-double")
    assert (found.display_name, found.description, found.labels) == ("twice", "x 2", {"stage": "prod"})
    model.delete()
    with pytest.raises(exceptions.NotFound, match="models/my-double does not exist"):
        aiplatform.Model("my-double")


def test_versions_and_aliases_move_as_googles_registry_expects(aiplatform: Any, artifact: str) -> None:
    first = upload(aiplatform, artifact, version_description="one")
    second = upload(
        aiplatform,
        artifact,
        parent_model=first.resource_name,
        is_default_version=False,
        version_aliases=["canary"],
    )
    registry = first.versioning_registry
    assert (second.resource_name, second.version_id) == (first.resource_name, "2")
    assert registry.get_model().version_id == "1"
    assert registry.get_model("canary").version_id == "2"
    assert {info.version_id: info.version_description for info in registry.list_versions()} == {
        "1": "one",
        "2": "",
    }
    registry.add_version_aliases(["default", "golden"], version="2")
    registry.remove_version_aliases(["canary"], version="2")
    registry.update_version("2", version_description="two", labels={"best": "yes"})
    info = registry.get_version_info("golden")
    assert (info.version_id, info.version_description) == ("2", "two")
    assert sorted(info.version_aliases) == ["default", "golden"]
    assert aiplatform.Model(first.resource_name).version_id == "2"
    registry.delete_version("1")
    assert [info.version_id for info in registry.list_versions()] == ["2"]


def test_models_are_listed_by_filter_and_order(aiplatform: Any, artifact: str) -> None:
    for name, stage in [("b", "prod"), ("a", "prod"), ("c", "test")]:
        upload(aiplatform, artifact, display_name=name, labels={"stage": stage})
    listed = aiplatform.Model.list(
        filter='labels.stage="prod" AND NOT display_name="z"', order_by="display_name"
    )
    assert [model.display_name for model in listed] == ["a", "b"]
    newest = aiplatform.Model.list(order_by="create_time desc")
    assert [model.display_name for model in newest] == ["c", "a", "b"]


def test_pages_are_followed_by_googles_pager(
    aiplatform: Any, artifact: str, models: Any, parent: str
) -> None:
    names = [upload(aiplatform, artifact, display_name=f"m{number}").resource_name for number in range(5)]
    pages = [
        [model.name for model in page.models]
        for page in models.list_models(request={"parent": parent, "page_size": 2}).pages
    ]
    assert pages == [names[4:2:-1], names[2:0:-1], names[:1]]
    mask = {"paths": ["name", "version_id"]}
    masked = next(iter(models.list_models(request={"parent": parent, "read_mask": mask})))
    assert (masked.name, masked.version_id, masked.display_name) == (names[4], "1", "")


def test_what_is_wrong_is_refused_with_the_services_codes(artifact: str, models: Any, parent: str) -> None:
    from google.api_core import exceptions

    bad_request = (exceptions.InvalidArgument, exceptions.BadRequest)
    model = {"display_name": "m", "artifact_uri": artifact, "container_spec": {"image_uri": IMAGE}}
    with pytest.raises(bad_request, match="display_name"):
        models.upload_model(parent=parent, model={**model, "display_name": ""})
    with pytest.raises((exceptions.FailedPrecondition, exceptions.BadRequest), match="exactly one of"):
        models.upload_model(parent=parent, model={**model, "artifact_uri": artifact.rpartition("/")[0]})
    with pytest.raises(bad_request, match="Invalid filter"):
        list(models.list_models(request={"parent": parent, "filter": "nosuch=1"}))
    with pytest.raises(bad_request, match="page_token"):
        list(models.list_models(request={"parent": parent, "page_token": "made-up"}))


def test_an_update_from_a_stale_read_is_aborted(aiplatform: Any, artifact: str, models: Any) -> None:
    from google.api_core import exceptions

    name = upload(aiplatform, artifact).resource_name
    stale = models.get_model(name=name)
    stale.description = "mine"
    fresh = models.get_model(name=name)
    fresh.description = "theirs"
    models.update_model(model=fresh, update_mask={"paths": ["description"]})
    with pytest.raises((exceptions.Aborted, exceptions.Conflict), match="etag"):
        models.update_model(model=stale, update_mask={"paths": ["description"]})
    assert models.get_model(name=name).description == "theirs"


def test_operations_can_be_asked_for_again(
    emulator: Any, aiplatform: Any, artifact: str, models: Any, parent: str
) -> None:
    model = {"display_name": "m", "artifact_uri": artifact, "container_spec": {"image_uri": IMAGE}}
    uploading = models.upload_model(parent=parent, model=model)
    assert uploading.done()
    assert uploading.metadata.generic_metadata.create_time is not None
    name = uploading.operation.name
    assert uploading.result().model == name.partition("/operations/")[0]
    assert models.get_operation({"name": name}).done
    listed = models.list_operations({"name": name.partition("/operations/")[0]})
    assert [operation.name for operation in listed.operations] == [name]
    # Google's command line polls the operations of v1 under v1beta1.
    assert requests.get(f"{emulator.rest}/v1beta1/{name}").json()["done"]
    models.delete_operation({"name": name})
    assert not models.list_operations({"name": name.partition("/operations/")[0]}).operations


def test_locations_are_the_regions(models: Any, parent: str) -> None:
    project = parent.partition("/locations/")[0]
    found = models.list_locations({"name": project}).locations
    assert "europe-west4" in {location.location_id for location in found}
    assert models.get_location({"name": parent}).location_id == parent.rpartition("/")[2]
