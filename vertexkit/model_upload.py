"""How a model is made of files, and nothing is left when that fails.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models/upload
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from vertexkit._core.lookup import parent
from vertexkit._core.operations import Operation
from vertexkit.cleanup import Order, noting
from vertexkit.errors import AlreadyExists
from vertexkit.model import Model, ModelVersion
from vertexkit.progress import status
from vertexkit.staging import Artifact, Staged, stage

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1.types import UploadModelRequest

    from vertexkit._core.context import Context

__all__ = ["Upload", "upload"]

_SECONDS = 1800.0


@dataclass(frozen=True)
class Upload:
    """What is to become of the files."""

    name: str
    image: str
    parent: str | None
    """Resource name of the model to make a version of; None for a new model."""
    aliases: tuple[str, ...]
    default: bool
    description: str
    labels: Mapping[str, str]
    prefix: str | None


def upload(context: Context, artifact: Artifact, wanted: Upload) -> Model:
    """Send the files and make a model of them.

    Raises:
        VertexkitError: It failed; the files that were sent, and the model, are gone again.
    """
    # Asked for first: once there are files, whatever fails has to take them away.
    before = _versions(context, wanted.parent)
    # A new model gets an id of ours, so that sending the request twice cannot make two models.
    new_id = f"m{secrets.token_hex(9)}"
    operation: Operation[Model] | None = None
    staged = stage(context, artifact, wanted.name, wanted.prefix)
    try:
        with status(f"Uploading {wanted.name}: {staged.signature or staged.uri}", context.progress):
            operation = _started(context, staged, wanted, new_id)
            model = (
                _read(context, _own_name(context, new_id))
                if operation is None
                else operation.result(_SECONDS)
            )
    except BaseException as error:  # Ctrl-C too
        left = f"the model {wanted.name} and its files in {staged.uri}"
        if operation is not None:
            noting(error, operation.stop, left)
        noting(error, partial(_take_away, context, staged, wanted, new_id, before), left)
        noting(error, partial(_unstage, context, staged), f"the files in {staged.uri}")
        raise
    if wanted.parent is None:
        context.created.add(model.resource_name, model.delete, order=Order.MODELS)
    elif wanted.parent not in context.created.names:  # else it goes with its model
        context.created.add(model.versioned_name, partial(_delete_version, model, before), order=Order.MODELS)
    return model


def _started(context: Context, staged: Staged, wanted: Upload, new_id: str) -> Operation[Model] | None:
    """Begin to make the model; None if an earlier attempt had got through, and only its answer had not."""
    clients = context.clients
    try:
        future: Any = clients.call(
            clients.models.upload_model,
            _request(context, staged, wanted, new_id),
            resource=wanted.name,
            # A version's id is not ours to choose: sent twice, it would be two.
            retry=wanted.parent is None,
        )
    except AlreadyExists:
        if wanted.parent is not None:
            raise
        return None
    return Operation(clients, future.operation, resource=wanted.name, finish=partial(_finished, context))


def _request(context: Context, staged: Staged, wanted: Upload, new_id: str) -> UploadModelRequest:
    from google.cloud.aiplatform_v1 import types

    aliases = [*wanted.aliases, *(["default"] if wanted.default and wanted.parent else [])]
    request = types.UploadModelRequest(
        parent=parent(context),
        model=types.Model(
            display_name=wanted.name,
            version_description=wanted.description,
            version_aliases=aliases,
            artifact_uri=staged.uri,
            container_spec=types.ModelContainerSpec(image_uri=wanted.image),
            labels=dict(wanted.labels),
        ),
    )
    if staged.schemata:
        request.model.predict_schemata = types.PredictSchemata(**staged.schemata)
    if wanted.parent is None:
        request.model_id = new_id
        request.model.description = wanted.description
    else:
        request.parent_model = wanted.parent
    return request


def _finished(context: Context, packed: Any) -> Model:
    from google.cloud.aiplatform_v1 import types

    response = types.UploadModelResponse.deserialize(packed.value)
    return _read(context, f"{response.model}@{response.model_version_id or 'default'}")


def _read(context: Context, name: str) -> Model:
    return Model(context, context.clients.http_json("GET", name, resource=name))


def _versions(context: Context, name: str | None) -> list[ModelVersion]:
    """The versions that a model has; none of a model that is still to be made."""
    return [] if name is None else Model(context, {"name": name}).versions()


def _delete_version(version: Model | ModelVersion, before: list[ModelVersion]) -> None:
    """Delete a version, giving the name ``default`` back first, without which it cannot be deleted."""
    model = Model(version._context, version._data)
    mine = model.version(version.version_id)
    if "default" in mine.version_aliases:
        for other in before:
            if "default" in other.version_aliases:
                other.set_default()
    mine.delete()


def _take_away(
    context: Context, staged: Staged, wanted: Upload, new_id: str, before: list[ModelVersion]
) -> None:
    """Delete what was made of the files."""
    if wanted.parent is None:
        Model(context, {"name": _own_name(context, new_id)}).delete()
        return
    # Whether it was made is seen by looking: the answer may have been lost.
    for version in _versions(context, wanted.parent):
        if version not in before and version.artifact_uri == staged.uri:
            _delete_version(version, before)


def _unstage(context: Context, staged: Staged) -> None:
    """Delete the files that were sent."""
    staged.undo()
    context.created.forget(staged.uri)


def _own_name(context: Context, new_id: str) -> str:
    return f"{parent(context)}/models/{new_id}"
