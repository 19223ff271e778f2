"""What is deployed: kept on endpoints, noted on models, served, routed, and back after a restart."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.messages import Endpoint, Raw
from vertexkit.emulator.routing import Route, Routes
from vertexkit.emulator.services.deployments import Deployment, Deployments, Served
from vertexkit.emulator.services.model_registry import VERSIONS, ModelRegistry
from vertexkit.emulator.services.timestamps import set_now
from vertexkit.emulator.store import Kind, Store
from vertexkit.emulator.validation import canonical_name

_LOGGER = logging.getLogger(__name__)

ENDPOINTS = Kind("endpoints", Endpoint, "Endpoint")


class _Start:
    """A deployment on its way back after a restart."""

    def __init__(self) -> None:
        self.up: Future[None] = Future()
        self.cancelled = threading.Event()
        self.settled = threading.Event()


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
        self._starting: dict[str, _Start] = {}
        self._restorers: ThreadPoolExecutor | None = None

    def pending(self, endpoint_name: str) -> set[str]:
        """Ids of deployed models that are on their way up or down on an endpoint."""
        with self._lock:
            return set(self._pending.get(endpoint_name, ()))

    @contextmanager
    def reserved(self, endpoint_name: str, deployed_model_id: str) -> Iterator[None]:
        """Keep an id from being used by anything else meanwhile.

        Raises:
            ApiError: ABORTED, something else is being done to it.
        """
        self.reserve(endpoint_name, deployed_model_id)
        try:
            yield
        finally:
            self.release(endpoint_name, deployed_model_id)

    def reserve(self, endpoint_name: str, deployed_model_id: str) -> None:
        """Begin what ``release`` ends: an id is on its way up or down.

        Raises:
            ApiError: ABORTED, something else is being done to it.
        """
        with self._lock:
            pending = self._pending.setdefault(endpoint_name, set())
            if deployed_model_id in pending:
                raise ApiError(
                    Code.ABORTED,
                    f"There is another operation in progress on the DeployedModel {deployed_model_id} of "
                    f"{endpoint_name}. Wait for it, and try again.",
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
                start = self._starting.get(key)
            model = self.registry.show(canonical_name(deployed.model, "models"))
            route = Route(
                key,
                deployed.id,
                deployed.model,
                model.display_name,
                deployed.model_version_id,
                endpoint.dedicated_endpoint_enabled,
                None if start is None else start.up,
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
                self._starting[deployment.key] = _Start()
            self.route(endpoint)
        self._forget_unfinished({deployment.key for deployment in deployments})
        if deployments:
            # Loading a model keeps a processor busy: more at once would all be late.
            self._restorers = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="restore-deployment")
            for deployment in deployments:
                self._restorers.submit(self._restore, deployment)

    def settle(self, key: str, *, give_up: bool) -> None:
        """Wait until a deployment is no longer on its way back after a restart.

        Args:
            key: The deployment's.
            give_up: Whether to call it off, rather than to let it come up.
        """
        with self._lock:
            start = self._starting.get(key)
        if start is not None:
            if give_up:
                start.cancelled.set()
            start.settled.wait()
            if give_up:
                with self._lock:
                    self._starting.pop(key, None)

    def close(self) -> None:
        """Stop restoring, and wait for it to have stopped."""
        with self._lock:
            starts = list(self._starting.values())
        for start in starts:
            start.cancelled.set()
        if self._restorers is not None:
            self._restorers.shutdown()

    def _restore(self, deployment: Deployment) -> None:
        start = self._starting[deployment.key]
        try:
            served = self.deployments.bring_up(deployment, cancelled=start.cancelled)
        except Exception as error:
            # Whatever it was, predictions that wait have to be told.
            words = f"It did not come up after a restart of the local Vertex AI: {error}"
            start.up.set_exception(ApiError(Code.UNAVAILABLE, words))
            if not start.cancelled.is_set():
                _LOGGER.error("Deployed model %s: %s", deployment.deployed_model.id, words)
                self._note(deployment, Served(0, words))
        else:
            start.up.set_result(None)
            with self._lock:
                del self._starting[deployment.key]
            self._note(deployment, served)
        finally:
            start.settled.set()

    def _note(self, deployment: Deployment, served: Served) -> None:
        """Show on the endpoint how a deployment came back, and route to it without waiting."""
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
    set_now(deployed_model.status.last_update_time)
