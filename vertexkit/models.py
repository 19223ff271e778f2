"""The models of a project and location: uploaded, found, listed, deleted.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vertexkit._core.arguments import path, text, texts
from vertexkit._core.lookup import find, listed, parent
from vertexkit._core.names import is_resource_name
from vertexkit._core.resource import Manager
from vertexkit.errors import InvalidArgument, NotFound
from vertexkit.images import serving_image as prebuilt_image
from vertexkit.model import Model, ModelVersion
from vertexkit.preflight import check_upload, require

if TYPE_CHECKING:
    pass

__all__ = ["Model", "ModelVersion", "Models"]

_log = logging.getLogger("vertexkit")


class Models(Manager):
    """The models of a session's project and location."""

    def upload(
        self,
        name: str,
        artifact: str | os.PathLike[str],
        *,
        framework: str = "tensorflow",
        framework_version: str | None = None,
        serving_image: str | None = None,
        accelerator: bool = False,
        new_version: bool = False,
        parent: Model | str | None = None,
        version_aliases: Sequence[str] = (),
        default: bool = True,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
        prefix: str | None = None,
    ) -> Model:
        """Upload a model, or a new version of one.

        A local folder is checked before anything is sent (its ``saved_model.pb``, its signature), sent to
        the session's bucket, and described there by its signature, which predictions are checked
        against. When the upload fails or is interrupted, the files that it sent are deleted again.

        Uploading twice under one name makes two models, as Vertex AI has it; ``new_version=True`` or
        ``parent=`` makes a second version.

        Args:
            name: Display name; that of a new version is its model's.
            artifact: Local folder, or ``gs://`` URI of one.
            framework: Whose prebuilt container is to serve it: ``"tensorflow"``, ``"sklearn"``,
                ``"xgboost"`` or ``"pytorch"``.
            framework_version: Version of the framework, ``"2.15"``; the newest published by default.
            serving_image: URI of the container that serves it, in place of a prebuilt one.
            accelerator: Whether to take the prebuilt container for GPUs.
            new_version: Whether to make a version of the model of this display name, if there is one.
            parent: The model to make a version of: a model, or its name as `get` takes it.
            version_aliases: More names for the version, such as ``"candidate"``.
            default: Whether a new version becomes the default one; the first version always is.
            description: Description of the version.
            labels: Labels, beside those of the session.
            prefix: Where in the session's bucket to put a local folder; by default a place of its own
                below ``vertexkit/models/``. What is there and equal is not sent again.

        Returns:
            The model, at the version that was uploaded.

        Raises:
            InvalidArgument: An argument or the artifact is wrong (a ``PreflightFailed`` tells all that
                is). Nothing was sent.
            TransferFailed: Files did not arrive; those that did are deleted again.
            VertexkitError: The service refused the model; the files are deleted again.
        """
        from vertexkit.model_upload import Upload, upload
        from vertexkit.staging import look_at

        context = self._context
        folder, aliases = path("artifact", artifact), texts("version_aliases", version_aliases)
        description = text("description", description)
        for argument, value in (
            ("framework", framework),
            ("framework_version", framework_version),
            ("serving_image", serving_image),
            ("prefix", prefix),
        ):
            text(argument, value)
        if serving_image is None:
            serving_image = prebuilt_image(
                framework, framework_version, gpu=accelerator, location=context.target.location
            )
        labels = context.labelled(labels)
        findings = check_upload(
            name=name,
            location=context.target.location,
            image=serving_image,
            aliases=aliases,
            labels=labels,
        )
        seen = look_at(context, folder, serving_image)
        require([*findings, *seen.findings])
        model = upload(
            context,
            seen,
            Upload(
                name=name,
                image=serving_image,
                parent=self._parent(name, parent, new_version),
                aliases=aliases,
                default=default,
                description=description,
                labels=labels,
                prefix=prefix,
            ),
        )
        _log.info("uploaded %s: %s", model.versioned_name, seen.signature or "no signature")
        return model

    def get(self, name: str) -> Model:
        """Find a model.

        Args:
            name: Its resource name, id or display name; ``@`` and a version or alias behind it gives the
                model at that version, where it is else at its default one.

        Raises:
            InvalidArgument: Several models have this display name; the message lists them.
            NotFound: There is none.
        """
        if not isinstance(name, str) or is_resource_name(name):
            return Model(self._context, find(self._context, "models", name))
        plain, at, version = name.rpartition("@")
        if not at:
            return Model(self._context, find(self._context, "models", name))
        return self.get(plain).version(version).model

    def list(self, *, filter: str | None = None, order_by: str | None = None) -> list[Model]:
        """List the models, each at its default version.

        Args:
            filter: Such as ``'display_name="mnist"'`` or ``'labels.team="vision"'``; see
                https://google.aip.dev/160
            order_by: Such as ``"create_time desc"``.
        """
        found = listed(
            self._context, f"{parent(self._context)}/models", "models", filter=filter, order_by=order_by
        )
        return [Model(self._context, data) for data in found]

    def delete(self, name: str) -> None:
        """Delete a model with all its versions; see `Model.delete`."""
        if "@" in text("name", name):
            raise InvalidArgument(
                "name", name, "names one version", remedy="delete that with get(name).version(v).delete()"
            )
        self.get(name).delete()

    def _parent(self, name: str, given: Model | str | None, new_version: bool) -> str | None:
        """Resource name of the model to make a version of."""
        if isinstance(given, str):
            given = self.get(given)
        if given is not None and not isinstance(given, Model):
            raise InvalidArgument("parent", given, "is no model", remedy="give a model, or its name")
        if given is not None:
            return given.resource_name
        if not new_version:
            return None
        try:
            return Model(self._context, find(self._context, "models", name, by_id=False)).resource_name
        except NotFound:
            return None
