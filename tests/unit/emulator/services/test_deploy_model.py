"""DeployModel, UndeployModel and MutateDeployedModel."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from google.cloud.aiplatform_v1 import types
from google.longrunning import operations_pb2
from local_services import IMAGE, PARENT, Vertex, raw

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.services import deploy_model


def test_a_deployed_model_takes_all_traffic_of_an_empty_endpoint(vertex: Vertex) -> None:
    endpoint, model = vertex.create_endpoint(), vertex.upload()
    deployed = vertex.deploy(endpoint, model)
    shown = vertex.endpoint(endpoint)
    assert dict(shown.traffic_split) == {deployed.id: 100}
    assert [one.id for one in shown.deployed_models] == [deployed.id]
    assert shown.deployed_models[0].model == model.partition("@")[0]
    assert shown.deployed_models[0].model_version_id == "1"
    assert shown.deployed_models[0].display_name == "mnist"
    assert shown.deployed_models[0].status.available_replica_count == 1
    assert vertex.endpoints.routes.pick(endpoint).deployed_model_id == deployed.id


def test_what_is_served_is_a_copy_of_the_artifact(vertex: Vertex) -> None:
    endpoint, model = vertex.create_endpoint(), vertex.upload(content=b"as deployed")
    vertex.deploy(endpoint, model)
    vertex.artifact(content=b"changed afterwards")
    (spec,) = vertex.serving.specs.values()
    assert (spec.artifact_dir / "saved_model.pb").read_bytes() == b"as deployed"
    assert (spec.artifact_dir / "variables" / "variables.index").read_bytes() == b"index"


def test_the_container_finds_the_environment_that_vertex_ai_gives_it(vertex: Vertex) -> None:
    env = [{"name": "MODEL", "value": "$(AIP_MODEL_NAME)/$(NOBODY)"}, {"name": "RAW", "value": "$$(MODEL)"}]
    model = vertex.upload(container_spec={"image_uri": IMAGE, "env": env})
    endpoint = vertex.create_endpoint()
    deployed = vertex.deploy(endpoint, model)
    (spec,) = vertex.serving.specs.values()
    endpoint_id, model_id = endpoint.rpartition("/")[2], model.partition("@")[0].rpartition("/")[2]
    assert dict(spec.env) == {
        "AIP_MODE": "PREDICTION",
        "AIP_FRAMEWORK": "TENSORFLOW",
        "AIP_HTTP_PORT": "8080",
        "AIP_HEALTH_ROUTE": f"/v1/endpoints/{endpoint_id}/deployedModels/{deployed.id}",
        "AIP_PREDICT_ROUTE": f"/v1/endpoints/{endpoint_id}/deployedModels/{deployed.id}:predict",
        "AIP_STORAGE_URI": str(spec.artifact_dir),
        "AIP_MACHINE_TYPE": "n1-standard-2",
        "AIP_PROJECT_NUMBER": endpoint.split("/")[1],
        "AIP_ENDPOINT_ID": endpoint_id,
        "AIP_DEPLOYED_MODEL_ID": deployed.id,
        "AIP_MODEL_NAME": model_id,
        "AIP_VERSION_NAME": "1",
        "CUDA_VISIBLE_DEVICES": "-1",
        "MODEL": f"{model_id}/$(NOBODY)",
        "RAW": "$(MODEL)",
    }


def test_a_version_is_deployed_by_id_by_alias_or_by_default(vertex: Vertex) -> None:
    first = vertex.upload()
    name = first.partition("@")[0]
    vertex.upload(parent_model=name, version_aliases=["golden"])
    endpoint = vertex.create_endpoint()
    versions = [
        vertex.deploy(endpoint, model, split=split).model_version_id
        for model, split in [(name, None), (f"{name}@golden", None), (f"{name}@2", None)]
    ]
    assert versions == ["1", "2", "2"]


def test_the_new_model_is_key_0_of_the_split(vertex: Vertex) -> None:
    endpoint, model = vertex.create_endpoint(), vertex.upload()
    old = vertex.deploy(endpoint, model)
    new = vertex.deploy(endpoint, model, split={"0": 10, old.id: 90})
    assert dict(vertex.endpoint(endpoint).traffic_split) == {old.id: 90, new.id: 10}
    picked = [vertex.endpoints.routes.pick(endpoint).deployed_model_id for _ in range(200)]
    assert picked.count(new.id) == 20


def test_without_a_split_a_second_model_gets_no_traffic(vertex: Vertex) -> None:
    endpoint, model = vertex.create_endpoint(), vertex.upload()
    old = vertex.deploy(endpoint, model)
    vertex.deploy(endpoint, model)
    assert dict(vertex.endpoint(endpoint).traffic_split) == {old.id: 100}


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ({"0": 90}, "must add up to 100"),
        ({"0": 50, "77": 50}, r"The following DeployedModel ID\(s\) \[77\] do not exist."),
        ({"0": 150, "OLD": -50}, "between 0 and 100"),
    ],
)
def test_a_split_that_is_none_is_refused_before_anything_starts(
    vertex: Vertex, split: dict[str, int], words: str
) -> None:
    endpoint, model = vertex.create_endpoint(), vertex.upload()
    old = vertex.deploy(endpoint, model)
    split = {old.id if key == "OLD" else key: percent for key, percent in split.items()}
    with pytest.raises(ApiError, match=words) as error:
        vertex.start_deploy(endpoint, model, split=split)
    assert error.value.code is Code.INVALID_ARGUMENT
    assert len(vertex.serving.specs) == 1


def test_a_failed_deploy_leaves_nothing_and_says_what_the_model_server_said(vertex: Vertex) -> None:
    endpoint, model = vertex.create_endpoint(), vertex.upload(content=b"broken")
    before = vertex.endpoint(endpoint)
    operation = vertex.finished(vertex.start_deploy(endpoint, model))
    assert operation.error.code == Code.FAILED_PRECONDITION.number
    assert "bad magic number" in operation.error.message
    assert "line 2" in operation.error.message
    assert vertex.endpoint(endpoint) == before
    assert not vertex.model(model).deployed_models
    assert list((vertex.data_dir / "serving").iterdir()) == []
    metadata = types.DeployModelOperationMetadata.pb()()
    assert operation.metadata.Unpack(metadata)
    assert metadata.deployment_stage == types.DeploymentStage.FAILED_TO_DEPLOY


def test_a_cancelled_deploy_ends_cancelled_and_leaves_nothing(vertex: Vertex) -> None:
    endpoint, model = vertex.create_endpoint(), vertex.upload(content=b"slow")
    operation = vertex.start_deploy(endpoint, model)
    assert not operation.done
    assert vertex.serving.loading.wait(10)
    vertex.operations.CancelOperation(operations_pb2.CancelOperationRequest(name=operation.name))
    operation = vertex.finished(operation)
    assert operation.error.code == Code.CANCELLED.number
    assert not vertex.endpoint(endpoint).deployed_models
    assert not vertex.model(model).deployed_models
    assert list((vertex.data_dir / "serving").iterdir()) == []


def test_while_a_model_comes_up_neither_it_nor_the_endpoint_can_be_deleted(vertex: Vertex) -> None:
    endpoint, model = vertex.create_endpoint(), vertex.upload(content=b"slow")
    operation = vertex.start_deploy(endpoint, model, id="7")
    with pytest.raises(ApiError, match="being-deployed") as error:
        vertex.endpoints.DeleteEndpoint(raw(types.DeleteEndpointRequest(name=endpoint)))
    assert error.value.code is Code.FAILED_PRECONDITION
    with pytest.raises(ApiError, match=endpoint) as error:
        vertex.models.DeleteModel(raw(types.DeleteModelRequest(name=model.partition("@")[0])))
    assert error.value.code is Code.FAILED_PRECONDITION
    with pytest.raises(ApiError, match="another operation in progress") as error:
        vertex.start_deploy(endpoint, model, id="7")
    assert error.value.code is Code.ABORTED
    vertex.serving.proceed.set()
    assert not vertex.finished(operation).HasField("error")


@pytest.mark.parametrize("deployed_id", ["0", "12345678901", "a", "-1"])
def test_an_impossible_deployed_model_id_is_refused(vertex: Vertex, deployed_id: str) -> None:
    with pytest.raises(ApiError, match="not 1 to 10 digits") as error:
        vertex.start_deploy(vertex.create_endpoint(), vertex.upload(), id=deployed_id)
    assert error.value.code is Code.INVALID_ARGUMENT


def test_a_deployed_model_id_is_given_once(vertex: Vertex) -> None:
    endpoint, model = vertex.create_endpoint(), vertex.upload()
    assert vertex.deploy(endpoint, model, id="12").id == "12"
    with pytest.raises(ApiError, match="already exists") as error:
        vertex.start_deploy(endpoint, model, id="12")
    assert error.value.code is Code.ALREADY_EXISTS
    vertex.undeploy(endpoint, "12")
    assert vertex.deploy(endpoint, model, id="12").id == "12"


def test_a_deploy_whose_split_has_become_wrong_meanwhile_leaves_nothing(vertex: Vertex) -> None:
    endpoint, model = vertex.create_endpoint(), vertex.upload()
    old = vertex.deploy(endpoint, model)
    slow = vertex.upload(content=b"slow")
    operation = vertex.start_deploy(endpoint, slow, split={"0": 50, old.id: 50})
    vertex.undeploy(endpoint, old.id)
    vertex.serving.proceed.set()
    ended = vertex.finished(operation)
    assert f"[{old.id}] do not exist" in ended.error.message
    assert not vertex.endpoint(endpoint).deployed_models
    assert not vertex.serving.specs


def test_two_models_are_deployed_on_one_endpoint_at_once(vertex: Vertex) -> None:
    endpoint, model = vertex.create_endpoint(), vertex.upload(content=b"slow")
    operations = [vertex.start_deploy(endpoint, model) for _ in range(4)]
    vertex.serving.proceed.set()
    for operation in operations:
        assert not vertex.finished(operation).HasField("error")
    shown = vertex.endpoint(endpoint)
    assert len(shown.deployed_models) == 4
    assert sum(shown.traffic_split.values()) == 100
    assert len(vertex.model(model).deployed_models) == 4


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"system_labels": {"a": "b"}}, "deployed_model.system_labels"),
        ({"checkpoint_id": "7"}, "deployed_model.checkpoint_id"),
        ({"explanation_spec": {"metadata": {"inputs": {}}}}, "deployed_model.explanation_spec"),
        (
            {"machine": {"machine_type": "n1-standard-2", "reservation_affinity": {"key": "k"}}},
            "machine_spec.reservation_affinity",
        ),
        (
            {"machine": {"machine_type": "n1-standard-2", "tpu_topology": "2x2"}},
            "machine_spec.tpu_topology",
        ),
        (
            {"resources": {"autoscaling_metric_specs": [{"metric_name": "pubsub.googleapis.com/x"}]}},
            "autoscaling_metric_specs with pubsub.googleapis.com/x",
        ),
    ],
)
def test_what_would_change_how_a_model_is_served_is_refused_by_name(
    vertex: Vertex, fields: dict[str, Any], refused: str
) -> None:
    with pytest.raises(ApiError, match=re.escape(refused)) as error:
        vertex.start_deploy(vertex.create_endpoint(), vertex.upload(), **fields)
    assert error.value.code is Code.UNIMPLEMENTED


def test_no_field_of_a_deployed_model_passes_unseen() -> None:
    # What Google adds to the API later is refused until it is decided upon.
    fields = {field.name for field in types.DeployedModel.pb().DESCRIPTOR.fields}
    assert fields - deploy_model._SUPPORTED == {
        "checkpoint_id",
        "explanation_spec",
        "faster_deployment_config",
        "speculative_decoding_spec",
        "system_labels",
    }


def test_what_googles_client_may_send_along_is_kept(vertex: Vertex) -> None:
    given = {
        "service_account": "me@my-project.iam.gserviceaccount.com",
        "enable_access_logging": True,
        "disable_container_logging": True,
        "disable_explanations": True,
    }
    metrics: list[dict[str, Any]] = [
        {"metric_name": "aiplatform.googleapis.com/prediction/online/cpu/utilization", "target": 70},
        {"metric_name": "aiplatform.googleapis.com/prediction/online/request_count", "target": 600},
        {"metric_name": "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle"},
    ]
    resources = {"autoscaling_metric_specs": metrics, "required_replica_count": 1, "max_replica_count": 4}
    endpoint = vertex.create_endpoint()
    vertex.deploy(endpoint, vertex.upload(), machine=T4, resources=resources, **given)
    shown = vertex.endpoint(endpoint).deployed_models[0]
    assert {name: getattr(shown, name) for name in given} == given
    kept = shown.dedicated_resources
    assert [(spec.metric_name, spec.target) for spec in kept.autoscaling_metric_specs] == [
        (metric["metric_name"], metric.get("target", 0)) for metric in metrics
    ]
    assert "does not scale up to max_replica_count, 4" in shown.status.message


def test_a_spot_deployment_is_served_on_this_machine_and_said_so(vertex: Vertex) -> None:
    deployed = vertex.deploy(vertex.create_endpoint(), vertex.upload(), resources={"spot": True})
    assert deployed.dedicated_resources.spot
    assert "Not served on Spot VMs" in deployed.status.message


CPU_UTILIZATION = "aiplatform.googleapis.com/prediction/online/cpu/utilization"


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"required_replica_count": 5}, "required_replica_count; Message: It is 5"),
        ({"required_replica_count": -3}, "required_replica_count; Message: It is -3"),
        (
            {"autoscaling_metric_specs": [{"metric_name": "nonsense", "target": 5}]},
            '"nonsense" is not one of',
        ),
        (
            {"autoscaling_metric_specs": [{"metric_name": CPU_UTILIZATION, "target": 101}]},
            "target; Message: It is 101",
        ),
        (
            {"autoscaling_metric_specs": [{"metric_name": CPU_UTILIZATION, "target": -1}]},
            "target; Message: It is -1",
        ),
        (
            {
                "autoscaling_metric_specs": [
                    {"metric_name": "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle"}
                ]
            },
            "duty_cycle is of accelerators, and there is none",
        ),
    ],
)
def test_impossible_scaling_is_refused_when_deployed_and_when_changed(
    vertex: Vertex, resources: dict[str, Any], words: str
) -> None:
    endpoint, model = vertex.create_endpoint(), vertex.upload()
    with pytest.raises(ApiError) as error:
        vertex.start_deploy(endpoint, model, resources=resources)
    assert error.value.code is Code.INVALID_ARGUMENT
    assert words in error.value.message
    deployed = vertex.deploy(endpoint, model)
    with pytest.raises(ApiError) as error:
        mutate(
            vertex, endpoint, deployed.id, [f"dedicated_resources.{name}" for name in resources], **resources
        )
    assert error.value.code is Code.INVALID_ARGUMENT
    assert words in error.value.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("args", ["--verbose"]),
        ("command", ["serve"]),
        ("grpc_ports", [{"container_port": 8500}]),
        ("health_probe", {"period_seconds": 1}),
        ("invoke_route_prefix", "/"),
        ("liveness_probe", {"period_seconds": 1}),
        ("shared_memory_size_mb", 64),
        ("startup_probe", {"period_seconds": 1}),
    ],
)
def test_a_container_setting_that_replicas_do_not_have_is_refused_by_name(
    vertex: Vertex, field: str, value: Any
) -> None:
    model = vertex.upload(container_spec={"image_uri": IMAGE, field: value})
    with pytest.raises(ApiError, match=f"container_spec.{field}") as error:
        vertex.start_deploy(vertex.create_endpoint(), model)
    assert error.value.code is Code.UNIMPLEMENTED


@pytest.mark.parametrize(
    "image", ["gcr.io/mine/server:1", "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-0:latest"]
)
def test_an_image_that_cannot_be_served_is_refused_by_name(vertex: Vertex, image: str) -> None:
    vertex.artifact("other")
    vertex.objects.write("models", "other/model.joblib", b"x")
    model = vertex.upload(container_spec={"image_uri": image}, artifact_uri="gs://models/other")
    with pytest.raises(ApiError, match=image) as error:
        vertex.start_deploy(vertex.create_endpoint(), model)
    assert error.value.code is Code.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (
            {"machine_type": "n1-standard-2", "accelerator_type": "NVIDIA_TESLA_T4"},
            "Both accelerator_type and accelerator_count should be specified or none.",
        ),
        (
            {"machine_type": "e2-standard-4", "accelerator_type": "NVIDIA_TESLA_T4", "accelerator_count": 1},
            'Accelerator "NVIDIA_TESLA_T4" is not supported for machine type "e2-standard-4"',
        ),
        (
            {"machine_type": "n1-standard-4", "accelerator_type": "NVIDIA_TESLA_T4", "accelerator_count": 3},
            'Accelerator count 3 of "NVIDIA_TESLA_T4" is not supported',
        ),
        ({"machine_type": "n1-standrad-4"}, 'Machine type "n1-standrad-4" is not supported.'),
    ],
)
def test_impossible_machines_are_refused(vertex: Vertex, machine: dict[str, object], words: str) -> None:
    with pytest.raises(ApiError) as error:
        vertex.start_deploy(vertex.create_endpoint(), vertex.upload(), machine=machine)
    assert error.value.code is Code.INVALID_ARGUMENT
    assert words in error.value.message


def test_a_deployed_model_needs_dedicated_resources(vertex: Vertex) -> None:
    endpoint, model = vertex.create_endpoint(), vertex.upload()
    request = types.DeployModelRequest(endpoint=endpoint, deployed_model={"model": model})
    with pytest.raises(ApiError, match="Required field is not set"):
        vertex.endpoints.DeployModel(raw(request))
    request.deployed_model.automatic_resources = types.AutomaticResources(min_replica_count=1)
    with pytest.raises(ApiError, match="'automatic_resources' is not supported for Model"):
        vertex.endpoints.DeployModel(raw(request))


T4 = {"machine_type": "n1-standard-4", "accelerator_type": "NVIDIA_TESLA_T4", "accelerator_count": 2}


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where NVIDIA's driver would show itself; a machine has a GPU once it exists."""
    path = tmp_path / "driver"
    monkeypatch.setattr("vertexkit.emulator.services.placement._NVIDIA_DRIVER", path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return path


def gpus_given(vertex: Vertex) -> str:
    (spec,) = vertex.serving.specs.values()
    return spec.env["CUDA_VISIBLE_DEVICES"]


@pytest.mark.parametrize("accelerator", ["NVIDIA_TESLA_K80", "NVIDIA_TESLA_T4"])
def test_without_a_gpu_an_accelerator_is_accepted_served_on_cpu_and_said_so(
    vertex: Vertex, accelerator: str, driver: Path, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = vertex.create_endpoint()
    vertex.deploy(endpoint, vertex.upload(), machine={**T4, "accelerator_type": accelerator})
    shown = vertex.endpoint(endpoint).deployed_models[0]
    assert f"Served on CPU: the local Vertex AI has no {accelerator}." in shown.status.message
    assert ("retired" in shown.status.message) == (accelerator == "NVIDIA_TESLA_K80")
    assert "Served on CPU" in caplog.text
    assert gpus_given(vertex) == "-1"


def test_who_asks_for_an_accelerator_is_given_this_machines_gpu_and_told_so(
    vertex: Vertex, driver: Path
) -> None:
    driver.touch()
    deployed = vertex.deploy(vertex.create_endpoint(), vertex.upload(), machine=T4)
    assert gpus_given(vertex) == "0,1"
    assert "this machine's own GPU" in deployed.status.message
    assert "CPU" not in deployed.status.message


@pytest.mark.parametrize(("visible", "given"), [("3", "3"), ("-1", "-1"), ("", "-1")])
def test_gpus_that_the_emulator_may_not_see_are_given_to_nobody(
    vertex: Vertex, driver: Path, monkeypatch: pytest.MonkeyPatch, visible: str, given: str
) -> None:
    driver.touch()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    deployed = vertex.deploy(vertex.create_endpoint(), vertex.upload(), machine=T4)
    assert gpus_given(vertex) == given
    assert ("Served on CPU" in deployed.status.message) == (given == "-1")


def test_who_asks_for_no_accelerator_is_served_on_cpu_whatever_the_machine_has(
    vertex: Vertex, driver: Path
) -> None:
    driver.touch()
    env = [{"name": "CUDA_VISIBLE_DEVICES", "value": "0"}]
    container = {"image_uri": IMAGE.replace("cpu", "gpu"), "env": env}
    deployed = vertex.deploy(vertex.create_endpoint(), vertex.upload(container_spec=container))
    assert gpus_given(vertex) == "-1"
    assert deployed.status.message == (
        "Served on CPU: the image is built for GPUs, and the deployment asks for none."
    )


def test_replicas_that_the_machine_cannot_hold_are_left_out_and_said_so(
    vertex: Vertex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vertexkit.emulator.services.placement._available_bytes", lambda: 3 * 450 * 2**20)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    endpoint = vertex.create_endpoint()
    vertex.deploy(endpoint, vertex.upload(), replicas=5)
    shown = vertex.endpoint(endpoint).deployed_models[0]
    assert shown.dedicated_resources.min_replica_count == 5
    assert shown.status.available_replica_count == 3
    assert "3 of 5 replicas" in shown.status.message


def test_the_last_model_can_be_undeployed_with_all_its_traffic(vertex: Vertex) -> None:
    endpoint, model = vertex.create_endpoint(), vertex.upload()
    deployed = vertex.deploy(endpoint, model)
    vertex.undeploy(endpoint, deployed.id)
    shown = vertex.endpoint(endpoint)
    assert not shown.deployed_models
    assert not shown.traffic_split
    assert not vertex.serving.specs
    assert list((vertex.data_dir / "serving").iterdir()) == []
    assert not vertex.model(model).deployed_models
    with pytest.raises(ApiError, match="doesn't have traffic_split") as error:
        vertex.endpoints.routes.pick(endpoint)
    assert error.value.code is Code.FAILED_PRECONDITION


def test_a_model_with_traffic_is_undeployed_only_when_others_take_it(vertex: Vertex) -> None:
    endpoint, model = vertex.create_endpoint(), vertex.upload()
    old = vertex.deploy(endpoint, model)
    new = vertex.deploy(endpoint, model, split={"0": 10, old.id: 90})
    with pytest.raises(ApiError, match="90 percent") as error:
        vertex.undeploy(endpoint, old.id)
    assert error.value.code is Code.FAILED_PRECONDITION
    with pytest.raises(ApiError, match="add up to 100"):
        vertex.undeploy(endpoint, old.id, {new.id: 10})
    vertex.undeploy(endpoint, old.id, {new.id: 100})
    assert dict(vertex.endpoint(endpoint).traffic_split) == {new.id: 100}


def test_a_model_without_traffic_is_undeployed_without_a_split(vertex: Vertex) -> None:
    endpoint, model = vertex.create_endpoint(), vertex.upload()
    old = vertex.deploy(endpoint, model)
    idle = vertex.deploy(endpoint, model)
    vertex.undeploy(endpoint, idle.id)
    assert dict(vertex.endpoint(endpoint).traffic_split) == {old.id: 100}


def test_what_is_not_deployed_cannot_be_undeployed(vertex: Vertex) -> None:
    endpoint = vertex.create_endpoint()
    with pytest.raises(ApiError, match="DeployedModel 5 does not exist") as error:
        vertex.undeploy(endpoint, "5")
    assert error.value.code is Code.NOT_FOUND


def mutate(vertex: Vertex, endpoint: str, deployed_id: str, paths: list[str], **resources: Any) -> None:
    request = types.MutateDeployedModelRequest(
        endpoint=endpoint,
        deployed_model={"id": deployed_id, "dedicated_resources": resources},
        update_mask={"paths": paths},
    )
    operation = vertex.finished(vertex.endpoints.MutateDeployedModel(raw(request)))
    assert not operation.HasField("error"), operation.error


def test_a_deployed_model_is_really_resized(vertex: Vertex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vertexkit.emulator.services.placement._available_bytes", lambda: 2**40)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    endpoint = vertex.create_endpoint()
    deployed = vertex.deploy(endpoint, vertex.upload())
    paths = ["dedicated_resources.min_replica_count", "dedicated_resources.max_replica_count"]
    mutate(vertex, endpoint, deployed.id, paths, min_replica_count=2, max_replica_count=4)
    shown = vertex.endpoint(endpoint).deployed_models[0]
    assert (shown.dedicated_resources.min_replica_count, shown.dedicated_resources.max_replica_count) == (
        2,
        4,
    )
    assert shown.dedicated_resources.machine_spec.machine_type == "n1-standard-2"
    assert list(vertex.serving.replicas.values()) == [2]


def test_the_machine_of_a_deployed_model_is_immutable(vertex: Vertex) -> None:
    endpoint = vertex.create_endpoint()
    deployed = vertex.deploy(endpoint, vertex.upload())
    with pytest.raises(ApiError, match=r"dedicated_resources\.machine_spec"):
        mutate(vertex, endpoint, deployed.id, ["dedicated_resources.machine_spec"])


def test_deploying_what_is_not_there_is_not_found(vertex: Vertex) -> None:
    model = vertex.upload()
    with pytest.raises(ApiError) as error:
        vertex.start_deploy(f"{PARENT}/endpoints/1", model)
    assert error.value.code is Code.NOT_FOUND
    with pytest.raises(ApiError) as error:
        vertex.start_deploy(vertex.create_endpoint(), f"{PARENT}/models/1")
    assert error.value.code is Code.NOT_FOUND
    with pytest.raises(ApiError) as error:
        vertex.start_deploy(vertex.create_endpoint(), f"{model.partition('@')[0]}@nobody")
    assert error.value.code is Code.NOT_FOUND
