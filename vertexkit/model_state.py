"""A version of a model as it was when last read."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from html import escape

from vertexkit._core.lookup import timestamp
from vertexkit._core.resource import Resource
from vertexkit.model_signature import read_signature
from vertexkit.types import Signature

__all__ = ["ModelState"]


class ModelState(Resource):
    """What is known of a version without asking, but for the signature."""

    @property
    def versioned_name(self) -> str:
        """``projects/NUMBER/locations/L/models/ID@VERSION``."""
        return f"{self.resource_name}@{self.version_id}"

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
        """The version's description, or else the model's; empty if neither has one."""
        return str(self._data.get("versionDescription") or super().description)

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
        """What it takes and gives, as stored with it or as its SavedModel says; None where nothing does."""
        return read_signature(self._context, self._data)

    @property
    def _identity(self) -> str:
        return self.versioned_name

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
