"""An endpoint as it was when last read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

from vertexkit._core.lookup import timestamp
from vertexkit._core.names import parse_resource_name
from vertexkit.deployed_model import DeployedModel, read_deployed
from vertexkit.split_history import without_history
from vertexkit.traffic import TrafficSplit, split_of

if TYPE_CHECKING:
    from vertexkit._core.context import Context

__all__ = ["EndpointState"]


class EndpointState:
    """What is known of an endpoint without asking. Replaced as a whole by whatever reads it anew."""

    def __init__(self, context: Context, data: Mapping[str, Any]) -> None:
        """Wrap an endpoint as REST gives it; use `Endpoints` to get one."""
        self._context = context
        self._data = data

    @property
    def resource_name(self) -> str:
        """``projects/NUMBER/locations/L/endpoints/ID``."""
        return str(self._data["name"])

    @property
    def id(self) -> str:
        """Its id, the last part of the resource name."""
        return parse_resource_name(self.resource_name).id

    @property
    def display_name(self) -> str:
        """The name that it was given."""
        return str(self._data.get("displayName", ""))

    @property
    def description(self) -> str:
        """Its description; empty if it has none."""
        return str(self._data.get("description", ""))

    @property
    def labels(self) -> dict[str, str]:
        """Its labels, without those in which vertexkit keeps the traffic split before."""
        return without_history(self._data.get("labels", {}))

    @property
    def created(self) -> datetime:
        """When it was created, in UTC."""
        return timestamp(self._data, "createTime")

    @property
    def traffic(self) -> TrafficSplit:
        """How its requests are shared among the deployed models."""
        return split_of(self._data)

    @property
    def deployed(self) -> list[DeployedModel]:
        """What is deployed to it, the oldest first."""
        return read_deployed(self._data)

    def __repr__(self) -> str:
        lines = [f"<Endpoint {self.display_name!r}: {self.resource_name}", *map(str, self.deployed)]
        return "\n    ".join(lines) + ">"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(one.id)}</td><td>{escape(one.display_name)}</td>"
            f"<td>{escape(one.version_id)}</td><td>{one.traffic} %</td>"
            f"<td>{one.replicas[0]} to {one.replicas[1]}</td><td>{escape(str(one.machine))}</td></tr>"
            for one in self.deployed
        )
        return (
            f"<b>Endpoint {escape(self.display_name)}</b> <code>{escape(self.resource_name)}</code>"
            "<table><tr><th>id</th><th>model</th><th>version</th><th>traffic</th><th>replicas</th>"
            f"<th>machine</th></tr>{rows}</table>"
        )
