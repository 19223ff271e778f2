"""ModelService."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud.aiplatform_v1 import types
from local_services import IMAGE, PARENT, Vertex, raw

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.projects import project_number

LOCATION = f"projects/{project_number('my-project')}/locations/us-central1"


def name_of(version: str) -> str:
    return version.partition("@")[0]


def listed(vertex: Vertex, **request: Any) -> list[Any]:
    request = {"parent": PARENT, **request}
    return list(vertex.models.ListModels(raw(types.ListModelsRequest(**request))).models)


def versions(vertex: Vertex, name: str, **request: Any) -> list[Any]:
    return list(
        vertex.models.ListModelVersions(raw(types.ListModelVersionsRequest(name=name, **request))).models
    )


def merge(vertex: Vertex, name: str, *aliases: str) -> Any:
    request = types.MergeVersionAliasesRequest(name=name, version_aliases=aliases)
    return vertex.models.MergeVersionAliases(raw(request))


def update(vertex: Vertex, paths: list[str], **model: Any) -> Any:
    request = types.UpdateModelRequest(model=model, update_mask={"paths": paths})
    return vertex.models.UpdateModel(raw(request))


def code_of(call: Any, *arguments: Any, **keywords: Any) -> Code:
    with pytest.raises(ApiError) as error:
        call(*arguments, **keywords)
    return error.value.code


def test_an_uploaded_model_has_what_only_the_service_knows(vertex: Vertex) -> None:
    schema = vertex.artifact() + "/saved_model.pb"
    version = vertex.upload(
        labels={"stage": "test"},
        description="digits",
        version_description="first",
        predict_schemata={"instance_schema_uri": schema},
        # Output only: ignored.
        version_id="9",
        etag="mine",
        training_pipeline="somebody's",
        deployed_models=[{"endpoint": "e"}],
    )
    model = vertex.model(version)
    assert name_of(version).startswith(f"{LOCATION}/models/")
    assert model.name == version
    assert (model.version_id, list(model.version_aliases)) == ("1", ["default"])
    assert (model.display_name, model.description, model.version_description) == ("mnist", "digits", "first")
    assert dict(model.labels) == {"stage": "test"}
    assert model.container_spec.image_uri == IMAGE
    assert model.artifact_uri == "gs://models/mnist/1"
    assert model.predict_schemata.instance_schema_uri == schema
    assert list(model.supported_deployment_resources_types) == [types.Model.DeploymentResourcesType(1)]
    assert model.supported_input_storage_formats[0] == "jsonl"
    assert list(model.supported_output_storage_formats) == ["jsonl", "csv", "bigquery"]
    assert model.model_source_info.source_type == types.ModelSourceInfo.ModelSourceType.CUSTOM
    assert model.etag not in {"", "mine"}
    assert not model.training_pipeline
    assert not model.deployed_models
    created, updated = model.create_time.ToNanoseconds(), model.update_time.ToNanoseconds()
    assert 0 < created <= model.version_create_time.ToNanoseconds() <= updated


def test_a_model_gets_the_id_asked_for_once(vertex: Vertex) -> None:
    request = types.UploadModelRequest(
        parent=PARENT,
        model_id="my_mnist-1",
        model={
            "display_name": "m",
            "artifact_uri": vertex.artifact(),
            "container_spec": {"image_uri": IMAGE},
        },
    )
    vertex.models.UploadModel(raw(request))
    assert vertex.model(f"{PARENT}/models/my_mnist-1").display_name == "m"
    assert code_of(vertex.models.UploadModel, raw(request)) is Code.ALREADY_EXISTS


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"display_name": ""}, "model.display_name; Message: Required field is not set."),
        ({"display_name": "x" * 129}, "129 characters"),
        ({"container_spec": {}}, "model.container_spec.image_uri; Message: Required field"),
        ({"artifact_uri": ""}, "model.artifact_uri"),
        ({"artifact_uri": "/tmp/model"}, "does not start with gs://"),
        ({"labels": {"Stage": "x"}}, 'Label key "Stage"'),
        ({"labels": {"stage": "x" * 65}}, "at most 64"),
        ({"version_aliases": ["1st"]}, 'The alias "1st"'),
        (
            {"predict_schemata": {"instance_schema_uri": "gs://models/none.yaml"}},
            "gs://models/none.yaml does not",
        ),
    ],
)
def test_an_upload_that_is_wrong_is_an_invalid_argument(
    vertex: Vertex, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(ApiError) as error:
        vertex.upload(**change)
    assert error.value.code is Code.INVALID_ARGUMENT
    assert words in error.value.message
    assert listed(vertex) == []


@pytest.mark.parametrize("model_id", ["1abc", "-a", "Abc", "a" * 64, "a b"])
def test_an_impossible_id_is_an_invalid_argument(vertex: Vertex, model_id: str) -> None:
    request = types.UploadModelRequest(
        parent=PARENT,
        model_id=model_id,
        model={"display_name": "m", "container_spec": {"image_uri": IMAGE}},
    )
    assert code_of(vertex.models.UploadModel, raw(request)) is Code.INVALID_ARGUMENT


def test_the_artifact_must_be_there_and_be_a_model(vertex: Vertex) -> None:
    assert code_of(vertex.upload, artifact_uri="gs://no-such-bucket/m") is Code.NOT_FOUND
    with pytest.raises(
        ApiError,
        match=r"Model directory gs://models/mnist is expected to contain exactly one of: "
        r"\[saved_model.pb, saved_model.pbtxt\]\.",
    ) as error:
        vertex.upload(artifact_uri="gs://models/mnist/")
    assert error.value.code is Code.FAILED_PRECONDITION
    custom = {"image_uri": "gcr.io/mine/server:1"}
    vertex.upload(artifact_uri="gs://models/mnist", container_spec=custom)
    vertex.upload(artifact_uri="", container_spec=custom)
    assert code_of(vertex.upload, artifact_uri="gs://models/none", container_spec=custom) is (
        Code.FAILED_PRECONDITION
    )


def test_a_second_version_is_not_the_default_unless_asked(vertex: Vertex) -> None:
    first = vertex.upload(labels={"stage": "prod", "team": "a"})
    name = name_of(first)
    second = vertex.upload(parent_model=name, labels={"stage": "test"}, version_aliases=["canary"])
    assert second == f"{name}@2"
    assert vertex.model(name).version_id == "1"
    assert vertex.model(f"{name}@canary").version_id == "2"
    assert vertex.model(f"{name}@canary").name == second
    assert dict(vertex.model(second).labels) == {"stage": "test", "team": "a"}
    third = vertex.upload(parent_model=name, version_aliases=["default", "canary"])
    assert vertex.model(name).version_id == "3"
    assert vertex.model(name).name == name
    assert sorted(vertex.model(third).version_aliases) == ["canary", "default"]
    assert list(vertex.model(second).version_aliases) == []
    assert list(vertex.model(first).version_aliases) == []


def test_a_version_of_an_unknown_model_is_not_found(vertex: Vertex) -> None:
    assert code_of(vertex.upload, parent_model=f"{PARENT}/models/1") is Code.NOT_FOUND
    elsewhere = "projects/my-project/locations/europe-west4/models/1"
    assert code_of(vertex.upload, parent_model=elsewhere) is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (f"{PARENT}/models/1", Code.NOT_FOUND),
        (f"{PARENT}/endpoints/1", Code.INVALID_ARGUMENT),
        ("projects/p/models/1", Code.INVALID_ARGUMENT),
        ("projects/P P/locations/us-central1/models/1", Code.INVALID_ARGUMENT),
        ("projects/p/locations/US/models/1", Code.INVALID_ARGUMENT),
        ("", Code.INVALID_ARGUMENT),
    ],
)
def test_a_model_that_is_not_there(vertex: Vertex, name: str, code: Code) -> None:
    assert code_of(vertex.model, name) is code


def test_a_version_that_is_not_there(vertex: Vertex) -> None:
    name = name_of(vertex.upload())
    assert code_of(vertex.model, f"{name}@2") is Code.NOT_FOUND
    assert code_of(vertex.model, f"{name}@golden") is Code.NOT_FOUND


def test_a_list_shows_each_model_once_with_its_default_version(vertex: Vertex) -> None:
    first, other = vertex.upload(display_name="a"), vertex.upload(display_name="b")
    vertex.upload(parent_model=name_of(first), version_aliases=["default"])
    found = listed(vertex)
    assert [model.name for model in found] == [name_of(other), name_of(first)]
    assert [model.version_id for model in found] == ["1", "2"]
    assert listed(vertex, parent="projects/my-project/locations/europe-west4") == []


def test_a_list_can_be_filtered_ordered_paged_and_masked(vertex: Vertex) -> None:
    for name, stage in [("b", "prod"), ("a", "prod"), ("c", "test")]:
        vertex.upload(display_name=name, labels={"stage": stage})
    prod = listed(vertex, filter="labels.stage=prod", order_by="display_name")
    assert [model.display_name for model in prod] == ["a", "b"]
    model_id = name_of(prod[0].name).rpartition("/")[2]
    assert [one.name for one in listed(vertex, filter=f"model={model_id}")] == [prod[0].name]
    (masked,) = listed(vertex, filter='display_name="c"', read_mask={"paths": ["name", "labels"]})
    assert masked == types.Model.pb()(name=masked.name, labels={"stage": "test"})
    page = vertex.models.ListModels(raw(types.ListModelsRequest(parent=PARENT, page_size=2)))
    rest = listed(vertex, page_token=page.next_page_token)
    assert [model.display_name for model in [*page.models, *rest]] == ["c", "a", "b"]


@pytest.mark.parametrize(
    "request_fields",
    [
        {"filter": "nosuch=1"},
        {"order_by": "etag"},
        {"page_token": "x"},
        {"page_size": -1},
        {"read_mask": {"paths": ["nosuch"]}},
        {"parent": "projects/p"},
    ],
)
def test_a_list_request_that_is_wrong_is_an_invalid_argument(
    vertex: Vertex, request_fields: dict[str, Any]
) -> None:
    assert code_of(listed, vertex, **request_fields) is Code.INVALID_ARGUMENT


def test_versions_are_listed_with_their_ids_in_their_names(vertex: Vertex) -> None:
    name = name_of(vertex.upload(version_description="one"))
    vertex.upload(parent_model=name, labels={"stage": "test"})
    found = versions(vertex, name)
    assert [(one.name, one.version_id) for one in found] == [(f"{name}@1", "1"), (f"{name}@2", "2")]
    assert [one.display_name for one in found] == ["mnist", "mnist"]
    assert [one.version_id for one in versions(vertex, name, filter="labels.stage=test")] == ["2"]
    assert [one.version_id for one in versions(vertex, name, order_by="create_time desc")] == ["2", "1"]
    assert code_of(versions, vertex, f"{PARENT}/models/1") is Code.NOT_FOUND


def test_model_fields_and_version_fields_are_updated_apart(vertex: Vertex) -> None:
    version = vertex.upload(labels={"stage": "test"})
    name = name_of(version)
    etag = vertex.model(name).etag
    shown = update(vertex, ["display_name", "labels"], name=name, display_name="new", labels={"a": "b"})
    assert (shown.display_name, dict(shown.labels)) == ("new", {"a": "b"})
    assert shown.etag != etag
    shown = update(vertex, ["version_description"], name=version, version_description="better")
    assert (shown.name, shown.version_description, shown.display_name) == (version, "better", "new")
    assert (
        code_of(update, vertex, ["display_name"], name=version, display_name="x") is Code.FAILED_PRECONDITION
    )
    assert code_of(update, vertex, ["version_description"], name=name) is Code.FAILED_PRECONDITION
    assert update(vertex, ["description"], name=f"{name}@-", description="d").description == "d"


@pytest.mark.parametrize("paths", [[], ["*"], ["artifact_uri"], ["nosuch"], ["labels.stage"]])
def test_an_update_of_nothing_that_can_be_updated_is_an_invalid_argument(
    vertex: Vertex, paths: list[str]
) -> None:
    name = name_of(vertex.upload())
    assert code_of(update, vertex, paths, name=name) is Code.INVALID_ARGUMENT


def test_an_update_with_a_stale_etag_is_aborted(vertex: Vertex) -> None:
    version = vertex.upload()
    stale = vertex.model(version).etag
    update(vertex, ["description"], name=name_of(version), description="x", etag=stale)
    assert code_of(update, vertex, ["description"], name=name_of(version), etag=stale) is Code.ABORTED
    assert vertex.model(version).description == "x"


def test_an_etag_outlives_all_but_updates_of_the_model_and_of_that_version(vertex: Vertex) -> None:
    first = vertex.upload()
    name, etag = name_of(first), vertex.model(first).etag
    second = vertex.upload(parent_model=name, version_aliases=["default"])
    merge(vertex, first, "old")
    update(vertex, ["version_description"], name=second, version_description="better")
    assert vertex.model(first).etag == etag
    # A version's own fields are nothing to who updates the model.
    update(vertex, ["version_description"], name=first, version_description="good", etag=etag)
    update(vertex, ["display_name"], name=name, display_name="x", etag=etag)
    for changed, path in [(first, "version_description"), (name, "display_name")]:
        assert code_of(update, vertex, [path], name=changed, display_name="y", etag=etag) is Code.ABORTED


def test_aliases_move_and_go(vertex: Vertex) -> None:
    first = vertex.upload(version_aliases=["golden"])
    second = vertex.upload(parent_model=name_of(first))
    shown = merge(vertex, second, "golden", "stable")
    assert (shown.name, sorted(shown.version_aliases)) == (second, ["golden", "stable"])
    assert list(vertex.model(first).version_aliases) == ["default"]
    assert list(merge(vertex, second, "-golden").version_aliases) == ["stable"]
    assert code_of(vertex.model, f"{name_of(first)}@golden") is Code.NOT_FOUND
    assert sorted(merge(vertex, f"{name_of(first)}@stable", "default").version_aliases) == [
        "default",
        "stable",
    ]
    assert vertex.model(name_of(first)).version_id == "2"
    # Adding and removing one alias cancel out.
    assert sorted(merge(vertex, second, "x1", "-x1").version_aliases) == ["default", "stable"]


def test_there_is_always_exactly_one_default(vertex: Vertex) -> None:
    version = vertex.upload()
    assert code_of(merge, vertex, version, "-default") is Code.FAILED_PRECONDITION
    assert code_of(merge, vertex, version) is Code.INVALID_ARGUMENT
    assert code_of(merge, vertex, version, "Bad") is Code.INVALID_ARGUMENT
    assert code_of(merge, vertex, name_of(version), "golden") is Code.INVALID_ARGUMENT
    assert list(vertex.model(version).version_aliases) == ["default"]


def test_a_version_is_deleted_unless_it_is_the_default_or_the_only_one(vertex: Vertex) -> None:
    def delete(name: str) -> Any:
        return vertex.models.DeleteModelVersion(raw(types.DeleteModelVersionRequest(name=name)))

    first = vertex.upload()
    assert code_of(delete, first) is Code.FAILED_PRECONDITION
    second = vertex.upload(parent_model=name_of(first), version_aliases=["old"])
    assert code_of(delete, first) is Code.FAILED_PRECONDITION
    assert code_of(delete, name_of(first)) is Code.INVALID_ARGUMENT
    assert delete(f"{name_of(first)}@old").done
    assert code_of(vertex.model, second) is Code.NOT_FOUND
    # A deleted version's id is never given again.
    assert vertex.upload(parent_model=name_of(first)) == f"{name_of(first)}@3"


def test_a_model_goes_with_all_its_versions(vertex: Vertex) -> None:
    def delete(name: str) -> Any:
        return vertex.models.DeleteModel(raw(types.DeleteModelRequest(name=name)))

    first = vertex.upload()
    vertex.upload(parent_model=name_of(first))
    assert code_of(delete, first) is Code.INVALID_ARGUMENT
    assert delete(name_of(first)).done
    assert listed(vertex) == []
    assert code_of(vertex.model, f"{name_of(first)}@2") is Code.NOT_FOUND
    assert code_of(delete, name_of(first)) is Code.NOT_FOUND


def test_a_deployed_model_says_where_and_cannot_be_deleted(vertex: Vertex) -> None:
    first = vertex.upload()
    second = vertex.upload(parent_model=name_of(first))
    before = vertex.model(second).etag
    endpoint = vertex.create_endpoint()
    deployed = vertex.deploy(endpoint, second)
    (reference,) = vertex.model(second).deployed_models
    assert (reference.endpoint, reference.deployed_model_id) == (endpoint, deployed.id)
    assert not vertex.model(first).deployed_models
    with pytest.raises(ApiError, match=endpoint) as error:
        vertex.models.DeleteModel(raw(types.DeleteModelRequest(name=name_of(first))))
    assert error.value.code is Code.FAILED_PRECONDITION
    with pytest.raises(ApiError, match=endpoint) as error:
        vertex.models.DeleteModelVersion(raw(types.DeleteModelVersionRequest(name=second)))
    assert error.value.code is Code.FAILED_PRECONDITION
    etag = vertex.model(second).etag
    assert etag == before
    vertex.undeploy(endpoint, deployed.id)
    assert vertex.model(second).etag == etag
    vertex.models.DeleteModel(raw(types.DeleteModelRequest(name=name_of(first))))


def test_a_project_is_its_number(vertex: Vertex) -> None:
    version = vertex.upload()
    number = version.split("/")[1]
    assert number.isdigit()
    assert len(number) == 12
    by_id = vertex.model(version.replace(number, "my-project"))
    assert by_id == vertex.model(version)
    assert listed(vertex, parent=f"projects/{number}/locations/us-central1") == listed(vertex)
