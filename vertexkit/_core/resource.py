"""What endpoints, models and versions have in common: they are what the service last answered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from vertexkit._core.lookup import parent, timestamp
from vertexkit._core.names import parse_resource_name

if TYPE_CHECKING:
    from vertexkit._core.context import Context

__all__ = ["Manager", "Resource"]


class Resource:
    """A resource as it was when last read. Replaced as a whole by whatever reads it anew."""

    def __init__(self, context: Context, data: Mapping[str, Any]) -> None:
        """Wrap a resource as REST gives it; use `Endpoints` or `Models` to get one."""
        self._context = context
        self._data = data

    @property
    def resource_name(self) -> str:
        """``projects/NUMBER/locations/L/COLLECTION/ID``, without a version."""
        return str(parse_resource_name(str(self._data["name"])).unversioned)

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
        """Its labels."""
        return dict(self._data.get("labels", {}))

    @property
    def created(self) -> datetime:
        """When it was created, in UTC."""
        return timestamp(self._data, "createTime")

    @property
    def _identity(self) -> str:
        """What two objects for the same thing share."""
        return self.resource_name

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)


class Manager:
    """What finds and makes the resources of one kind, in a session's project and location."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {parent(self._context)}>"
