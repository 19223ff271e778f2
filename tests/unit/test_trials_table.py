"""The trials of a search on a terminal: as much as there is room for, and nothing cut that is a number."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console
from test_progress import run_in_terminal

from vertexkit.trials import Measurement, Objective, ParameterValue, Trial, Trials, TrialState
from vertexkit.trials_table import trials_table

BEGUN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
METRIC = "validation_accuracy"
PARAMETERS: dict[str, ParameterValue] = {
    "learning_rate": 1.288e-5,
    "n_neurons": 203,
    "n_hidden": 4,
    "optimizer": "a rather long category",
    "momentum": 9.386e-05,
    "dropout_rate": 0.02835,
    "batch": 32,
}


def trial(name: int, state: TrialState = TrialState.SUCCEEDED, **facts: Any) -> Trial:
    end = BEGUN + timedelta(seconds=30 * name) if state.ended else None
    metrics = {METRIC: 1.003e-7 * name} if state is TrialState.SUCCEEDED else {}
    facts = {"parameters": PARAMETERS, "metrics": metrics, "start": BEGUN, "end": end, **facts}
    return Trial(str(name), state, **facts)


def drawn(trials: list[Trial], width: int, height: int = 24) -> list[list[str]]:
    """The words of each line that a terminal of this size shows."""
    console = Console(width=width, height=height, record=True, file=io.StringIO())
    console.print(trials_table(Trials(trials, [Objective(METRIC)]), console))
    lines = console.export_text().splitlines()
    assert all(len(line) <= width for line in lines)
    return [line.split() for line in lines if line.strip() and "─" not in line]


def test_a_terminal_has_room_for_the_best_and_for_those_that_run() -> None:
    ended = [trial(n, metrics={METRIC: 1.0 - n / 100}, parameters={"lr": 1.0}) for n in range(1, 50)]
    reported = Measurement(3, {METRIC: 0.123})
    running = trial(50, TrialState.ACTIVE, parameters={"lr": 0.5}, measurements=(reported,))
    head, *rows = drawn([*ended, running], 100, height=20)
    assert head == ["trial", "state", "lr", METRIC, "time"]
    assert len(rows) == 12
    assert rows[0][:3] == ["1", "★", "SUCCEEDED"]
    assert rows[-1][:4] == ["50", "ACTIVE", "0.5", "0.123"]


def test_where_there_is_room_everything_is_shown() -> None:
    head, first, _ = drawn([trial(1), trial(2)], 200)
    assert head == ["trial", "state", *PARAMETERS, METRIC, "time"]
    assert " ".join(first) == (
        "1 SUCCEEDED 1.288e-05 203 4 a rather long category 9.386e-05 0.02835 32 1.003e-07 30 s"
    )


@pytest.mark.parametrize("width", [45, 50, 60, 70, 80, 100, 120])
@pytest.mark.parametrize("count", [1, 4, 7])
def test_no_number_is_cut_and_the_metric_is_always_shown(width: int, count: int) -> None:
    parameters = dict([*PARAMETERS.items()][:count])
    head, first, best = drawn([trial(1, parameters=parameters), trial(2, parameters=parameters)], width)
    whole = {"1.288e-05", "203", "4", "9.386e-05", "0.02835", "32", "1.003e-07", "2.006e-07", "1", "2", "30"}
    numbers = [word for word in [*first, *best] if word[0].isdigit()]
    assert not [word for word in numbers if word not in {*whole, "60"}]
    assert "1.003e-07" in first
    assert "2.006e-07" in best
    assert best[:2] == ["2", "★"]
    # What is left out is said.
    shown = sum(any(name.startswith(word.rstrip("…")) for name in parameters) for word in head[2:])
    left_out = [word for word in head if word.startswith("+")]
    assert left_out == ([f"+{count - shown}"] if shown < count else [])


def test_one_that_was_stopped_early_is_shown_so() -> None:
    _, first, second = drawn([trial(1, stopped_early=True), trial(2)], 120)
    assert (first[1], second[2]) == ("stopped", "SUCCEEDED")


def test_the_best_is_whole_on_a_narrow_terminal() -> None:
    shown = run_in_terminal(
        """
        from types import SimpleNamespace
        from vertexkit.job_state import JobState
        from vertexkit.search_progress import shown
        from vertexkit.trials import Objective, Trial, Trials, TrialState

        trials = Trials(
            [Trial("12", TrialState.SUCCEEDED, {}, {"validation_accuracy": 0.97531})],
            [Objective("validation_accuracy")],
        )
        search = SimpleNamespace(
            description="Tuning trial-20261122-160113", trials_as_read=trials, trial_count=24
        )
        with shown(search, None) as show:
            show(JobState.RUNNING)
        """,
        columns=80,
    ).decode()
    assert "1 of 24 trials, best validation_accuracy 0.9753 (trial 12)" in shown


def test_of_a_search_that_is_over_already_no_table_is_shown() -> None:
    shown = run_in_terminal(
        """
        from types import SimpleNamespace
        from vertexkit.job_state import JobState
        from vertexkit.search_progress import shown
        from vertexkit.trials import Objective, Trial, Trials, TrialState

        trials = Trials([Trial("1", TrialState.SUCCEEDED, {}, {"gain": 0.97531})], [Objective("gain")])
        search = SimpleNamespace(description="Tuning mnist", trials_as_read=trials, trial_count=1)
        with shown(search, None) as show:
            show(JobState.SUCCEEDED)
        """
    ).decode()
    assert "1 of 1 trial, best gain 0.9753 (trial 1)" in shown
    assert "state" not in shown
