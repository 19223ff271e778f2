"""How a model is deployed to an endpoint, taken off it again, and what is left when that fails: nothing.

A deployed model is paid for by the hour, used or not. So whatever ends a deployment early (the
service's refusal, a timeout, Ctrl-C), what it made is undone before the error goes on.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/deployModel
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from vertexkit._core.lookup import timestamp
from vertexkit._core.names import is_resource_name
from vertexkit._core.operations import Operation, intervals
from vertexkit.errors import (
    AlreadyExists,
    Conflict,
    DeadlineExceeded,
    DeployFailed,
    InvalidArgument,
    NotFound,
    QuotaExceeded,
    ServiceError,
    Unavailable,
    VertexkitError,
)
from vertexkit.progress import status
from vertexkit.traffic import TrafficSplit
from vertexkit.types import Machine

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1.types import DeployModelRequest

    from vertexkit._core.context import Context

__all__ = [
    "DeployedModel",
    "Deploying",
    "Plan",
    "begin",
    "deploy",
    "read_deployed",
    "resize",
    "resumed",
    "undeploy",
]

_log = logging.getLogger("vertexkit")

_UNDEPLOY_SECONDS = 900.0
_RESIZE_SECONDS = 1800.0
_LOST_SECONDS = 3600.0
# In a split, "0" stands for the model that the same request deploys.
_NEW = "0"
_LOG_FOLLOWS = "Last lines of the model server:"


@dataclass(frozen=True)
class DeployedModel:
    """A version of a model on an endpoint, as it was when last read."""

    id: str
    """Its id on the endpoint; keys of the traffic split are such ids."""
    display_name: str
    model: str
    """Resource name of the model, without the version."""
    version_id: str
    """The version of the model."""
    machine: Machine
    """What it runs on."""
    replicas: tuple[int, int]
    """The least and the greatest number of replicas."""
    traffic: int
    """Its share of the endpoint's requests, in percent."""
    created: datetime
    """When it was deployed, in UTC."""
    service_account: str | None = None
    """The account that it runs as; None for the default one."""

    @property
    def versioned_model(self) -> str:
        """Resource name of the version: ``projects/.../models/ID@VERSION``."""
        return f"{self.model}@{self.version_id}" if self.version_id else self.model

    def __str__(self) -> str:
        """``mnist@2 (id 123): 10 %, 1 to 5 x n1-standard-4``."""
        least, most = self.replicas
        count = f"{least}" if least == most else f"{least} to {most}"
        name = f"{self.display_name}@{self.version_id}" if self.version_id else self.display_name
        return f"{name} (id {self.id}): {self.traffic} %, {count} x {self.machine}"


@dataclass(frozen=True)
class Plan:
    """A deployment, checked, before anything is sent."""

    endpoint: str
    """Resource name."""
    model: str
    """Resource name with a version."""
    display_name: str
    machine: Machine
    replicas: tuple[int, int]
    before: TrafficSplit
    """The traffic split before it, restored when it fails."""
    percent: int
    """The new model's share."""
    service_account: str | None = None

    @property
    def split(self) -> dict[str, int]:
        """The traffic split to send along; empty to leave it as it is."""
        return dict(self.before.shift(_NEW, self.percent)) if self.percent else {}


def read_deployed(endpoint: Mapping[str, Any]) -> list[DeployedModel]:
    """The deployed models of an endpoint, as REST gives it, the oldest first."""
    split = endpoint.get("trafficSplit", {})
    found = [
        _deployed(deployed, split.get(deployed["id"], 0)) for deployed in endpoint.get("deployedModels", [])
    ]
    return sorted(found, key=lambda deployed: (deployed.created, deployed.id))


class Deploying:
    """One deployment on its way. Whoever watches it calls `abandon` when it shall not be."""

    def __init__(self, context: Context, plan: Plan) -> None:
        self._context = context
        self._plan = plan
        # Chosen here, so that we know what to take off again whatever becomes of the answer.
        self.id = str(10**9 + secrets.randbelow(9 * 10**9))
        self.operation: Operation[DeployedModel] | None = None
        self._abandoned = False

    def start(self) -> Operation[DeployedModel]:
        """Send the request.

        Raises:
            VertexkitError: The service refused it, or could not be reached.
        """
        self.operation = Operation(
            self._context.clients,
            self._sent(),
            resource=self._plan.endpoint,
            finish=self._finished,
            failed=self._failed,
        )
        return self.operation

    def _sent(self) -> Any:
        """Send the request until the service has it, and knows that it has it.

        Sent again under the same id, it cannot make two: while the first is on its way, the service
        refuses the second, and says that there is one once that is up. Either means that the answer to
        the first was lost, and its operation's name with it.
        """
        from google.longrunning.operations_pb2 import Operation as Proto

        clients, endpoint = self._context.clients, self._plan.endpoint
        request = _request(self._plan, self.id)
        deadline = time.monotonic() + _LOST_SECONDS
        for interval in intervals():
            try:
                future: Any = clients.call(clients.endpoints.deploy_model, request, resource=endpoint)
            except AlreadyExists:
                return Proto(name=f"{endpoint}/operations/lost", done=True)
            except Conflict:
                if time.monotonic() > deadline:
                    raise
                time.sleep(interval)
            else:
                return future.operation
        raise AssertionError("intervals() never ends")

    def abandon(self, cause: BaseException) -> None:
        """Stop it, and take off what it has made, because of ``cause``, which goes on afterwards.

        What cannot be undone is said in a note on ``cause``.
        """
        if self._abandoned:
            return
        self._abandoned = True
        left = (
            f"{self._plan.display_name} may still come up, and be paid for, as deployed model {self.id} of "
            f"{self._plan.endpoint}: undeploy it."
        )
        try:
            if self.operation is not None:
                self.operation.stop()
            taken_off = self._take_off()
        except VertexkitError as error:
            cause.add_note(f"{left} (Undoing it failed: {error})")
            return
        if self.operation is None and not taken_off and isinstance(cause, Unavailable | DeadlineExceeded):
            # The connection broke: the service may have taken the request, and tells nobody.
            cause.add_note(left)

    def _finished(self, _: object) -> DeployedModel:
        return _one(self._endpoint(), self.id)

    def _failed(self, error: VertexkitError) -> VertexkitError:
        ours = _failure(error, self._plan.display_name, self._plan.endpoint)
        self.abandon(ours)
        return ours

    def _take_off(self) -> bool:
        """Undeploy it if it is there."""
        found = next((x for x in read_deployed(self._endpoint()) if x.id == self.id), None)
        if found is None:
            return False
        _log.info("taking %s off %s again", self.id, self._plan.endpoint)
        undeploy(self._context, self._plan.endpoint, self.id, self._plan.before if found.traffic else None)
        return True

    def _endpoint(self) -> dict[str, Any]:
        return self._context.clients.http_json("GET", self._plan.endpoint, resource=self._plan.endpoint)


def begin(context: Context, plan: Plan) -> Operation[DeployedModel]:
    """Start a deployment that nobody waits for; undo it if it cannot even be started.

    Raises:
        VertexkitError: The service refused it, or could not be reached.
    """
    deploying = Deploying(context, plan)
    try:
        return deploying.start()
    except BaseException as error:
        deploying.abandon(error)
        raise


def resumed(context: Context, name: str) -> Operation[DeployedModel]:
    """Take up a deployment that another process has started.

    Args:
        context: The session's parts.
        name: Name of its operation.

    Raises:
        InvalidArgument: It is the name of something else.
        NotFound: There is no such operation (any more).
    """
    endpoint, found, _ = name.partition("/operations/")
    if not found or not is_resource_name(endpoint):
        raise InvalidArgument("name", name, "this is not the name of an endpoint's operation")
    clients = context.clients
    proto: Any = clients.call(clients.endpoints.get_operation, {"name": name}, resource=name)
    if not proto.metadata.type_url.endswith(".DeployModelOperationMetadata"):
        raise InvalidArgument("name", name, "this operation is not a deployment")

    def finish(response: Any) -> DeployedModel:
        from google.cloud.aiplatform_v1.types import DeployModelResponse

        new = DeployModelResponse.deserialize(response.value).deployed_model.id
        return _one(clients.http_json("GET", endpoint, resource=endpoint), new)

    return Operation(
        clients,
        proto,
        resource=endpoint,
        finish=finish,
        failed=lambda error: _failure(error, "the model", endpoint),
    )


def deploy(context: Context, plan: Plan, *, timeout: float) -> DeployedModel:
    """Deploy, and wait until the model answers; undo it if that does not come to be.

    Raises:
        DeployFailed: The model did not come up.
        DeadlineExceeded: It did not come up in time.
        VertexkitError: The service refused it, or could not be reached.
    """
    deploying = Deploying(context, plan)
    try:
        with status(f"Deploying {plan.display_name} on {plan.machine}", context.progress):
            return deploying.start().result(timeout)
    except BaseException as error:  # Ctrl-C too: nobody will ever use what comes up now
        deploying.abandon(error)
        raise


def undeploy(
    context: Context, endpoint: str, deployed_model_id: str, split: TrafficSplit | None = None
) -> None:
    """Take a model off an endpoint, and wait until it is gone. One that is not there is no error.

    Args:
        context: The session's parts.
        endpoint: Resource name of the endpoint.
        deployed_model_id: Which.
        split: The traffic split of the remaining ones; None to leave it as it is.
    """
    from google.cloud.aiplatform_v1 import types

    request = types.UndeployModelRequest(
        endpoint=endpoint, deployed_model_id=deployed_model_id, traffic_split=dict(split or {})
    )
    with suppress(NotFound):
        _done(context, context.clients.endpoints.undeploy_model, request, endpoint, _UNDEPLOY_SECONDS)


def resize(context: Context, endpoint: str, deployed: DeployedModel, replicas: tuple[int, int]) -> None:
    """Change the least and the greatest number of replicas, and wait until that is done."""
    from google.cloud.aiplatform_v1 import types
    from google.protobuf.field_mask_pb2 import FieldMask

    least, most = replicas
    request = types.MutateDeployedModelRequest(
        endpoint=endpoint,
        deployed_model=types.DeployedModel(
            id=deployed.id,
            dedicated_resources=types.DedicatedResources(min_replica_count=least, max_replica_count=most),
        ),
        update_mask=FieldMask(
            paths=["dedicated_resources.min_replica_count", "dedicated_resources.max_replica_count"]
        ),
    )
    with status(f"Resizing {deployed.display_name}", context.progress):
        _done(context, context.clients.endpoints.mutate_deployed_model, request, endpoint, _RESIZE_SECONDS)


def _done(
    context: Context, method: Callable[..., Any], request: object, endpoint: str, seconds: float
) -> None:
    """Send a request, and wait until its work is done; again, should other work be in its way.

    The other work may be our own: that of the same request, whose answer was lost.
    """
    deadline = time.monotonic() + seconds
    for interval in intervals():
        try:
            future = context.clients.call(method, request, resource=endpoint)
            operation: Operation[None] = Operation(
                context.clients, future.operation, resource=endpoint, finish=lambda _: None
            )
            operation.result(max(deadline - time.monotonic(), 0.0))
            return
        except Conflict:
            if time.monotonic() > deadline:
                raise
            time.sleep(interval)


def _request(plan: Plan, new: str) -> DeployModelRequest:
    from google.cloud.aiplatform_v1 import types

    least, most = plan.replicas
    machine = types.MachineSpec(machine_type=plan.machine.type)
    if plan.machine.accelerator is not None:
        machine.accelerator_type = getattr(types.AcceleratorType, plan.machine.accelerator)
        machine.accelerator_count = plan.machine.accelerator_count
    return types.DeployModelRequest(
        endpoint=plan.endpoint,
        deployed_model=types.DeployedModel(
            id=new,
            model=plan.model,
            display_name=plan.display_name,
            service_account=plan.service_account or "",
            dedicated_resources=types.DedicatedResources(
                machine_spec=machine, min_replica_count=least, max_replica_count=most
            ),
        ),
        traffic_split=plan.split,
    )


def _one(endpoint: Mapping[str, Any], deployed_model_id: str) -> DeployedModel:
    for deployed in read_deployed(endpoint):
        if deployed.id == deployed_model_id:
            return deployed
    raise NotFound("it was undeployed as soon as it was up", resource=f"deployed model {deployed_model_id}")


def _failure(error: VertexkitError, what: str, endpoint: str) -> VertexkitError:
    """The error to raise for an operation that ended in ``error``."""
    if isinstance(error, QuotaExceeded):
        return error  # says by itself which quota, and what to do
    words = error.service_message if isinstance(error, ServiceError) else str(error)
    message, _, log = words.partition(_LOG_FOLLOWS)
    return DeployFailed(
        f"{what} did not come up: {message.strip()}",
        resource=endpoint,
        remedy=error.remedy,
        log_tail=log.strip().splitlines(),
    )


def _deployed(deployed: Mapping[str, Any], traffic: int) -> DeployedModel:
    resources = deployed.get("dedicatedResources") or deployed.get("automaticResources") or {}
    spec = resources.get("machineSpec", {})
    least = int(resources.get("minReplicaCount", 1))
    model, _, version = str(deployed.get("model", "")).partition("@")
    return DeployedModel(
        id=str(deployed["id"]),
        display_name=str(deployed.get("displayName", "")),
        model=model,
        version_id=str(deployed.get("modelVersionId", version)),
        machine=Machine(
            spec.get("machineType", ""), spec.get("acceleratorType"), int(spec.get("acceleratorCount", 0))
        ),
        replicas=(least, int(resources.get("maxReplicaCount", least))),
        traffic=int(traffic),
        created=timestamp(deployed, "createTime"),
        service_account=deployed.get("serviceAccount") or None,
    )
