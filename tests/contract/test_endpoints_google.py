"""Endpoints and deployments through Google's own clients, over each transport."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from google.api import httpbody_pb2
from local_bucket import Bucket

IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"


def store(emulator: Any, project: str, models: Mapping[str, Path | Mapping[str, bytes]]) -> str:
    """Create a bucket with folders of objects; its ``gs://`` URI."""
    bucket = Bucket(emulator.storage, project, f"models-{project}")
    for name, content in models.items():
        if isinstance(content, Path):
            bucket.put_folder(name, content)
        else:
            for inside, data in content.items():
                bucket.put(f"{name}/{inside}", data)
    return f"gs://{bucket.bucket}"


@pytest.fixture
def bucket(emulator: Any, project: str, scaling_models: Mapping[int, Path]) -> str:
    """A bucket with two real SavedModels and one that is broken."""
    folders = {"2": scaling_models[2], "3": scaling_models[3], "broken": {"saved_model.pb": b"no graph"}}
    return store(emulator, project, folders)


@pytest.fixture
def endpoints(generated: Callable[[str], Any]) -> Any:
    """The generated client of EndpointService."""
    return generated("EndpointServiceClient")


def upload(aiplatform: Any, bucket: str, folder: str, **options: Any) -> Any:
    return aiplatform.Model.upload(
        display_name=f"times-{folder}",
        artifact_uri=f"{bucket}/{folder}",
        serving_container_image_uri=IMAGE,
        **options,
    )


def split_seen(endpoint: Any, requests_sent: int = 100) -> Counter[float]:
    """How often each factor answered."""
    return Counter(endpoint.predict([[1, 1, 1]]).predictions[0][0] for _ in range(requests_sent))


@pytest.fixture(scope="module")
def on_a_gpu(emulator: Any, scaling_models: Mapping[int, Path]) -> Iterator[str]:
    """Resource name of a dedicated endpoint, on which a model is deployed with a GPU that is retired."""
    project = f"p-{uuid.uuid4().hex[:12]}"
    bucket = store(emulator, project, {"3": scaling_models[3]})
    parent = f"/v1/projects/{project}/locations/{emulator.location}"

    def post(path: str, body: Mapping[str, Any]) -> Any:
        operation = requests.post(emulator.rest + path, json=body).json()
        while not operation.get("done"):
            time.sleep(0.2)
            operation = requests.get(f"{emulator.rest}/v1/{operation['name']}").json()
        assert "error" not in operation, operation
        return operation["response"]

    model = {"displayName": "m", "artifactUri": f"{bucket}/3", "containerSpec": {"imageUri": IMAGE}}
    version = post(f"{parent}/models:upload", {"model": model})
    endpoint = post(f"{parent}/endpoints", {"displayName": "gpu", "dedicatedEndpointEnabled": True})
    gpu = {
        "machineType": "n1-standard-4",
        "acceleratorType": "NVIDIA_TESLA_K80",
        "acceleratorCount": 1,
    }
    deployed_model = {
        "model": version["model"],
        "dedicatedResources": {"machineSpec": gpu, "minReplicaCount": 1},
    }
    deployed = post(f"/v1/{endpoint['name']}:deployModel", {"deployedModel": deployed_model})
    yield endpoint["name"]
    gone = {"deployedModelId": deployed["deployedModel"]["id"]}
    post(f"/v1/{endpoint['name']}:undeployModel", gone)


def test_a_missing_gpu_is_served_on_cpu_and_said_so(aiplatform: Any, on_a_gpu: str) -> None:
    endpoint = aiplatform.Endpoint(on_a_gpu)
    (deployed,) = endpoint.list_models()
    assert deployed.dedicated_resources.machine_spec.accelerator_count == 1
    assert "Served on CPU" in deployed.status.message
    assert "retired" in deployed.status.message
    assert endpoint.predict([[1, 2, 3]]).predictions == [[3.0, 6.0, 9.0]]


def test_a_dedicated_endpoint_answers_every_kind_of_prediction(aiplatform: Any, on_a_gpu: str) -> None:
    endpoint = aiplatform.Endpoint(on_a_gpu)
    (model,) = endpoint.list_models()
    body, json_type = b'{"instances": [[1, 2, 3]]}', {"Content-Type": "application/json"}
    raw = endpoint.raw_predict(body, json_type)
    assert raw.json() == {"predictions": [[3.0, 6.0, 9.0]]}
    assert raw.headers["X-Vertex-AI-Endpoint-Id"] == endpoint.name
    for answer in (
        endpoint.predict([[1, 2, 3]], use_raw_predict=True),
        endpoint.predict([[1, 2, 3]], use_dedicated_endpoint=True),
    ):
        assert answer.predictions == [[3.0, 6.0, 9.0]]
        told = (answer.deployed_model_id, answer.model_resource_name, answer.model_version_id)
        assert told == (model.id, model.model, "1")
    lines = list(endpoint.stream_raw_predict(body, json_type))
    assert json.loads(b"".join(lines)) == raw.json()


def test_a_dedicated_endpoint_takes_ten_megabytes(aiplatform: Any, on_a_gpu: str) -> None:
    endpoint = aiplatform.Endpoint(on_a_gpu)
    many = [[0.125] * 3] * 100_000
    assert len(json.dumps(many)) > 2_000_000
    assert endpoint.predict(many).predictions == [[0.375] * 3] * 100_000
    with pytest.raises(ValueError, match=r"exceeds 10\.000MB limit"):
        endpoint.predict([["x" * 10_000_000]])


@pytest.mark.parametrize("transport", ["grpc"])
@pytest.mark.parametrize("name", ["RawPredict", "StreamRawPredict"])
def test_over_grpc_initial_metadata_say_who_answered(aiplatform: Any, on_a_gpu: str, name: str) -> None:
    from google.cloud import aiplatform_v1

    endpoint = aiplatform.Endpoint(on_a_gpu)
    (model,) = endpoint.list_models()
    channel = endpoint._prediction_client.transport.grpc_channel
    make = channel.unary_stream if name.startswith("Stream") else channel.unary_unary
    stub = make(
        f"/google.cloud.aiplatform.v1.PredictionService/{name}",
        request_serializer=aiplatform_v1.RawPredictRequest.serialize,
        response_deserializer=httpbody_pb2.HttpBody.FromString,
    )
    body = httpbody_pb2.HttpBody(data=b'{"instances": [[1, 2, 3]]}')
    request = aiplatform_v1.RawPredictRequest(endpoint=on_a_gpu, http_body=body)
    if name.startswith("Stream"):
        call = stub(request, timeout=30)
        (reply,) = call
    else:
        reply, call = stub.with_call(request, timeout=30)
    assert json.loads(reply.data) == {"predictions": [[3.0, 6.0, 9.0]]}
    metadata = dict(call.initial_metadata())
    assert metadata["x-vertex-ai-deployed-model-id"] == model.id
    assert metadata["x-vertex-ai-model"] == model.model
    assert metadata["x-vertex-ai-model-version-id"] == "1"


@pytest.mark.parametrize("transport", ["grpc"])
def test_replicas_come_and_go_by_mutation(aiplatform: Any, on_a_gpu: str, endpoints: Any) -> None:
    endpoint = aiplatform.Endpoint(on_a_gpu)
    paths = ["dedicated_resources.min_replica_count", "dedicated_resources.max_replica_count"]
    for replicas in (2, 1):
        (deployed,) = endpoint.list_models()
        resources = {"min_replica_count": replicas, "max_replica_count": replicas}
        mutating = endpoints.mutate_deployed_model(
            endpoint=on_a_gpu,
            deployed_model={"id": deployed.id, "dedicated_resources": resources},
            update_mask={"paths": paths},
        )
        mutated = mutating.result().deployed_model
        assert mutated.dedicated_resources.min_replica_count == replicas
        assert mutated.dedicated_resources.machine_spec.machine_type == "n1-standard-4"
        (deployed,) = endpoint.list_models()
        assert deployed.status.available_replica_count == replicas
        assert endpoint.predict([[1, 1, 1]]).predictions == [[3.0, 3.0, 3.0]]


def test_a_second_version_takes_its_share_then_everything_then_nothing(aiplatform: Any, bucket: str) -> None:
    first = upload(aiplatform, bucket, "2")
    second = upload(aiplatform, bucket, "3", parent_model=first.resource_name, is_default_version=False)
    endpoint = aiplatform.Endpoint.create(display_name="scaling")
    endpoint.deploy(first, machine_type="n1-standard-2")
    assert list(endpoint.traffic_split.values()) == [100]
    endpoint.deploy(second, machine_type="n1-standard-2", traffic_percentage=10)
    assert split_seen(endpoint) == {2.0: 90, 3.0: 10}
    by_version = {one.model_version_id: one.id for one in endpoint.list_models()}
    endpoint.update(traffic_split={by_version["1"]: 0, by_version["2"]: 100})
    assert split_seen(endpoint, 10) == {3.0: 10}
    endpoint.undeploy(by_version["1"])
    assert endpoint.traffic_split == {by_version["2"]: 100}
    assert split_seen(endpoint, 10) == {3.0: 10}
    endpoint.undeploy_all()
    assert (endpoint.list_models(), endpoint.traffic_split) == ([], {})
    endpoint.delete()


@pytest.mark.parametrize("transport", ["grpc"])
def test_a_model_that_does_not_load_fails_with_its_own_words_and_leaves_nothing(
    aiplatform: Any, bucket: str
) -> None:
    from google.api_core import exceptions

    endpoint = aiplatform.Endpoint.create(display_name="broken")
    model = upload(aiplatform, bucket, "broken")
    with pytest.raises(exceptions.GoogleAPICallError, match="Last lines of the model server") as error:
        endpoint.deploy(model, machine_type="n1-standard-2")
    assert error.value.code == 400
    assert (endpoint.list_models(), endpoint.traffic_split) == ([], {})
    model.delete()
    endpoint.delete()


def test_a_deploy_in_progress_is_really_cancelled(aiplatform: Any, bucket: str, endpoints: Any) -> None:
    model, endpoint = upload(aiplatform, bucket, "2"), aiplatform.Endpoint.create(display_name="cancelled")
    deployed_model = {
        "model": model.resource_name,
        "dedicated_resources": {"machine_spec": {"machine_type": "n1-standard-2"}, "min_replica_count": 1},
    }
    deploying = endpoints.deploy_model(endpoint=endpoint.resource_name, deployed_model=deployed_model)
    name = deploying.operation.name
    assert not deploying.done()
    assert deploying.metadata.deployment_stage.name in {
        "STARTING_DEPLOYMENT",
        "PREPARING_MODEL",
        "STARTING_MODEL_SERVER",
    }
    endpoints.cancel_operation({"name": name})
    assert "cancelled" in str(deploying.exception(timeout=60))
    assert endpoints.get_operation({"name": name}).error.code == 1
    assert endpoint.list_models() == []
    model.delete()


def test_what_cannot_be_deployed_is_refused_before_anything_starts(
    aiplatform: Any, bucket: str, endpoints: Any
) -> None:
    from google.api_core import exceptions

    bad_request = (exceptions.InvalidArgument, exceptions.BadRequest)
    endpoint = aiplatform.Endpoint.create(display_name="refused")
    model = upload(aiplatform, bucket, "2")
    with pytest.raises(
        bad_request, match='"NVIDIA_TESLA_T4" is not supported for machine type "e2-standard-4"'
    ):
        endpoint.deploy(
            model, machine_type="e2-standard-4", accelerator_type="NVIDIA_TESLA_T4", accelerator_count=1
        )
    other = aiplatform.Model.upload(display_name="o", serving_container_image_uri="gcr.io/mine/server:1")
    with pytest.raises(exceptions.MethodNotImplemented, match=r"gcr\.io/mine/server:1"):
        endpoint.deploy(other, machine_type="n1-standard-2")
    with pytest.raises((exceptions.FailedPrecondition, exceptions.BadRequest), match="traffic_split"):
        endpoint.predict([[1, 2, 3]])
    assert list(endpoints.list_operations({"name": endpoint.resource_name}).operations)[1:] == []


def test_endpoints_are_listed_changed_and_deleted(aiplatform: Any, endpoints: Any) -> None:
    from google.api_core import exceptions

    for name, stage in [("b", "prod"), ("a", "prod"), ("c", "test")]:
        aiplatform.Endpoint.create(display_name=name, labels={"stage": stage}, endpoint_id=f"my-{name}")
    listed = aiplatform.Endpoint.list(filter="labels.stage=prod", order_by="display_name")
    assert [endpoint.name for endpoint in listed] == ["my-a", "my-b"]
    endpoint = aiplatform.Endpoint("my-a").update(display_name="A", description="d", labels={"x": "y"})
    found = aiplatform.Endpoint("my-a")
    assert (found.display_name, found.labels) == ("A", {"x": "y"})
    stale = endpoints.get_endpoint(name=endpoint.resource_name)
    endpoint.update(description="e")
    with pytest.raises((exceptions.Aborted, exceptions.Conflict), match="etag"):
        endpoints.update_endpoint(endpoint=stale, update_mask={"paths": ["display_name"]})
    with pytest.raises((exceptions.AlreadyExists, exceptions.Conflict), match="my-a already exists"):
        aiplatform.Endpoint.create(display_name="a", endpoint_id="my-a")
    endpoint.delete()
    assert [one.name for one in aiplatform.Endpoint.list()] == ["my-c", "my-b"]


@pytest.mark.parametrize("transport", ["grpc"])
def test_two_models_are_deployed_at_once(aiplatform: Any, bucket: str, endpoints: Any) -> None:
    endpoint = aiplatform.Endpoint.create(display_name="both")
    models = [upload(aiplatform, bucket, folder).resource_name for folder in ("2", "3")]
    failures: list[BaseException] = []

    def deploy(model: str) -> None:
        resources = {"machine_spec": {"machine_type": "n1-standard-2"}, "min_replica_count": 1}
        deployed_model = {"model": model, "dedicated_resources": resources}
        try:
            endpoints.deploy_model(endpoint=endpoint.resource_name, deployed_model=deployed_model).result()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=deploy, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(one.model for one in endpoint.list_models()) == sorted(models)
    assert sorted(endpoint.traffic_split.values()) == [100]
    endpoint.delete(force=True)
