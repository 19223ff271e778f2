"""How a model's files get to where Vertex AI reads them, and away again when the upload fails."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vertexkit._core.names import is_gcs_uri, parse_gcs_uri
from vertexkit.artifacts import check_artifact
from vertexkit.cleanup import Order, noting
from vertexkit.errors import Finding, InvalidArgument, NotFound, PermissionDenied
from vertexkit.images import parse_serving_image
from vertexkit.predict_schemata import schemata_folder, write_schemata
from vertexkit.preflight import is_refused, require
from vertexkit.regions import check_bucket_location
from vertexkit.saved_model import read_saved_model, served_signature
from vertexkit.storage import Bucket, Buckets

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit.types import Signature

__all__ = ["Artifact", "Staged", "look_at"]

_SAVED_MODEL = "saved_model.pb"


@dataclass(frozen=True)
class Artifact:
    """A model's files, looked at before anything is sent."""

    source: str
    """A local folder, or a ``gs://`` URI."""
    signature: Signature | None
    """None when it is no SavedModel."""
    findings: tuple[Finding, ...]
    """What is wrong with it, and with where it is."""


@dataclass(frozen=True)
class Staged:
    """A model's files in Cloud Storage."""

    uri: str
    signature: Signature | None
    schemata: Mapping[str, str] = field(default_factory=dict)
    """The fields of ``Model.predict_schemata``."""
    sent: tuple[tuple[Bucket, str], ...] = ()
    """The names of what was not there before: to be deleted if the model is not made."""

    def undo(self) -> None:
        """Delete what was sent."""
        for bucket, name in self.sent:
            with suppress(NotFound):
                bucket.delete(name)


def look_at(context: Context | None, artifact: str, image: str | None) -> Artifact:
    """Look at a model's files without sending anything.

    Args:
        context: The session's parts; None to ask nobody what is at a ``gs://`` URI.
        artifact: A local folder, or a ``gs://`` URI.
        image: URI of the serving container; None for TensorFlow's.
    """
    if not is_gcs_uri(artifact):
        findings = check_artifact(artifact, image=image)
        signature = None if findings else _signature(lambda: read_saved_model(artifact).default, image)
        return Artifact(artifact, signature, tuple(findings))
    try:
        uri = parse_gcs_uri(artifact)
    except ValueError as error:
        return Artifact(artifact, None, (Finding("artifact", artifact, str(error)),))
    if context is None:
        return Artifact(artifact, None, ())
    prefix = f"{uri.name.rstrip('/')}/" if uri.name else ""
    try:
        bucket = Buckets(context).get(uri.bucket)
        objects = [found.name.removeprefix(prefix) for found in bucket.list(prefix)]
    except NotFound:
        return Artifact(
            artifact, None, (Finding("artifact", artifact, "is in a bucket that does not exist"),)
        )
    findings = [
        *check_artifact(artifact, image=image, objects=objects),
        *check_bucket_location(bucket.location, context.target.location, "artifact"),
    ]
    signature = None
    if _SAVED_MODEL in objects and not is_refused(findings):
        content = bucket.read(f"{prefix}{_SAVED_MODEL}")
        signature = _signature(lambda: served_signature(content, artifact), image)
    return Artifact(artifact, signature, tuple(findings))


def stage(context: Context, artifact: Artifact, name: str, prefix: str | None) -> Staged:
    """Send a local folder to the session's bucket, and write the signature beside it.

    Args:
        context: The session's parts.
        artifact: What `look_at` found.
        name: The model's display name, which the default prefix shows.
        prefix: Where to put a local folder; by default a place of its own.

    Raises:
        TransferFailed: Not every file arrived; what did is deleted again.
        PreflightFailed: The session's bucket is in another region.
    """
    if is_gcs_uri(artifact.source):
        return _beside(context, artifact)
    bucket = Buckets(context).default()
    require(check_bucket_location(bucket.location, context.target.location))
    where = (prefix or _own_place(name)).strip("/")
    folders = (f"{where}/", f"{schemata_folder(where)}/")
    # At a place of one's own nothing can be, and at a given one what is there is not ours to delete.
    before = {found.name for folder in folders for found in bucket.list(folder)} if prefix else set()
    schemata: dict[str, str] = {}
    try:
        bucket.upload_dir(artifact.source, where)
        if artifact.signature is not None:
            schemata = write_schemata(bucket, where, artifact.signature)
    except BaseException as error:
        noting(
            error,
            lambda: _staged(bucket, where, before, artifact, schemata).undo(),
            f"the files in {bucket.uri}/{where}",
        )
        raise
    staged = _staged(bucket, where, before, artifact, schemata)
    context.created.add(staged.uri, staged.undo, order=Order.OBJECTS)
    return staged


def _staged(
    bucket: Bucket, where: str, before: set[str], artifact: Artifact, schemata: Mapping[str, str]
) -> Staged:
    now = [found.name for folder in (where, schemata_folder(where)) for found in bucket.list(f"{folder}/")]
    sent = tuple((bucket, name) for name in now if name not in before)
    return Staged(f"{bucket.uri}/{where}", artifact.signature, schemata, sent)


def _beside(context: Context, artifact: Artifact) -> Staged:
    """The files are there; only the signature is to be written."""
    uri = parse_gcs_uri(artifact.source)
    if artifact.signature is None or not uri.name:
        return Staged(artifact.source, artifact.signature)
    schemata: Mapping[str, str] = {}
    # A bucket that we may only read: the signature is read off the files each time.
    with suppress(PermissionDenied):
        schemata = write_schemata(Bucket(context, uri.bucket), uri.name, artifact.signature)
    # Another model may use the same artifact and schemata: never deleted.
    return Staged(artifact.source, artifact.signature, schemata)


def _own_place(name: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "model"
    return f"vertexkit/models/{slug}/{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def _signature(read: Callable[[], Signature], image: str | None) -> Signature | None:
    """The signature of a SavedModel; of what is not one, none, where that is allowed."""
    parsed = None if image is None else parse_serving_image(image)
    try:
        return read()
    except InvalidArgument:
        if image is None or (parsed is not None and parsed.framework == "tensorflow"):
            raise
        return None  # the container's own business
