"""How trials end: completed by who evaluates them, or stopped early as the study asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from vertexkit.emulator.messages import CheckTrialEarlyStoppingStateResponse, Raw, TrialState
from vertexkit.emulator.operations import Running, Work
from vertexkit.emulator.services.study_engines import StudyEngines
from vertexkit.emulator.services.study_spec import measurement, measurement_message, study_config
from vertexkit.emulator.services.study_trials import (
    STUDIES,
    UNDER_WAY,
    StudyTrials,
    check_state,
    trial_record,
)
from vertexkit.emulator.services.timestamps import set_now
from vertexkit.emulator.services.trial_requests import add_measurement, check_measurement
from vertexkit.emulator.store import Store
from vertexkit.emulator.tuning import objectives
from vertexkit.emulator.tuning.types import StudyConfig
from vertexkit.emulator.validation import invalid_field

_NO_RESULT: Final = "The trial was completed without a measurement of every metric of the study: "


class TrialEnds:
    """Ends trials. Safe to use from any thread.

    Args:
        store: Where studies are kept.
        trials: Their trials.
        engines: Their engines.
    """

    def __init__(self, store: Store, trials: StudyTrials, engines: StudyEngines) -> None:
        self._store = store
        self._trials = trials
        self._engines = engines

    def complete(self, study: str, name: str, request: Raw) -> Raw:
        """End a trial as a CompleteTrialRequest says; without a result it is INFEASIBLE.

        Raises:
            ApiError: NOT_FOUND; FAILED_PRECONDITION, it is not under way; INVALID_ARGUMENT.
        """
        if request.infeasible_reason and not request.trial_infeasible:
            raise invalid_field("infeasible_reason", "It is for a trial that is trial_infeasible.")
        with self._store.transaction():
            trial = self._trials.get(name)
            config = study_config(self._store.get(STUDIES, study).study_spec, "study.study_spec")
            check_state(trial, UNDER_WAY, "be completed")
            if request.trial_infeasible:
                trial.state, trial.infeasible_reason = TrialState.INFEASIBLE, request.infeasible_reason
            elif request.HasField("final_measurement"):
                metrics = [metric.id for metric in config.metrics]
                check_measurement(request.final_measurement, metrics, "final_measurement", whole=True)
                trial.state = TrialState.SUCCEEDED
                trial.final_measurement.CopyFrom(request.final_measurement)
            else:
                _select(config, trial)
            set_now(trial.end_time)
            self._trials.replace(trial)
        self._engines.changed(study, trial.id)
        if config.stopping is not None and config.stopping.update_all_stopped_trials:
            self._predict_again(study)
        return trial

    def check(self, study: str, name: str) -> Work:
        """What finds out whether automated stopping has a trial end, and has it end."""

        def check(running: Running) -> Raw:
            response = CheckTrialEarlyStoppingStateResponse()
            with self._engines.opened(study) as search:
                trial = self._trials.get(name)
                check_state(trial, UNDER_WAY, "be checked for early stopping")
                record = trial_record(search.config, trial, stopped=False)
                response.should_stop = trial.state == TrialState.STOPPING or search.engine.should_stop(record)
                if trial.state == TrialState.STOPPING or not response.should_stop:
                    return response
                found = search.engine.predicted(record)
                predicted = None if found is None else measurement_message(found)
                with self._store.transaction():
                    trial = self._trials.get(name)
                    # It may have been completed meanwhile.
                    if trial.state == TrialState.ACTIVE:
                        if predicted is not None:
                            add_measurement(trial, predicted)
                        self._trials.stop_early(study, trial, predicted)
                    running.decide(response)
            self._engines.changed(study, trial.id)
            return response

        return check

    def _predict_again(self, study: str) -> None:
        """Have the trials that were stopped early end in what is predicted for them by now."""
        with self._engines.opened(study) as search:
            for name, before in self._trials.stopped_early(study).items():
                trial = self._trials.find(study, int(name.rpartition("/")[2]))
                if before is None or trial is None or trial.state != TrialState.SUCCEEDED:
                    continue
                measured = [one for one in trial.measurements if one != before]
                record = replace(
                    trial_record(search.config, trial, stopped=True),
                    measurements=tuple(measurement(one) for one in measured),
                    final=None,
                )
                found = search.engine.predicted(record)
                # A result that its user gave stays.
                if found is None or trial.final_measurement != _selected(search.config, trial):
                    continue
                predicted = measurement_message(found)
                del trial.measurements[:]
                trial.measurements.extend([*measured, predicted])
                _select(search.config, trial)
                with self._store.transaction():
                    if self._trials.find(study, int(trial.id)) is not None:
                        self._trials.predict_again(trial, predicted)
                self._engines.changed(study, trial.id)


def _select(config: StudyConfig, trial: Raw) -> None:
    """End a trial with the measurement that the study selects, or as infeasible where there is none."""
    found = _selected(config, trial)
    if found is None:
        trial.state = TrialState.INFEASIBLE
        trial.infeasible_reason = _NO_RESULT + ", ".join(metric.id for metric in config.metrics) + "."
    else:
        trial.state = TrialState.SUCCEEDED
        trial.final_measurement.CopyFrom(found)


def _selected(config: StudyConfig, trial: Raw) -> Raw | None:
    measurements = [measurement(one) for one in trial.measurements]
    found = objectives.final_measurement(config, measurements)
    index = next((index for index, one in enumerate(measurements) if one is found), None)
    return None if index is None else trial.measurements[index]
