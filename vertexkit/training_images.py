"""Vertex AI's prebuilt training containers: their URIs, made and parsed here, and nowhere else.

Source: https://cloud.google.com/vertex-ai/docs/training/pre-built-containers as it stood on
:data:`TABLE_DATE`. Only the standard library is needed: the local Vertex AI parses images too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from vertexkit._core.arguments import text
from vertexkit.errors import Finding, InvalidArgument
from vertexkit.images import published_versions, serving_image

__all__ = [
    "TABLE_DATE",
    "TRAINING_FRAMEWORKS",
    "TrainingImage",
    "check_training_image",
    "check_training_image_on",
    "parse_training_image",
    "published_training_versions",
    "serving_image_for",
    "training_image",
]

TABLE_DATE: Final = "2026-11-22"
DOCUMENTATION: Final = "https://cloud.google.com/vertex-ai/docs/training/pre-built-containers"

# The name that an image's URI has for a framework, and the framework's own, as serving images have it.
_FRAMEWORK_OF: Final = {
    "tf": "tensorflow",
    "scikit-learn": "sklearn",
    "sklearn": "sklearn",
    "xgboost": "xgboost",
    "pytorch": "pytorch",
}

# Name in the URI with its version: the images there are, for CPUs and for GPUs, newest spelling.
_PUBLISHED: Final[dict[str, dict[str, tuple[str | None, str | None]]]] = {
    "tensorflow": {
        version: (f"tf-cpu.{suffix}", f"tf-gpu.{suffix}")
        for version, suffix in (
            ("1.15", "1-15"),
            *((f"2.{minor}", f"2-{minor}") for minor in range(1, 8)),
            *((f"2.{minor}", f"2-{minor}.py310") for minor in (8, 9, *range(11, 18))),
        )
    },
    "pytorch": {
        "1.4": ("pytorch-cpu.1-4", "pytorch-gpu.1-4"),
        **{f"1.{m}": (f"pytorch-xla.1-{m}", f"pytorch-gpu.1-{m}") for m in (6, 7, 9, 10, 11)},
        # One image for both, as the table has it.
        **{f"1.{m}": (f"pytorch-gpu.1-{m}.py310", f"pytorch-gpu.1-{m}.py310") for m in (12, 13)},
        **{f"2.{m}": (f"pytorch-xla.2-{m}.py310", f"pytorch-gpu.2-{m}.py310") for m in range(5)},
    },
    "sklearn": {
        "0.23": ("scikit-learn-cpu.0-23", None),
        "1.0": ("sklearn-cpu.1-0", "sklearn-gpu.1-0"),
        "1.6": ("sklearn-cpu.1-6", "sklearn-gpu.1-6"),
    },
    "xgboost": {
        "1.1": ("xgboost-cpu.1-1", None),
        "1.6": ("xgboost-cpu.1-6", "xgboost-gpu.1-6"),
        "2.1": ("xgboost-cpu.2-1", "xgboost-gpu.2-1"),
    },
}
TRAINING_FRAMEWORKS: Final = tuple(_PUBLISHED)
"""Frameworks that Vertex AI has prebuilt training containers for."""

# Images whose URI does not say so, and that have another Python than the 3.7 of their time.
_PYTHON_3_10: Final = frozenset(
    {("sklearn", "1.0"), ("sklearn", "1.6"), ("xgboost", "1.6"), ("xgboost", "2.1")}
)

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
    (?:
        (?:(?:us|eu|asia)\.)?gcr\.io/cloud-aiplatform        # Container Registry, the older one
      | (?:us|europe|asia)-docker\.pkg\.dev/vertex-ai
    )
    /training/
    (?P<name>tf|scikit-learn|sklearn|xgboost|pytorch)-(?P<kind>cpu|gpu|tpu|xla)
    \.(?P<version>\d+-\d+)(?:\.(?:py|cp)(?P<python>\d{2,3}))?
    (?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?
    """,
    re.VERBOSE,
)
# https://github.com/distribution/reference: registry and path, then a tag, a digest, both or neither.
_REFERENCE = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d+)?/)?"
    r"[a-z0-9]+(?:(?:\.|_|__|-+|/)[a-z0-9]+)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)


@dataclass(frozen=True)
class TrainingImage:
    """A prebuilt training container, as its URI describes it."""

    uri: str
    """The URI as it was given."""
    framework: str
    """``tensorflow``, ``pytorch``, ``sklearn`` or ``xgboost``."""
    version: str
    """Framework version, ``2.12``."""
    gpu: bool = False
    """Whether the container is built for GPUs."""
    python: str = "3.10"
    """Version of Python in it, ``3.10``."""
    tpu: bool = False
    """Whether the container is built for Cloud TPU."""
    tag: str | None = "latest"
    """The tag; Vertex AI supports ``latest`` only. None when the URI has none."""

    @property
    def keras_2(self) -> bool:
        """Whether ``import keras`` means Keras 2 in it: TensorFlow brought Keras 3 with 2.16."""
        return self.framework == "tensorflow" and _numbers(self.version) < (2, 16)


def parse_training_image(uri: str) -> TrainingImage | None:
    """Take the URI of a prebuilt training container apart.

    Any version is understood, published or not, on both hosts that have held these images.

    Args:
        uri: ``us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-12.py310:latest``,
            ``gcr.io/cloud-aiplatform/training/tf-gpu.2-2:latest`` and the like.

    Returns:
        What the URI describes; None when it is not a prebuilt training container.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        return None
    framework = _FRAMEWORK_OF[match["name"]]
    version = match["version"].replace("-", ".")
    digits = match["python"] or ("310" if (framework, version) in _PYTHON_3_10 else "37")
    return TrainingImage(
        uri=uri,
        framework=framework,
        version=version,
        gpu=match["kind"] == "gpu",
        python=f"{digits[0]}.{digits[1:]}",
        tpu=match["kind"] == "tpu",
        tag=match["tag"],
    )


def published_training_versions(framework: str) -> tuple[str, ...]:
    """Versions of ``framework`` that have a prebuilt training container, oldest first.

    Raises:
        InvalidArgument: There are no prebuilt training containers for ``framework``.
    """
    if not isinstance(framework, str) or framework not in _PUBLISHED:
        raise InvalidArgument(
            "framework",
            framework,
            "has no prebuilt training container in Vertex AI",
            remedy=f"use one of {', '.join(TRAINING_FRAMEWORKS)}, or give the URI of a container image",
        )
    return tuple(_PUBLISHED[framework])


def training_image(
    framework: str = "tensorflow",
    version: str | None = None,
    *,
    gpu: bool = False,
    location: str = "us-central1",
) -> str:
    """The URI of the prebuilt training container for a framework.

    Args:
        framework: ``tensorflow``, ``pytorch``, ``sklearn`` or ``xgboost``.
        version: Framework version, ``2.12`` or ``2.12.1``; None for the newest published.
        gpu: Whether to take the container built for GPUs.
        location: Region of Vertex AI; the nearest repository is chosen.

    Returns:
        ``us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest`` and the like.

    Raises:
        InvalidArgument: There is no such container.
    """
    versions = published_training_versions(framework)
    # As a number, 2.10 would be 2.1.
    wanted = ".".join(text("version", version).split(".")[:2]) if version is not None else versions[-1]
    if wanted not in versions:
        raise InvalidArgument(
            "version",
            version,
            f"is not a version of a prebuilt {framework} training container",
            remedy=f"use one of {', '.join(versions)}, or give the URI of a container image",
        )
    name = _PUBLISHED[framework][wanted][1 if gpu else 0]
    if name is None:
        raise InvalidArgument(
            "gpu", gpu, f"is not built for: the {framework} {wanted} training container is for CPUs only"
        )
    repository = _REPOSITORY_OF.get(location.partition("-")[0], "us")
    return f"{repository}-docker.pkg.dev/vertex-ai/training/{name}:latest"


def serving_image_for(image: object, *, framework: str, location: str) -> str:
    """The prebuilt container that serves what was trained in an image: of its version, if there is one.

    Args:
        image: URI of the container that trains.
        framework: The framework, where the image is none of the prebuilt ones.
        location: Region of the model.

    Raises:
        InvalidArgument: There is none for this framework.
    """
    trained_in = parse_training_image(image) if isinstance(image, str) else None
    if trained_in is None:
        return serving_image(framework, location=location)
    version = trained_in.version if trained_in.version in published_versions(trained_in.framework) else None
    return serving_image(trained_in.framework, version, location=location)


def check_training_image(uri: object, argument: str = "image") -> list[Finding]:
    """Whether a container image's URI can be used for training.

    Args:
        uri: URI of a prebuilt or another container image.
        argument: What the caller calls it.

    Returns:
        What is wrong and what would do; nothing when nothing is wrong.
    """
    if not isinstance(uri, str):
        return [Finding(argument, uri, "is not the URI of a container image")]
    parsed = parse_training_image(uri)
    if parsed is None:
        return _check_other_image(uri, argument)
    findings = []
    if parsed.tag != "latest":
        untagged = uri.removesuffix(f":{parsed.tag}")
        findings.append(
            Finding(
                argument,
                uri,
                "is a prebuilt container with a tag that is not 'latest', the only one supported",
                f"use {untagged}:latest",
            )
        )
    if parsed.version not in _PUBLISHED[parsed.framework]:
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


def check_training_image_on(uri: str, *, gpu: bool, argument: str = "image") -> list[Finding]:
    """Whether a training container and a machine go together.

    Args:
        uri: URI of the container that the program runs in.
        gpu: Whether the machine has a GPU, built in or attached.
        argument: What the caller calls the image.

    Returns:
        What is wrong and what would do; nothing for an image that is not prebuilt.
    """
    parsed = parse_training_image(uri)
    # The container for both kinds of machine is named as one for GPUs.
    if parsed is None or parsed.tpu or (parsed.framework, parsed.version) in _FOR_BOTH:
        return []
    if gpu and not parsed.gpu:
        able = _PUBLISHED[parsed.framework].get(parsed.version, (None, None))[1]
        return [
            Finding(
                argument,
                uri,
                "is built for CPUs: the machine's GPU would be paid for and not used",
                f"use {uri.partition('/training/')[0]}/training/{able}:latest, or take no accelerator"
                if able
                else "take no accelerator",
                warning=True,
            )
        ]
    if parsed.gpu and not gpu:
        return [
            Finding(
                argument,
                uri,
                "is built for GPUs, and the machine has none",
                f"name an accelerator, or use {uri.replace('-gpu.', '-cpu.')}",
                warning=True,
            )
        ]
    return []


_FOR_BOTH: Final = frozenset(
    (framework, version)
    for framework, versions in _PUBLISHED.items()
    for version, (cpu, gpu) in versions.items()
    if cpu == gpu
)


def _check_other_image(uri: str, argument: str) -> list[Finding]:
    """An image of somebody's own, from Artifact Registry or Docker Hub."""
    example = f"use {training_image()}, for example; all of them: {DOCUMENTATION}"
    if "/vertex-ai/prediction/" in uri or "/cloud-aiplatform/prediction/" in uri:
        return [Finding(argument, uri, "is a container for serving, not for training", example)]
    if "/vertex-ai/training/" in uri or "/cloud-aiplatform/training/" in uri:
        return [Finding(argument, uri, "is not a prebuilt training container", example)]
    if _REFERENCE.fullmatch(uri):
        return []
    return [Finding(argument, uri, "is not the URI of a container image", example)]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
