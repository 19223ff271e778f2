"""One training job: waited for, looked into, cancelled, deleted.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.trainingPipelines and
https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.customJobs
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from vertexkit._core.deletion import delete_resource
from vertexkit._core.names import parse_resource_name
from vertexkit.errors import Cancelled, NotFound, TrainingFailed
from vertexkit.job_state import JobState, job_state
from vertexkit.job_wait import Stream, followed
from vertexkit.training_job_state import TrainingJobState

if TYPE_CHECKING:
    from pandas import DataFrame

    from vertexkit._core.context import Context
    from vertexkit.job_logs import JobLogs, LogFollower, LogLine
    from vertexkit.model import Model
    from vertexkit.tensorboard import TensorBoard
    from vertexkit.training_outputs import Checkpoint

__all__ = ["CustomTrainingJob"]

_log = logging.getLogger("vertexkit")


class CustomTrainingJob(TrainingJobState):
    """A training job, running or over; `Training.run` makes one, `Training.get` finds one.

    Its properties are as last read, but for `state` and `model`; `refresh` reads them again. One that wrote
    no model has SUCCEEDED, and its `model` is None.
    """

    def __init__(self, context: Context, data: Mapping[str, Any]) -> None:
        """Wrap a resource as REST gives it; use `Training` to get one."""
        super().__init__(context, data)
        self._model: Model | None = None
        self._told = False

    @property
    def model(self) -> Model | None:
        """The model that it made, at the version that it made.

        None as long as it is not over, if it failed, if it wrote nothing to ``AIP_MODEL_DIR``, if it was run
        with ``model=False``, and when the model has been deleted.
        """
        from vertexkit.model import Model

        if self._model is not None or self.state is not JobState.SUCCEEDED:
            return self._model
        name = self._model_name
        if name is not None:
            with suppress(NotFound):
                data = self._context.clients.http_json("GET", name, resource=name)
                self._model = Model(self._context, data)
        return self._model

    def wait(self, timeout: float | None = None, *, logs: bool | Stream = False) -> CustomTrainingJob:
        """Wait until it is over.

        On a terminal, Ctrl-C asks whether to leave it running or to cancel it; elsewhere it cancels.

        Args:
            timeout: Seconds to wait; None for as long as it takes.
            logs: Whether to print its log from the beginning on, each line with its replica, as it comes:
                True for standard output, ``"stderr"`` for standard error.

        Returns:
            Itself.

        Raises:
            DeadlineExceeded: It is not over yet; it goes on.
            TrainingFailed: It failed, or its own timeout was over.
            Cancelled: Somebody has cancelled it.
        """
        self._wait(timeout, logs)
        return self

    def result(self, timeout: float | None = None) -> Model | None:
        """Wait until it is over, and give the model that it made; None if it made none.

        Args:
            timeout: Seconds to wait; None for as long as it takes.

        Raises:
            VertexkitError: As `wait`.
        """
        return self.wait(timeout).model

    def delete(self) -> None:
        """Delete it with its logs, once it is over. Its model and what it has written stay.

        Gone already is no error.

        Raises:
            FailedPrecondition: It is not over.
        """
        with suppress(NotFound):
            self._require_over()
            delete_resource(self._context, self.resource_name)
        if self.custom_job not in (None, self.resource_name):
            with suppress(NotFound):
                delete_resource(self._context, str(self.custom_job))
        self._context.created.forget(self.resource_name)

    def logs(self, replica: str | None = None, *, follow: bool = False) -> Iterator[LogLine]:
        """What its replicas have printed, the oldest line first; little of it is in memory at a time.

        Args:
            replica: Whose lines alone, such as ``"workerpool1-0"``; by default everybody's.
            follow: Whether to go on until the job is over, with each line as it comes.

        Raises:
            InvalidArgument: There can be no replica of that name.
        """
        from vertexkit.job_logs import check_replica

        check_replica(replica)
        if not follow:
            found = self._logs()
            return iter(()) if found is None else found.read(replica)
        lines = followed(self, log_seconds=self._context.target.log_poll_seconds)
        # That the log cannot be read concerns every replica.
        return (line for line in lines if replica is None or line.replica in (replica, "vertexkit"))

    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints that it has written to ``AIP_CHECKPOINT_DIR``, the newest last."""
        from vertexkit.training_outputs import checkpoints

        return [] if self.checkpoint_dir is None else checkpoints(self._context, self.checkpoint_dir)

    def metrics(self) -> DataFrame:
        """The scalars that it has written to ``AIP_TENSORBOARD_LOG_DIR``, while it runs or afterwards.

        Returns:
            A row for each value: ``run`` (``train``, ``validation``), ``tag`` (``epoch_loss``), ``step``,
            ``wall_time`` (UTC) and ``value``. No rows where nothing is written.

        Raises:
            ConfigurationError: pandas is not installed.
        """
        from vertexkit.training_outputs import metrics

        return metrics(self._context, self._tensorboard_uri())

    def plot(self) -> Any:
        """Draw its metrics, a plot for each tag.

        Returns:
            The ``matplotlib.figure.Figure``, which a notebook shows.

        Raises:
            NotFound: It has written none.
            ConfigurationError: pandas or matplotlib is not installed.
        """
        from vertexkit.metrics_plot import plot

        metrics = self.metrics()
        if metrics.empty:
            raise NotFound(
                "the job has written no scalars",
                resource=self._tensorboard_uri(),
                remedy="let the program write some for TensorBoard to AIP_TENSORBOARD_LOG_DIR",
            )
        return plot(metrics)

    def tensorboard(self) -> TensorBoard:
        """Start TensorBoard on what it has written for it, while it runs or afterwards.

        Returns:
            TensorBoard, which a notebook shows; a context manager, at its ``url``.
        """
        from vertexkit.tensorboard import open_tensorboard

        return open_tensorboard(self._context, self._tensorboard_uri())

    # -- what `job_wait.py` waits for ----------------------------------------------------------

    @property
    def description(self) -> str:
        """What one sees while it is waited for."""
        return f"Training {self.display_name}"

    @property
    def found_again(self) -> str:
        """How another process finds it."""
        return f'session.training.get("{self.resource_name}")'

    def follower(self) -> LogFollower | None:
        """What follows its logs; None before there are any."""
        found = self._logs()
        return None if found is None else found.follow()

    def settle(self) -> None:
        """Raise the error that it ended with; say so if it succeeded without a model."""
        state, message = self.state_as_read, str(self._data.get("error", {}).get("message", ""))
        if state is JobState.SUCCEEDED:
            if self._wrote_no_model and not self._told:
                self._told = True
                _log.warning(
                    "The training succeeded, but wrote no model to AIP_MODEL_DIR (%s/)", self.model_dir
                )
            return
        if state is JobState.CANCELLED and "timeout" not in message.lower():
            raise Cancelled("the job was cancelled", resource=self.resource_name)
        if state.ended and state is not JobState.PARTIALLY_SUCCEEDED:
            message = message or f"the job ended as {state}"
            found = self._logs()
            if found is None:
                raise TrainingFailed(message, job=self.resource_name)
            if self._program_succeeded():
                raise TrainingFailed(
                    f"the program succeeded, but no model could be made of what it wrote: {message}",
                    job=self.resource_name,
                    remedy="write a SavedModel to AIP_MODEL_DIR, or name what serves it with serving_image=; "
                    f"it wrote to {self.model_dir}",
                )
            from vertexkit.training_failure import training_failed

            raise training_failed(job=self.resource_name, message=message, logs=found)

    # -- for vertexkit's own use ---------------------------------------------------------------

    def _discard(self) -> None:
        """Delete it and its model, whatever it is doing: what `Session.cleanup` is for."""
        self._stop()
        model = self.model
        if model is not None:
            model.delete()
        self.delete()

    def _program_succeeded(self) -> bool:
        """Whether the custom job of a pipeline has succeeded, whatever became of the pipeline."""
        name = self.custom_job
        if name is None or name == self.resource_name:
            return False
        with suppress(NotFound):
            data = self._context.clients.http_json("GET", name, resource=name)
            return job_state(data.get("state")) is JobState.SUCCEEDED
        return False

    def _logs(self) -> JobLogs | None:
        from vertexkit.job_logs import JobLogs

        if self.custom_job is None and not self.state_as_read.ended:
            self.refresh()
        if self.custom_job is None:
            return None
        return JobLogs(self._context, parse_resource_name(self.custom_job).id)

    def _tensorboard_uri(self) -> str:
        if self.tensorboard_dir is None:
            raise NotFound("the job was told no place to write to", resource=self.resource_name)
        return self.tensorboard_dir
