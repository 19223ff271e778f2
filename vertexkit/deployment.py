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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vertexkit import rollout
from vertexkit._core.names import is_resource_name
from vertexkit._core.operations import Operation, intervals
from vertexkit.deployed_model import DeployedModel, read_deployed
from vertexkit.errors import (
    AlreadyExists,
    Cancelled,
    Conflict,
    DeadlineExceeded,
    DeployFailed,
    InternalError,
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
    "Deploying",
    "Plan",
    "begin",
    "deploy",
    "resize",
    "resumed",
    "undeploy",
]

_log = logging.getLogger("vertexkit")

_UNDEPLOY_SECONDS = 900.0
_RESIZE_SECONDS = 1800.0
# A deployment that nobody waits for is to return at once, or when it cannot be sent, soon.
_START_SECONDS = 60.0
_CALL_SECONDS = 60.0
_LEAST_SECONDS = 10.0
# In a split, "0" stands for the model that the same request deploys.
_NEW = "0"
_LOG_FOLLOWS = "Last lines of the model server:"
# After these, nobody knows whether the service has taken the request.
_UNANSWERED = (Cancelled, Conflict, DeadlineExceeded, InternalError, Unavailable)


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
    """The traffic split before it."""
    percent: int
    """The new model's share."""
    service_account: str | None = None

    @property
    def split(self) -> dict[str, int]:
        """The traffic split to send along; empty to leave it as it is."""
        return dict(self.before.shift(_NEW, self.percent)) if self.percent else {}


class Deploying:
    """One deployment on its way. Whoever watches it calls `abandon` when it shall not be."""

    def __init__(self, context: Context, plan: Plan, timeout: float) -> None:
        """Prepare a deployment.

        Args:
            context: The session's parts.
            plan: What to deploy.
            timeout: Seconds from now until the service shall have taken it, or it shall be up.
        """
        self._context = context
        self._plan = plan
        self._deadline = time.monotonic() + timeout
        # Chosen here, so that we know what to take off again whatever becomes of the answer.
        self.id = str(10**9 + secrets.randbelow(9 * 10**9))
        self.operation: Operation[DeployedModel] | None = None
        self._sent = False
        self._abandoned = False

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline; 0 after it."""
        return max(self._deadline - time.monotonic(), 0.0)

    def start(self) -> Operation[DeployedModel]:
        """Send the request.

        Raises:
            VertexkitError: The service refused it, or could not be reached.
        """
        plan = self._plan
        if plan.before and plan.percent:
            before = rollout.announce(self._context, plan.endpoint, self.id)
            # What is written down must be what is replaced.
            self._plan = replace(plan, before=before)
        self.operation = Operation(
            self._context.clients,
            self._send(),
            resource=plan.endpoint,
            finish=self._finished,
            failed=self._failed,
        )
        return self.operation

    def _send(self) -> Any:
        """Send the request until the service has it, and knows that it has it.

        Sent again under the same id, it cannot make two: while the first is on its way, the service
        refuses the second, and says that there is one once that is up. Either means that the answer to
        the first was lost, and its operation's name with it.
        """
        from google.longrunning.operations_pb2 import Operation as Proto

        clients, endpoint = self._context.clients, self._plan.endpoint
        request = _request(self._plan, self.id)
        for interval in intervals():
            # What is given up before its answer is there cannot be undone, so a moment there must be.
            seconds = min(max(self.seconds_left, _LEAST_SECONDS), _CALL_SECONDS)
            self._sent = True
            try:
                future: Any = clients.call(
                    clients.endpoints.deploy_model, request, resource=endpoint, timeout=seconds
                )
            except AlreadyExists:
                return Proto(name=f"{endpoint}/operations/lost", done=True)
            except Conflict:
                if not self.seconds_left:
                    raise
                time.sleep(min(interval, self.seconds_left))
            else:
                return future.operation
        raise AssertionError("intervals() never ends")

    def abandon(self, cause: BaseException) -> bool:
        """Stop it, and take off what it has made, because of ``cause``, which goes on afterwards.

        Returns:
            Whether it is certain that nothing is left. If not, a note on ``cause`` says what may be.
        """
        if self._abandoned:
            return True
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
            return False
        except BaseException as error:  # a second Ctrl-C
            error.add_note(left)
            raise
        refused = isinstance(cause, VertexkitError) and not isinstance(cause, _UNANSWERED)
        if taken_off or refused or self.operation is not None or not self._sent:
            return True
        # The service may have taken the request, and told nobody.
        cause.add_note(left)
        return False

    def _finished(self, _: object) -> DeployedModel:
        clients, endpoint = self._context.clients, self._plan.endpoint
        return _one(clients.http_json("GET", endpoint, resource=endpoint), self.id)

    def _failed(self, error: VertexkitError) -> VertexkitError:
        ours = _failure(error, self._plan.display_name, self._plan.endpoint)
        self.abandon(ours)
        return ours

    def _take_off(self) -> bool:
        """Undeploy it if it is there, and forget that it was to change the split."""
        context, plan = self._context, self._plan
        try:
            endpoint = rollout.withdraw(context, plan.endpoint, self.id, plan.before)
        except NotFound:
            return False  # nothing can be left on what is gone itself
        if all(deployed.id != self.id for deployed in read_deployed(endpoint)):
            return False
        _log.info("taking %s off %s again", self.id, plan.endpoint)
        undeploy(context, plan.endpoint, self.id)
        return True


def begin(context: Context, plan: Plan, *, timeout: float) -> Operation[DeployedModel]:
    """Start a deployment that nobody waits for; undo it if it cannot even be started.

    Raises:
        VertexkitError: The service refused it, or did not take it in a minute (or ``timeout``, if less).
    """
    deploying = Deploying(context, plan, min(timeout, _START_SECONDS))
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
        raise InvalidArgument("name", name, "is not the name of an endpoint's operation")
    clients = context.clients
    proto: Any = clients.call(clients.endpoints.get_operation, {"name": name}, resource=name)
    if not proto.metadata.type_url.endswith(".DeployModelOperationMetadata"):
        raise InvalidArgument("name", name, "is the name of an operation that is no deployment")

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
    deploying = Deploying(context, plan, timeout)
    try:
        with status(f"Deploying {plan.display_name} on {plan.machine}", context.progress):
            return deploying.start().result(deploying.seconds_left)
    except BaseException as error:  # Ctrl-C too: nobody will ever use what comes up now
        gone = deploying.abandon(error)
        if deploying.seconds_left or not isinstance(error, DeadlineExceeded | Conflict):
            raise
        # In its own words, the operation would go on.
        late = DeadlineExceeded(
            f"{plan.display_name} did not come up in {timeout:g} s"
            + ("; it has been taken off again" if gone else ""),
            resource=plan.endpoint,
            remedy="give it more time with timeout=",
        )
        for note in getattr(error, "__notes__", ()):
            late.add_note(note)
    raise late


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
    if isinstance(error, QuotaExceeded | Cancelled):
        return error  # says by itself which quota, and what to do; or is what the caller wanted
    words = error.service_message if isinstance(error, ServiceError) else str(error)
    message, _, log = words.partition(_LOG_FOLLOWS)
    return DeployFailed(
        f"{what} did not come up: {message.strip()}",
        resource=endpoint,
        remedy=error.remedy,
        log_tail=log.strip().splitlines(),
    )
