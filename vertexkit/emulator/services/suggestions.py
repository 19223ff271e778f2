"""The work of SuggestTrials: trials for a client to evaluate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vertexkit.emulator.messages import Raw, Study, SuggestTrialsResponse, Trial, TrialState
from vertexkit.emulator.operations import Running, Work
from vertexkit.emulator.services.study_engines import Search, StudyEngines, leaves_open
from vertexkit.emulator.services.study_spec import parameter_values, values_of
from vertexkit.emulator.services.study_trials import STUDIES, StudyTrials
from vertexkit.emulator.services.timestamps import set_now
from vertexkit.emulator.services.trial_requests import Context
from vertexkit.emulator.store import Store
from vertexkit.emulator.tuning.types import ParameterValue


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

    def work(self, study: str, client_id: str, contexts: Sequence[Context]) -> Work:
        """What finds trials for a client.

        Args:
            study: Name of the study.
            client_id: Who asks.
            contexts: One for each trial that it asks for, in the order of the answer. There are fewer in the
                answer of a study that has no others left.
        """

        def suggest(running: Running) -> Raw:
            response = SuggestTrialsResponse()
            set_now(response.start_time)
            with self._engines.opened(study) as search:
                given, sketched = self._given(search, study, client_id, contexts)
                found: dict[int, Raw] = {}
                exhausted = not self._is_active(study)
                for index, context in enumerate(contexts):
                    if index in given or exhausted:
                        continue
                    running.raise_if_cancelled()
                    requested, fixed = sketched.get(index, (Trial(), {}))
                    values = search.engine.suggest(1, {**context, **fixed})
                    if not values and fixed:
                        requested, values = Trial(), search.engine.suggest(1, context)
                    if values:
                        found[index] = _active(search, client_id, values[0], requested)
                    # What is left outside of a context is not known.
                    exhausted = not values and not context
                with self._store.transaction():
                    for trial in found.values():
                        self._keep(study, trial)
                    response.study_state = self._state(study, exhausted=exhausted)
                    response.trials.extend(trial for _, trial in sorted((given | found).items()))
                    set_now(response.end_time)
                    running.decide(response)
                for trial in found.values():
                    search.learn(int(trial.id), trial, stopped=False)
            return response

        return suggest

    def _keep(self, study: str, trial: Raw) -> None:
        """Keep a trial that was requested as it is now, or a new one."""
        if trial.id and self._trials.find(study, int(trial.id)) is not None:
            self._trials.replace(trial)
        else:
            self._trials.add(study, trial)

    def _given(
        self, search: Search, study: str, client_id: str, contexts: Sequence[Context]
    ) -> tuple[dict[int, Raw], dict[int, tuple[Raw, Context]]]:
        """By context, the trials that the client was given earlier, then those that were requested.

        Apart from those, requested ones that leave parameters open, each with what it asks for.
        """
        given: dict[int, Raw] = {}
        sketched: dict[int, tuple[Raw, Context]] = {}
        with self._store.transaction():
            known = []
            for seen in [*search.of_client(client_id), *search.requested()]:
                trial = self._trials.find(study, int(seen.id))
                # It may have been ended or deleted since the search looked.
                if trial is not None and trial.state == seen.state:
                    known.append((trial, values_of(search.config, trial.parameters)))
            # What fits anything must not take what another asks for.
            for index, context in sorted(enumerate(contexts), key=lambda one: -len(one[1])):
                at = next((at for at, one in enumerate(known) if _fits(search, *one, context)), None)
                if at is None:
                    continue
                trial, values = known.pop(at)
                if leaves_open(search.config, trial):
                    sketched[index] = trial, values
                    continue
                if trial.state == TrialState.REQUESTED:
                    trial.state, trial.client_id = TrialState.ACTIVE, client_id
                    set_now(trial.start_time)
                    self._trials.replace(trial)
                    self._engines.changed(study, trial.id)
                given[index] = trial
        return given, sketched

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


def _active(search: Search, client_id: str, values: Mapping[str, ParameterValue], requested: Raw) -> Raw:
    """A trial that begins now: the requested one, if it has a number."""
    trial = Trial(name=requested.name, id=requested.id, state=TrialState.ACTIVE, client_id=client_id)
    trial.parameters.extend(parameter_values(search.config, values))
    set_now(trial.start_time)
    return trial


def _fits(search: Search, trial: Raw, values: Context, context: Context) -> bool:
    """Whether a trial has the values that a context asks for, or leaves them open."""
    if leaves_open(search.config, trial):
        return all(values.get(name, value) == value for name, value in context.items())
    return all(values.get(name) == value for name, value in context.items())
