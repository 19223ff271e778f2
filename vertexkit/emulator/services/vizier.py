"""VizierService: studies, and the trials that are suggested in them.

See https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#vizierservice
"""

from __future__ import annotations

from typing import Final

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.messages import (
    CheckTrialEarlyStoppingStateMetatdata,
    Empty,
    ListOptimalTrialsResponse,
    ListStudiesResponse,
    ListTrialsResponse,
    Raw,
    Study,
    SuggestTrialsMetadata,
    TrialState,
)
from vertexkit.emulator.operations import Operations
from vertexkit.emulator.services.study_engines import StudyEngines
from vertexkit.emulator.services.study_spec import study_config
from vertexkit.emulator.services.study_trials import (
    STUDIES,
    UNDER_WAY,
    StudyTrials,
    check_state,
    study_name,
    trial_name,
    trial_record,
)
from vertexkit.emulator.services.suggestions import Suggestions
from vertexkit.emulator.services.trial_ends import TrialEnds
from vertexkit.emulator.services.trial_requests import (
    add_measurement,
    check_measurement,
    new_trial,
    read_contexts,
)
from vertexkit.emulator.store import PageRequest, Store
from vertexkit.emulator.tuning import objectives
from vertexkit.emulator.validation import (
    canonical_location,
    check_display_name,
    invalid_field,
    new_id,
)

_SETTLE: Final = 2.0
"""Seconds that an answer waits for a suggestion: Google's client asks for it again only after a second."""
_MOST_SUGGESTIONS: Final = 1000
_UNSET: Final = "Required field is not set."


class VizierService:
    """Answers the RPCs that it has a method for. Safe to use from any thread.

    A study goes on after a restart where it was: its engine is made of its trials.

    Args:
        store: Where studies and trials are kept.
        operations: Where long-running operations are kept and run.
    """

    def __init__(self, store: Store, operations: Operations) -> None:
        self._store = store
        self._operations = operations
        self._trials = StudyTrials(store)
        self._engines = StudyEngines(store, self._trials)
        self._suggestions = Suggestions(store, self._trials, self._engines)
        self._ends = TrialEnds(store, self._trials, self._engines)

    def CreateStudy(self, request: Raw) -> Raw:
        """Create a study; its display name is its own in its location."""
        parent = canonical_location(request.parent)
        asked = request.study
        check_display_name(asked.display_name, "study.display_name")
        if not asked.HasField("study_spec"):
            raise invalid_field("study.study_spec", _UNSET)
        study_config(asked.study_spec, "study.study_spec")
        study = Study(
            name=f"{parent}/studies/{new_id()}", display_name=asked.display_name, state=Study.State.ACTIVE
        )
        study.study_spec.CopyFrom(asked.study_spec)
        with self._store.transaction():
            same = self._store.with_display_name(STUDIES, parent, asked.display_name)
            if same:
                raise ApiError(
                    Code.ALREADY_EXISTS,
                    f'The Study {same[0].name} already has the display name "{asked.display_name}".',
                )
            self._store.insert(STUDIES, parent, study)
        return study

    def GetStudy(self, request: Raw) -> Raw:
        """Get a study."""
        return self._store.get(STUDIES, study_name(request.name))

    def LookupStudy(self, request: Raw) -> Raw:
        """Get the study of a location that has a display name."""
        parent = canonical_location(request.parent)
        if not request.display_name:
            raise invalid_field("display_name", _UNSET)
        found = self._store.with_display_name(STUDIES, parent, request.display_name)
        if not found:
            raise ApiError(
                Code.NOT_FOUND,
                f'There is no Study with the display name "{request.display_name}" in {parent}.',
            )
        return found[0]

    def ListStudies(self, request: Raw) -> Raw:
        """List the studies of a location, newest first."""
        parent = canonical_location(request.parent)
        studies, token = self._store.page(STUDIES, parent, PageRequest(request.page_size, request.page_token))
        return ListStudiesResponse(studies=studies, next_page_token=token)

    def DeleteStudy(self, request: Raw) -> Raw:
        """Delete a study with all its trials."""
        self._trials.delete_study(study_name(request.name))
        return Empty()

    def SuggestTrials(self, request: Raw) -> Raw:
        """Suggest trials to a client: those that it has not ended, then requested ones, then new ones."""
        study = study_name(request.parent)
        # Google's Study.suggest() gives a client no name unless it is told one, so that is a name too.
        if not 0 < request.suggestion_count <= _MOST_SUGGESTIONS:
            raise invalid_field(
                "suggestion_count",
                f"It is {request.suggestion_count}, and must be between 1 and {_MOST_SUGGESTIONS}.",
            )
        config = study_config(self._store.get(STUDIES, study).study_spec, "study.study_spec")
        contexts = read_contexts(config, request.contexts, request.suggestion_count)
        work = self._suggestions.work(study, request.client_id, contexts)
        metadata = SuggestTrialsMetadata(client_id=request.client_id)
        return self._operations.start(study, metadata, work, settle=_SETTLE)

    def CreateTrial(self, request: Raw) -> Raw:
        """Create a trial: one that is to be suggested next, or one that has been evaluated elsewhere."""
        study = study_name(request.parent)
        spec = self._store.get(STUDIES, study).study_spec
        trial = new_trial(study_config(spec, "study.study_spec"), request.trial)
        self._trials.add(study, trial)
        self._engines.changed(study, trial.id)
        return trial

    def GetTrial(self, request: Raw) -> Raw:
        """Get a trial."""
        return self._trials.get(trial_name(request.name)[1])

    def ListTrials(self, request: Raw) -> Raw:
        """List the trials of a study, by number."""
        study = study_name(request.parent)
        self._store.get(STUDIES, study)
        trials, token = self._trials.page(study, request)
        return ListTrialsResponse(trials=trials, next_page_token=token)

    def ListOptimalTrials(self, request: Raw) -> Raw:
        """List the trials of a study that no other beats, those that tie included."""
        study = study_name(request.parent)
        config = study_config(self._store.get(STUDIES, study).study_spec, "study.study_spec")
        trials = {int(trial.id): trial for trial in self._trials.all(study)}
        records = [trial_record(config, trial, stopped=False) for trial in trials.values()]
        best = objectives.optimal(config, records)
        return ListOptimalTrialsResponse(optimal_trials=[trials[number] for number in best])

    def AddTrialMeasurement(self, request: Raw) -> Raw:
        """Add what a trial that is under way has measured."""
        study, name = trial_name(request.trial_name)
        if not request.HasField("measurement"):
            raise invalid_field("measurement", _UNSET)
        with self._store.transaction():
            trial = self._trials.get(name)
            spec = self._store.get(STUDIES, study).study_spec
            check_state(trial, UNDER_WAY, "be measured")
            check_measurement(
                request.measurement, [metric.metric_id for metric in spec.metrics], "measurement"
            )
            add_measurement(trial, request.measurement)
            self._trials.replace(trial)
        self._engines.changed(study, trial.id)
        return trial

    def CompleteTrial(self, request: Raw) -> Raw:
        """End a trial: with a measurement, with the one that the study selects, or as infeasible."""
        study, name = trial_name(request.name)
        return self._ends.complete(study, name, request)

    def CheckTrialEarlyStoppingState(self, request: Raw) -> Raw:
        """Check whether automated stopping has a trial end."""
        study, name = trial_name(request.trial_name)
        check_state(self._trials.get(name), UNDER_WAY, "be checked for early stopping")
        metadata = CheckTrialEarlyStoppingStateMetatdata(study=study, trial=name)
        work = self._ends.check(study, name)
        return self._operations.start(name, metadata, work, settle=_SETTLE)

    def StopTrial(self, request: Raw) -> Raw:
        """Ask for a trial to be ended; who evaluates it is to complete it."""
        study, name = trial_name(request.name)
        with self._store.transaction():
            trial = self._trials.get(name)
            check_state(trial, UNDER_WAY, "be stopped")
            trial.state = TrialState.STOPPING
            self._trials.replace(trial)
        self._engines.changed(study, trial.id)
        return trial

    def DeleteTrial(self, request: Raw) -> Raw:
        """Delete a trial; its number is not given again."""
        study, name = trial_name(request.name)
        self._trials.delete(name)
        self._engines.changed(study, name.rpartition("/")[2])
        return Empty()
