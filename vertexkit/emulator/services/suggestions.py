"""The work of SuggestTrials: trials for a client to evaluate."""

from __future__ import annotations

from vertexkit.emulator.messages import Raw, Study, SuggestTrialsResponse, Trial, TrialState
from vertexkit.emulator.operations import Running, Work
from vertexkit.emulator.services.study_engines import Search, StudyEngines
from vertexkit.emulator.services.study_spec import parameter_values
from vertexkit.emulator.services.study_trials import STUDIES, StudyTrials, set_now
from vertexkit.emulator.store import Store


class Suggestions:
    """Gives trials to clients. Safe to use from any thread.

    A client whose answer was lost asks again and is given the same: a trial is its until it has ended.

    Args:
        store: Where studies are kept.
        trials: Their trials.
        engines: Their engines.
    """

    def __init__(self, store: Store, trials: StudyTrials, engines: StudyEngines) -> None:
        self._store = store
        self._trials = trials
        self._engines = engines

    def work(self, study: str, client_id: str, count: int) -> Work:
        """What finds trials for a client.

        Args:
            study: Name of the study.
            client_id: Who asks.
            count: How many it asks for; fewer come of a study that has no others left.
        """

        def suggest(running: Running) -> Raw:
            response = SuggestTrialsResponse()
            set_now(response.start_time)
            with self._engines.opened(study) as search:
                given = self._given(search, study, client_id, count)
                found: list[Raw] = []
                while len(given) + len(found) < count and self._is_active(study):
                    running.raise_if_cancelled()
                    values = search.engine.suggest(1)
                    if not values:
                        break
                    found.append(self._trial(search, client_id, values[0]))
                with self._store.transaction():
                    for trial in found:
                        self._trials.add(study, trial)
                    response.study_state = self._state(study, exhausted=len(given) + len(found) < count)
                    response.trials.extend([*given, *found])
                    set_now(response.end_time)
                    running.decide(response)
                for trial in found:
                    search.learn(int(trial.id), trial, stopped=False)
            return response

        return suggest

    def _given(self, search: Search, study: str, client_id: str, count: int) -> list[Raw]:
        """What the client was given earlier, then what was requested and is given to it now."""
        given: list[Raw] = []
        with self._store.transaction():
            for known in [*search.of_client(client_id), *search.requested()]:
                trial = self._trials.find(study, int(known.id))
                # It may have been ended or deleted since the search looked.
                if trial is None or trial.state != known.state or len(given) == count:
                    continue
                if trial.state == TrialState.REQUESTED:
                    trial.state, trial.client_id = TrialState.ACTIVE, client_id
                    set_now(trial.start_time)
                    self._trials.replace(trial)
                    self._engines.changed(study, trial.id)
                given.append(trial)
        return given

    def _is_active(self, study: str) -> bool:
        return bool(self._store.get(STUDIES, study).state == Study.State.ACTIVE)

    def _state(self, study: str, *, exhausted: bool) -> int:
        """The study's state, which is COMPLETED for good when there is nothing left to suggest."""
        found = self._store.get(STUDIES, study)
        if exhausted and found.state == Study.State.ACTIVE:
            found.state = Study.State.COMPLETED
            self._store.replace(STUDIES, found)
        state: int = found.state
        return state

    def _trial(self, search: Search, client_id: str, values: dict[str, float | int | str]) -> Raw:
        trial = Trial(state=TrialState.ACTIVE, client_id=client_id)
        trial.parameters.extend(parameter_values(search.config, values))
        set_now(trial.start_time)
        return trial
