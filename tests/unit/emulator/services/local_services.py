"""Services on a real store and a real Cloud Storage, with model servers that are only threads."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

from google.cloud.aiplatform_v1 import types
from google.longrunning import operations_pb2

from vertexkit.emulator.gcs.store import ObjectStore
from vertexkit.emulator.operations import Operations
from vertexkit.emulator.services.endpoint import EndpointService
from vertexkit.emulator.services.model import ModelService
from vertexkit.emulator.services.operations import OperationsService
from vertexkit.emulator.serving import DeploymentSpec, DeploymentStatus, ReplicaStatus, ServingFailed
from vertexkit.emulator.store import Store

PARENT = "projects/my-project/locations/us-central1"
IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"


class Closes(Protocol):
    """Services that can be closed."""

    def close(self) -> None: ...


Given = ParamSpec("Given")
Services = TypeVar("Services", bound=Closes)


@contextlib.contextmanager
def one_after_another(services: Callable[Given, Services]) -> Iterator[Callable[Given, Services]]:
    """Starts services again and again, of which one is closed before the next is started."""
    started: list[Services] = []

    def begin(*args: Given.args, **kwargs: Given.kwargs) -> Services:
        if started:
            started[-1].close()
        started.append(services(*args, **kwargs))
        return started[-1]

    yield begin
    started[-1].close()


class ThreadServing:
    """Serves as the engine does, as far as services can see: what comes up depends on the artifact.

    A ``saved_model.pb`` holding ``broken`` fails to load; one holding ``slow`` comes up when ``proceed``
    is set.
    """

    def __init__(self) -> None:
        self.specs: dict[str, DeploymentSpec] = {}
        self.replicas: dict[str, int] = {}
        self.loading = threading.Event()
        self.proceed = threading.Event()

    def deploy(
        self, spec: DeploymentSpec, *, timeout: float, cancelled: threading.Event | None = None
    ) -> None:
        content = (spec.artifact_dir / "saved_model.pb").read_bytes()
        self.loading.set()
        if content == b"broken":
            raise ServingFailed("The model could not be loaded: bad magic number", ["line 1", "line 2"])
        while content == b"slow" and not self.proceed.wait(0.01):
            if cancelled is not None and cancelled.is_set():
                raise ServingFailed("The deploy was cancelled")
        self.specs[spec.key] = spec
        self.replicas[spec.key] = spec.replicas

    def undeploy(self, key: str) -> None:
        self.specs.pop(key, None)
        self.replicas.pop(key, None)

    def resize(self, key: str, replicas: int) -> None:
        self.replicas[key] = replicas

    def status(self, key: str) -> DeploymentStatus:
        count = self.replicas[key]
        return DeploymentStatus(key, tuple(ReplicaStatus(n, 1, True, 0, 0) for n in range(count)), ())


class Vertex:
    """The services of one emulator, started on a data folder."""

    def __init__(self, data_dir: Path, serving: ThreadServing) -> None:
        self.data_dir = data_dir
        self.serving = serving
        self.store = Store(data_dir / "vertex.sqlite")
        self.running = Operations(self.store)
        self.objects = ObjectStore(data_dir)
        self.models = ModelService(self.store, self.running, self.objects)
        self.endpoints = EndpointService(
            self.store, self.running, self.objects, serving, data_dir, dedicated_dns=lambda: "localhost:7"
        )
        self.operations = OperationsService(self.running)

    def close(self) -> None:
        self.running.close()
        self.endpoints.close()
        self.objects.close()
        self.store.close()

    def artifact(self, folder: str = "mnist/1", content: bytes = b"graph") -> str:
        """Store a SavedModel, as far as services look at it; its URI."""
        if not self.objects.bucket_exists("models"):
            self.objects.create_bucket("models", "my-project")
        self.objects.write("models", f"{folder}/saved_model.pb", content)
        self.objects.write("models", f"{folder}/variables/variables.index", b"index")
        return f"gs://models/{folder}"

    def upload(self, *, content: bytes = b"graph", parent_model: str = "", **fields: Any) -> str:
        """Upload a model; the resource name of the version."""
        model = {
            "display_name": "mnist",
            "artifact_uri": self.artifact(content=content),
            "container_spec": {"image_uri": IMAGE},
            **fields,
        }
        request = types.UploadModelRequest(parent=PARENT, model=model, parent_model=parent_model)
        operation = self.models.UploadModel(types.UploadModelRequest.pb(request))
        response = response_of(operation, types.UploadModelResponse)
        return f"{response.model}@{response.model_version_id}"

    def create_endpoint(self, **fields: Any) -> str:
        request = types.CreateEndpointRequest(parent=PARENT, endpoint={"display_name": "digits", **fields})
        operation = self.endpoints.CreateEndpoint(types.CreateEndpointRequest.pb(request))
        return str(response_of(operation, types.Endpoint).name)

    def endpoint(self, name: str) -> Any:
        return self.endpoints.GetEndpoint(raw(types.GetEndpointRequest(name=name)))

    def model(self, name: str) -> Any:
        return self.models.GetModel(raw(types.GetModelRequest(name=name)))

    def start_deploy(
        self,
        endpoint: str,
        model: str,
        *,
        split: dict[str, int] | None = None,
        replicas: int = 1,
        machine: dict[str, Any] | None = None,
        resources: dict[str, Any] | None = None,
        **fields: Any,
    ) -> operations_pb2.Operation:
        dedicated = {
            "machine_spec": machine or {"machine_type": "n1-standard-2"},
            "min_replica_count": replicas,
            **(resources or {}),
        }
        deployed = {"model": model, "dedicated_resources": dedicated, **fields}
        request = types.DeployModelRequest(endpoint=endpoint, deployed_model=deployed, traffic_split=split)
        return self.endpoints.DeployModel(raw(request))

    def deploy(self, endpoint: str, model: str, **options: Any) -> Any:
        """Deploy, wait, and give the deployed model."""
        operation = self.finished(self.start_deploy(endpoint, model, **options))
        assert not operation.HasField("error"), operation.error
        return response_of(operation, types.DeployModelResponse).deployed_model

    def undeploy(self, endpoint: str, deployed_id: str, split: dict[str, int] | None = None) -> None:
        request = types.UndeployModelRequest(
            endpoint=endpoint, deployed_model_id=deployed_id, traffic_split=split
        )
        operation = self.finished(self.endpoints.UndeployModel(raw(request)))
        assert not operation.HasField("error"), operation.error

    def finished(self, operation: operations_pb2.Operation) -> operations_pb2.Operation:
        done = self.operations.WaitOperation(operations_pb2.WaitOperationRequest(name=operation.name))
        assert done.done
        return done


def raw(message: Any) -> Any:
    """The raw protobuf message in a proto-plus one."""
    return type(message).pb(message)


def response_of(operation: operations_pb2.Operation, kind: Any) -> Any:
    response = kind.pb()()
    assert operation.done, operation
    assert operation.response.Unpack(response), operation
    return response
