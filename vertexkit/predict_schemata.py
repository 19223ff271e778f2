"""Where a model's signature is kept: two schemata beside its artifact, as Vertex AI names them.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/PredictSchemata
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from vertexkit._core.names import GcsUri, parse_gcs_uri
from vertexkit._core.retry import retrying
from vertexkit.errors import NotFound, PermissionDenied
from vertexkit.signature import from_schemata, to_schemata

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit.storage import Bucket
    from vertexkit.types import Signature

__all__ = ["read_schemata", "schemata_folder", "write_schemata"]

_TIMEOUT = 60.0


def schemata_folder(artifact: str) -> str:
    """Where the schemata of the artifact below this prefix go: beside it, since inside is the model's."""
    return f"{artifact.rstrip('/')}.schemata"


def write_schemata(bucket: Bucket, artifact: str, signature: Signature) -> dict[str, str]:
    """Write a signature beside an artifact.

    Args:
        bucket: The artifact's bucket.
        artifact: The artifact's prefix.
        signature: What the model takes and gives.

    Returns:
        The fields of ``Model.predict_schemata``.
    """
    instance, prediction = to_schemata(signature)
    folder = schemata_folder(artifact)
    # JSON is YAML too, which is what Vertex AI asks for.
    return {
        field: bucket.write(f"{folder}/{name}.yaml", json.dumps(schema), content_type="application/yaml")
        for field, name, schema in (
            ("instance_schema_uri", "instance", instance),
            ("prediction_schema_uri", "prediction", prediction),
        )
    }


def read_schemata(
    context: Context, schemata: Mapping[str, str], *, timeout: float = _TIMEOUT
) -> Signature | None:
    """Read a signature back.

    Args:
        context: The session's parts.
        schemata: ``predictSchemata`` of a model, as REST gives it.
        timeout: Seconds for both schemata together, with all attempts.

    Returns:
        The signature; None if there is none that these credentials can see.

    Raises:
        ServiceError: Cloud Storage cannot be asked now.
    """
    deadline = time.monotonic() + timeout
    try:
        uris = [parse_gcs_uri(schemata.get(f"{of}SchemaUri", "")) for of in ("instance", "prediction")]
        instance, prediction = (json.loads(_read(context, uri, deadline)) for uri in uris)
    except (NotFound, PermissionDenied, ValueError):
        # Gone, somebody else's, in YAML by somebody else (which says nothing of tensors), or no URI at all.
        return None
    return from_schemata(instance, prediction)


def _read(context: Context, uri: GcsUri, deadline: float) -> bytes:
    def attempt() -> bytes:
        left = max(deadline - time.monotonic(), 0.001)
        reply = context.clients.send("GET", _media_url(context, uri), timeout=left, resource=str(uri))
        return reply.content

    return retrying(max(deadline - time.monotonic(), 0.0))(attempt)


def _media_url(context: Context, uri: GcsUri) -> str:
    storage = context.target.storage_url
    return f"{storage}/storage/v1/b/{uri.bucket}/o/{quote(uri.name, safe='')}?alt=media"
