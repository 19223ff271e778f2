"""One model, and one version of it.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from vertexkit._core.arguments import machine_of, replicas_of, seconds, text, texts
from vertexkit._core.lookup import listed
from vertexkit._core.operations import Operation
from vertexkit.cleanup import noting
from vertexkit.errors import InvalidArgument, NotFound
from vertexkit.identifiers import check_alias
from vertexkit.model_state import ModelState
from vertexkit.preflight import require
from vertexkit.progress import status

if TYPE_CHECKING:
    from vertexkit.batch_job import BatchPredictionJob
    from vertexkit.batch_request import InputFormat, OutputFormat
    from vertexkit.endpoint import Endpoint
    from vertexkit.job_wait import Stream
    from vertexkit.types import Machine

__all__ = ["Model", "ModelVersion"]

_DELETE_SECONDS = 300.0
_DEFAULT = "default"


class _Version(ModelState):
    """What a model and a version of it have in common: both stand for one version."""

    def deploy(
        self,
        endpoint: Endpoint | None = None,
        *,
        machine: Machine | str | None = None,
        replicas: int | tuple[int, int] = (1, 1),
        traffic: int | None = None,
        name: str | None = None,
        service_account: str | None = None,
        timeout: float = 3600.0,
    ) -> Endpoint:
        """Deploy it, and wait until it answers. From then on it costs money, until it is undeployed.

        Args:
            endpoint: Where to; by default a new endpoint with the model's name, which is deleted again
                when the deployment fails.
            machine: See `Endpoint.deploy`, as for all that follow.
            replicas: How many.
            traffic: Its share of the requests, in percent.
            name: Display name on the endpoint.
            service_account: Account to run as.
            timeout: Seconds to wait for it to answer.

        Returns:
            The endpoint.

        Raises:
            InvalidArgument: An argument is wrong; nothing was created.
            DeployFailed: It did not come up.
        """
        from vertexkit.endpoint import Endpoint
        from vertexkit.endpoints import Endpoints
        from vertexkit.preflight import check_deploy
        from vertexkit.rollout import share_of_new
        from vertexkit.traffic import TrafficSplit

        if endpoint is not None and not isinstance(endpoint, Endpoint):
            raise InvalidArgument(
                "endpoint", endpoint, "is no endpoint", remedy="find it with session.endpoints.get()"
            )
        if endpoint is None:
            # Before the endpoint is made, which a wrong argument would make for nothing.
            seconds("timeout", timeout)
            text("service_account", service_account)
            require(
                check_deploy(
                    machine=machine_of(machine),
                    replicas=replicas_of(replicas),
                    traffic=traffic,
                    image=self.serving_image,
                    name=name,
                )
            )
            share_of_new(TrafficSplit(), traffic)
        assert isinstance(self, Model | ModelVersion)
        target = endpoint or Endpoints(self._context).create(self.display_name)
        try:
            target.deploy(
                self,
                machine=machine,
                replicas=replicas,
                traffic=traffic,
                name=name,
                service_account=service_account,
                timeout=timeout,
            )
        except BaseException as error:
            if endpoint is None:
                noting(error, partial(target.delete, force=True), f"the endpoint {target.resource_name}")
            raise
        return target

    def batch_predict(
        self,
        source: Any,
        *,
        format: InputFormat | None = None,
        name: str | None = None,
        machine: Machine | str | None = None,
        replicas: int | tuple[int, int] = 1,
        batch_size: int | None = None,
        destination: str | None = None,
        output_format: OutputFormat = "jsonl",
        instance_type: Literal["object", "array"] | None = None,
        key_field: str | None = None,
        included_fields: Sequence[str] | None = None,
        excluded_fields: Sequence[str] | None = None,
        parameters: Any = None,
        labels: Mapping[str, str] | None = None,
        service_account: str | None = None,
        wait: bool = True,
        logs: bool | Stream = False,
    ) -> BatchPredictionJob:
        """Predict many instances without deploying it; see `BatchPrediction.run`.

        Args:
            source: The instances: arrays, frames, iterables; files, folders and patterns, here or in Cloud
                Storage, where those of a folder or pattern are read in the order of their names as text
                (``10.png`` comes before ``2.png``); a table in BigQuery.
            format: The format of the files, where their names do not tell.
            name: Display name of the job.
            machine: Machine of the replicas.
            replicas: How many serve the model, or how many at first and how many at most.
            batch_size: How many instances go to the model at a time.
            destination: ``gs://bucket/folder`` for the results.
            output_format: Of the files with the results.
            instance_type: What rows and lines become for the model.
            key_field: The field that names each instance.
            included_fields: The fields that are sent to the model.
            excluded_fields: Fields that are not sent to the model.
            parameters: Sent along with every request.
            labels: Labels for the job.
            service_account: E-mail address of the account that the model runs as.
            wait: Whether to wait until it is over.
            logs: Whether to print its log while waiting.

        Returns:
            The job: ``job.to_numpy()``, ``job.to_frame()``, ``job.rows()``, in the order of the input.

        Raises:
            VertexkitError: As `BatchPrediction.run`.
        """
        from vertexkit.batch import BatchPrediction

        assert isinstance(self, Model | ModelVersion)
        return BatchPrediction(self._context).run(
            self,
            source,
            format=format,
            name=name,
            machine=machine,
            replicas=replicas,
            batch_size=batch_size,
            destination=destination,
            output_format=output_format,
            instance_type=instance_type,
            key_field=key_field,
            included_fields=included_fields,
            excluded_fields=excluded_fields,
            parameters=parameters,
            labels=labels,
            service_account=service_account,
            wait=wait,
            logs=logs,
        )

    def add_aliases(self, *aliases: str) -> None:
        """Give the version more names; one that another version had moves here.

        Raises:
            InvalidArgument: One is not possible as an alias.
        """
        require([found for alias in texts("aliases", aliases) for found in check_alias(alias)])
        self._merge_aliases(aliases)

    def remove_aliases(self, *aliases: str) -> None:
        """Take names of the version away.

        Raises:
            InvalidArgument: One is ``"default"``: give that to another version instead.
        """
        if _DEFAULT in texts("aliases", aliases):
            raise InvalidArgument(
                "aliases",
                aliases,
                "would leave the model without a default version, and a model always has one",
                remedy="make another version the default one with set_default()",
            )
        self._merge_aliases([f"-{alias}" for alias in aliases])

    def to_aiplatform(self) -> Any:
        """The ``google.cloud.aiplatform.Model`` of it, for what vertexkit does not do.

        Google's SDK has one configuration for the whole process, which this sets to the session's.
        """
        return self._context.clients.aiplatform().Model(self.versioned_name)

    def _merge_aliases(self, aliases: Sequence[str]) -> None:
        if not aliases:
            return
        clients = self._context.clients
        clients.call(
            clients.models.merge_version_aliases,
            {"name": self.versioned_name, "version_aliases": list(aliases)},
            resource=self.versioned_name,
        )
        self._data = clients.http_json("GET", self.versioned_name, resource=self.versioned_name)

    def _delete(self, method: str, name: str) -> None:
        clients = self._context.clients
        with status(f"Deleting {self.display_name or name}", self._context.progress), suppress(NotFound):
            future: Any = clients.call(getattr(clients.models, method), {"name": name}, resource=name)
            Operation(clients, future.operation, resource=name, finish=lambda _: None).result(_DELETE_SECONDS)


class Model(_Version):
    """A model, seen at one of its versions: the default one, unless another was asked for.

    Its properties are as last read; `refresh` reads them again.
    """

    def versions(self) -> list[ModelVersion]:
        """All its versions, the oldest first."""
        found = listed(self._context, f"{self.resource_name}:listVersions", "models")
        every = [ModelVersion(self._context, data) for data in found]
        return sorted(
            every, key=lambda version: (version.created, len(version.version_id), version.version_id)
        )

    def version(self, version: str | int) -> ModelVersion:
        """One of its versions.

        Args:
            version: Its id or one of its aliases.

        Raises:
            NotFound: There is none.
        """
        if isinstance(version, bool) or not isinstance(version, str | int):
            raise InvalidArgument("version", version, "is neither the id nor an alias of a version")
        name = f"{self.resource_name}@{version}"
        return ModelVersion(self._context, self._context.clients.http_json("GET", name, resource=name))

    def upload_version(
        self,
        artifact: str | os.PathLike[str],
        *,
        framework: str = "tensorflow",
        framework_version: str | None = None,
        serving_image: str | None = None,
        accelerator: bool = False,
        version_aliases: Sequence[str] = (),
        default: bool = True,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
        prefix: str | None = None,
    ) -> ModelVersion:
        """Upload another version of it; see `Models.upload` for the arguments.

        The image is that of this version, unless a version or an image is given.
        """
        from vertexkit.models import Models

        same = serving_image is None and framework_version is None and not accelerator
        uploaded = Models(self._context).upload(
            self.display_name,
            artifact,
            framework=framework,
            framework_version=framework_version,
            serving_image=self.serving_image if same else serving_image,
            accelerator=accelerator,
            parent=self,
            version_aliases=version_aliases,
            default=default,
            description=description,
            labels=labels,
            prefix=prefix,
        )
        return ModelVersion(self._context, uploaded._data)

    def set_default(self, version: str | int) -> None:
        """Make a version the default one.

        Args:
            version: Its id or one of its aliases.
        """
        self.version(version).set_default()
        self.refresh()

    def refresh(self) -> Model:
        """Read it again, at the same version, and give itself.

        Raises:
            NotFound: It has been deleted.
        """
        name = self.versioned_name
        self._data = self._context.clients.http_json("GET", name, resource=name)
        return self

    def delete(self) -> None:
        """Delete it with all its versions. The files of its artifacts stay. Gone already is no error.

        Raises:
            FailedPrecondition: It is deployed.
        """
        self._delete("delete_model", self.resource_name)
        self._context.created.forget(self.resource_name)


class ModelVersion(_Version):
    """One version of a model."""

    @property
    def model(self) -> Model:
        """Its model, seen at this version."""
        return Model(self._context, self._data)

    def set_default(self) -> None:
        """Make it the default version of its model."""
        self._merge_aliases([_DEFAULT])

    def delete(self) -> None:
        """Delete this version. The files of its artifact stay. Gone already is no error.

        Raises:
            FailedPrecondition: It is deployed, or it is the default version.
        """
        self._delete("delete_model_version", self.versioned_name)
        self._context.created.forget(self.versioned_name)
