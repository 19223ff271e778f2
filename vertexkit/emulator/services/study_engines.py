"""The engines of the studies in use: made of the trials when first needed, and kept up to date."""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from vertexkit.emulator.messages import Raw, TrialState
from vertexkit.emulator.services.study_spec import is_whole, study_config
from vertexkit.emulator.services.study_trials import ENDED, STUDIES, StudyTrials, trial_record
from vertexkit.emulator.store import Store
from vertexkit.emulator.tuning.engine import StudyEngine
from vertexkit.emulator.tuning.types import StudyConfig

_MOST: Final = 32
"""Engines that are kept; others are made anew."""


@dataclass
class Search:
    """A study as the search sees it."""

    config: StudyConfig
    engine: StudyEngine
    pending: dict[int, Raw] = field(default_factory=dict)
    """The trials that have not ended, by number."""

    def learn(self, number: int, trial: Raw | None, *, stopped: bool) -> None:
        """Take notice of a trial as it is now.

        Args:
            number: Of the trial.
            trial: As it is kept; None when it is gone.
            stopped: Whether automated stopping ended it.
        """
        if trial is None or trial.state in ENDED:
            self.pending.pop(number, None)
        else:
            self.pending[number] = trial
        if trial is None:
            self.engine.remove(number)
        elif not leaves_open(self.config, trial):
            self.engine.update(trial_record(self.config, trial, stopped=stopped))

    def of_client(self, client_id: str) -> list[Raw]:
        """The trials that a client was given and has not ended, by number."""
        return [
            trial
            for _, trial in sorted(self.pending.items())
            if trial.state == TrialState.ACTIVE and trial.client_id == client_id
        ]

    def requested(self) -> list[Raw]:
        """The trials that somebody asked to have suggested, by number."""
        return [trial for _, trial in sorted(self.pending.items()) if trial.state == TrialState.REQUESTED]


@dataclass
class _Kept:
    """A study's place among those in use."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while its engine is used: one at a time."""
    users: int = 0
    changed: set[int] = field(default_factory=set)
    """Numbers of trials that changed since the engine last looked."""
    search: Search | None = None


class StudyEngines:
    """The engines of studies. Safe to use from any thread.

    Args:
        store: Where studies are kept.
        trials: Their trials.
        most: Engines that are kept when nobody uses them.
    """

    def __init__(self, store: Store, trials: StudyTrials, *, most: int = _MOST) -> None:
        self._store = store
        self._trials = trials
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def changed(self, study: str, trial_id: str) -> None:
        """Say that a trial was made, changed or deleted; the engine looks at it when it is next used."""
        with self._lock:
            kept = self._kept.get(study)
            if kept is not None:
                kept.changed.add(int(trial_id))

    @contextmanager
    def opened(self, study: str) -> Iterator[Search]:
        """A study's search, up to date, for nobody else to use meanwhile.

        An error inside has it made anew when it is next used: what the engine suggested is in no trial.

        Raises:
            ApiError: NOT_FOUND, there is no such study.
        """
        kept = self._use(study)
        try:
            with kept.lock:
                search = self._up_to_date(study, kept)
                yield search
                kept.search = search
        finally:
            self._release(kept)

    def _use(self, study: str) -> _Kept:
        with self._lock:
            kept = self._kept.setdefault(study, _Kept())
            self._kept.move_to_end(study)
            kept.users += 1
            return kept

    def _release(self, kept: _Kept) -> None:
        with self._lock:
            kept.users -= 1
            spare = len(self._kept) - self._most
            idle = [name for name, one in self._kept.items() if not one.users]
            for name in idle[: max(spare, 0)]:
                del self._kept[name]

    def _up_to_date(self, study: str, kept: _Kept) -> Search:
        found = self._store.get(STUDIES, study)
        with self._lock:
            changed, kept.changed = kept.changed, set()
        search, kept.search = kept.search, None
        if search is None:
            return self._made(found)
        for number in sorted(changed):
            trial = self._trials.find(study, number)
            stopped = trial is not None and self._trials.is_stopped_early(trial.name)
            search.learn(number, trial, stopped=stopped)
        return search

    def _made(self, study: Raw) -> Search:
        config = study_config(study.study_spec, "study.study_spec")
        trials = self._trials.all(study.name)
        stopped = self._trials.stopped_early(study.name)
        records = [
            trial_record(config, trial, stopped=trial.name in stopped)
            for trial in trials
            if not leaves_open(config, trial)
        ]
        # The same after a restart, and in a study of that name that is searched anew.
        engine = StudyEngine(config, records, seed=zlib.crc32(study.display_name.encode()))
        pending = {int(trial.id): trial for trial in trials if trial.state not in ENDED}
        return Search(config, engine, pending)


def leaves_open(config: StudyConfig, trial: Raw) -> bool:
    """Whether a trial is requested and has not all parameters yet: the engine knows nothing of it."""
    return bool(trial.state == TrialState.REQUESTED and not is_whole(config, trial.parameters))
