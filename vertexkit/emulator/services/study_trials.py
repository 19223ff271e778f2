"""The trials of studies, as they are kept: names and numbers, states, and what the engine is told of them."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.messages import Raw, Study, Trial, TrialState
from vertexkit.emulator.services.study_spec import measurement, values_of
from vertexkit.emulator.store import Kind, PageRequest, Store
from vertexkit.emulator.tuning.types import StudyConfig, TrialRecord
from vertexkit.emulator.tuning.types import TrialState as RecordState
from vertexkit.emulator.validation import canonical_name, invalid

STUDIES: Final = Kind("studies", Study, "Study")
TRIALS: Final = Kind("trials", Trial, "Trial")
_STOPPED: Final = Kind("stopped_trials", Trial, "Stopped trial")
"""The trials that automated stopping ended, by name, each with the measurement that it predicted for it.

A Trial has no field that says so.
"""

UNDER_WAY: Final = (TrialState.ACTIVE, TrialState.STOPPING)
ENDED: Final = (TrialState.SUCCEEDED, TrialState.INFEASIBLE)
_NAME: Final = re.compile(r"(?P<study>.+)/trials/(?P<trial>[^/@]+)")
_PAGE: Final = 1000
"""Trials in a page where no size is asked for: Google's ``Study.trials()`` reads only the first one."""


def study_name(name: str) -> str:
    """A study's name, with the project's number in place of its id.

    Raises:
        ApiError: INVALID_ARGUMENT, ``name`` is not a study's.
    """
    return str(canonical_name(name, "studies"))


def trial_name(name: str) -> tuple[str, str]:
    """The study's name and the trial's, with the project's number in place of its id.

    Raises:
        ApiError: INVALID_ARGUMENT, ``name`` is not a trial's.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise invalid(
            f'Invalid resource name "{name}": expected '
            "projects/{project}/locations/{location}/studies/{study}/trials/{trial}."
        )
    study = study_name(match["study"])
    return study, f"{study}/trials/{match['trial']}"


class StudyTrials:
    """The trials of all studies. Safe to use from any thread.

    Args:
        store: Where they are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, study: str, trial: Raw) -> None:
        """Keep a new trial, numbered from 1; a number is never given twice, whatever is deleted.

        Raises:
            ApiError: NOT_FOUND, there is no such study.
        """
        with self._store.transaction():
            self._store.get(STUDIES, study)
            trial.id = str(self._store.next_number(_counter(study)))
            trial.name = f"{study}/trials/{trial.id}"
            self._store.insert(TRIALS, study, trial)

    def get(self, name: str) -> Raw:
        """A trial.

        Raises:
            ApiError: NOT_FOUND.
        """
        return self._store.get(TRIALS, name)

    def find(self, study: str, number: int) -> Raw | None:
        """A trial, or None when it is gone."""
        return self._store.find(TRIALS, f"{study}/trials/{number}")

    def all(self, study: str) -> list[Raw]:
        """Every trial of a study, by number."""
        return self._store.all(TRIALS, study)

    def page(self, study: str, request: Raw) -> tuple[list[Raw], str]:
        """The page of a study's trials that a List request asks for, by number, and the token of the next."""
        asked = PageRequest(request.page_size or _PAGE, request.page_token, oldest_first=True)
        return self._store.page(TRIALS, study, asked)

    def replace(self, trial: Raw) -> None:
        """Keep a trial in place of what it was."""
        self._store.replace(TRIALS, trial)

    def stop_early(self, study: str, trial: Raw, predicted: Raw | None) -> None:
        """Keep that automated stopping has a trial end.

        Args:
            study: Name of its study.
            trial: As it is to be kept, but for its state.
            predicted: The measurement among those of the trial that nobody took; None where there is none.
        """
        trial.state = TrialState.STOPPING
        with self._store.transaction():
            self.replace(trial)
            self._store.insert(_STOPPED, study, Trial(name=trial.name, final_measurement=predicted))

    def predict_again(self, trial: Raw, predicted: Raw) -> None:
        """Keep a trial that automated stopping ended, and what is now predicted for it."""
        with self._store.transaction():
            self.replace(trial)
            self._store.replace(_STOPPED, Trial(name=trial.name, final_measurement=predicted))

    def stopped_early(self, study: str) -> dict[str, Raw | None]:
        """The trials that automated stopping ended: by name, the measurement that it predicted."""
        return {
            trial.name: trial.final_measurement if trial.HasField("final_measurement") else None
            for trial in self._store.all(_STOPPED, study)
        }

    def is_stopped_early(self, name: str) -> bool:
        """Whether automated stopping ended a trial."""
        return self._store.find(_STOPPED, name) is not None

    def delete(self, name: str) -> None:
        """Drop a trial.

        Raises:
            ApiError: NOT_FOUND.
        """
        with self._store.transaction():
            self._store.delete(TRIALS, name)
            if self.is_stopped_early(name):
                self._store.delete(_STOPPED, name)

    def delete_study(self, study: str) -> None:
        """Drop a study with all its trials.

        Raises:
            ApiError: NOT_FOUND.
        """
        with self._store.transaction():
            self._store.delete(STUDIES, study)
            self._store.delete_all(TRIALS, study)
            self._store.delete_all(_STOPPED, study)
            self._store.forget_counter(_counter(study))


def check_state(trial: Raw, allowed: Collection[int], what: str) -> None:
    """Refuse what cannot be done with a trial in the state that it is in.

    Args:
        trial: As it is kept.
        allowed: States in which it can be done.
        what: ``be completed``.

    Raises:
        ApiError: FAILED_PRECONDITION.
    """
    if trial.state not in allowed:
        state, others = TrialState(trial.state).name, " or ".join(TrialState(one).name for one in allowed)
        raise ApiError(
            Code.FAILED_PRECONDITION,
            f"The Trial {trial.name} is in state {state}, and can only {what} in state {others}.",
        )


def trial_record(config: StudyConfig, trial: Raw, *, stopped: bool) -> TrialRecord:
    """What the engine is told of a trial.

    Args:
        config: Of its study.
        trial: As it is kept.
        stopped: Whether automated stopping ended it.
    """
    return TrialRecord(
        int(trial.id),
        RecordState[TrialState(trial.state).name],
        values_of(config, trial.parameters),
        tuple(measurement(one) for one in trial.measurements),
        measurement(trial.final_measurement) if trial.HasField("final_measurement") else None,
        stopped,
    )


def _counter(study: str) -> str:
    return f"{study}/trials"
