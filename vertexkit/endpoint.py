"""One endpoint: deployed to, asked, updated, rolled back and deleted.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property, partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

from vertexkit import rollout
from vertexkit._core.arguments import machine_of, replicas_of, seconds, text
from vertexkit.cleanup import noting
from vertexkit.deployed_model import DeployedModel
from vertexkit.deployment import Plan, begin, deploy, resize, undeploy
from vertexkit.endpoint_state import EndpointState
from vertexkit.errors import FailedPrecondition, InvalidArgument, NotFound
from vertexkit.preflight import check_deploy, check_replicas, check_traffic, require
from vertexkit.progress import status
from vertexkit.split_history import SplitHistory
from vertexkit.traffic import TrafficSplit

if TYPE_CHECKING:
    from vertexkit._core.operations import Operation
    from vertexkit.models import Model, ModelVersion
    from vertexkit.prediction import Predicted, Predictor, PredictResponse, RawPrediction
    from vertexkit.types import Machine

__all__ = ["Endpoint"]

_log = logging.getLogger("vertexkit")

_DELETE_SECONDS = 300.0
_DEPLOY_SECONDS = 3600.0
_PREDICT_SECONDS = 60.0


class Endpoint(EndpointState):
    """Where models answer predictions. Thread-safe.

    Its properties are as last read, by whatever was called last; `refresh` reads them again.
    As a context manager, it is deleted at the end, with all that is deployed to it.
    """

    def refresh(self) -> Endpoint:
        """Read it again, and give itself.

        Raises:
            NotFound: It has been deleted.
        """
        name = self.resource_name
        self._data = self._context.clients.http_json("GET", name, resource=name)
        return self

    # -- deploying -----------------------------------------------------------------------------

    @overload
    def deploy(
        self,
        model: Model | ModelVersion | str,
        *,
        machine: Machine | str | None = ...,
        replicas: int | tuple[int, int] = ...,
        traffic: int | None = ...,
        name: str | None = ...,
        service_account: str | None = ...,
        timeout: float = ...,
        wait: Literal[True] = ...,
    ) -> DeployedModel: ...

    @overload
    def deploy(
        self,
        model: Model | ModelVersion | str,
        *,
        machine: Machine | str | None = ...,
        replicas: int | tuple[int, int] = ...,
        traffic: int | None = ...,
        name: str | None = ...,
        service_account: str | None = ...,
        timeout: float = ...,
        wait: Literal[False],
    ) -> Operation[DeployedModel]: ...

    def deploy(
        self,
        model: Model | ModelVersion | str,
        *,
        machine: Machine | str | None = None,
        replicas: int | tuple[int, int] = (1, 1),
        traffic: int | None = None,
        name: str | None = None,
        service_account: str | None = None,
        timeout: float = _DEPLOY_SECONDS,
        wait: bool = True,
    ) -> DeployedModel | Operation[DeployedModel]:
        """Deploy a model. From then on it costs money by the hour, until it is undeployed.

        When the deployment fails, takes too long or is interrupted (Ctrl-C), what it made is taken off
        again before the error goes on.

        Args:
            model: A model, a version of one, or a name as `Models.get` takes it.
            machine: What to run on: a machine, or the name of a machine type without accelerators;
                ``n1-standard-2`` by default.
            replicas: How many: a number, or the least and the greatest between which Vertex AI scales.
            traffic: Its share of the requests, in percent, which the others give up in proportion. By
                default the first model gets all of them, and any further one none: give it some with
                `canary`, `promote` or `set_traffic`.
            name: Display name on the endpoint; the model's by default.
            service_account: Account to run as.
            timeout: Seconds to wait for the model to answer. Undoing what is late comes on top of it.
            wait: False to return at once, with the operation as a handle. Should the service not even take
                the request, that is known after a minute, or after ``timeout``, if that is less.

        Returns:
            The deployed model; with ``wait=False``, the operation that ends in it.

        Raises:
            InvalidArgument: An argument is wrong (a ``PreflightFailed`` tells all that is). Nothing was
                created.
            DeployFailed: The model did not come up; the message ends with its server's last words.
            QuotaExceeded: The project has too little quota; the message says of what.
            DeadlineExceeded: It did not come up in time.
        """
        asked, pair = machine_of(machine), replicas_of(replicas)
        timeout, account = seconds("timeout", timeout), text("service_account", service_account)
        version = self._model(model)
        findings = check_deploy(
            machine=asked, replicas=pair, traffic=traffic, image=version.serving_image, name=name
        )
        require(findings)
        self.refresh()
        plan = Plan(
            endpoint=self.resource_name,
            model=version.versioned_name,
            display_name=name or version.display_name,
            machine=asked,
            replicas=pair,
            before=self.traffic,
            percent=rollout.share_of_new(self.traffic, traffic),
            service_account=account,
        )
        if not wait:
            return begin(self._context, plan, timeout=timeout)
        deployed = deploy(self._context, plan, timeout=timeout)
        self.refresh()
        for found in self.deployed:
            if found.id == deployed.id and found.status_message:
                _log.warning("%s: %s", found, found.status_message)
        return deployed

    def canary(
        self,
        version: DeployedModel | Model | ModelVersion | str,
        percent: int = 10,
        *,
        machine: Machine | str | None = None,
        replicas: int | tuple[int, int] | None = None,
        timeout: float = _DEPLOY_SECONDS,
    ) -> DeployedModel:
        """Send a part of the requests to a version, deploying it first if it is not deployed yet.

        Args:
            version: The version: of a model, or already deployed.
            percent: Its share of the requests; the others give it up in proportion.
            machine: What to run on; by default, as the version that has most of the traffic.
            replicas: How many; by default, as the version that has most of the traffic.
            timeout: Seconds to wait for the version to answer.

        Raises:
            InvalidArgument: An argument is wrong, or nothing else is there to take the other requests.
            DeployFailed: The version did not come up.
        """
        require(check_traffic(percent, "percent"))
        self.refresh()
        found = rollout.match(self.deployed, version)
        if found is None:
            if not self.deployed:
                raise InvalidArgument(
                    "version",
                    version,
                    "has nothing deployed beside it to be tried against",
                    remedy="deploy() it",
                )
            like = max(self.deployed, key=lambda deployed: deployed.traffic)
            if isinstance(version, DeployedModel):
                raise InvalidArgument("version", version, "is not deployed here any more")
            found = self.deploy(
                version,
                machine=like.machine if machine is None else machine,
                replicas=like.replicas if replicas is None else replicas,
                traffic=percent,
                timeout=timeout,
            )
        else:
            self._change_traffic(lambda split: split.shift(found.id, percent))
        return self._which(found.id)

    def promote(self, version: DeployedModel | Model | ModelVersion | str | None = None) -> TrafficSplit:
        """Send all requests to one version. The others stay deployed, at 0 %, until undeployed.

        Args:
            version: The version; by default the one deployed last.

        Raises:
            InvalidArgument: It is not deployed.
            FailedPrecondition: Nothing is deployed.
        """
        self.refresh()
        if not self.deployed:
            raise FailedPrecondition(
                "nothing is deployed", resource=self.resource_name, remedy="deploy() a model"
            )
        chosen = self.deployed[-1] if version is None else self._which(version)
        return self._change_traffic(lambda split: split.only(chosen.id))

    def rollback(self) -> TrafficSplit:
        """Go back to the traffic split before the last change, whichever process made it.

        What it replaces becomes the split before, so that a second call undoes the first.

        Raises:
            FailedPrecondition: There is no split before, or a version in it has been undeployed.
        """
        self._data = rollout.roll_back(self._context, self.resource_name)
        return self.traffic

    def set_traffic(self, split: Mapping[str, int]) -> TrafficSplit:
        """Share the requests anew.

        Args:
            split: Percentages by deployed-model id, summing to 100; those left out get nothing.

        Raises:
            InvalidArgument: They do not sum to 100, or one is not deployed.
        """
        if not isinstance(split, Mapping):
            raise InvalidArgument("split", split, "is no mapping from ids to percentages")
        wanted = TrafficSplit(split)
        self.refresh()
        unknown = sorted(set(wanted) - {deployed.id for deployed in self.deployed})
        if unknown or not wanted:
            ids = ", ".join(deployed.id for deployed in self.deployed) or "nothing"
            raise InvalidArgument("split", dict(split), f"is not over what is deployed, which is: {ids}")
        return self._change_traffic(lambda _: wanted)

    def resize(
        self, version: DeployedModel | Model | ModelVersion | str, replicas: int | tuple[int, int]
    ) -> DeployedModel:
        """Change how many replicas a version has, and wait until that is done.

        Args:
            version: Which.
            replicas: A number, or the least and the greatest.
        """
        pair = replicas_of(replicas)
        require(check_replicas(pair))
        self.refresh()
        found = self._which(version)
        resize(self._context, self.resource_name, found, pair)
        self.refresh()
        return self._which(found.id)

    # -- undeploying ---------------------------------------------------------------------------

    def undeploy(self, version: DeployedModel | Model | ModelVersion | str) -> None:
        """Take a version off, and wait until it is gone. The others share its requests in proportion.

        Raises:
            InvalidArgument: It is not deployed.
            FailedPrecondition: It has all the requests, and other versions are there: say which of them
                shall get them, with `promote` or `rollback`.
        """
        self.refresh()
        found = self._which(version)
        rest = self.traffic.without(found.id)
        if found.traffic and not rest and len(self.deployed) > 1:
            raise FailedPrecondition(
                f"{found} has all the requests, and it is not said who shall get them",
                resource=self.resource_name,
                remedy="promote() or rollback() to another version first, or undeploy_all()",
            )
        if SplitHistory.written(self._data.get("labels", {})).deploying == found.id:
            # Without it there, its deployment would look like one that came to nothing.
            rollout.settle(self._context, self.resource_name)
        self._take_off(found, rest)

    def undeploy_all(self) -> None:
        """Take everything off, those without traffic first, and wait until all is gone."""
        self.refresh()
        for found in sorted(self.deployed, key=lambda deployed: deployed.traffic):
            self._take_off(found, self.traffic.without(found.id))

    def delete(self, *, force: bool = False) -> None:
        """Delete it, and wait until it is gone. One that is gone already is no error.

        Args:
            force: Whether to undeploy what is deployed.

        Raises:
            FailedPrecondition: Something is deployed, and not ``force``.
        """
        from vertexkit._core.operations import Operation

        clients, name = self._context.clients, self.resource_name
        shown = f"Deleting the endpoint {self.display_name or self.id}"
        with status(shown, self._context.progress), suppress(NotFound):
            if force:
                self.undeploy_all()
            future: Any = clients.call(clients.endpoints.delete_endpoint, {"name": name}, resource=name)
            Operation(clients, future.operation, resource=name, finish=lambda _: None).result(_DELETE_SECONDS)
        self._context.created.forget(name)

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.delete(force=True)
        else:
            noting(error, partial(self.delete, force=True), f"the endpoint {self.resource_name}")

    # -- predicting ----------------------------------------------------------------------------

    @overload
    def predict(
        self,
        instances: Any,
        *,
        parameters: Any = ...,
        timeout: float = ...,
        return_response: Literal[False] = ...,
    ) -> Predicted: ...

    @overload
    def predict(
        self, instances: Any, *, parameters: Any = ..., timeout: float = ..., return_response: Literal[True]
    ) -> PredictResponse: ...

    def predict(
        self,
        instances: Any,
        *,
        parameters: Any = None,
        timeout: float = _PREDICT_SECONDS,
        return_response: bool = False,
    ) -> Predicted | PredictResponse:
        """Predict instances, in as few requests as the limits allow, sent at the same time.

        A request that fails in passing is sent again until ``timeout``; predicting twice does no harm.
        See https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/predict

        Args:
            instances: An array of shape (instances, ...); a list of instances; a DataFrame, whose
                columns are the model's inputs by name, or the features of its only input; or a mapping
                from input names to arrays of equal length. Dtypes and shapes are checked against the
                model's signature before anything is sent.
            parameters: Sent along with every request, for models that take any.
            timeout: Seconds for the whole call, however many requests and attempts it takes.
            return_response: Whether to tell which model answered each instance.

        Returns:
            An array of shape (instances, ...), of the dtype in the model's signature; a dict of such
            arrays by output name for a model of several outputs; a ``PredictResponse`` that holds
            either with ``return_response``.

        Raises:
            InvalidArgument: The model, or JSON, cannot take the instances; nothing was sent.
            PredictionFailed: The model refused the instances, or answered what it should not.
            DeadlineExceeded: There was no answer within ``timeout``.
        """
        return self._predictor.predict(
            instances, parameters=parameters, timeout=timeout, return_response=return_response
        )

    def raw_predict(
        self,
        body: bytes | str | Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        timeout: float = _PREDICT_SECONDS,
    ) -> RawPrediction:
        """Pass a body to the model server as it is, and give back what it answers as it is.

        See https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/rawPredict

        Args:
            body: The body; a mapping is written as JSON.
            headers: Further headers for the model server.
            content_type: The ``Content-Type`` of ``body``.
            timeout: Seconds for the whole call, with all attempts.

        Raises:
            PredictionFailed: The model server refused the body.
            DeadlineExceeded: There was no answer within ``timeout``.
        """
        return self._predictor.raw_predict(body, headers=headers, content_type=content_type, timeout=timeout)

    def to_aiplatform(self) -> Any:
        """The ``google.cloud.aiplatform.Endpoint`` of it, for what vertexkit does not do.

        Google's SDK has one configuration for the whole process, which this sets to the session's.
        """
        return self._context.clients.aiplatform().Endpoint(self.resource_name)

    @cached_property
    def _predictor(self) -> Predictor:
        from vertexkit.prediction import Predictor

        dns = self._data.get("dedicatedEndpointDns")
        return Predictor.for_endpoint(self._context, self.resource_name, dedicated_dns=dns)

    def _model(self, given: Model | ModelVersion | str) -> Model | ModelVersion:
        from vertexkit.models import Model, Models, ModelVersion

        if isinstance(given, str):
            return Models(self._context).get(given)
        if not isinstance(given, Model | ModelVersion):
            raise InvalidArgument(
                "model", given, "is no model", remedy="give a model, a version of one, or its name"
            )
        return given

    def _take_off(self, found: DeployedModel, rest: TrafficSplit) -> None:
        with status(f"Undeploying {found.display_name}", self._context.progress):
            undeploy(self._context, self.resource_name, found.id, rest if found.traffic else None)
            self.refresh()

    def _which(self, version: DeployedModel | Model | ModelVersion | str) -> DeployedModel:
        return rollout.which(self.deployed, version)

    def _change_traffic(self, change: Callable[[TrafficSplit], TrafficSplit]) -> TrafficSplit:
        self._data = rollout.change_traffic(self._context, self.resource_name, change)
        return self.traffic
