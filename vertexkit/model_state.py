"""A version of a model as it was when last read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

from vertexkit._core.lookup import timestamp
from vertexkit._core.names import parse_resource_name
from vertexkit.predict_schemata import read_schemata
from vertexkit.types import Signature

if TYPE_CHECKING:
    from vertexkit._core.context import Context

__all__ = ["ModelState"]


class ModelState:
    """What is known of a version without asking, but for the signature."""

    def __init__(self, context: Context, data: Mapping[str, Any]) -> None:
        """Wrap a model as REST gives it; use `Models` to get one."""
        self._context = context
        self._data = data

    @property
    def resource_name(self) -> str:
        """``projects/NUMBER/locations/L/models/ID``, without the version."""
        return str(parse_resource_name(str(self._data["name"])).unversioned)

    @property
    def versioned_name(self) -> str:
        """``projects/NUMBER/locations/L/models/ID@VERSION``."""
        return f"{self.resource_name}@{self.version_id}"

    @property
    def id(self) -> str:
        """The model's id, the last part of the resource name."""
        return parse_resource_name(self.resource_name).id

    @property
    def display_name(self) -> str:
        """The name that it was given."""
        return str(self._data.get("displayName", ""))

    @property
    def version_id(self) -> str:
        """The version: ``"1"``, ``"2"``, ..."""
        return str(self._data.get("versionId", ""))

    @property
    def version_aliases(self) -> tuple[str, ...]:
        """Other names of the version; ``"default"`` is that of the default one."""
        return tuple(self._data.get("versionAliases", ()))

    @property
    def description(self) -> str:
        """Its description; empty if it has none."""
        return str(self._data.get("versionDescription") or self._data.get("description", ""))

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return dict(self._data.get("labels", {}))

    @property
    def artifact_uri(self) -> str | None:
        """Where its files are: ``gs://bucket/folder``; None for a model without."""
        return self._data.get("artifactUri") or None

    @property
    def serving_image(self) -> str | None:
        """URI of the container that serves it; None for a model that is not served so."""
        return self._data.get("containerSpec", {}).get("imageUri") or None

    @property
    def created(self) -> datetime:
        """When the version was uploaded, in UTC."""
        return timestamp(self._data, "versionCreateTime", "createTime")

    @cached_property
    def signature(self) -> Signature | None:
        """What it takes and gives, read from its schemata; None for one not uploaded by vertexkit."""
        return read_schemata(self._context, self._data.get("predictSchemata", {}))

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.versioned_name == other.versioned_name

    def __hash__(self) -> int:
        return hash(self.versioned_name)

    def __repr__(self) -> str:
        aliases = f" ({', '.join(self.version_aliases)})" if self.version_aliases else ""
        kind = type(self).__name__
        return f"<{kind} {self.display_name!r}: {self.versioned_name}{aliases}, {self.artifact_uri}>"

    def _repr_html_(self) -> str:
        rows = {
            "name": self.versioned_name,
            "aliases": ", ".join(self.version_aliases),
            "artifact": self.artifact_uri or "",
            "image": self.serving_image or "",
            "created": f"{self.created:%Y-%m-%d %H:%M} UTC",
        }
        cells = "".join(f"<tr><th>{key}</th><td>{escape(value)}</td></tr>" for key, value in rows.items())
        return f"<b>Model {escape(self.display_name)}</b><table>{cells}</table>"
