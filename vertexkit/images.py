"""Vertex AI's prebuilt serving containers: their URIs, made and parsed here, and nowhere else.

Source: https://cloud.google.com/vertex-ai/docs/predictions/pre-built-containers and
https://cloud.google.com/vertex-ai/docs/predictions/optimized-tensorflow-runtime. The versions are
those of ``google.cloud.aiplatform.constants.prediction`` in google-cloud-aiplatform 2.7.0 (a test
compares them). Only the standard library is needed: the local Vertex AI parses images too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, cast

from vertexkit.errors import Finding, InvalidArgument
from vertexkit.machines import machine_types
from vertexkit.types import Machine

__all__ = [
    "FRAMEWORKS",
    "ServingImage",
    "check_image",
    "check_image_on",
    "parse_serving_image",
    "published_versions",
    "serving_image",
]

DOCUMENTATION: Final = "https://cloud.google.com/vertex-ai/docs/predictions/pre-built-containers"

Accelerator = Literal["cpu", "gpu", "tpu"]

# The name that an image's URI has for a framework, and the framework's own.
_FRAMEWORK_OF: Final = {
    "tf": "tensorflow",
    "tf2": "tensorflow",
    "tf_opt": "tensorflow",
    "sklearn": "sklearn",
    "xgboost": "xgboost",
    "pytorch": "pytorch",
}

_PUBLISHED: Final[dict[str, tuple[str, ...]]] = {
    "tensorflow": ("1.15", *(f"2.{minor}" for minor in range(1, 16))),
    "sklearn": ("0.20", "0.22", "0.23", "0.24", "1.0", "1.2", "1.3", "1.4", "1.5", "1.6"),
    "xgboost": ("0.82", "0.90", "1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7", "2.0", "2.1"),
    "pytorch": ("1.11", "1.12", "1.13", "2.0", "2.1", "2.2", "2.3", "2.4"),
}
FRAMEWORKS: Final = tuple(_PUBLISHED)
"""Frameworks that Vertex AI has prebuilt serving containers for."""

_WITH_GPU: Final = frozenset({"tensorflow", "pytorch"})

# Geographies without a repository of their own are served by the nearest that has one.
_REPOSITORY_OF: Final = {
    "us": "us",
    "northamerica": "us",
    "southamerica": "us",
    "europe": "europe",
    "africa": "europe",
    "me": "europe",
    "asia": "asia",
    "australia": "asia",
}

_URI = re.compile(
    r"""
    (?P<host>
        (?:(?P<gcr>us|eu|asia)\.)?gcr\.io/cloud-aiplatform      # Container Registry, the older one
      | (?P<region>us|europe|asia)-docker\.pkg\.dev/vertex-ai(?P<restricted>-restricted)?
    )
    /prediction/
    (?P<name>tf2|tf_opt|tf|sklearn|xgboost|pytorch)-(?P<accelerator>cpu|gpu|tpu)
    \.(?P<version>\d+-\d+|nightly)
    (?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?
    """,
    re.VERBOSE,
)


_REGISTRY = re.compile(r"(?:[a-z0-9-]+-docker\.pkg\.dev|(?:[a-z]+\.)?gcr\.io)/[^\s]+")


@dataclass(frozen=True)
class ServingImage:
    """A prebuilt serving container, as its URI describes it."""

    uri: str
    """The URI as it was given."""
    framework: str
    """``tensorflow``, ``sklearn``, ``xgboost`` or ``pytorch``."""
    version: str
    """Framework version, ``2.12``; ``nightly`` for the optimized TensorFlow runtime's newest."""
    accelerator: Accelerator
    """What the container is built for."""
    host: str
    """``gcr.io`` (or a regional one) or ``us-docker.pkg.dev``, ``europe-...``, ``asia-...``."""
    region: str
    """Where the repository is: ``us``, ``europe`` or ``asia``."""
    optimized: bool = False
    """Whether it is the optimized TensorFlow runtime (``tf_opt``)."""
    tag: str | None = "latest"
    """The tag; Vertex AI supports ``latest`` only. None when the URI has none."""

    @property
    def gpu(self) -> bool:
        """Whether the container is built for GPUs."""
        return self.accelerator == "gpu"


def parse_serving_image(uri: str) -> ServingImage | None:
    """Take the URI of a prebuilt serving container apart.

    Any version is understood, published or not, on both hosts that have held these images.

    Args:
        uri: ``us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest``,
            ``gcr.io/cloud-aiplatform/prediction/tf2-gpu.2-12:latest`` and the like.

    Returns:
        What the URI describes; None when it is not a prebuilt serving container.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        return None
    optimized = match["name"] == "tf_opt"
    # The optimized runtime lives in the restricted repository, the others do not.
    if optimized != bool(match["restricted"]):
        return None
    region = match["region"] or {None: "us", "eu": "europe"}.get(match["gcr"], match["gcr"])
    return ServingImage(
        uri=uri,
        framework=_FRAMEWORK_OF[match["name"]],
        version=match["version"].replace("-", "."),
        accelerator=cast("Accelerator", match["accelerator"]),
        host=match["host"].partition("/")[0],
        region=region,
        optimized=optimized,
        tag=match["tag"],
    )


def published_versions(framework: str) -> tuple[str, ...]:
    """Versions of ``framework`` that have a prebuilt serving container, oldest first.

    Raises:
        InvalidArgument: There are no prebuilt serving containers for ``framework``.
    """
    if not isinstance(framework, str) or framework not in _PUBLISHED:
        raise InvalidArgument(
            "framework",
            framework,
            "has no prebuilt serving container in Vertex AI",
            remedy=f"use one of {', '.join(FRAMEWORKS)}, or give the URI of a container image",
        )
    return _PUBLISHED[framework]


def serving_image(
    framework: str,
    version: str | None = None,
    *,
    gpu: bool = False,
    location: str = "us-central1",
) -> str:
    """The URI of the prebuilt serving container for a framework.

    Args:
        framework: ``tensorflow``, ``sklearn``, ``xgboost`` or ``pytorch``.
        version: Framework version, ``2.12`` or ``2.12.1``; None for the newest published.
        gpu: Whether to take the container built for GPUs.
        location: Region of Vertex AI; the nearest repository is chosen.

    Returns:
        ``us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest`` and the like.

    Raises:
        InvalidArgument: There is no such container.
    """
    versions = published_versions(framework)
    wanted = versions[-1] if version is None else ".".join(version.split(".")[:2])
    if wanted not in versions:
        raise InvalidArgument(
            "version",
            version,
            f"is not a version of a prebuilt {framework} serving container",
            remedy=f"use one of {', '.join(versions)}"
            + (
                "; a SavedModel loads in a TensorFlow that is newer than the one that wrote it, and mostly "
                "in an older one"
                if framework == "tensorflow"
                else ""
            ),
        )
    if gpu and framework not in _WITH_GPU:
        raise InvalidArgument(
            "gpu", gpu, f"is not built for: {framework} serving containers are for CPUs only"
        )
    name = (
        "tf2"
        if framework == "tensorflow" and wanted >= "2"
        else "tf"
        if framework == "tensorflow"
        else framework
    )
    repository = _REPOSITORY_OF.get(location.partition("-")[0], "us")
    kind = "gpu" if gpu else "cpu"
    return f"{repository}-docker.pkg.dev/vertex-ai/prediction/{name}-{kind}.{wanted.replace('.', '-')}:latest"


def check_image(uri: object, argument: str = "image") -> list[Finding]:
    """Whether a container image's URI can be used for serving.

    Args:
        uri: URI of a prebuilt or another container image.
        argument: What the caller calls it.

    Returns:
        What is wrong and what would do; nothing when nothing is wrong.
    """
    if not isinstance(uri, str):
        return [Finding(argument, uri, "is not the URI of a container image")]
    parsed = parse_serving_image(uri)
    if parsed is None:
        return _check_other_image(uri, argument)
    findings = []
    if parsed.tag != "latest":
        findings.append(
            Finding(
                argument,
                uri,
                "is a prebuilt container with a tag that is not 'latest', the only one supported",
                f"use {uri.rpartition(':')[0] or uri}:latest",
            )
        )
    if not parsed.optimized and parsed.version not in _PUBLISHED[parsed.framework]:
        findings.append(
            Finding(
                argument,
                uri,
                f"is not a known prebuilt container: {parsed.framework} {parsed.version}",
                f"use one of {', '.join(_PUBLISHED[parsed.framework])}",
                warning=True,
            )
        )
    return findings


def check_image_on(uri: str, machine: Machine) -> list[Finding]:
    """Whether a serving container and a machine go together.

    Args:
        uri: URI of the model's serving container.
        machine: Machine that it is to run on.

    Returns:
        What is wrong and what would do; nothing for an image that is not prebuilt.
    """
    parsed = parse_serving_image(uri)
    if parsed is None:
        return []
    known = machine_types().get(machine.type)
    has_gpu = machine.accelerator is not None or (
        known is not None and bool(known.built_in and not known.tpu)
    )
    on_tpu = known is not None and known.tpu is not None
    if on_tpu != (parsed.accelerator == "tpu"):
        return [
            Finding(
                "machine",
                machine.type,
                f"has Cloud TPU, which the container {uri} is not built for"
                if on_tpu
                else f"has no Cloud TPU, which the container {uri} is built for",
                "use tf_opt-tpu or pytorch-tpu containers on Cloud TPU machines, and on them only",
            )
        ]
    if has_gpu and not parsed.gpu:
        able = parsed.framework in _WITH_GPU
        return [
            Finding(
                "accelerator",
                machine.accelerator or machine.type,
                f"would be paid for and not used: the model's container {uri} is built for CPUs",
                f"upload the model with {uri.replace('-cpu.', '-gpu.')}, or deploy without an accelerator"
                if able
                else f"deploy without an accelerator: {parsed.framework} models are served on CPUs only",
                warning=able,
            )
        ]
    if parsed.gpu and not has_gpu:
        return [
            Finding(
                "machine",
                machine.type,
                f"has no GPU, which the model's container {uri} is built for",
                f"name an accelerator, or upload the model with {uri.replace('-gpu.', '-cpu.')}",
                warning=True,
            )
        ]
    return []


def _check_other_image(uri: str, argument: str) -> list[Finding]:
    """An image of somebody's own: only that it is in a registry that Vertex AI pulls from."""
    prebuilt = "/vertex-ai/prediction/" in uri or "/cloud-aiplatform/prediction/" in uri
    if not prebuilt and _REGISTRY.match(uri):
        return []
    return [
        Finding(
            argument,
            uri,
            "is not a prebuilt serving container"
            if prebuilt
            else "is not in Artifact Registry, from where Vertex AI pulls containers",
            f"use {serving_image('tensorflow')}, for example; all of them: {DOCUMENTATION}",
        )
    ]
