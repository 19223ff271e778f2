"""An endpoint as it was when last read."""

from __future__ import annotations

from html import escape

from vertexkit._core.resource import Resource
from vertexkit.deployed_model import DeployedModel, read_deployed
from vertexkit.split_history import without_history
from vertexkit.traffic import TrafficSplit, split_of

__all__ = ["EndpointState"]


class EndpointState(Resource):
    """What is known of an endpoint without asking."""

    @property
    def labels(self) -> dict[str, str]:
        """Its labels, without those in which vertexkit keeps the traffic split before."""
        return without_history(super().labels)

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
