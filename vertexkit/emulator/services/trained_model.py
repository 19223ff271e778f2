"""The model that a training pipeline uploads once its job has succeeded."""

from __future__ import annotations

from typing import Final

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.gcs.store import ObjectStore
from vertexkit.emulator.messages import Raw, UploadModelRequest, UploadModelResponse
from vertexkit.emulator.services.artifacts import artifact_folder
from vertexkit.emulator.services.model import ModelService
from vertexkit.emulator.services.model_registry import VERSIONS, ModelRegistry
from vertexkit.emulator.store import Store
from vertexkit.emulator.validation import canonical_name, invalid_field

_MODEL_FOLDER: Final = "model"
"""What AIP_MODEL_DIR is called below the base output directory."""


class TrainedModels:
    """Uploads the models of pipelines.

    Args:
        store: Where models are kept.
        objects: The local Cloud Storage, which holds the artifacts.
        models: What uploads models.
    """

    def __init__(self, store: Store, objects: ObjectStore, models: ModelService) -> None:
        self._store = store
        self._objects = objects
        self._models = models
        self._registry = ModelRegistry(store)

    def check(self, parent: str, pipeline: Raw, spec: Raw) -> None:
        """Refuse a pipeline whose model could not be uploaded, whatever its job writes.

        Args:
            parent: The location.
            pipeline: The TrainingPipeline of the request, which has a model to upload.
            spec: The CustomJobSpec of its job.

        Raises:
            ApiError: INVALID_ARGUMENT; NOT_FOUND, there is no such parent model; ALREADY_EXISTS, there
                is a model of that id; UNIMPLEMENTED.
        """
        of = self._models.check_upload(_request(parent, pipeline))
        if not pipeline.parent_model and self._registry.has(str(of)):
            raise ApiError(Code.ALREADY_EXISTS, f"The Model {of} already exists.")
        if not _artifact_uri(pipeline, spec):
            raise invalid_field(
                "training_pipeline.training_task_inputs.base_output_directory",
                "Required field is not set: the model to upload is what the job writes to its AIP_MODEL_DIR.",
            )
        if pipeline.model_to_upload.artifact_uri:
            artifact_folder(pipeline.model_to_upload.artifact_uri, "training_pipeline.model_to_upload")

    def upload(self, pipeline: Raw, spec: Raw) -> None:
        """Upload the model that a job has written, and note in its pipeline what it is called.

        To be called in a transaction, which is to be given up when this raises.

        Args:
            pipeline: The TrainingPipeline, whose ``model_to_upload`` gets name, version and artifact.
            spec: The CustomJobSpec of its job.

        Raises:
            ApiError: NOT_FOUND, nothing has been written; as UploadModel for what does not fit its image.
        """
        uri = _artifact_uri(pipeline, spec)
        folder = artifact_folder(uri)
        below = f"{folder.name}/" if folder.name else ""
        if not self._objects.bucket_exists(folder.bucket) or not any(
            found.name != below for found in self._objects.list(folder.bucket, below)
        ):
            raise ApiError(Code.NOT_FOUND, f'There are no files under "{folder}" to copy.')
        request = _request(canonical_name(pipeline.name, "trainingPipelines").parent, pipeline)
        request.model.artifact_uri = str(folder)
        response = UploadModelResponse()
        self._models.UploadModel(request).response.Unpack(response)
        version = self._registry.version(
            canonical_name(f"{response.model}@{response.model_version_id}", "models")
        )
        version.training_pipeline = pipeline.name
        self._store.replace(VERSIONS, version, touch=False)
        uploaded = pipeline.model_to_upload
        uploaded.name, uploaded.version_id = response.model, response.model_version_id
        uploaded.artifact_uri = request.model.artifact_uri


def _request(parent: str, pipeline: Raw) -> Raw:
    request = UploadModelRequest(
        parent=parent, model_id=pipeline.model_id, parent_model=pipeline.parent_model
    )
    request.model.CopyFrom(pipeline.model_to_upload)
    return request


def _artifact_uri(pipeline: Raw, spec: Raw) -> str:
    """Where the model is once the job has succeeded; empty when nothing says so."""
    if pipeline.model_to_upload.artifact_uri:
        return str(pipeline.model_to_upload.artifact_uri)
    base = spec.base_output_directory.output_uri_prefix.rstrip("/")
    return f"{base}/{_MODEL_FOLDER}" if base else ""
