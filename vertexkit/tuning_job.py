"""One tuning job: waited for, looked into, cancelled, deleted.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.hyperparameterTuningJobs
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from vertexkit._core.printable import printable
from vertexkit.errors import Cancelled, InvalidArgument, NotFound, ServiceError, TuningFailed
from vertexkit.failure_causes import remedy_for
from vertexkit.job_state import JobState
from vertexkit.job_wait import Display, Follower, Stream, followed
from vertexkit.search_progress import shown
from vertexkit.trials import Trial, Trials, TrialState
from vertexkit.tuning_job_state import TuningJobState

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from vertexkit.job_logs import LogLine

__all__ = ["HyperparameterTuningJob"]

_log = logging.getLogger("vertexkit")

_NAMED = 10
"""Trials that an error names."""
_LAST_LINES = 20


class HyperparameterTuningJob(TuningJobState):
    """A hyperparameter tuning job, running or over; `Tuning.run` makes one, `Tuning.get` finds one.

    Its properties are as last read, but for `state`, `trials`, `best` and `optimal`; `refresh` reads them
    again.
    """

    @property
    def trials(self) -> Trials:
        """The trials so far, as of now: a sequence with ``best()``, ``optimal()`` and ``to_frame()``."""
        self.poll(None)
        return self.trials_as_read

    @property
    def best(self) -> Trial | None:
        """The best trial so far; None as long as none has succeeded.

        Raises:
            InvalidArgument: The job has several metrics: use `best_of` or `optimal`.
        """
        return self.trials.best()

    @property
    def optimal(self) -> Trials:
        """The trials so far that no other one beats: the Pareto set of several metrics."""
        return self.trials.optimal()

    def best_of(self, metric: str) -> Trial | None:
        """The trial that is best by one of several metrics; None as long as none has succeeded.

        Raises:
            InvalidArgument: The job has no such metric.
        """
        return self.trials.best(metric)

    def trial(self, name: str | int) -> Trial:
        """One trial.

        Args:
            name: Its id.

        Raises:
            NotFound: There is none.
        """
        self._look_for_stops()
        for trial in self.trials_as_read:
            if trial.id == str(name):
                return trial
        for trial in self.trials:
            if trial.id == str(name):
                return trial
        raise NotFound(f"there is no trial {name}", resource=self.resource_name)

    def to_frame(self) -> DataFrame:
        """All trials so far as a frame; see `Trials.to_frame`."""
        return self.trials.to_frame()

    def plot(self, metric: str | None = None) -> Figure:
        """Draw how the search goes; see `Trials.plot`."""
        return self.trials.plot(metric)

    def wait(self, timeout: float | None = None, *, logs: bool | Stream = False) -> HyperparameterTuningJob:
        """Wait until it is over, and show its trials meanwhile.

        On a terminal, Ctrl-C asks whether to leave it running or to cancel it; elsewhere it cancels.

        Args:
            timeout: Seconds to wait; None for as long as it takes.
            logs: Whether to print what its trials print too, each line with the trial and its replica: True
                for standard output, ``"stderr"`` for standard error.

        Returns:
            Itself.

        Raises:
            DeadlineExceeded: It is not over yet; it goes on.
            TuningFailed: It failed.
            Cancelled: Somebody has cancelled it.
        """
        self._wait(timeout, logs)
        return self

    def result(self, timeout: float | None = None) -> Trial | None:
        """Wait until it is over, and give the best trial; None if none has succeeded.

        Args:
            timeout: Seconds to wait; None for as long as it takes.

        Raises:
            VertexkitError: As `wait`.
            InvalidArgument: The job has several metrics; this is not waited for.
        """
        self.trials_as_read.best()
        return self.wait(timeout).best

    def logs(
        self, trial: str | int | None = None, replica: str | None = None, *, follow: bool = False
    ) -> Iterator[LogLine]:
        """What its trials have printed, the oldest line first; little of it is in memory at a time.

        Args:
            trial: Id of the trial; None for what Vertex AI says of the search, then all trials, one after
                another, whose lines have the trial before the replica: ``3/workerpool0-0``.
            replica: Whose lines alone, such as ``"workerpool0-0"``; needs ``trial``.
            follow: Whether to go on until the trial, or the job, is over, with each line as it comes.

        Raises:
            NotFound: There is no such trial.
            InvalidArgument: There can be no replica of that name.
        """
        from vertexkit.trial_logs import logs_of, read_all

        if trial is None:
            if replica is not None:
                raise InvalidArgument(
                    "replica", replica, "is given without a trial", remedy="name the trial too"
                )
            if follow:
                return followed(self, log_seconds=self._context.target.log_poll_seconds)
            return read_all(self._context, self.id, self.trials)
        found = self.trial(trial)
        if follow and found.custom_job is not None and not found.state.ended:
            from vertexkit.training_job import CustomTrainingJob

            name = found.custom_job
            data = self._context.clients.http_json("GET", name, resource=name)
            return CustomTrainingJob(self._context, data).logs(replica, follow=True)
        logs = logs_of(self._context, found)
        return iter(()) if logs is None else logs.read(replica)

    def metrics(self, trial: str | int) -> DataFrame:
        """The scalars that a trial has written to ``AIP_TENSORBOARD_LOG_DIR``.

        Args:
            trial: Its id.

        Returns:
            As `CustomTrainingJob.metrics`.

        Raises:
            NotFound: There is no such trial, or it was told no place to write to.
            ConfigurationError: pandas is not installed.
        """
        from vertexkit.training_outputs import metrics

        found = self.trial(trial)
        if self.base_output_dir is None:
            raise NotFound("the trials were told no place to write to", resource=self.resource_name)
        return metrics(self._context, f"{self.base_output_dir}/{found.id}/logs")

    def _repr_html_(self) -> str:
        self._look_for_stops()
        return super()._repr_html_()

    # -- what `job_wait.py` waits for ----------------------------------------------------------

    @property
    def description(self) -> str:
        """What one sees while it is waited for."""
        return f"Tuning {self.display_name}"

    @property
    def found_again(self) -> str:
        """How another process finds it."""
        return f'session.tuning.get("{self.resource_name}")'

    def poll(self, timeout: float | None) -> JobState:
        """Read it again unless it is over, and which of its trials were stopped early; see `Job.poll`."""
        state = super().poll(timeout)
        self._look_for_stops(timeout)
        return state

    def follower(self) -> Follower | None:
        """What follows the logs of its trials."""
        from vertexkit.trial_logs import TrialsFollower

        return TrialsFollower(self._context, self.id, lambda: self.trials_as_read)

    def settle(self) -> None:
        """Raise the error that it ended with; say so if it succeeded without a trial that did."""
        state = self.state_as_read
        if state is JobState.SUCCEEDED:
            trials = self.trials_as_read
            if not any(trial.state is TrialState.SUCCEEDED for trial in trials):
                why = next((trial.infeasible_reason for trial in trials if trial.infeasible_reason), None)
                _log.warning("No trial of %s has succeeded%s", self.display_name, f": {why}" if why else "")
            return
        if state is JobState.CANCELLED:
            raise Cancelled("the job was cancelled", resource=self.resource_name)
        if state.ended and state is not JobState.PARTIALLY_SUCCEEDED:
            raise self._failure()

    # -- for vertexkit's own use ---------------------------------------------------------------

    def _failure(self) -> TuningFailed:
        failed = [trial for trial in self.trials_as_read if trial.state is TrialState.INFEASIBLE]
        # Those by which the job failed come before those that only ended with it.
        failed.sort(key=lambda trial: math.inf if trial.end is None else trial.end.timestamp())
        message = f"the search failed: {self.error or f'the job ended as {self.state_as_read}'}"
        if len(failed) > _NAMED:
            message += f" ({len(failed)} trials came to nothing; the first {_NAMED} are below)"
        lines = self._last_lines(failed[0]) if failed else []
        return TuningFailed(
            message,
            job=self.resource_name,
            failures={trial.id: trial.infeasible_reason or "no reason is given" for trial in failed[:_NAMED]},
            last_lines=[printable(line) for line in lines[-_LAST_LINES:]],
            remedy=remedy_for(lines, exit_code=None, signal=None) if lines else None,
        )

    def _last_lines(self, trial: Trial) -> list[str]:
        """The last lines of a trial, without what the service says itself."""
        from vertexkit.trial_logs import logs_of

        logs = logs_of(self._context, trial)
        try:
            return [] if logs is None else [line.text for line in logs.tail(300, "workerpool0-0")]
        except ServiceError as error:
            _log.info("the log of trial %s cannot be read: %s", trial.id, error)
            return []

    def _display(self) -> AbstractContextManager[Display]:
        return shown(self, self._context.progress)
