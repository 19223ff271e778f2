"""What stands for a prebuilt image's framework here: the one that the emulator's environment has."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from typing import Final

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.training_images import TrainingImage

__all__ = ["FRAMEWORK_PACKAGES", "check_framework", "in_place_of", "what_runs"]

_UNKNOWN: Final = "(version unknown)"
_TENSORFLOW: Final = ("tensorflow", "tensorflow-cpu", "tf-nightly", "tf-nightly-cpu")
_KERAS: Final = ("keras", "keras-nightly")
_TF_KERAS: Final = ("tf-keras", "tf-keras-nightly")
# Package that a requirement may name: the packages of which one is installed in its place.
_IN_PLACE_OF: Final = {
    **dict.fromkeys((*_TENSORFLOW, "tensorflow-gpu", "tensorflow-intel", "tf-nightly-gpu"), _TENSORFLOW),
    **dict.fromkeys(_KERAS, _KERAS),
    **dict.fromkeys(_TF_KERAS, _TF_KERAS),
}
FRAMEWORK_PACKAGES: Final = frozenset(_IN_PLACE_OF)
"""Packages that the image brings: a requirement of another version of one of them does not replace it."""

# Framework: the module that it is, its name in a sentence, and the packages that bring that module.
_FRAMEWORKS: Final = {
    "tensorflow": (
        "tensorflow",
        "TensorFlow",
        _TENSORFLOW,
    ),
    "pytorch": ("torch", "PyTorch", ("torch",)),
    "sklearn": ("sklearn", "scikit-learn", ("scikit-learn",)),
    "xgboost": ("xgboost", "XGBoost", ("xgboost", "xgboost-cpu")),
}


def in_place_of(package: str, image: TrainingImage) -> tuple[str, str]:
    """Name and version of the package that runs where a requirement names one of the image's own.

    Args:
        package: One of :data:`FRAMEWORK_PACKAGES`.
        image: The image that the job runs in.
    """
    names = _TF_KERAS if image.keras_2 and package in _KERAS else _IN_PLACE_OF[package]
    return next(((name, version) for name in names if (version := _version(name))), (names[0], _UNKNOWN))


def check_framework(image: TrainingImage) -> None:
    """Refuse an image whose framework is not installed where the emulator runs.

    Raises:
        ApiError: UNIMPLEMENTED, with what would do.
    """
    if image.tpu:
        raise ApiError(
            Code.UNIMPLEMENTED,
            f"The container {image.uri} is built for Cloud TPU, which the local Vertex AI does not have: use "
            "the container for CPUs or GPUs.",
        )
    module, name, packages = _FRAMEWORKS[image.framework]
    if importlib.util.find_spec(module) is None:
        raise ApiError(
            Code.UNIMPLEMENTED,
            f"The container {image.uri} has {name}, which is not installed where the local Vertex AI runs: "
            f"install {packages[0]} in its environment, or use a container with TensorFlow.",
        )


def what_runs(image: TrainingImage) -> str:
    """One line: the versions that really run in place of the image's."""
    _, name, packages = _FRAMEWORKS[image.framework]
    line = (
        f"The image has {name} {image.version} and Python {image.python}; "
        f"here the program runs with {name} {_installed(packages)} and Python {platform.python_version()}"
    )
    if image.keras_2:
        line += f", and keras is tf_keras {_installed(_TF_KERAS)}, the Keras 2 of the image"
    return line + "."


def _installed(packages: tuple[str, ...]) -> str:
    return next((version for package in packages if (version := _version(package))), _UNKNOWN)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
