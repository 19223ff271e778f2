"""Models: what exactly is sent, and what is left when something fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from doubles import LABELS, PARENT, Doubles, done, failed, in_turn, running
from google.api_core import exceptions as api
from google.cloud import aiplatform_v1 as v1
from stored import Storage

from vertexkit import errors
from vertexkit._core import rpc
from vertexkit.endpoints import Endpoints
from vertexkit.model import Model, ModelVersion
from vertexkit.models import Models
from vertexkit.predict_schemata import to_schemata
from vertexkit.saved_model import _message_class, read_saved_model
from vertexkit.types import Signature, TensorSpec

pytestmark = pytest.mark.usefixtures("no_waiting")

NAME = f"{PARENT}/models/m1"
IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
SIGNATURE = Signature(
    {"images": TensorSpec("images", "uint8", (None, 28, 28))},
    {"output_0": TensorSpec("output_0", "float32", (None, 10))},
)


@pytest.fixture
def models(doubles: Doubles, storage: Storage) -> Models:
    return Models(doubles.context)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """A SavedModel, as far as anybody looks: a signature, and variables."""
    # Not TensorFlow's own class, which takes seconds to import.
    proto = _message_class()()
    graph = proto.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    definition = graph.signature_def["serving_default"]
    for tensors, spec, dtype in (
        (definition.inputs, SIGNATURE.inputs["images"], 4),
        (definition.outputs, SIGNATURE.outputs["output_0"], 1),
    ):
        tensors[spec.name].dtype = dtype
        for axis in spec.shape or ():
            tensors[spec.name].tensor_shape.dim.add(size=-1 if axis is None else axis)
    folder = tmp_path / "mnist"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(proto.SerializeToString())
    (folder / "variables" / "variables.index").write_bytes(b"index")
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(b"data")
    assert read_saved_model(folder).default == SIGNATURE
    return folder


def _data(version: str = "1", **more: Any) -> dict[str, Any]:
    return {
        "name": NAME,
        "displayName": "mnist",
        "versionId": version,
        "versionAliases": ["default"],
        "containerSpec": {"imageUri": IMAGE},
        "artifactUri": "gs://my-bucket/m",
        "versionCreateTime": "2026-01-01T00:00:00Z",
        "createTime": "2025-01-01T00:00:00Z",
        "labels": dict(LABELS),
        **more,
    }


def _accepts(doubles: Doubles, version: str = "1") -> None:
    """Let an upload succeed."""
    response = v1.UploadModelResponse(model=NAME, model_version_id=version)
    doubles.models.upload_model.return_value = done(response)
    doubles.rest.answers[f"{NAME}@{version}"] = _data(version)


class TestUploading:
    def test_a_folder_is_sent_described_and_made_a_model(
        self, doubles: Doubles, models: Models, storage: Storage, artifact: Path
    ) -> None:
        _accepts(doubles)
        model = models.upload(
            "mnist",
            artifact,
            labels={"team": "vision", "vertexkit_session": "mine"},
            description="d",
            version_aliases=["candidate"],
        )
        assert model == Model(doubles.context, _data())
        [request] = doubles.sent("models", "upload_model")
        assert request.parent == PARENT
        assert request.parent_model == ""
        sent = request.model
        assert sent.display_name == "mnist"
        assert sent.description == sent.version_description == "d"
        assert list(sent.version_aliases) == ["candidate"]
        assert dict(sent.labels) == {**LABELS, "team": "vision"}
        assert sent.container_spec.image_uri.startswith("us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.")
        prefix = sent.artifact_uri.removeprefix("gs://my-bucket/")
        assert prefix.startswith("vertexkit/models/mnist/")
        instance, prediction = to_schemata(SIGNATURE)
        objects = storage.objects["my-bucket"]
        assert set(objects) == {
            f"{prefix}/saved_model.pb",
            f"{prefix}/variables/variables.index",
            f"{prefix}/variables/variables.data-00000-of-00001",
            f"{prefix}.schemata/instance.yaml",
            f"{prefix}.schemata/prediction.yaml",
        }
        assert json.loads(objects[f"{prefix}.schemata/instance.yaml"]) == instance
        assert json.loads(objects[f"{prefix}.schemata/prediction.yaml"]) == prediction
        assert sent.predict_schemata == v1.PredictSchemata(
            instance_schema_uri=f"gs://my-bucket/{prefix}.schemata/instance.yaml",
            prediction_schema_uri=f"gs://my-bucket/{prefix}.schemata/prediction.yaml",
        )
        assert doubles.context.created.names == (NAME, sent.artifact_uri)

    def test_the_signature_is_read_back_from_where_it_was_written(self, doubles: Doubles) -> None:
        instance, prediction = to_schemata(SIGNATURE)
        base = "https://storage.test/storage/v1/b/my-bucket/o"
        doubles.rest.answers[f"{base}/m.schemata%2Fi.yaml?alt=media"] = instance
        doubles.rest.answers[f"{base}/m.schemata%2Fp.yaml?alt=media"] = prediction
        schemata = {
            "instanceSchemaUri": "gs://my-bucket/m.schemata/i.yaml",
            "predictionSchemaUri": "gs://my-bucket/m.schemata/p.yaml",
        }
        assert Model(doubles.context, _data(predictSchemata=schemata)).signature == SIGNATURE

    def test_a_model_of_others_has_no_signature(self, doubles: Doubles) -> None:
        assert Model(doubles.context, _data()).signature is None
        for uri in ("gs://bkt/gone", "gs://NOT a bucket/x", "gs://", "https://example.com/schema.yaml"):
            schemata = {"instanceSchemaUri": uri, "predictionSchemaUri": uri}
            assert Model(doubles.context, _data(predictSchemata=schemata)).signature is None

    def test_a_model_that_nobody_described_is_described_by_its_files(
        self, doubles: Doubles, artifact: Path
    ) -> None:
        content = (artifact / "saved_model.pb").read_bytes()
        url = "https://storage.test/storage/v1/b/my-bucket/o/job%2Fmodel%2Fsaved_model.pb"
        size = {"size": str(len(content))}
        doubles.rest.answers.update({f"{url}?fields=size": lambda: size, f"{url}?alt=media": content})
        image = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
        trained = _data(artifactUri="gs://my-bucket/job/model/", containerSpec={"imageUri": image})
        assert Model(doubles.context, trained).signature == SIGNATURE
        # Another container may answer as it likes.
        own = {**trained, "containerSpec": {"imageUri": "us-docker.pkg.dev/p/r/i"}}
        assert Model(doubles.context, own).signature is None
        # All the weights may be in it, and nobody waits for these before a prediction.
        size["size"] = "32000001"
        assert Model(doubles.context, trained).signature is None
        assert sum(path.endswith("alt=media") for _, path, _ in doubles.rest.asked) == 1
        size["size"] = "9"
        doubles.rest.answers[f"{url}?alt=media"] = b"torn file"
        assert Model(doubles.context, trained).signature is None

    def test_an_outage_of_storage_is_told_from_a_model_without_a_signature(self, doubles: Doubles) -> None:
        doubles.rest.answers["https://storage.test/storage/v1/b/bkt/o/i?alt=media"] = 500
        schemata = {"instanceSchemaUri": "gs://bkt/i", "predictionSchemaUri": "gs://bkt/p"}
        with pytest.raises(errors.InternalError):
            _ = Model(doubles.context, _data(predictSchemata=schemata)).signature

    def test_a_refusal_takes_the_files_away_again(
        self, doubles: Doubles, models: Models, storage: Storage, artifact: Path
    ) -> None:
        doubles.models.upload_model.side_effect = api.InvalidArgument("the image is not supported")
        doubles.models.delete_model.side_effect = api.NotFound("no such model")
        with pytest.raises(errors.BadRequest, match="the image is not supported"):
            models.upload("mnist", artifact)
        assert storage.objects["my-bucket"] == {}
        assert doubles.context.created.names == ()

    def test_a_failure_later_takes_model_and_files_away_again(
        self, doubles: Doubles, models: Models, storage: Storage, artifact: Path
    ) -> None:
        doubles.models.upload_model.return_value = failed(13, "internal")
        doubles.models.delete_model.return_value = done()
        with pytest.raises(errors.InternalError):
            models.upload("mnist", artifact)
        [request] = doubles.sent("models", "upload_model")
        assert doubles.sent("models", "delete_model") == [{"name": f"{PARENT}/models/{request.model_id}"}]
        assert storage.objects["my-bucket"] == {}

    def test_ctrl_c_while_the_model_is_made_cancels_it(
        self, doubles: Doubles, models: Models, storage: Storage, artifact: Path
    ) -> None:
        doubles.models.upload_model.return_value = running()
        doubles.models.delete_model.return_value = done()
        doubles.endpoints.get_operation.side_effect = in_turn(
            KeyboardInterrupt(), running().operation, done().operation
        )
        with pytest.raises(KeyboardInterrupt):
            models.upload("mnist", artifact)
        assert doubles.endpoints.cancel_operation.call_count == 1
        assert doubles.models.delete_model.call_count == 1
        assert storage.objects["my-bucket"] == {}

    def test_a_model_that_cannot_be_deleted_does_not_keep_its_files(
        self, doubles: Doubles, models: Models, storage: Storage, artifact: Path
    ) -> None:
        doubles.models.upload_model.return_value = failed(13, "internal")
        doubles.models.delete_model.side_effect = api.PermissionDenied("you may not")
        with pytest.raises(errors.InternalError) as raised:
            models.upload("mnist", artifact)
        assert storage.objects["my-bucket"] == {}
        assert doubles.context.created.names == ()
        assert "you may not" in raised.value.__notes__[0]

    def test_ctrl_c_while_it_is_undone_says_what_is_left(
        self, doubles: Doubles, models: Models, storage: Storage, artifact: Path
    ) -> None:
        doubles.models.upload_model.return_value = failed(13, "internal")
        doubles.models.delete_model.side_effect = KeyboardInterrupt
        with pytest.raises(KeyboardInterrupt) as raised:
            models.upload("mnist", artifact)
        [uri] = doubles.context.created.names
        assert f"the model mnist and its files in {uri}" in raised.value.__notes__[0]

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), errors.TransferFailed("x", {"a": "b"})])
    def test_a_broken_transfer_leaves_no_files(
        self, doubles: Doubles, models: Models, storage: Storage, artifact: Path, error: BaseException
    ) -> None:
        storage.uploading = error
        with pytest.raises(type(error)):
            models.upload("mnist", artifact)
        assert storage.objects["my-bucket"] == {}
        assert doubles.models.mock_calls == []

    def test_what_was_at_a_given_prefix_before_is_not_ours_to_delete(
        self, doubles: Doubles, models: Models, storage: Storage, artifact: Path
    ) -> None:
        storage.objects["my-bucket"] = {"m/1/saved_model.pb": b"", "m/1/other": b"", "m/10/x": b""}
        doubles.models.upload_model.side_effect = api.InvalidArgument("no")
        doubles.models.delete_model.side_effect = api.NotFound("no such model")
        with pytest.raises(errors.BadRequest):
            models.upload("mnist", artifact, prefix="m/1")
        assert set(storage.objects["my-bucket"]) == {"m/1/saved_model.pb", "m/1/other", "m/10/x"}
        [request] = doubles.sent("models", "upload_model")
        assert request.model.artifact_uri == "gs://my-bucket/m/1"

    def test_an_answer_lost_on_the_way_makes_no_second_model(
        self, doubles: Doubles, models: Models, artifact: Path
    ) -> None:
        ids = []

        def upload(*, request: v1.UploadModelRequest, **_: Any) -> Any:
            ids.append(request.model_id)
            if len(ids) == 1:
                doubles.rest.answers[f"{PARENT}/models/{ids[0]}"] = _data()
                raise api.ServiceUnavailable("connection reset")
            raise api.AlreadyExists("there is one")

        doubles.models.upload_model.side_effect = upload
        assert models.upload("mnist", artifact).resource_name == NAME
        assert len(ids) == 2
        assert len(set(ids)) == 1

    def test_a_version_is_not_sent_twice_since_that_would_make_two(
        self, doubles: Doubles, models: Models, storage: Storage, artifact: Path
    ) -> None:
        versions = [_data("1")]
        doubles.rest.answers[f"{NAME}:listVersions"] = lambda: {"models": versions}
        doubles.rest.answers[f"{NAME}@1"] = doubles.rest.answers[f"{NAME}@2"] = _data("2")

        def upload(*, request: v1.UploadModelRequest, **_: Any) -> Any:
            # Carried out, and the answer lost.
            versions.append(_data("2", artifactUri=request.model.artifact_uri))
            raise api.ServiceUnavailable("connection reset")

        doubles.models.upload_model.side_effect = upload
        doubles.models.delete_model_version.return_value = done()
        with pytest.raises(errors.Unavailable):
            models.upload("mnist", artifact, parent=Model(doubles.context, _data()))
        assert doubles.models.upload_model.call_count == 1
        assert doubles.models.delete_model.call_count == 0
        assert doubles.sent("models", "delete_model_version") == [{"name": f"{NAME}@2"}]
        assert storage.objects["my-bucket"] == {}

    @pytest.mark.parametrize(
        "arguments",
        [
            {"name": ""},
            {"framework": "caffe"},
            {"framework_version": "0.1"},
            {"framework": "sklearn", "accelerator": True},
            {"serving_image": "not an image"},
            {"version_aliases": ["1"]},
            {"version_aliases": [5]},
            {"version_aliases": [None]},
            {"version_aliases": "candidate"},
            {"version_aliases": 5},
            {"labels": {"Team": "x"}},
            {"labels": ["team"]},
            {"description": 5},
            {"framework": None, "framework_version": 5},
            {"framework_version": 2.15},
            {"serving_image": 5},
            {"prefix": 5},
            {"parent": 5},
            {"artifact": None},
            {"artifact": b"folder"},
            {"artifact": "/no/such/folder"},
            {"artifact": "gs://no-such-bucket/m"},
            {"artifact": "gs://my-bucket/empty"},
            {"artifact": "gs://B/m"},
        ],
        ids=str,
    )
    def test_a_wrong_argument_is_refused_before_anything_is_sent(
        self, doubles: Doubles, models: Models, storage: Storage, artifact: Path, arguments: dict[str, Any]
    ) -> None:
        with pytest.raises(errors.InvalidArgument):
            models.upload(**{"name": "mnist", "artifact": artifact, **arguments})
        assert storage.objects["my-bucket"] == {}
        assert doubles.models.mock_calls == []

    def test_a_bucket_in_another_region_is_refused_before_the_files_are_sent(
        self, models: Models, storage: Storage, artifact: Path
    ) -> None:
        storage.locations["my-bucket"] = "europe-west4"
        with pytest.raises(errors.InvalidArgument, match="europe-west4"):
            models.upload("mnist", artifact)
        assert storage.objects["my-bucket"] == {}

    def test_files_in_cloud_storage_are_used_where_they_are_and_never_deleted(
        self, doubles: Doubles, models: Models, storage: Storage, artifact: Path
    ) -> None:
        theirs = {"m/1/saved_model.pb": (artifact / "saved_model.pb").read_bytes(), "m/1/variables/x": b""}
        storage.objects["my-bucket"] = dict(theirs)
        doubles.models.upload_model.side_effect = api.InvalidArgument("no")
        doubles.models.delete_model.side_effect = api.NotFound("no such model")
        with pytest.raises(errors.BadRequest):
            models.upload("mnist", "gs://my-bucket/m/1")
        [request] = doubles.sent("models", "upload_model")
        assert request.model.artifact_uri == "gs://my-bucket/m/1"
        assert (
            request.model.predict_schemata.instance_schema_uri == "gs://my-bucket/m/1.schemata/instance.yaml"
        )
        assert theirs.items() <= storage.objects["my-bucket"].items()


class TestVersions:
    @pytest.mark.parametrize(
        ("answer", "error"), [(503, errors.Unavailable), (KeyboardInterrupt, KeyboardInterrupt)]
    )
    def test_versions_that_cannot_be_listed_are_known_before_files_are_sent(
        self,
        doubles: Doubles,
        models: Models,
        storage: Storage,
        artifact: Path,
        monkeypatch: pytest.MonkeyPatch,
        answer: Any,
        error: type[BaseException],
    ) -> None:
        monkeypatch.setattr(rpc, "_DEADLINE", 0.0)

        def asked() -> Any:
            if isinstance(answer, int):
                return answer
            raise answer

        doubles.rest.answers[f"{NAME}:listVersions"] = asked
        with pytest.raises(error):
            Model(doubles.context, _data()).upload_version(artifact)
        assert storage.objects["my-bucket"] == {}
        assert doubles.models.mock_calls == []

    def test_a_version_that_is_said_to_exist_leaves_no_files(
        self, doubles: Doubles, models: Models, storage: Storage, artifact: Path
    ) -> None:
        doubles.rest.answers[f"{NAME}:listVersions"] = {"models": [_data()]}
        doubles.models.upload_model.side_effect = api.AlreadyExists("there is one")
        with pytest.raises(errors.AlreadyExists):
            Model(doubles.context, _data()).upload_version(artifact)
        assert storage.objects["my-bucket"] == {}

    def test_another_version_is_made_of_the_model_and_becomes_the_default(
        self, doubles: Doubles, models: Models, artifact: Path
    ) -> None:
        doubles.rest.answers[f"{NAME}:listVersions"] = {"models": [_data()]}
        _accepts(doubles, "2")
        version = Model(doubles.context, _data()).upload_version(artifact, version_aliases=["candidate"])
        assert version == ModelVersion(doubles.context, _data("2"))
        [request] = doubles.sent("models", "upload_model")
        assert request.parent_model == NAME
        assert request.model_id == ""
        assert list(request.model.version_aliases) == ["candidate", "default"]
        assert request.model.container_spec.image_uri == IMAGE

    def test_it_may_leave_the_default_alone(self, doubles: Doubles, models: Models, artifact: Path) -> None:
        doubles.rest.answers[f"{NAME}:listVersions"] = {"models": [_data()]}
        _accepts(doubles, "2")
        Model(doubles.context, _data()).upload_version(artifact, default=False)
        [request] = doubles.sent("models", "upload_model")
        assert list(request.model.version_aliases) == []

    def test_new_version_finds_the_model_or_makes_the_first(
        self, doubles: Doubles, models: Models, artifact: Path
    ) -> None:
        _accepts(doubles, "2")
        doubles.rest.answers[f"{PARENT}/models"] = {"models": [_data()]}
        doubles.rest.answers[f"{NAME}:listVersions"] = {"models": [_data()]}
        models.upload("mnist", artifact, new_version=True)
        doubles.rest.answers[f"{PARENT}/models"] = {}
        models.upload("mnist", artifact, new_version=True)
        second, first = doubles.sent("models", "upload_model")
        assert second.parent_model == NAME
        assert first.parent_model == ""

    def test_cleaning_up_a_version_gives_the_default_back(
        self, doubles: Doubles, models: Models, artifact: Path
    ) -> None:
        doubles.rest.answers[f"{NAME}:listVersions"] = {"models": [_data()]}
        doubles.rest.answers[f"{NAME}@1"] = _data("1")
        _accepts(doubles, "2")
        doubles.models.delete_model_version.return_value = done()
        Model(doubles.context, _data()).upload_version(artifact)
        doubles.context.created.delete_all()
        assert doubles.sent("models", "merge_version_aliases") == [
            {"name": f"{NAME}@1", "version_aliases": ["default"]}
        ]
        assert doubles.sent("models", "delete_model_version") == [{"name": f"{NAME}@2"}]
        assert doubles.sent("models", "delete_model") == []

    def test_they_are_listed_oldest_first(self, doubles: Doubles) -> None:
        doubles.rest.answers[f"{NAME}:listVersions"] = {"models": [_data("10"), _data("2"), _data("1")]}
        versions = Model(doubles.context, _data()).versions()
        assert [version.version_id for version in versions] == ["1", "2", "10"]

    def test_aliases_are_added_and_taken_away(self, doubles: Doubles) -> None:
        doubles.rest.answers[f"{NAME}@1"] = _data(versionAliases=["default", "stable"])
        model = Model(doubles.context, _data())
        model.add_aliases("stable")
        assert model.version_aliases == ("default", "stable")
        model.remove_aliases("stable")
        assert doubles.sent("models", "merge_version_aliases") == [
            {"name": f"{NAME}@1", "version_aliases": ["stable"]},
            {"name": f"{NAME}@1", "version_aliases": ["-stable"]},
        ]

    def test_an_impossible_alias_and_losing_the_default_are_refused(self, doubles: Doubles) -> None:
        model = Model(doubles.context, _data())
        for alias in ("7", 5):
            with pytest.raises(errors.InvalidArgument):
                model.add_aliases(alias)  # type: ignore[arg-type]  # what a caller may do
        with pytest.raises(errors.InvalidArgument):
            model.remove_aliases(5)  # type: ignore[arg-type]  # what a caller may do
        with pytest.raises(errors.InvalidArgument, match="always has one"):
            model.remove_aliases("default")
        assert doubles.models.mock_calls == []


class TestFinding:
    def test_by_name_id_display_name_and_version(self, doubles: Doubles, models: Models) -> None:
        doubles.rest.answers[NAME] = _data("2")
        doubles.rest.answers[f"{NAME}@1"] = _data("1")
        doubles.rest.answers[f"{PARENT}/models"] = lambda: {"models": [_data("2")]}
        for name, version in ((NAME, "2"), (f"{NAME}@1", "1"), ("mnist", "2"), ("mnist@1", "1")):
            found = models.get(name)
            assert (found.resource_name, found.version_id) == (NAME, version)

    @pytest.mark.parametrize("name", [None, 5, ""])
    def test_what_is_no_name_is_refused(self, doubles: Doubles, models: Models, name: Any) -> None:
        for find in (models.get, models.delete):
            with pytest.raises(errors.InvalidArgument):
                find(name)
        with pytest.raises(errors.InvalidArgument):
            Model(doubles.context, _data()).version(None)  # type: ignore[arg-type]  # what a caller may do
        assert doubles.rest.asked == []

    def test_the_manager_says_what_it_manages(self, models: Models) -> None:
        assert repr(models) == f"<Models of {PARENT}>"

    def test_a_version_cannot_be_deleted_as_if_it_were_the_model(self, models: Models) -> None:
        with pytest.raises(errors.InvalidArgument, match="one version"):
            models.delete("mnist@1")


def test_it_shows_itself_and_raises_nowhere(doubles: Doubles) -> None:
    model = Model(doubles.context, _data())
    assert repr(model) == f"<Model 'mnist': {NAME}@1 (default), gs://my-bucket/m>"
    assert "gs://my-bucket/m" in model._repr_html_()
    bare = Model(doubles.context, {"name": NAME})
    assert (bare.id, bare.display_name, bare.version_id, bare.version_aliases) == ("m1", "", "", ())
    assert (bare.artifact_uri, bare.serving_image, bare.signature, bare.labels) == (None, None, None, {})
    assert bare.created.year == 1970


def test_deploying_without_an_endpoint_makes_one_and_deletes_it_when_that_fails(
    doubles: Doubles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(*, request: v1.CreateEndpointRequest, **_: Any) -> Any:
        path = f"{PARENT}/endpoints/{request.endpoint_id}"
        doubles.rest.answers[path] = {"name": path, "displayName": request.endpoint.display_name}
        return done()

    doubles.endpoints.create_endpoint.side_effect = create
    doubles.endpoints.deploy_model.return_value = failed(9, "it did not start")
    doubles.endpoints.delete_endpoint.return_value = done()
    with pytest.raises(errors.DeployFailed, match="it did not start"):
        Model(doubles.context, _data()).deploy()
    assert doubles.endpoints.delete_endpoint.call_count == 1
    assert doubles.context.created.names == ()


@pytest.mark.parametrize(
    "arguments",
    [
        {"machine": "no-such-machine"},
        {"traffic": 10},
        {"traffic": 101},
        {"machine": 5},
        {"replicas": None},
        {"timeout": 0},
        {"service_account": 5},
        {"endpoint": "mnist"},
    ],
    ids=str,
)
def test_deploying_with_a_wrong_argument_makes_no_endpoint(
    doubles: Doubles, arguments: dict[str, Any]
) -> None:
    with pytest.raises(errors.InvalidArgument):
        Model(doubles.context, _data()).deploy(**arguments)
    assert doubles.endpoints.mock_calls == []
    assert Endpoints(doubles.context)._context.created.names == ()
