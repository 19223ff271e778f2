"""One search by Keras Tuner: a training job whose chief and workers share the trials.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.trainingPipelines
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from vertexkit._core.html import described
from vertexkit._core.names import is_gcs_uri
from vertexkit.errors import NotFound, VertexkitError
from vertexkit.job_state import JobState
from vertexkit.job_wait import Display, Stream
from vertexkit.keras_tuner_checks import directories
from vertexkit.keras_tuner_trials import SearchFolder
from vertexkit.search_progress import shown
from vertexkit.training_job import CustomTrainingJob
from vertexkit.trials import Trial, Trials, TrialState

if TYPE_CHECKING:
    from pandas import DataFrame

    from vertexkit.model import Model

__all__ = ["KERAS_TUNER", "SEARCH_LABEL", "KerasTunerJob", "is_search"]

SEARCH_LABEL: Final = "vertexkit_search"
"""By which one tells a search from other training jobs."""
KERAS_TUNER: Final = "keras_tuner"

_log = logging.getLogger("vertexkit")

_MOUNT: Final = "/gcs/"
_READ_SECONDS: Final = 2.0
"""How often the folder is looked at, at most, while one waits."""


class KerasTunerJob(CustomTrainingJob):
    """A search by Keras Tuner, running or over; `KerasTuner.run` makes one, `KerasTuner.get` finds one.

    It is a training job too: `model` is what the program has saved, the best one if it is the packaged
    program. Its trials are read from the folder that the tuner keeps in the bucket, as they are now.
    """

    @property
    def trials(self) -> Trials:
        """The trials so far, as of now: a sequence with ``best()`` and ``to_frame()``.

        Those that ran when the job ended are INFEASIBLE, though nobody was left to write that down.
        """
        state = self.state  # before the trials, which may end meanwhile
        over = f"it was interrupted: the job is {state.lower()}" if state.ended else None
        self._seen = self._folder.trials(self._model_of, interrupted=over)
        self._seen_at = time.monotonic()
        return self._seen

    @property
    def best(self) -> Trial | None:
        """The best trial so far; None as long as none has succeeded.

        ``best.model()`` is the job's model, where the program has saved one.
        """
        trials = self.trials
        return trials.best() if trials.objectives else None

    def to_frame(self) -> DataFrame:
        """All trials so far as a frame; see `Trials.to_frame`."""
        return self.trials.to_frame()

    def plot(self, metric: str | None = None) -> Any:
        """Draw how the search goes; see `Trials.plot`. What TensorBoard shows is in `metrics`.

        Raises:
            NotFound: No trial has been scored yet.
        """
        trials = self.trials
        if not trials.objectives:
            raise NotFound("no trial has been scored yet", resource=self.resource_name)
        return trials.plot(metric)

    def wait(self, timeout: float | None = None, *, logs: bool | Stream = False) -> KerasTunerJob:
        """Wait until it is over, and show its trials meanwhile; see `CustomTrainingJob.wait`."""
        self._wait(timeout, logs)
        return self

    @property
    def trials_as_read(self) -> Trials:
        """The trials when they were last read, some seconds ago at most while the job runs."""
        stale = time.monotonic() - self._seen_at > _READ_SECONDS
        return self.trials if stale or self.state_as_read.ended else self._seen

    @property
    def trial_count(self) -> int | None:
        """How many trials there are to be: the tuner decides."""
        return None

    @property
    def description(self) -> str:
        """What one sees while it is waited for."""
        return f"Searching {self.display_name}"

    @property
    def found_again(self) -> str:
        """How another process finds it."""
        return f'session.keras_tuner.get("{self.resource_name}")'

    def settle(self) -> None:
        """Raise the error that it ended with; say so if it succeeded and no trial did."""
        super().settle()
        if self.state_as_read is not JobState.SUCCEEDED or self._told_of_trials:
            return
        try:
            trials = self.trials_as_read
        except VertexkitError as error:  # the job has succeeded all the same
            _log.info("the trials of %s could not be read: %s", self.display_name, error)
            return
        self._told_of_trials = True
        if not trials:
            _log.warning("No trial of %s was found in %s", self.display_name, self._nothing_found)
        elif not any(trial.state is TrialState.SUCCEEDED for trial in trials):
            why = next((trial.infeasible_reason for trial in trials if trial.infeasible_reason), None)
            _log.warning("No trial of %s has succeeded%s", self.display_name, f": {why}" if why else "")

    @property
    def _nothing_found(self) -> str:
        places = " or ".join(f"{place}/" for place in self._folder.places) or "any bucket"
        return (
            f"{places}: has its program called trainer_scripts.keras_tuner_cluster.join(), and kept the "
            "tuner's directory there?"
        )

    def _repr_html_(self) -> str:
        trials = self.trials
        title = f"Search by Keras Tuner {self.display_name}"
        ended = sum(trial.state.ended for trial in trials)
        if not trials and self.state_as_read.ended:
            return described(title, {**self._facts, "trials": f"none in {self._nothing_found}"})
        facts = {
            **self._facts,
            "metric": ", ".join(map(str, trials.objectives)),
            "trials": f"{ended} of {len(trials)} so far are over",
        }
        return described(title, facts) + trials._repr_html_()

    # -- for vertexkit's own use ---------------------------------------------------------------

    _seen: Trials = Trials([], [])
    _seen_at: float = float("-inf")
    _told_of_trials: bool = False

    @cached_property
    def _folder(self) -> SearchFolder:
        pools = self._spec.get("workerPoolSpecs", [])
        program = {} if not pools else pools[0].get("pythonPackageSpec") or pools[0].get("containerSpec", {})
        given = [_on_storage(place) for place in directories(program.get("args", []))]
        places = [*(place for place in given if is_gcs_uri(place)), self.checkpoint_dir]
        return SearchFolder(self._context, [place for place in places if place is not None])

    @property
    def _spec(self) -> Mapping[str, Any]:
        spec: Mapping[str, Any] = self._data.get(
            "jobSpec" if self._is_custom_job else "trainingTaskInputs", {}
        )
        return spec

    def _display(self) -> AbstractContextManager[Display]:
        return shown(self, self._context.progress)

    def _model_of(self, trial: Trial, name: str | None, **options: Any) -> Model:
        """The model of a trial; see `Trial.model`. Of all others than the best one there are only weights."""
        state = self.state
        if not state.ended:
            raise NotFound(
                f"the search is {state.lower()}, and its program saves a model at its end",
                resource=f"trial {trial.id}",
                remedy="wait() for the search to end",
            )
        best = self.best
        if best is None or best.id != trial.id:
            raise NotFound(
                "Keras Tuner keeps the weights of a trial, and no SavedModel",
                resource=f"trial {trial.id}",
                remedy="only the best trial's was saved; see the job's checkpoints() for the others' weights",
            )
        wanted = {key: value for key, value in options.items() if value is not None}
        if name is None and not wanted and self.model is not None:
            return self.model
        if state is not JobState.SUCCEEDED or self.model_dir is None:
            why = f"the job is {state.lower()}" if self.model_dir else "the job was told no place to write to"
            raise NotFound(f"{why}, and has saved no model", resource=f"trial {trial.id}")
        from vertexkit.trial_model import upload_trial

        pools = self._spec.get("workerPoolSpecs", [])
        image = pools[0].get("pythonPackageSpec", {}).get("executorImageUri") if pools else None
        return upload_trial(
            self._context,
            replace(trial, model_dir=self.model_dir),
            name,
            search=self.display_name,
            image=image,
            **wanted,
        )


def _on_storage(place: str) -> str:
    """A folder's ``gs://`` URI, where it is given by the mount that the program sees."""
    return f"gs://{place.removeprefix(_MOUNT)}" if place.startswith(_MOUNT) else place


def is_search(labels: Mapping[str, str]) -> bool:
    """Whether a training job with these labels is a search by Keras Tuner."""
    return labels.get(SEARCH_LABEL) == KERAS_TUNER
