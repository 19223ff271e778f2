"""Looks for what the service would refuse, before anything is sent, created or paid for.

Every function here is pure: it is told what it needs to know (where a bucket is, what is below a
``gs://`` prefix), answers with findings, and sends nothing. Nouns call :func:`require` with the findings
of what they are about to do; :func:`check` puts all of them together for ``session.check``.

Machine types, regions, images and names have their rules in ``machines.py``, ``regions.py``,
``images.py``, ``artifacts.py`` and ``identifiers.py``. The size of requests is seen to by ``codec.py``,
which makes them.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from vertexkit.artifacts import check_artifact
from vertexkit.errors import Finding, PreflightFailed
from vertexkit.identifiers import (
    check_alias,
    check_display_name,
    check_endpoint_id,
    check_labels,
    check_model_id,
)
from vertexkit.images import check_image, check_image_on
from vertexkit.machines import check_machine
from vertexkit.regions import check_bucket_location, check_region
from vertexkit.types import Machine

__all__ = [
    "PreflightWarning",
    "check",
    "check_deploy",
    "check_endpoint",
    "check_replicas",
    "check_traffic",
    "check_upload",
    "require",
]


class PreflightWarning(UserWarning):
    """Something that works, but that its user would probably not want."""


def require(findings: Sequence[Finding]) -> None:
    """Refuse to go on when something is wrong.

    Args:
        findings: What was found. Those that are only warnings are warned of.

    Raises:
        PreflightFailed: At least one finding is not merely a warning; it holds them all.
    """
    for found in findings:
        if found.warning:
            warnings.warn(str(found), PreflightWarning, stacklevel=3)
    if any(not found.warning for found in findings):
        raise PreflightFailed([found for found in findings if not found.warning])


def check_upload(
    *,
    name: object,
    location: str,
    image: str | None = None,
    artifact: str | Path | None = None,
    artifact_objects: Collection[str] | None = None,
    bucket_location: str | None = None,
    model_id: str | None = None,
    aliases: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Whether a model can be uploaded like this.

    Args:
        name: Display name of the model.
        location: Region of the model.
        image: URI of the serving container.
        artifact: Local folder or ``gs://`` URI of the artifact.
        artifact_objects: Names of the objects below ``artifact``, relative to it, when that is a
            ``gs://`` URI; None when nobody has looked.
        bucket_location: Location of the artifact's bucket, as Cloud Storage gives it; None if unknown.
        model_id: Id to give to the model.
        aliases: Aliases to give to the version.
        labels: Labels to give to the model.

    Returns:
        What is wrong and what would do, in the order of the arguments.
    """
    findings = [*check_display_name(name), *check_region(location)]
    if image is not None:
        findings += check_image(image)
    if artifact is not None:
        findings += check_artifact(artifact, image=image, objects=artifact_objects)
    if bucket_location is not None:
        findings += check_bucket_location(bucket_location, location)
    if model_id is not None:
        findings += check_model_id(model_id)
    for alias in aliases:
        findings += check_alias(alias)
    return findings + check_labels(labels or {})


def check_endpoint(
    *,
    name: object,
    location: str,
    endpoint_id: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Whether an endpoint can be created like this.

    Args:
        name: Display name of the endpoint.
        location: Region of the endpoint.
        endpoint_id: Id to give to the endpoint.
        labels: Labels to give to the endpoint.

    Returns:
        What is wrong and what would do, in the order of the arguments.
    """
    findings = [*check_display_name(name), *check_region(location)]
    if endpoint_id is not None:
        findings += check_endpoint_id(endpoint_id)
    return findings + check_labels(labels or {})


def check_deploy(
    *,
    machine: Machine | str,
    replicas: int | tuple[int, int] = (1, 1),
    traffic: int | None = None,
    image: str | None = None,
    name: object = None,
) -> list[Finding]:
    """Whether a model can be deployed like this.

    Args:
        machine: Machine, or the name of a machine type without accelerators.
        replicas: Least and greatest number of replicas, or one number for both.
        traffic: Percentage of the endpoint's requests that the model is to answer.
        image: URI of the model's serving container, if known.
        name: Display name of the deployed model; None for the model's own.

    Returns:
        What is wrong and what would do, in the order of the arguments.
    """
    if isinstance(machine, str):
        machine = Machine(machine)
    findings = check_machine(machine)
    findings += check_replicas(replicas, machine)
    if traffic is not None:
        findings += check_traffic(traffic)
    if image is not None:
        findings += check_image_on(image, machine)
    if name is not None:
        findings += check_display_name(name)
    return findings


def check_replicas(replicas: int | tuple[int, int], machine: Machine | None = None) -> list[Finding]:
    """Whether these can be the least and greatest numbers of replicas."""
    pair = (replicas, replicas) if isinstance(replicas, int) else tuple(replicas)
    if len(pair) != 2 or not all(isinstance(count, int) and not isinstance(count, bool) for count in pair):
        return [
            Finding("replicas", replicas, "Replicas are one whole number, or a least and a greatest one.")
        ]
    least, greatest = pair
    if least < 1:
        return [Finding("replicas", replicas, "A deployed model has at least one replica.", "Use (1, 1).")]
    if greatest < least:
        return [
            Finding(
                "replicas",
                replicas,
                "The greatest number of replicas is below the least.",
                f"Use ({greatest}, {least}).",
            )
        ]
    if machine is not None and machine.type.startswith("a4x-") and least < 18:
        return [
            Finding(
                "replicas",
                replicas,
                "A4X machines come by the rack of 18.",
                f"Use (18, {max(18, greatest)}).",
            )
        ]
    return []


def check_traffic(percent: object, argument: str = "traffic") -> list[Finding]:
    """Whether ``percent`` can be a share of an endpoint's requests."""
    if isinstance(percent, bool) or not isinstance(percent, int):
        return [Finding(argument, percent, "A share of traffic is a whole percentage.")]
    if not 0 <= percent <= 100:
        return [Finding(argument, percent, "A share of traffic is from 0 to 100 percent.")]
    return []


def check(
    *,
    location: str,
    name: object = None,
    artifact: str | Path | None = None,
    artifact_objects: Collection[str] | None = None,
    bucket_location: str | None = None,
    image: str | None = None,
    machine: Machine | str | None = None,
    replicas: int | tuple[int, int] | None = None,
    traffic: int | None = None,
    labels: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Everything that is given, checked together; what is not given is not checked.

    Args:
        location: Region.
        name: Display name, of the model or the endpoint.
        artifact: Local folder or ``gs://`` URI of the model's artifact.
        artifact_objects: Names of the objects below a ``gs://`` artifact, relative to it.
        bucket_location: Location of the bucket, as Cloud Storage gives it.
        image: URI of the serving container.
        machine: Machine, or the name of a machine type.
        replicas: Least and greatest number of replicas, or one number for both.
        traffic: Percentage of the endpoint's requests.
        labels: Labels to give to what is created.

    Returns:
        What is wrong and what would do; nothing when nothing is wrong.
    """
    findings = check_region(location)
    if name is not None:
        findings += check_display_name(name)
    if image is not None:
        findings += check_image(image)
    if artifact is not None:
        findings += check_artifact(artifact, image=image, objects=artifact_objects)
    if bucket_location is not None:
        findings += check_bucket_location(bucket_location, location)
    if machine is not None:
        findings += check_deploy(
            machine=machine, replicas=(1, 1) if replicas is None else replicas, image=image
        )
    elif replicas is not None:
        findings += check_replicas(replicas)
    if traffic is not None:
        findings += check_traffic(traffic)
    return findings + check_labels(labels or {})
