"""What is deployed: kept on endpoints, noted on models, served, routed, and back after a restart."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from vertexkit.emulator.deployments import Deployment, Deployments, Served
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.messages import Endpoint, Raw
from vertexkit.emulator.routing import Route, Routes
from vertexkit.emulator.services.model_registry import VERSIONS, ModelRegistry
from vertexkit.emulator.store import Kind, Store
from vertexkit.emulator.validation import canonical_name

_LOGGER = logging.getLogger(__name__)

ENDPOINTS = Kind("endpoints", Endpoint, "Endpoint")


class DeployedModels:
    """Keeps endpoints, models, routes and model servers in step. Safe to use from any thread.

    Args:
        store: Where endpoints and models are kept.
        routes: Told of every change.
        deployments: Brings model servers up and down.
    """

    def __init__(self, store: Store, routes: Routes, deployments: Deployments) -> None:
        self.store = store
        self.registry = ModelRegistry(store)
        self.deployments = deployments
        self._routes = routes
        self._lock = threading.Lock()
        self._pending: dict[str, set[str]] = {}
        self._starting: dict[str, Future[None]] = {}
        self._stopping = threading.Event()
        self._restorer: threading.Thread | None = None

    def pending(self, endpoint_name: str) -> set[str]:
        """Ids of deployed models that are on their way up or down on an endpoint."""
        with self._lock:
            return set(self._pending.get(endpoint_name, ()))

    @contextmanager
    def reserved(self, endpoint_name: str, deployed_model_id: str) -> Iterator[None]:
        """Keep an id from being used by anything else meanwhile.

        Raises:
            ApiError: ALREADY_EXISTS, it is on its way up or down.
        """
        self.reserve(endpoint_name, deployed_model_id)
        try:
            yield
        finally:
            self.release(endpoint_name, deployed_model_id)

    def reserve(self, endpoint_name: str, deployed_model_id: str) -> None:
        """Begin what ``release`` ends: an id is on its way up or down.

        Raises:
            ApiError: ALREADY_EXISTS, it is so already.
        """
        with self._lock:
            pending = self._pending.setdefault(endpoint_name, set())
            if deployed_model_id in pending:
                raise ApiError(
                    Code.ALREADY_EXISTS,
                    f"The DeployedModel {deployed_model_id} of {endpoint_name} is being deployed or "
                    "undeployed.",
                )
            pending.add(deployed_model_id)

    def release(self, endpoint_name: str, deployed_model_id: str) -> None:
        """End what ``reserve`` began."""
        with self._lock:
            pending = self._pending[endpoint_name]
            pending.discard(deployed_model_id)
            if not pending:
                del self._pending[endpoint_name]

    def deployment(self, endpoint: Raw, deployed_model: Raw) -> Deployment:
        """A deployed model of an endpoint, with the version of its model.

        Raises:
            ApiError: NOT_FOUND, the version is gone.
        """
        version_name = f"{deployed_model.model}@{deployed_model.model_version_id}"
        return Deployment(
            canonical_name(endpoint.name, "endpoints"), deployed_model, self.store.get(VERSIONS, version_name)
        )

    def available(self, endpoint_name: str, deployed_model: Raw) -> int:
        """How many replicas of a deployed model answer right now."""
        return self.deployments.available(Deployment.key_of(endpoint_name, deployed_model.id))

    def route(self, endpoint: Raw) -> None:
        """Make predictions follow an endpoint's split from now on."""
        weighted = []
        for deployed in endpoint.deployed_models:
            key = Deployment.key_of(endpoint.name, deployed.id)
            with self._lock:
                starting = self._starting.get(key)
            model = self.registry.show(canonical_name(deployed.model, "models"))
            route = Route(
                key, deployed.id, deployed.model, model.display_name, deployed.model_version_id, starting
            )
            weighted.append((route, endpoint.traffic_split.get(deployed.id, 0)))
        self._routes.set(endpoint.name, weighted)

    def restore(self) -> None:
        """Serve again, in the background, what was deployed when the emulator last stopped."""
        deployments = []
        for endpoint in self.store.all(ENDPOINTS):
            for deployed in endpoint.deployed_models:
                deployment = self.deployment(endpoint, deployed)
                deployments.append(deployment)
                self._starting[deployment.key] = Future()
            self.route(endpoint)
        self._forget_unfinished({deployment.key for deployment in deployments})
        if deployments:
            self._restorer = threading.Thread(
                target=self._restore, args=(deployments,), name="restore-deployments"
            )
            self._restorer.start()

    def close(self) -> None:
        """Stop restoring, and wait for it to have stopped."""
        self._stopping.set()
        if self._restorer is not None:
            self._restorer.join()

    def _restore(self, deployments: list[Deployment]) -> None:
        for deployment in deployments:
            starting = self._starting[deployment.key]
            try:
                served = self.deployments.bring_up(deployment, cancelled=self._stopping)
            except ApiError as error:
                _LOGGER.error("%s is not served again: %s", deployment.deployed_model.id, error.message)
                served = Served(0, f"It did not come up after a restart: {error.message}")
                starting.set_exception(ApiError(Code.UNAVAILABLE, served.message))
            else:
                starting.set_result(None)
            self._note(deployment, served, up=served.replicas > 0)

    def _note(self, deployment: Deployment, served: Served, *, up: bool) -> None:
        """Show on the endpoint how a deployment came back, and route to it without waiting."""
        if up:
            with self._lock:
                del self._starting[deployment.key]
        with self.store.transaction():
            endpoint = self.store.find(ENDPOINTS, str(deployment.endpoint))
            if endpoint is None:
                return
            for deployed in endpoint.deployed_models:
                if deployed.id == deployment.deployed_model.id:
                    show_status(deployed, served)
            self.store.replace(ENDPOINTS, endpoint, touch=False)
            self.route(endpoint)

    def _forget_unfinished(self, keys: set[str]) -> None:
        """Remove what deploys and undeploys that were cut short have left: copies, and notes on models."""
        for key in self.deployments.keys() - keys:
            self.deployments.remove_copy(key)
        for version in self.store.all(VERSIONS):
            for reference in list(version.deployed_models):
                if Deployment.key_of(reference.endpoint, reference.deployed_model_id) not in keys:
                    self.registry.undeployed(version.name, reference.endpoint, reference.deployed_model_id)


def show_status(deployed_model: Raw, served: Served) -> None:
    """Write into a deployed model how it is served."""
    deployed_model.status.message = served.message
    deployed_model.status.last_update_time.FromNanoseconds(time.time_ns() // 1000 * 1000)
