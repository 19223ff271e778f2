"""``session.check``: what an upload and a deployment would be refused for, found by looking only."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from vertexkit import preflight
from vertexkit._core.names import is_gcs_uri
from vertexkit.errors import Finding, InvalidArgument, NotFound
from vertexkit.images import serving_image

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit.types import Machine, Signature

__all__ = ["check_plan"]


def check_plan(
    context: Context,
    *,
    artifact: str | os.PathLike[str] | None,
    machine: Machine | str | None,
    image: str | None,
    framework: str | None,
    name: str | None,
    bucket: str | None,
    replicas: int | tuple[int, int] | None,
    instances: object,
    accelerator: bool,
) -> list[Finding]:
    """See `Session.check`."""
    findings: list[Finding] = []
    if image is None and (framework is not None or accelerator):
        try:
            image = serving_image(
                framework or "tensorflow", gpu=accelerator, location=context.target.location
            )
        except InvalidArgument as error:
            findings.append(_finding(error))
    signature = None
    if artifact is not None:
        found, signature = _look(context, os.fspath(artifact), image)
        findings += found
    findings += preflight.check(
        location=context.target.location,
        name=name,
        bucket_location=_bucket_location(context, bucket, artifact, findings),
        image=image,
        machine=machine,
        replicas=replicas,
    )
    if instances is not None:
        findings += _check_instances(instances, signature)
    return findings


def _look(context: Context, artifact: str, image: str | None) -> tuple[list[Finding], Signature | None]:
    from vertexkit.staging import look_at

    try:
        seen = look_at(context, artifact, image)
    except InvalidArgument as error:
        return [_finding(error)], None
    return list(seen.findings), seen.signature


def _bucket_location(
    context: Context, bucket: str | None, artifact: object, findings: list[Finding]
) -> str | None:
    """Where the bucket is that a local folder would go to; None if it is not there yet."""
    from vertexkit.storage import Buckets

    uploads = artifact is not None and not is_gcs_uri(os.fspath(str(artifact)))
    if bucket is None and not uploads:
        return None
    try:
        return Buckets(context).get(bucket or context.bucket).location
    except InvalidArgument as error:
        findings.append(_finding(error))
    except NotFound:
        if bucket is not None:
            findings.append(
                Finding("bucket", bucket, "There is no such bucket.", "session.buckets.create() makes it.")
            )
    return None


def _check_instances(instances: Any, signature: Signature | None) -> list[Finding]:
    from vertexkit.codec import encode

    try:
        encode(instances, signature)
    except InvalidArgument as error:
        return [_finding(error)]
    return []


def _finding(error: InvalidArgument) -> Finding:
    problem = str(error).partition("\n")[0].partition(": ")[2]
    return Finding(error.argument, error.value, problem, error.remedy)
