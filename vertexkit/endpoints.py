"""The endpoints of a project and location: created, found, listed, deleted.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from vertexkit._core.arguments import text
from vertexkit._core.lookup import find, listed, parent
from vertexkit._core.resource import Manager
from vertexkit.cleanup import Order, noting
from vertexkit.deployed_model import DeployedModel
from vertexkit.deployment import resumed
from vertexkit.endpoint import Endpoint
from vertexkit.errors import AlreadyExists, NotFound
from vertexkit.preflight import check_endpoint, require
from vertexkit.progress import status

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit._core.operations import Operation

__all__ = ["DeployedModel", "Endpoint", "Endpoints"]

_CREATE_SECONDS = 300.0


class Endpoints(Manager):
    """The endpoints of a session's project and location."""

    def create(
        self,
        name: str,
        *,
        exist_ok: bool = False,
        labels: Mapping[str, str] | None = None,
        description: str | None = None,
        dedicated: bool = False,
    ) -> Endpoint:
        """Create an endpoint. It costs nothing until a model is deployed to it.

        Args:
            name: Display name.
            exist_ok: Whether to give the endpoint of this display name if there is one, as a scheduled
                job wants it. That one is left alone by `Session.cleanup`.
            labels: Labels, beside those of the session.
            description: Description.
            dedicated: Whether it gets a DNS name of its own, which takes larger requests; see
                https://cloud.google.com/vertex-ai/docs/predictions/choose-endpoint-type

        Returns:
            The endpoint; as a context manager, it is deleted with all that is deployed to it.

        Raises:
            InvalidArgument: The name or a label is not allowed, or with ``exist_ok``, several
                endpoints have this name. Nothing was created.
            VertexkitError: The service refused it.
        """
        context = self._context
        labels, description = context.labelled(labels), text("description", description)
        require(check_endpoint(name=name, location=context.target.location, labels=labels))
        if exist_ok:
            with suppress(NotFound):
                return Endpoint(context, find(context, "endpoints", name, by_id=False))
        endpoint = Endpoint(context, _create(context, name, labels, description, dedicated))
        context.created.add(
            endpoint.resource_name, partial(endpoint.delete, force=True), order=Order.ENDPOINTS
        )
        return endpoint

    def get(self, name: str) -> Endpoint:
        """Find an endpoint.

        Args:
            name: Its resource name, id or display name.

        Raises:
            InvalidArgument: Several endpoints have this display name; the message lists them.
            NotFound: There is none.
        """
        return Endpoint(self._context, find(self._context, "endpoints", name))

    def list(self, *, filter: str | None = None, order_by: str | None = None) -> list[Endpoint]:
        """List the endpoints.

        Args:
            filter: Such as ``'display_name="mnist"'`` or ``'labels.team="vision"'``; see
                https://google.aip.dev/160
            order_by: Such as ``"create_time desc"``.
        """
        found = listed(
            self._context,
            f"{parent(self._context)}/endpoints",
            "endpoints",
            filter=filter,
            order_by=order_by,
        )
        return [Endpoint(self._context, data) for data in found]

    def operation(self, name: str) -> Operation[DeployedModel]:
        """Find a deployment that was started with ``wait=False``, by this or another process.

        Args:
            name: The operation's name, as ``endpoint.deploy(..., wait=False).name`` gave it.

        Raises:
            InvalidArgument: It is not the name of a deployment.
            NotFound: There is no such operation (any more).
        """
        return resumed(self._context, text("name", name))

    def delete(self, name: str, *, force: bool = False) -> None:
        """Delete an endpoint; see `Endpoint.delete`."""
        self.get(name).delete(force=force)


def _create(
    context: Context, name: str, labels: Mapping[str, str], description: str, dedicated: bool
) -> Mapping[str, Any]:
    """Send the request under an id of ours, so that sending it twice cannot make two endpoints."""
    from google.cloud.aiplatform_v1 import types

    from vertexkit._core.operations import Operation

    clients = context.clients
    # Up to nine digits, without leading zeros.
    new = str(10**8 + secrets.randbelow(9 * 10**8))
    resource = f"{parent(context)}/endpoints/{new}"
    request = types.CreateEndpointRequest(
        parent=parent(context),
        endpoint_id=new,
        endpoint=types.Endpoint(
            display_name=name, labels=labels, description=description, dedicated_endpoint_enabled=dedicated
        ),
    )
    try:
        with status(f"Creating the endpoint {name}", context.progress):
            future: Any = clients.call(clients.endpoints.create_endpoint, request, resource=resource)
            operation = Operation(clients, future.operation, resource=resource, finish=lambda _: None)
            operation.result(_CREATE_SECONDS)
    except AlreadyExists:
        found = clients.http_json("GET", resource, resource=resource)
        if found.get("labels") != dict(labels):
            raise  # somebody else's, by a chance of one in 900 million
        return found
    except BaseException as error:
        # Ctrl-C, or a connection that broke: it may be there all the same.
        noting(error, Endpoint(context, {"name": resource}).delete, f"the endpoint {resource}")
        raise
    return clients.http_json("GET", resource, resource=resource)
