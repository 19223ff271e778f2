"""Reads what a model takes and gives: as it was stored with the model, or else off its files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

from vertexkit._core.names import GcsUri, parse_gcs_uri
from vertexkit._core.retry import retrying
from vertexkit.errors import NotFound, PermissionDenied
from vertexkit.images import parse_serving_image
from vertexkit.predict_schemata import from_schemata

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit.types import Signature

__all__ = ["read_signature"]

_SECONDS: Final = 60.0
_LARGEST: Final = 32_000_000
"""Bytes of a ``saved_model.pb`` that is read: one of TensorFlow 1 may hold all the weights."""

_T = TypeVar("_T")


def read_signature(
    context: Context, model: Mapping[str, Any], *, timeout: float = _SECONDS
) -> Signature | None:
    """Read the signature of a version of a model.

    Args:
        context: The session's parts.
        model: The model, as REST gives it.
        timeout: Seconds for all that has to be read, with all attempts.

    Returns:
        The signature; None if there is none that these credentials can see.

    Raises:
        ServiceError: Cloud Storage cannot be asked now.
    """
    deadline = time.monotonic() + timeout
    found = _of_schemata(context, model.get("predictSchemata", {}), deadline)
    return _of_artifact(context, model, deadline) if found is None else found


def _of_schemata(context: Context, schemata: Mapping[str, str], deadline: float) -> Signature | None:
    try:
        uris = [parse_gcs_uri(schemata.get(f"{of}SchemaUri", "")) for of in ("instance", "prediction")]
        instance, prediction = (json.loads(_content(context, uri, deadline)) for uri in uris)
    except (NotFound, PermissionDenied, ValueError):
        # Gone, somebody else's, in YAML by somebody else (which says nothing of tensors), or no URI at all.
        return None
    return from_schemata(instance, prediction)


def _of_artifact(context: Context, model: Mapping[str, Any], deadline: float) -> Signature | None:
    """That of a SavedModel which nobody has stored the signature of: a training job's, or somebody else's."""
    image = parse_serving_image(model.get("containerSpec", {}).get("imageUri", ""))
    if image is None or image.framework != "tensorflow":
        return None  # another container may answer as it likes
    from vertexkit.saved_model import served_signature

    try:
        uri = parse_gcs_uri(model.get("artifactUri", "")) / "saved_model.pb"
        if _size(context, uri, deadline) > _LARGEST:
            return None
        return served_signature(_content(context, uri, deadline), str(uri))
    except (NotFound, PermissionDenied, ValueError):  # no SavedModel, or none that we may see
        return None


def _content(context: Context, uri: GcsUri, deadline: float) -> bytes:
    url = f"{_object_url(context, uri)}?alt=media"
    return _asked(
        lambda left: context.clients.send("GET", url, timeout=left, resource=str(uri)).content, deadline
    )


def _size(context: Context, uri: GcsUri, deadline: float) -> int:
    url = f"{_object_url(context, uri)}?fields=size"
    return _asked(
        lambda left: int(context.clients.send("GET", url, timeout=left, resource=str(uri)).json()["size"]),
        deadline,
    )


def _asked(ask: Callable[[float], _T], deadline: float) -> _T:
    def attempt() -> _T:
        return ask(max(deadline - time.monotonic(), 0.001))

    return retrying(max(deadline - time.monotonic(), 0.0))(attempt)


def _object_url(context: Context, uri: GcsUri) -> str:
    return f"{context.target.storage_url}/storage/v1/b/{uri.bucket}/o/{quote(uri.name, safe='')}"
