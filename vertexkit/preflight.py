"""Looks for what the service would refuse, before anything is sent, created or paid for.

Every function here is pure: it is told what it needs to know, answers with findings, and sends nothing.
Nouns call :func:`require` with the findings of what they are about to do; ``dry_run.py`` puts all of
them together for ``session.check`` and ``vertexkit check``.

A finding's problem is a clause of which the argument is the subject, and says what is wrong with it; its
remedy is an imperative. ``InvalidArgument`` keeps to the same.

Machine types, regions, images and names have their rules in ``machines.py``, ``regions.py``,
``images.py``, ``artifacts.py`` and ``identifiers.py``. The size of requests is seen to by ``codec.py``,
which makes them.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence

from vertexkit._core.callers import stack_level
from vertexkit.errors import Finding, InvalidArgument, PreflightFailed
from vertexkit.identifiers import check_alias, check_display_name, check_labels
from vertexkit.images import check_image, check_image_on
from vertexkit.machines import check_machine
from vertexkit.regions import check_region
from vertexkit.types import Machine

__all__ = [
    "PreflightWarning",
    "check_aliases",
    "check_deploy",
    "check_endpoint",
    "check_replicas",
    "check_traffic",
    "check_upload",
    "finding_of",
    "is_refused",
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
            warnings.warn(str(found), PreflightWarning, stacklevel=stack_level())
    if is_refused(findings):
        raise PreflightFailed([found for found in findings if not found.warning])


def is_refused(findings: Sequence[Finding]) -> bool:
    """Whether anything of it is wrong, and not merely to be warned of."""
    return any(not found.warning for found in findings)


def finding_of(error: InvalidArgument) -> Finding:
    """What an error says of an argument, to be told together with what else is wrong."""
    return Finding(error.argument, error.value, error.problem, error.remedy)


def check_upload(
    *,
    name: object,
    location: str,
    image: object = None,
    aliases: object = (),
    labels: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Whether a model can be uploaded like this.

    Args:
        name: Display name of the model.
        location: Region of the model.
        image: URI of the serving container.
        aliases: Aliases to give to the version.
        labels: Labels to give to the model.

    Returns:
        What is wrong and what would do, in the order of the arguments.
    """
    findings = [*check_display_name(name), *check_region(location)]
    if image is not None:
        findings += check_image(image)
    return [*findings, *check_aliases(aliases), *check_labels(labels or {})]


def check_endpoint(*, name: object, location: str, labels: Mapping[str, str] | None = None) -> list[Finding]:
    """Whether an endpoint can be created like this.

    Args:
        name: Display name of the endpoint.
        location: Region of the endpoint.
        labels: Labels to give to the endpoint.

    Returns:
        What is wrong and what would do, in the order of the arguments.
    """
    return [*check_display_name(name), *check_region(location), *check_labels(labels or {})]


def check_deploy(
    *,
    machine: object,
    replicas: object = (1, 1),
    traffic: object = None,
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
    asked = Machine(machine) if isinstance(machine, str) else machine
    findings = check_machine(asked)
    known = asked if isinstance(asked, Machine) and isinstance(asked.type, str) else None
    findings += check_replicas(replicas, known)
    if traffic is not None:
        findings += check_traffic(traffic)
    if image is not None and known is not None:
        findings += check_image_on(image, known)
    if name is not None:
        findings += check_display_name(name)
    return findings


def check_aliases(aliases: object) -> list[Finding]:
    """Whether these can be the aliases of a version."""
    if isinstance(aliases, str) or not isinstance(aliases, Collection):
        return [Finding("aliases", aliases, "is not a list of aliases", "give ['candidate'], for example")]
    return [found for alias in aliases for found in check_alias(alias)]


def check_replicas(replicas: object, machine: Machine | None = None) -> list[Finding]:
    """Whether these can be the least and greatest numbers of replicas."""
    pair = replicas if isinstance(replicas, tuple | list) else (replicas, replicas)
    if len(pair) != 2 or not all(isinstance(count, int) and not isinstance(count, bool) for count in pair):
        return [Finding("replicas", replicas, "is neither a whole number nor a least and a greatest one")]
    least, greatest = pair
    if least < 1:
        return [Finding("replicas", replicas, "is less than one replica", "use (1, 1)")]
    if greatest < least:
        return [
            Finding(
                "replicas",
                replicas,
                "has a greatest number that is below the least",
                f"use ({greatest}, {least})",
            )
        ]
    if machine is not None and machine.type.startswith("a4x-") and least < 18:
        return [
            Finding(
                "replicas",
                replicas,
                "is less than a rack of 18, by which A4X machines come",
                f"use (18, {max(18, greatest)})",
            )
        ]
    return []


def check_traffic(percent: object, argument: str = "traffic") -> list[Finding]:
    """Whether ``percent`` can be a share of an endpoint's requests."""
    if isinstance(percent, bool) or not isinstance(percent, int):
        return [Finding(argument, percent, "is not a whole percentage")]
    if not 0 <= percent <= 100:
        return [Finding(argument, percent, "is not from 0 to 100 percent")]
    return []
