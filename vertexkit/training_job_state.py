"""A training job as it was when last read."""

from __future__ import annotations

from vertexkit._core.html import described
from vertexkit._core.names import parse_resource_name
from vertexkit.job import Job, took
from vertexkit.job_state import JobState, job_state
from vertexkit.training_body import CUSTOM_JOBS

__all__ = ["TrainingJobState"]


class TrainingJobState(Job):
    """What is known of a training job without asking.

    Two resources of the API are one: a pipeline, which makes a model, and a custom job, which does not.
    """

    @property
    def custom_job(self) -> str | None:
        """Resource name of the CustomJob that runs the program; None as long as there is none."""
        if self._is_custom_job:
            return self.resource_name
        return self._data.get("trainingTaskMetadata", {}).get("backingCustomJob") or None

    @property
    def base_output_dir(self) -> str | None:
        """Where it writes: ``gs://bucket/folder``; None for a job that was told no place."""
        spec = self._data.get("jobSpec" if self._is_custom_job else "trainingTaskInputs", {})
        uri = spec.get("baseOutputDirectory", {}).get("outputUriPrefix", "")
        return str(uri).rstrip("/") or None

    @property
    def model_dir(self) -> str | None:
        """``AIP_MODEL_DIR`` of its replicas, without the slash at its end."""
        return self._below("model")

    @property
    def checkpoint_dir(self) -> str | None:
        """``AIP_CHECKPOINT_DIR`` of its replicas, without the slash at its end."""
        return self._below("checkpoints")

    @property
    def tensorboard_dir(self) -> str | None:
        """``AIP_TENSORBOARD_LOG_DIR`` of its replicas, without the slash at its end."""
        return self._below("logs")

    @property
    def _is_custom_job(self) -> bool:
        return parse_resource_name(self.resource_name).collection == CUSTOM_JOBS

    @property
    def state_as_read(self) -> JobState:
        """Its state when it was last read."""
        state = job_state(self._data.get("state"))
        # The service says of a pipeline whose program has written no model that it failed.
        return JobState.SUCCEEDED if state is JobState.FAILED and self._wrote_no_model else state

    @property
    def _wrote_no_model(self) -> bool:
        message = str(self._data.get("error", {}).get("message", ""))
        return "modelToUpload" in self._data and message.startswith("There are no files under ")

    @property
    def _model_name(self) -> str | None:
        """Name of the model that it made, at the version that it made; None as long as there is none."""
        made = self._data.get("modelToUpload", {})
        name, version = made.get("name"), made.get("versionId")
        return f"{name}@{version}" if name and version and "@" not in name else name or None

    def _below(self, folder: str) -> str | None:
        return None if self.base_output_dir is None else f"{self.base_output_dir}/{folder}"

    def _repr_html_(self) -> str:
        return described(f"Training job {self.display_name}", self._facts)

    @property
    def _facts(self) -> dict[str, str]:
        """What a notebook shows of it."""
        return {
            "state": self.state_as_read.value,
            "name": self.resource_name,
            "created": f"{self.created:%Y-%m-%d %H:%M:%S} UTC",
            "took": took(self.start_time, self.end_time),
            "output": self.base_output_dir or "",
            "model": "none was written" if self._wrote_no_model else self._model_name or "",
            "error": self.error or "",
        }
