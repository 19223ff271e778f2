"""How a deployment comes up and goes down: image, artifact, environment, replicas.

Between the endpoint service, which knows resources, and the two engines: the artifact is copied out
of Cloud Storage, as Vertex AI does, so that nothing done to the bucket later reaches what is served.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from vertexkit._core.names import ResourceName
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.gcs.errors import StorageError
from vertexkit.emulator.gcs.store import ObjectStore
from vertexkit.emulator.messages import Raw
from vertexkit.emulator.services.artifacts import artifact_folder
from vertexkit.emulator.services.machine_resources import replicas_wanted
from vertexkit.emulator.services.placement import gpu_environment, notices, replicas_that_fit
from vertexkit.emulator.serving import DeploymentSpec, ServingEngine, ServingFailed
from vertexkit.emulator.validation import canonical_name, check_supported
from vertexkit.emulator.variables import expanded
from vertexkit.images import ServingImage, parse_serving_image

_LOGGER = logging.getLogger(__name__)

_DEFAULT_TIMEOUT: Final = 600.0
"""Seconds that a model may take to come up, unless its container says otherwise."""
_CONTAINER: Final = frozenset(
    {"deployment_timeout", "env", "health_route", "image_uri", "ports", "predict_route"}
)
"""Fields of a ModelContainerSpec that replicas are run by; the others are refused."""


@dataclass(frozen=True)
class Deployment:
    """What has to be known to serve a deployed model."""

    endpoint: ResourceName
    deployed_model: Raw
    version: Raw
    """The row of the model's version."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Variables for its model servers, besides Vertex AI's own and those of the model's container."""

    @property
    def key(self) -> str:
        """What the serving engine and the folder of the copy are called by."""
        return self.key_of(str(self.endpoint), self.deployed_model.id)

    @staticmethod
    def key_of(endpoint_name: str, deployed_model_id: str) -> str:
        """The key of a deployed model: a short name of a folder, one for each endpoint and id."""
        return f"{hashlib.sha256(endpoint_name.encode()).hexdigest()[:12]}-{deployed_model_id}"


@dataclass(frozen=True)
class Served:
    """How a deployment came up."""

    replicas: int
    message: str
    """What the user should know, such as that it runs without its GPU; empty for nothing."""


class Deployments:
    """Brings deployments up and down. Safe to use from any thread.

    Args:
        objects: The local Cloud Storage.
        serving: What runs the model servers.
        folder: Where the copies of artifacts are kept, one folder for each deployment.
    """

    def __init__(self, objects: ObjectStore, serving: ServingEngine, folder: Path) -> None:
        self._objects = objects
        self._serving = serving
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def copy_artifact(self, deployment: Deployment) -> None:
        """Copy the model's artifact to where it is served from.

        Raises:
            ApiError: FAILED_PRECONDITION, there is nothing to copy.
        """
        source = artifact_folder(deployment.version.artifact_uri)
        target = self._copy_of(deployment.key)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(mode=0o700, parents=True)
        try:
            copied = self._objects.copy_tree(source.bucket, source.name, target)
        except StorageError as error:
            raise _not_copied(deployment, str(error)) from error
        if copied == 0:
            raise _not_copied(deployment, "there is nothing in it any more.")

    def bring_up(self, deployment: Deployment, *, cancelled: threading.Event | None = None) -> Served:
        """Serve a deployment from its copy; blocks until every replica answers.

        Args:
            deployment: What to serve.
            cancelled: Stops it when set.

        Raises:
            ApiError: FAILED_PRECONDITION with the model server's words; CANCELLED.
        """
        if cancelled is not None and cancelled.is_set():
            raise ApiError(Code.CANCELLED, "The operation was cancelled.")
        replicas = min(replicas_wanted(deployment.deployed_model), replicas_that_fit())
        notes = _notes(deployment, replicas)
        for note in notes:
            _LOGGER.warning(
                "%s, deployed model %s: %s", deployment.endpoint, deployment.deployed_model.id, note
            )
        spec = DeploymentSpec(
            key=deployment.key,
            artifact_dir=self._copy_of(deployment.key),
            env=self._environment(deployment),
            replicas=replicas,
        )
        timeout = deployment.version.container_spec.deployment_timeout.ToTimedelta().total_seconds()
        try:
            self._serving.deploy(spec, timeout=timeout or _DEFAULT_TIMEOUT, cancelled=cancelled)
        except ServingFailed as error:
            if cancelled is not None and cancelled.is_set():
                raise ApiError(Code.CANCELLED, "The operation was cancelled.") from error
            raise ApiError(Code.FAILED_PRECONDITION, _words(error)) from error
        return Served(replicas, " ".join(notes))

    def resize(self, deployment: Deployment) -> Served:
        """Serve with as many replicas as the deployed model now asks for.

        Raises:
            ApiError: FAILED_PRECONDITION, a new replica did not come up, or nothing was served.
        """
        wanted = replicas_wanted(deployment.deployed_model)
        try:
            # What already runs has its memory: only more than that has to fit.
            running = len(self._serving.status(deployment.key).replicas)
            replicas = min(wanted, running + replicas_that_fit())
            self._serving.resize(deployment.key, replicas)
        except ServingFailed as error:
            raise ApiError(Code.FAILED_PRECONDITION, _words(error)) from error
        except KeyError as error:
            raise ApiError(
                Code.FAILED_PRECONDITION,
                f"DeployedModel {deployment.deployed_model.id} does not run: undeploy it, and deploy again.",
            ) from error
        return Served(replicas, " ".join(_notes(deployment, replicas)))

    def take_down(self, key: str) -> None:
        """Stop serving, and remove the copy; nothing happens when there is neither."""
        self._serving.undeploy(key)
        self.remove_copy(key)

    def remove_copy(self, key: str) -> None:
        """Remove the copy of an artifact."""
        shutil.rmtree(self._folder / key, ignore_errors=True)

    def available(self, key: str) -> int:
        """How many replicas take requests right now."""
        try:
            return sum(replica.routable for replica in self._serving.status(key).replicas)
        except KeyError:
            return 0

    def keys(self) -> set[str]:
        """The keys that there are copies for."""
        return {folder.name for folder in self._folder.iterdir()}

    def _copy_of(self, key: str) -> Path:
        return self._folder / key / "model"

    def _environment(self, deployment: Deployment) -> Mapping[str, str]:
        """What the serving container finds in its environment.

        Source: https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
        """
        endpoint, deployed, container = (
            deployment.endpoint,
            deployment.deployed_model,
            deployment.version.container_spec,
        )
        image = parse_serving_image(container.image_uri)
        base = f"/v1/endpoints/{endpoint.id}/deployedModels/{deployed.id}"
        port = container.ports[0].container_port if container.ports else 8080
        environment = {
            "AIP_MODE": "PREDICTION",
            "AIP_FRAMEWORK": "" if image is None else image.framework.upper(),
            "AIP_HTTP_PORT": str(port),
            "AIP_HEALTH_ROUTE": container.health_route or base,
            "AIP_PREDICT_ROUTE": container.predict_route or f"{base}:predict",
            "AIP_STORAGE_URI": str(self._copy_of(deployment.key)),
            "AIP_MACHINE_TYPE": deployed.dedicated_resources.machine_spec.machine_type,
            "AIP_PROJECT_NUMBER": endpoint.project,
            "AIP_ENDPOINT_ID": endpoint.id,
            "AIP_DEPLOYED_MODEL_ID": deployed.id,
            "AIP_MODEL_NAME": canonical_name(deployment.version.name, "models").id,
            "AIP_VERSION_NAME": deployment.version.version_id,
            **deployment.settings,
        }
        for variable in container.env:
            environment[variable.name] = expanded(variable.value, environment)
        # Last, so that what the user is told of GPUs holds.
        environment.update(gpu_environment(deployed.dedicated_resources.machine_spec))
        return environment


def check_servable(version: Raw) -> ServingImage:
    """Refuse, by name, what the local Vertex AI cannot serve.

    Args:
        version: The row of a model's version.

    Raises:
        ApiError: UNIMPLEMENTED.
    """
    container = version.container_spec
    image = parse_serving_image(container.image_uri)
    if image is None or image.framework != "tensorflow":
        raise ApiError(
            Code.UNIMPLEMENTED,
            f"The local Vertex AI does not serve the image {container.image_uri}: it serves the prebuilt "
            "TensorFlow images only, of any version, CPU or GPU, such as "
            "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest.",
        )
    check_supported(container, _CONTAINER, "model.container_spec")
    return image


def _notes(deployment: Deployment, replicas: int) -> list[str]:
    return notices(deployment.deployed_model, check_servable(deployment.version), replicas)


def _not_copied(deployment: Deployment, why: str) -> ApiError:
    return ApiError(
        Code.FAILED_PRECONDITION,
        f"Cannot copy the artifact {deployment.version.artifact_uri} of {deployment.version.name}: {why}",
    )


def _words(error: ServingFailed) -> str:
    """What the model server said, as the operation's error shows it."""
    lines = [str(error.message)]
    if error.log_tail:
        lines += ["Last lines of the model server:", *error.log_tail]
    return "\n".join(lines)
