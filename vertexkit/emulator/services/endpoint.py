"""EndpointService: endpoints, and the models deployed on them.

See https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#endpointservice
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from vertexkit._core.names import ResourceName
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.field_masks import update_paths
from vertexkit.emulator.filters import Filterable
from vertexkit.emulator.gcs.store import ObjectStore
from vertexkit.emulator.messages import (
    CreateEndpointOperationMetadata,
    DeleteOperationMetadata,
    Empty,
    Endpoint,
    ListEndpointsResponse,
    Raw,
)
from vertexkit.emulator.operations import Operations
from vertexkit.emulator.routing import Routes
from vertexkit.emulator.services.deploy_model import ModelDeployer
from vertexkit.emulator.services.deployed_models import ENDPOINTS, DeployedModels
from vertexkit.emulator.services.deployments import Deployments
from vertexkit.emulator.services.listing import list_page, resource_id
from vertexkit.emulator.services.traffic import check_split
from vertexkit.emulator.serving import ServingEngine
from vertexkit.emulator.store import Store, check_etag
from vertexkit.emulator.validation import (
    canonical_location,
    canonical_name,
    check_display_name,
    check_labels,
    invalid,
    invalid_field,
    new_id,
)

_ENDPOINT_ID = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?|[1-9][0-9]{0,8}|0")
_UPDATABLE = frozenset({"display_name", "description", "labels", "traffic_split"})
_GIVEN = ("display_name", "description", "dedicated_endpoint_enabled")
_UNSUPPORTED = (
    "client_connection_config",
    "enable_private_service_connect",
    "encryption_spec",
    "gen_ai_advanced_features_config",
    "network",
    "predict_request_response_logging_config",
    "private_model_server_enabled",
    "private_service_connect_config",
)
"""Fields of an Endpoint that ask for what the local Vertex AI does not do."""
_FILTER = Filterable(Endpoint, {"display_name", "labels"}, {"endpoint": resource_id})


class EndpointService:
    """Answers the RPCs that it has a method for. Safe to use from any thread.

    Models that were deployed when the emulator last stopped are served again, in the background;
    predictions wait for them (``Route.starting``).

    Args:
        store: Where endpoints are kept.
        operations: Where long-running operations are kept and run.
        objects: The local Cloud Storage, which holds the artifacts.
        serving: What runs the model servers.
        data_dir: Where copies of artifacts go, below ``serving/``.
        dedicated_dns: Says ``host:port`` of the API, for endpoints with a DNS name of their own; None
            when there is none.

    Attributes:
        routes: Which deployed model answers the next request of each endpoint.
    """

    def __init__(
        self,
        store: Store,
        operations: Operations,
        objects: ObjectStore,
        serving: ServingEngine,
        data_dir: Path,
        *,
        dedicated_dns: Callable[[], str] | None = None,
    ) -> None:
        self.routes = Routes()
        self._store = store
        self._operations = operations
        self._dedicated_dns = dedicated_dns
        self._deployed = DeployedModels(
            store, self.routes, Deployments(objects, serving, data_dir / "serving")
        )
        self._deployer = ModelDeployer(self._deployed, operations)
        self._deployed.restore()

    def close(self) -> None:
        """Stop bringing deployments back; to be called before the serving engine ends."""
        self._deployed.close()

    def CreateEndpoint(self, request: Raw) -> Raw:
        """Create an endpoint."""
        parent = canonical_location(request.parent)
        asked = request.endpoint
        check_display_name(asked.display_name, "endpoint.display_name")
        check_labels(asked.labels, "endpoint.labels")
        if request.endpoint_id and not _ENDPOINT_ID.fullmatch(request.endpoint_id):
            raise invalid_field(
                "endpoint_id",
                f'"{request.endpoint_id}" is neither up to 63 characters of [a-z0-9-] from a letter to a '
                "letter or digit, nor up to 9 digits without leading zeros.",
            )
        if asked.traffic_split:
            check_split(asked.traffic_split, ())
        set_fields = {field.name for field, _ in asked.ListFields()}
        for field in _UNSUPPORTED:
            if field in set_fields:
                raise ApiError(Code.UNIMPLEMENTED, f"The local Vertex AI does not support endpoint.{field}.")
        endpoint = Endpoint(name=f"{parent}/endpoints/{request.endpoint_id or new_id()}")
        for field in _GIVEN:
            setattr(endpoint, field, getattr(asked, field))
        endpoint.labels.update(asked.labels)
        with self._store.transaction():
            self._store.insert(ENDPOINTS, parent, endpoint)
            operation = self._operations.done(
                endpoint.name, CreateEndpointOperationMetadata(), self._shown(endpoint)
            )
            self._deployed.route(endpoint)
        return operation

    def GetEndpoint(self, request: Raw) -> Raw:
        """Get an endpoint."""
        return self._shown(self._store.get(ENDPOINTS, str(canonical_name(request.name, "endpoints"))))

    def ListEndpoints(self, request: Raw) -> Raw:
        """List the endpoints of a location."""
        parent = canonical_location(request.parent)
        endpoints, token = list_page(
            self._store, ENDPOINTS, parent, request, filterable=_FILTER, view=self._shown
        )
        return ListEndpointsResponse(endpoints=endpoints, next_page_token=token)

    def UpdateEndpoint(self, request: Raw) -> Raw:
        """Change an endpoint's display name, description, labels or traffic split."""
        wanted = request.endpoint
        name = str(canonical_name(wanted.name, "endpoints"))
        paths = update_paths(request.update_mask, Endpoint)
        unsupported = sorted(path for path in paths if path.partition(".")[0] in _UNSUPPORTED)
        if unsupported:
            raise ApiError(
                Code.UNIMPLEMENTED, f"The local Vertex AI does not support endpoint.{unsupported[0]}."
            )
        if paths - _UPDATABLE:
            raise invalid(
                f"These fields of an Endpoint cannot be updated: {', '.join(sorted(paths - _UPDATABLE))}."
            )
        if "display_name" in paths:
            check_display_name(wanted.display_name, "endpoint.display_name")
        if "labels" in paths:
            check_labels(wanted.labels, "endpoint.labels")
        with self._store.transaction():
            endpoint = self._store.get(ENDPOINTS, name)
            check_etag(endpoint, wanted.etag)
            if "traffic_split" in paths:
                check_split(wanted.traffic_split, [one.id for one in endpoint.deployed_models])
            for path in paths:
                endpoint.ClearField(path)
                if path in {"labels", "traffic_split"}:
                    getattr(endpoint, path).update(getattr(wanted, path))
                else:
                    setattr(endpoint, path, getattr(wanted, path))
            self._store.replace(ENDPOINTS, endpoint)
            if "traffic_split" in paths:
                self._deployed.route(endpoint)
        return self._shown(endpoint)

    def DeleteEndpoint(self, request: Raw) -> Raw:
        """Delete an endpoint that has nothing deployed."""
        name = str(canonical_name(request.name, "endpoints"))
        with self._store.transaction():
            endpoint = self._store.get(ENDPOINTS, name)
            ids = sorted({one.id for one in endpoint.deployed_models} | self._deployed.pending(name))
            if ids:
                raise ApiError(
                    Code.FAILED_PRECONDITION,
                    f"The Endpoint {name} has deployed or being-deployed DeployedModel(s): {', '.join(ids)}. "
                    "Undeploy them first.",
                )
            self._store.delete(ENDPOINTS, name)
            operation = self._operations.done(name, DeleteOperationMetadata(), Empty())
            self.routes.remove(name)
        return operation

    def DeployModel(self, request: Raw) -> Raw:
        """Deploy a model on an endpoint: done when every replica answers."""
        return self._deployer.deploy(self._endpoint_name(request.endpoint), request)

    def UndeployModel(self, request: Raw) -> Raw:
        """Undeploy a model from an endpoint."""
        return self._deployer.undeploy(self._endpoint_name(request.endpoint), request)

    def MutateDeployedModel(self, request: Raw) -> Raw:
        """Change how many replicas serve a deployed model."""
        return self._deployer.mutate(self._endpoint_name(request.endpoint), request)

    def _endpoint_name(self, name: str) -> ResourceName:
        endpoint = canonical_name(name, "endpoints")
        self._store.get(ENDPOINTS, str(endpoint))
        return endpoint

    def _shown(self, endpoint: Raw) -> Raw:
        """An endpoint as answers show it: with what is only known now."""
        shown = Endpoint()
        shown.CopyFrom(endpoint)
        if shown.dedicated_endpoint_enabled and self._dedicated_dns is not None:
            shown.dedicated_endpoint_dns = self._dedicated_dns()
        for deployed in shown.deployed_models:
            deployed.status.available_replica_count = self._deployed.available(shown.name, deployed)
        return shown
