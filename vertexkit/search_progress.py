"""How a search goes, shown while one waits for it: a live table of its trials, or a line for each of them.

Knows nothing of who searches: hyperparameter tuning jobs and Keras Tuner are shown alike.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from vertexkit.job_state import JobState
from vertexkit.job_wait import Display
from vertexkit.progress import can_animate, status
from vertexkit.trials import Trial, Trials, TrialState, facts, number

__all__ = ["Search", "shown"]


class Search(Protocol):
    """What tries one trial after another."""

    @property
    def description(self) -> str:
        """What it is: ``"Tuning mnist"``."""

    @property
    def trials_as_read(self) -> Trials:
        """The trials as last read."""

    @property
    def trial_count(self) -> int | None:
        """How many there are to be; None where that is not known."""


@contextmanager
def shown(search: Search, enabled: bool | None) -> Iterator[Display]:
    """Show how a search goes while the block waits for it.

    Args:
        search: The search, which is read again by whoever waits.
        enabled: False to show nothing; else a table where standard error is a terminal or a notebook, and
            a line when a trial begins and when it ends where it is neither. Of a search that is over when
            it is first seen, only how it ended is shown.
    """
    if enabled is False:
        yield lambda state: None
    elif can_animate():
        with _table(search, enabled) as display:
            yield display
    else:
        yield _Lines(search)


class _Lines:
    """For a log: what has happened since the last time, one line each."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._started: set[str] = set()
        self._ended: dict[str, Trial] = {}
        self._state: JobState | None = None

    def __call__(self, state: JobState) -> None:
        """Write what is new."""
        trials = self._search.trials_as_read
        if self._state is None and state.ended:
            self._write(f"{state.lower()}, {_so_far(self._search)}")
            self._state = state
            return
        is_new, self._state = state is not self._state, state
        if is_new and not state.ended:
            self._write(state.lower())
        of = f" of {self._search.trial_count}" if self._search.trial_count else ""
        begun = [trial for trial in trials if trial.state is not TrialState.REQUESTED]
        starts = [(_began(trial), trial) for trial in begun if trial.id not in self._started]
        ends = [(_over(trial), trial) for trial in begun if trial.state.ended and trial.id not in self._ended]
        # As it happened: else one that has begun in the place of another would seem to run beside it.
        for _, trial in sorted([*starts, *ends], key=lambda event: event[0]):
            if trial.id not in self._started:
                self._started.add(trial.id)
                self._write(f"trial {trial.id} started: {facts(trial.parameters)}")
                continue
            self._ended[trial.id] = trial
            so_far = Trials([*self._ended.values()], trials.objectives)
            self._write(f"{_ending(trial)}; {_best(so_far)} ({len(self._ended)}{of})")
        if is_new and state.ended:
            self._write(state.lower())

    def _write(self, text: str) -> None:
        # One call per line, so that lines of several threads do not mix.
        print(f"{self._search.description}: {text}", file=sys.stderr, flush=True)


@contextmanager
def _table(search: Search, enabled: bool | None) -> Iterator[Display]:
    from vertexkit._core.terminal import LiveBlock
    from vertexkit.trials_table import trials_table

    with status(search.description, enabled) as row:
        block: LiveBlock | None = None

        def show(state: JobState) -> None:
            nonlocal block
            if block is None and not state.ended:
                block = LiveBlock(lambda console: trials_table(search.trials_as_read, console))
            row.describe(f"{search.description}: {state.lower()}", _so_far(search))

        try:
            yield show
        finally:
            if block is not None:
                block.close()


def _began(trial: Trial) -> float:
    """When a trial began; one that is about to, after all that has happened."""
    if trial.start is not None:
        return trial.start.timestamp()
    return 0.0 if trial.state.ended else math.inf


def _over(trial: Trial) -> float:
    """When a trial ended, which was not before it began."""
    return max(_began(trial), 0.0 if trial.end is None else trial.end.timestamp())


def _ending(trial: Trial) -> str:
    took = "" if trial.seconds is None else f" after {trial.seconds:.1f} s"
    if trial.state is TrialState.INFEASIBLE:
        return f"trial {trial.id} came to nothing{took}: {trial.infeasible_reason or 'no reason is given'}"
    how = "stopped early" if trial.stopped_early else "ended"
    return f"trial {trial.id} {how}{took}: {facts(trial.metrics)}"


def _so_far(search: Search) -> str:
    trials = search.trials_as_read
    ended = sum(trial.state.ended for trial in trials)
    of = f" of {search.trial_count}" if search.trial_count else ""
    noun = "trial" if (search.trial_count or ended) == 1 else "trials"
    return f"{ended}{of} {noun}, {_best(trials)}"


def _best(trials: Trials) -> str:
    if len(trials.objectives) != 1:
        unbeaten = ", ".join(trial.id for trial in trials.optimal())
        return f"unbeaten so far: {unbeaten}" if unbeaten else "none succeeded so far"
    best = trials.best()
    if best is None:
        return "none succeeded so far"
    metric = trials.objectives[0].metric
    return f"best {metric} {number(best.metrics[metric])} (trial {best.id})"
