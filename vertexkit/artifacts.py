"""What a model's artifact must hold for the prebuilt serving containers to load it.

Source: https://cloud.google.com/vertex-ai/docs/training/exporting-model-artifacts
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from vertexkit._core.names import is_gcs_uri, parse_gcs_uri
from vertexkit.errors import Finding, InvalidArgument
from vertexkit.images import parse_serving_image
from vertexkit.saved_model import read_saved_model

__all__ = ["check_artifact"]

# One of these must lie at the top of the artifact.
_ENTRY_POINTS: Final = {
    "tensorflow": ("saved_model.pb",),
    "sklearn": ("model.joblib", "model.pkl"),
    "xgboost": ("model.bst", "model.joblib", "model.pkl"),
    "pytorch": ("model.mar",),
}


def check_artifact(
    artifact: str | Path,
    *,
    image: str | None = None,
    objects: Collection[str] | None = None,
    argument: str = "artifact",
) -> list[Finding]:
    """Whether a serving container could load this artifact.

    Args:
        artifact: Local folder or ``gs://`` URI.
        image: URI of the serving container; None for TensorFlow's. What a container that is not
            prebuilt needs is its own business.
        objects: Names of the objects below a ``gs://`` artifact, relative to it; None when nobody has
            looked, which checks the URI only.
        argument: What the caller calls the artifact.

    Returns:
        What is wrong and what would do; nothing when nothing is wrong.
    """
    framework: str | None = "tensorflow"
    if image is not None:
        parsed = parse_serving_image(image)
        framework = None if parsed is None else parsed.framework
    if isinstance(artifact, str) and is_gcs_uri(artifact):
        return _check_remote(artifact, framework, objects, argument)
    return _check_folder(Path(artifact), framework, argument)


def _check_remote(
    uri: str, framework: str | None, objects: Collection[str] | None, argument: str
) -> list[Finding]:
    try:
        parse_gcs_uri(uri)
    except ValueError as error:
        return [Finding(argument, uri, str(error))]
    if objects is None:
        return []
    if not objects:
        return [Finding(argument, uri, "holds no object", "upload the artifact, or give its folder")]
    if framework is None or any(name in objects for name in _ENTRY_POINTS[framework]):
        return []
    below = sorted(
        name.rpartition("/")[0] for name in objects if name.rpartition("/")[2] in _ENTRY_POINTS[framework]
    )
    remedy = f"use {uri.rstrip('/')}/{below[0]}" if below else _export_remedy(framework)
    return [Finding(argument, uri, _missing(framework), remedy)]


def _check_folder(folder: Path, framework: str | None, argument: str) -> list[Finding]:
    if framework == "tensorflow":
        try:
            found = read_saved_model(folder, argument=argument)
        except InvalidArgument as error:
            return [Finding(argument, str(folder), error.problem, error.remedy)]
        weights = folder / "variables"
        if not found.has_weights or (
            (weights / "variables.index").is_file() and any(weights.glob("variables.data-*"))
        ):
            return []
        problem = (
            "has no weights: variables/variables.index and variables/variables.data-* are not both there"
        )
        remedy = "copy the whole folder that the model was exported to, or export it again"
        return [Finding(argument, str(folder), problem, remedy)]
    if not folder.is_dir():
        problem = "is a file, and an artifact is a folder" if folder.exists() else "does not exist"
        return [Finding(argument, str(folder), problem)]
    if framework is None or any((folder / name).is_file() for name in _ENTRY_POINTS[framework]):
        return []
    return [Finding(argument, str(folder), _missing(framework))]


def _missing(framework: str) -> str:
    return f"holds no {' or '.join(_ENTRY_POINTS[framework][:2])}, which a {framework} container loads"


def _export_remedy(framework: str) -> str | None:
    if framework != "tensorflow":
        return None
    return (
        "export the Keras model with model.export(folder), "
        "or use tf.saved_model.save(model, folder, signatures=...)"
    )
