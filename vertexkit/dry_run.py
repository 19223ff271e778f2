"""What an upload and a deployment would be refused for, found by looking only.

``session.check`` and ``vertexkit check`` are both this. Without a session, what only the service knows
(where a bucket is, what a ``gs://`` artifact holds) is left out, and nothing else is different.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vertexkit._core.names import bucket_name_problem, is_gcs_uri
from vertexkit.errors import Finding, InvalidArgument, NotFound
from vertexkit.identifiers import check_display_name
from vertexkit.images import check_image, serving_image
from vertexkit.preflight import check_deploy, check_replicas, check_traffic, finding_of
from vertexkit.regions import check_bucket_location, check_region

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit.types import Machine, Signature

__all__ = ["Plan", "check_plan"]


@dataclass(frozen=True)
class Plan:
    """An upload and a deployment that somebody has in mind. What is None is not checked."""

    artifact: str | os.PathLike[str] | None = None
    machine: Machine | str | None = None
    image: str | None = None
    framework: str | None = None
    accelerator: bool = False
    """Whether the framework's image is to be the one for GPUs."""
    name: str | None = None
    bucket: str | None = None
    replicas: int | tuple[int, int] | None = None
    traffic: int | None = None
    instances: Any = None


def check_plan(plan: Plan, location: str, context: Context | None) -> list[Finding]:
    """Find what the plan would be refused for.

    Args:
        plan: What is to be done.
        location: Region where.
        context: The session's parts, to ask the service with; None to ask nobody.

    Returns:
        What is wrong, and what would do.
    """
    findings = check_region(location)
    image = plan.image
    if image is None and (plan.framework is not None or plan.accelerator):
        try:
            image = serving_image(plan.framework or "tensorflow", gpu=plan.accelerator, location=location)
        except InvalidArgument as error:
            findings.append(finding_of(error))
    signature = None
    if plan.artifact is not None:
        found, signature = _check_artifact(plan.artifact, image, context)
        findings += found
    if plan.name is not None:
        findings += check_display_name(plan.name)
    findings += _check_bucket(plan, location, context)
    if image is not None:
        findings += check_image(image)
    if plan.machine is not None:
        replicas = (1, 1) if plan.replicas is None else plan.replicas
        findings += check_deploy(machine=plan.machine, replicas=replicas, image=image)
    elif plan.replicas is not None:
        findings += check_replicas(plan.replicas)
    if plan.traffic is not None:
        findings += check_traffic(plan.traffic)
    if plan.instances is not None:
        findings += _check_instances(plan.instances, signature)
    return findings


def _check_artifact(
    artifact: str | os.PathLike[str], image: str | None, context: Context | None
) -> tuple[list[Finding], Signature | None]:
    from vertexkit.staging import look_at

    if not isinstance(artifact, str | os.PathLike):
        return [Finding("artifact", artifact, "is neither a folder nor a gs:// URI")], None
    try:
        seen = look_at(context, os.fspath(artifact), image)
    except InvalidArgument as error:
        return [finding_of(error)], None
    return list(seen.findings), seen.signature


def _check_bucket(plan: Plan, location: str, context: Context | None) -> list[Finding]:
    """Whether the bucket that is named, or that a local folder would go to, is where it has to be."""
    if plan.bucket is not None:
        problem = bucket_name_problem(str(plan.bucket).removeprefix("gs://").removesuffix("/"))
        if problem is not None:
            return [Finding("bucket", plan.bucket, problem)]
    artifact = plan.artifact
    uploads = isinstance(artifact, str | os.PathLike) and not is_gcs_uri(os.fspath(artifact))
    if context is None or (plan.bucket is None and not uploads):
        return []
    from vertexkit.storage import Buckets

    try:
        bucket = Buckets(context).get(plan.bucket or context.bucket)
    except NotFound:
        # The session's own bucket is created when it is needed.
        missing = Finding("bucket", plan.bucket, "does not exist", "create it with session.buckets.create()")
        return [] if plan.bucket is None else [missing]
    return check_bucket_location(bucket.location, location)


def _check_instances(instances: Any, signature: Signature | None) -> list[Finding]:
    from vertexkit.codec import encode

    try:
        encode(instances, signature)
    except InvalidArgument as error:
        return [finding_of(error)]
    return []
