"""PipelineService: training pipelines, which run a CustomJob and upload the model that it writes.

See https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#pipelineservice
"""

from __future__ import annotations

import logging
from typing import Final

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.filters import Filterable
from vertexkit.emulator.messages import (
    CustomJob,
    DeleteOperationMetadata,
    Empty,
    JobState,
    ListTrainingPipelinesResponse,
    PipelineState,
    Raw,
    TrainingPipeline,
)
from vertexkit.emulator.operations import Operations
from vertexkit.emulator.services.custom_jobs import CustomJobs
from vertexkit.emulator.services.job_verdict import check_deletable
from vertexkit.emulator.services.listing import JOB_FIELDS, list_page, resource_id
from vertexkit.emulator.services.timestamps import set_now
from vertexkit.emulator.services.trained_model import TrainedModels
from vertexkit.emulator.services.training_inputs import check_definition, parse_inputs, shown_inputs
from vertexkit.emulator.store import Kind, Store
from vertexkit.emulator.validation import (
    canonical_location,
    canonical_name,
    check_display_name,
    check_labels,
    invalid_field,
    new_id,
)

_LOGGER = logging.getLogger(__name__)

PIPELINES = Kind("trainingPipelines", TrainingPipeline, "TrainingPipeline")

_ENDED: Final = frozenset(
    {
        PipelineState.PIPELINE_STATE_SUCCEEDED,
        PipelineState.PIPELINE_STATE_FAILED,
        PipelineState.PIPELINE_STATE_CANCELLED,
    }
)
_AS_ITS_JOB: Final = {
    JobState.JOB_STATE_FAILED: PipelineState.PIPELINE_STATE_FAILED,
    JobState.JOB_STATE_CANCELLED: PipelineState.PIPELINE_STATE_CANCELLED,
}
_JOB: Final = "backingCustomJob"
_FILTER = Filterable(
    TrainingPipeline,
    JOB_FIELDS | {"training_task_definition"},
    {"training_pipeline": resource_id},
)
_GIVEN: Final = (
    "display_name",
    "model_id",
    "parent_model",
    "training_task_definition",
)


class PipelineService:
    """Answers the RPCs that it has a method for. Safe to use from any thread.

    Args:
        store: Where pipelines are kept.
        operations: Where long-running operations are kept.
        jobs: The CustomJobs, which do the work.
        models: What uploads the models.
    """

    def __init__(self, store: Store, operations: Operations, jobs: CustomJobs, models: TrainedModels) -> None:
        self._store = store
        self._operations = operations
        self._jobs = jobs
        self._models = models
        jobs.follow(PIPELINES.collection, self._follow)

    def restore(self) -> None:
        """Have pipelines catch up with jobs that ended as the local Vertex AI stopped.

        To be called after ``CustomJobs.restore``.
        """
        for pipeline in self._store.all(PIPELINES):
            if pipeline.state not in _ENDED:
                job = self._jobs.find(_job_of(pipeline))
                if job is None:
                    self._end(pipeline.name, _deleted(_job_of(pipeline)))
                else:
                    self._follow(pipeline.name, job)

    def CreateTrainingPipeline(self, request: Raw) -> Raw:
        """Create a training pipeline, which begins at once."""
        parent = canonical_location(request.parent)
        asked = request.training_pipeline
        check_display_name(asked.display_name, "training_pipeline.display_name")
        check_labels(asked.labels, "training_pipeline.labels")
        check_definition(asked.training_task_definition)
        if asked.HasField("encryption_spec"):
            raise ApiError(
                Code.UNIMPLEMENTED, "The local Vertex AI does not support training_pipeline.encryption_spec."
            )
        if asked.HasField("input_data_config"):
            _check_data(parent, asked.input_data_config)
        spec = parse_inputs(asked.training_task_inputs)
        if asked.HasField("model_to_upload"):
            self._models.check(parent, asked, spec)
        elif asked.model_id or asked.parent_model:
            raise invalid_field(
                "training_pipeline.model_to_upload",
                "Required field is not set: model_id and parent_model say where it goes.",
            )
        pipeline = TrainingPipeline(
            name=f"{parent}/trainingPipelines/{new_id()}", state=PipelineState.PIPELINE_STATE_PENDING
        )
        for field in _GIVEN:
            setattr(pipeline, field, getattr(asked, field))
        pipeline.labels.update(asked.labels)
        pipeline.training_task_inputs.CopyFrom(shown_inputs(spec))
        if asked.HasField("model_to_upload"):
            pipeline.model_to_upload.CopyFrom(asked.model_to_upload)
            # Only the service may say what it is called.
            pipeline.model_to_upload.name = pipeline.model_to_upload.version_id = ""
        job = CustomJob(display_name=_job_display_name(asked.display_name))
        job.job_spec.CopyFrom(spec)
        job.labels.update(asked.labels)
        prepared = self._jobs.prepare(request.parent, job, owner=pipeline.name)
        pipeline.training_task_metadata.struct_value.update({_JOB: prepared.job.name})
        with self._store.transaction():
            self._store.insert(PIPELINES, parent, pipeline)
            self._jobs.add(prepared)
        self._jobs.begin(prepared)
        return self._store.get(PIPELINES, pipeline.name)

    def GetTrainingPipeline(self, request: Raw) -> Raw:
        """Get a training pipeline."""
        return self._store.get(PIPELINES, str(canonical_name(request.name, "trainingPipelines")))

    def ListTrainingPipelines(self, request: Raw) -> Raw:
        """List the training pipelines of a location."""
        pipelines, token = list_page(
            self._store,
            PIPELINES,
            canonical_location(request.parent),
            request,
            filterable=_FILTER,
            view=lambda pipeline: pipeline,
        )
        return ListTrainingPipelinesResponse(training_pipelines=pipelines, next_page_token=token)

    def CancelTrainingPipeline(self, request: Raw) -> Raw:
        """Have a training pipeline end, and its job; one that has ended stays as it is."""
        name = str(canonical_name(request.name, "trainingPipelines"))
        with self._store.transaction():
            pipeline = self._store.get(PIPELINES, name)
            if pipeline.state in _ENDED:
                return Empty()
            pipeline.state = PipelineState.PIPELINE_STATE_CANCELLING
            self._store.replace(PIPELINES, pipeline)
        self._jobs.cancel(_job_of(pipeline))
        return Empty()

    def DeleteTrainingPipeline(self, request: Raw) -> Raw:
        """Delete a training pipeline that has ended; its job and its model stay."""
        name = str(canonical_name(request.name, "trainingPipelines"))
        with self._store.transaction():
            pipeline = self._store.get(PIPELINES, name)
            check_deletable(PIPELINES, pipeline, _ENDED)
            self._store.delete(PIPELINES, name)
            return self._operations.done(name, DeleteOperationMetadata(), Empty())

    def _follow(self, name: str, job: Raw) -> None:
        """Go where the job has gone; does nothing when the pipeline is there already."""
        if job.state == JobState.JOB_STATE_SUCCEEDED:
            self._upload(name, job)
        elif job.state in _AS_ITS_JOB:
            self._end(name, job)
        elif job.state == JobState.JOB_STATE_RUNNING:
            self._run(name)
        elif job.state == JobState.JOB_STATE_CANCELLING:
            self._cancelling(name)

    def _run(self, name: str) -> None:
        with self._store.transaction():
            pipeline = self._store.find(PIPELINES, name)
            if pipeline is None or pipeline.state != PipelineState.PIPELINE_STATE_PENDING:
                return
            pipeline.state = PipelineState.PIPELINE_STATE_RUNNING
            set_now(pipeline.start_time)
            self._store.replace(PIPELINES, pipeline)

    def _cancelling(self, name: str) -> None:
        with self._store.transaction():
            pipeline = self._store.find(PIPELINES, name)
            if pipeline is not None and pipeline.state not in _ENDED:
                pipeline.state = PipelineState.PIPELINE_STATE_CANCELLING
                self._store.replace(PIPELINES, pipeline)

    def _upload(self, name: str, job: Raw) -> None:
        """End in success, with the model in the same step; in failure when there is none to upload."""
        try:
            with self._store.transaction():
                pipeline = self._store.find(PIPELINES, name)
                if pipeline is None or pipeline.state in _ENDED:
                    return
                if pipeline.HasField("model_to_upload"):
                    self._models.upload(pipeline, job.job_spec)
                pipeline.state = PipelineState.PIPELINE_STATE_SUCCEEDED
                set_now(pipeline.end_time)
                self._store.replace(PIPELINES, pipeline)
            return
        except ApiError as refused:
            error = refused
        except Exception as broken:
            # A defect of ours: the pipeline must end all the same, and say what happened.
            _LOGGER.exception("the model of %s was not uploaded", name)
            error = ApiError(Code.INTERNAL, f"{type(broken).__name__}: {broken}")
        failed = CustomJob(state=JobState.JOB_STATE_FAILED)
        failed.error.code, failed.error.message = error.code.number, error.message
        self._end(name, failed)

    def _end(self, name: str, job: Raw) -> None:
        """End as a job did that has not succeeded."""
        with self._store.transaction():
            pipeline = self._store.find(PIPELINES, name)
            if pipeline is None or pipeline.state in _ENDED:
                return
            pipeline.state = _AS_ITS_JOB[job.state]
            pipeline.error.CopyFrom(job.error)
            set_now(pipeline.end_time)
            self._store.replace(PIPELINES, pipeline)


def _job_of(pipeline: Raw) -> str:
    return str(pipeline.training_task_metadata.struct_value[_JOB])


def _job_display_name(display_name: str) -> str:
    suffix = "-custom-job"
    return display_name[: 128 - len(suffix)] + suffix


def _check_data(parent: str, data: Raw) -> None:
    """Refuse a managed dataset, none of which there is."""
    if not data.dataset_id:
        raise invalid_field("training_pipeline.input_data_config.dataset_id", "Required field is not set.")
    raise ApiError(Code.NOT_FOUND, f"The Dataset {parent}/datasets/{data.dataset_id} does not exist.")


def _deleted(job_name: str) -> Raw:
    gone = CustomJob(state=JobState.JOB_STATE_FAILED)
    gone.error.code = Code.NOT_FOUND.number
    gone.error.message = f"The CustomJob {job_name} does not exist."
    return gone
