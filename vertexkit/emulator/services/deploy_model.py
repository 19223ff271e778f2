"""Deploying, undeploying and resizing: checked first, then done in a long-running operation."""

from __future__ import annotations

import re

from vertexkit._core.names import ResourceName
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.field_masks import update_paths
from vertexkit.emulator.messages import (
    DeployedModel,
    DeploymentStage,
    DeployModelOperationMetadata,
    DeployModelResponse,
    MutateDeployedModelOperationMetadata,
    MutateDeployedModelResponse,
    Raw,
    UndeployModelOperationMetadata,
    UndeployModelResponse,
)
from vertexkit.emulator.operations import Operations, Running
from vertexkit.emulator.services.deployed_models import ENDPOINTS, DeployedModels, show_status
from vertexkit.emulator.services.deployments import Deployment, Served, check_servable
from vertexkit.emulator.services.machine_resources import check_resources, check_scaling
from vertexkit.emulator.services.model_registry import MODELS
from vertexkit.emulator.services.timestamps import set_now
from vertexkit.emulator.services.traffic import NEW_MODEL, split_with_new, split_without
from vertexkit.emulator.validation import (
    canonical_name,
    check_display_name,
    check_supported,
    invalid,
    invalid_field,
    new_id,
)

_DEPLOYED_MODEL_ID = re.compile(r"[0-9]{1,10}")
_GIVEN = (
    "disable_container_logging",
    # There are none to disable.
    "disable_explanations",
    "display_name",
    "enable_access_logging",
    # Whose rights the container would have in Google Cloud, where local ones have nothing to do.
    "service_account",
)
_SUPPORTED = frozenset(
    {
        *_GIVEN,
        "dedicated_resources",
        "id",
        "model",
        # Refused in Vertex AI's own words, with the model's name.
        "automatic_resources",
        "shared_resources",
        # Output only, which services ignore in requests.
        "create_time",
        "model_version_id",
        "private_endpoints",
        "status",
    }
)
_MUTABLE = frozenset(
    {
        "dedicated_resources.autoscaling_metric_specs",
        "dedicated_resources.max_replica_count",
        "dedicated_resources.min_replica_count",
        "dedicated_resources.required_replica_count",
        "disable_container_logging",
    }
)


class ModelDeployer:
    """Does the work of DeployModel, UndeployModel and MutateDeployedModel.

    Args:
        deployed: What is deployed.
        operations: Where the work runs.
    """

    def __init__(self, deployed: DeployedModels, operations: Operations) -> None:
        self._deployed = deployed
        self._store = deployed.store
        self._operations = operations

    def deploy(self, endpoint_name: ResourceName, request: Raw) -> Raw:
        """Begin to deploy a model; see ``EndpointService.DeployModel``."""
        version, deployed_model = self._checked(request.deployed_model)
        endpoint = self._store.get(ENDPOINTS, str(endpoint_name))
        ids = [one.id for one in endpoint.deployed_models]
        if deployed_model.id in ids:
            raise ApiError(
                Code.ALREADY_EXISTS,
                f"The DeployedModel {deployed_model.id} already exists on {endpoint_name}.",
            )
        wanted = dict(request.traffic_split)
        split_with_new(endpoint.traffic_split, wanted, ids, deployed_model.id)
        deployment = Deployment(endpoint_name, deployed_model, version)
        self._deployed.reserve(endpoint.name, deployed_model.id)
        try:
            # Before the work begins, so that the model cannot be deleted under it.
            self._deployed.registry.deployed(version.name, endpoint.name, deployed_model.id)
            return self._operations.start(
                endpoint.name,
                DeployModelOperationMetadata(deployment_stage=DeploymentStage.STARTING_DEPLOYMENT),
                lambda running: self._bring_up(running, deployment, wanted),
            )
        except BaseException:
            self._abandon(deployment)
            raise

    def undeploy(self, endpoint_name: ResourceName, request: Raw) -> Raw:
        """Begin to undeploy a model; see ``EndpointService.UndeployModel``."""
        name, gone_id, wanted = str(endpoint_name), request.deployed_model_id, dict(request.traffic_split)
        if not gone_id:
            raise invalid_field("deployed_model_id", "Required field is not set.")
        self._without(name, gone_id, wanted)

        def work(running: Running) -> Raw:
            response = UndeployModelResponse()
            with self._deployed.reserved(name, gone_id):
                with self._store.transaction():
                    endpoint, gone = self._without(name, gone_id, wanted)
                    self._store.replace(ENDPOINTS, endpoint)
                    version_name = f"{gone.model}@{gone.model_version_id}"
                    self._deployed.registry.undeployed(version_name, name, gone_id)
                    running.decide(response)
                    self._deployed.route(endpoint)
                # Routes first: the engine answers what is in flight before it stops the replicas.
                key = Deployment.key_of(name, gone_id)
                self._deployed.settle(key, give_up=True)
                self._deployed.deployments.take_down(key)
            return response

        return self._operations.start(name, UndeployModelOperationMetadata(), work)

    def mutate(self, endpoint_name: ResourceName, request: Raw) -> Raw:
        """Begin to change a deployed model; see ``EndpointService.MutateDeployedModel``."""
        name, asked = str(endpoint_name), request.deployed_model
        paths = update_paths(request.update_mask, DeployedModel)
        if paths - _MUTABLE:
            raise invalid(
                f"These fields of a DeployedModel cannot be mutated: {', '.join(sorted(paths - _MUTABLE))}."
            )
        self._mutated(name, asked, paths)

        def work(running: Running) -> Raw:
            with self._deployed.reserved(name, asked.id):
                self._deployed.settle(Deployment.key_of(name, asked.id), give_up=False)
                endpoint, changed = self._mutated(name, asked, paths)
                served = self._deployed.deployments.resize(self._deployed.deployment(endpoint, changed))
                with self._store.transaction():
                    endpoint, changed = self._mutated(name, asked, paths)
                    show_status(changed, served)
                    self._store.replace(ENDPOINTS, endpoint)
                    changed.status.available_replica_count = served.replicas
                    response = MutateDeployedModelResponse(deployed_model=changed)
                    running.decide(response)
            return response

        return self._operations.start(name, MutateDeployedModelOperationMetadata(), work)

    def _checked(self, asked: Raw) -> tuple[Raw, Raw]:
        """The version that a request names, and the deployed model to be made of it.

        Raises:
            ApiError: The request is wrong, or asks for what there is not.
        """
        if not asked.model:
            raise invalid_field("deployed_model.model", "Required field is not set.")
        name = canonical_name(asked.model, "models")
        version = self._deployed.registry.version(name)
        if asked.id and (not _DEPLOYED_MODEL_ID.fullmatch(asked.id) or asked.id == NEW_MODEL):
            raise invalid_field(
                "deployed_model.id",
                f'"{asked.id}" is not 1 to 10 digits, or is {NEW_MODEL}, the new model\'s.',
            )
        check_servable(version)
        check_supported(asked, _SUPPORTED, "deployed_model")
        model = self._store.get(MODELS, str(name.unversioned))
        deployed = DeployedModel(
            id=asked.id or new_id(), model=model.name, model_version_id=version.version_id
        )
        for field in _GIVEN:
            setattr(deployed, field, getattr(asked, field))
        deployed.display_name = deployed.display_name or model.display_name
        check_display_name(deployed.display_name, "deployed_model.display_name")
        check_resources(asked, model.name)
        deployed.dedicated_resources.CopyFrom(asked.dedicated_resources)
        return version, deployed

    def _bring_up(self, running: Running, deployment: Deployment, wanted: dict[str, int]) -> Raw:
        """The work of a deploy: everything comes up, or nothing stays."""
        try:
            self._at(running, DeploymentStage.PREPARING_MODEL)
            self._deployed.deployments.copy_artifact(deployment)
            running.raise_if_cancelled()
            self._at(running, DeploymentStage.STARTING_MODEL_SERVER)
            served = self._deployed.deployments.bring_up(deployment, cancelled=running.cancelled)
            self._at(running, DeploymentStage.FINISHING_UP)
            response = self._kept(running, deployment, wanted, served)
        except BaseException as error:
            self._deployed.deployments.take_down(deployment.key)
            self._abandon(deployment)
            terminated = isinstance(error, ApiError) and error.code is Code.CANCELLED
            self._at(
                running,
                DeploymentStage.DEPLOYMENT_TERMINATED if terminated else DeploymentStage.FAILED_TO_DEPLOY,
            )
            raise
        self._deployed.release(str(deployment.endpoint), deployment.deployed_model.id)
        return response

    def _kept(self, running: Running, deployment: Deployment, wanted: dict[str, int], served: Served) -> Raw:
        """Show a deployment that is up on its endpoint, and let requests reach it."""
        deployed = deployment.deployed_model
        with self._store.transaction():
            # The last moment at which it can be called off.
            running.raise_if_cancelled()
            endpoint = self._store.get(ENDPOINTS, str(deployment.endpoint))
            ids = [one.id for one in endpoint.deployed_models]
            split = split_with_new(endpoint.traffic_split, wanted, ids, deployed.id)
            set_now(deployed.create_time)
            show_status(deployed, served)
            endpoint.deployed_models.append(deployed)
            endpoint.traffic_split.clear()
            endpoint.traffic_split.update(split)
            self._store.replace(ENDPOINTS, endpoint)
            deployed.status.available_replica_count = served.replicas
            response = DeployModelResponse(deployed_model=deployed)
            running.decide(response)
            self._at(running, DeploymentStage.SUCCESSFULLY_DEPLOYED)
            self._deployed.route(endpoint)
        return response

    def _abandon(self, deployment: Deployment) -> None:
        """Forget a deploy that came to nothing."""
        name, deployed_id = str(deployment.endpoint), deployment.deployed_model.id
        self._deployed.registry.undeployed(deployment.version.name, name, deployed_id)
        self._deployed.release(name, deployed_id)

    def _at(self, running: Running, stage: int) -> None:
        running.update(DeployModelOperationMetadata(deployment_stage=stage))

    def _without(self, name: str, gone_id: str, wanted: dict[str, int]) -> tuple[Raw, Raw]:
        """An endpoint as it will be without a deployed model, and that deployed model.

        Raises:
            ApiError: There is no such deployed model, or its traffic would go nowhere.
        """
        endpoint = self._store.get(ENDPOINTS, name)
        gone = _deployed_model(endpoint, gone_id)
        ids = [one.id for one in endpoint.deployed_models]
        split = split_without(endpoint.traffic_split, wanted, ids, gone_id)
        kept = [one for one in endpoint.deployed_models if one.id != gone_id]
        del endpoint.deployed_models[:]
        endpoint.deployed_models.extend(kept)
        endpoint.traffic_split.clear()
        endpoint.traffic_split.update(split)
        return endpoint, gone

    def _mutated(self, name: str, asked: Raw, paths: set[str]) -> tuple[Raw, Raw]:
        """An endpoint as it will be, and the deployed model in it that has been changed.

        Raises:
            ApiError: There is no such deployed model, or it cannot be so.
        """
        endpoint = self._store.get(ENDPOINTS, name)
        changed = _deployed_model(endpoint, asked.id)
        for path in paths:
            _, _, field = path.rpartition(".")
            source, target = (
                (asked.dedicated_resources, changed.dedicated_resources) if "." in path else (asked, changed)
            )
            target.ClearField(field)
            value = getattr(source, field)
            if field == "autoscaling_metric_specs":
                target.autoscaling_metric_specs.MergeFrom(value)
            else:
                setattr(target, field, value)
        check_scaling(changed.dedicated_resources)
        return endpoint, changed


def _deployed_model(endpoint: Raw, deployed_id: str) -> Raw:
    for deployed in endpoint.deployed_models:
        if deployed.id == deployed_id:
            return deployed
    raise ApiError(
        Code.NOT_FOUND, f"The DeployedModel {deployed_id} does not exist on the Endpoint {endpoint.name}."
    )
