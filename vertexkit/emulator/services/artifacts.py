"""What Vertex AI checks of an artifact before it takes a model."""

from __future__ import annotations

from vertexkit._core.names import GcsUri, parse_gcs_uri
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.gcs.store import ObjectStore
from vertexkit.emulator.messages import Raw
from vertexkit.emulator.validation import invalid_field
from vertexkit.images import parse_serving_image

# Source: https://cloud.google.com/vertex-ai/docs/training/exporting-model-artifacts
_EXPECTED = {
    "tensorflow": ("saved_model.pb", "saved_model.pbtxt"),
    "sklearn": ("model.pkl", "model.joblib"),
    "xgboost": ("model.bst", "model.pkl", "model.joblib"),
    "pytorch": ("model.mar",),
}


def artifact_folder(uri: str, field: str = "model.artifact_uri") -> GcsUri:
    """The folder that an artifact URI names, without a trailing slash.

    Raises:
        ApiError: INVALID_ARGUMENT, it is not a ``gs://`` URI.
    """
    try:
        parsed = parse_gcs_uri(uri)
    except ValueError as error:
        raise invalid_field(field, f"{error}") from None
    return GcsUri(parsed.bucket, parsed.name.strip("/"))


def check_artifact(objects: ObjectStore, uri: str, image_uri: str) -> None:
    """Refuse an artifact that is not there, or is not what the image would load.

    Args:
        objects: The local Cloud Storage.
        uri: The artifact's folder; empty for a container that brings its model with it.
        image_uri: The serving container's image; any image is taken here, as Vertex AI does.

    Raises:
        ApiError: INVALID_ARGUMENT, the URI is missing or malformed; NOT_FOUND, there is no such bucket;
            FAILED_PRECONDITION, the folder does not hold what the prebuilt container loads.
    """
    image = parse_serving_image(image_uri)
    if not uri:
        if image is not None:
            raise invalid_field("model.artifact_uri", "A prebuilt container needs the model's artifact.")
        return
    folder = artifact_folder(uri)
    if not objects.bucket_exists(folder.bucket):
        raise ApiError(Code.NOT_FOUND, f"The bucket gs://{folder.bucket} of {uri} does not exist.")
    below = f"{folder.name}/" if folder.name else ""
    names = {found.name[len(below) :] for found in objects.list(folder.bucket, below)}
    expected = () if image is None else _EXPECTED[image.framework]
    if image is not None and len(names.intersection(expected)) != 1:
        raise ApiError(
            Code.FAILED_PRECONDITION,
            f"Model directory {folder} is expected to contain exactly one of: [{', '.join(expected)}].",
        )
    if not names - {""}:
        raise ApiError(Code.FAILED_PRECONDITION, f"Model directory {folder} is empty, or does not exist.")


def check_schemata(objects: ObjectStore, schemata: Raw) -> None:
    """Refuse schemata that name an object which is not there.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    for name in ("instance_schema_uri", "parameters_schema_uri", "prediction_schema_uri"):
        uri, field = getattr(schemata, name), f"model.predict_schemata.{name}"
        if not uri.startswith("gs://"):
            continue
        named = artifact_folder(uri, field)
        if not objects.bucket_exists(named.bucket) or not any(
            found.name == named.name for found in objects.list(named.bucket, named.name)
        ):
            raise invalid_field(field, f"{uri} does not exist.")
