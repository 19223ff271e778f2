"""The trials of a search: the best of them, and how they are shown."""

from __future__ import annotations

import io
import itertools
import time
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pandas as pd
import pytest

from vertexkit import search_progress
from vertexkit.errors import InvalidArgument, NotFound
from vertexkit.job_state import JobState
from vertexkit.trials import Measurement, Objective, Trial, Trials, TrialState

BEGUN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ACCURACY, LATENCY = Objective("accuracy"), Objective("latency", maximize=False)


def trial(name: int, state: TrialState = TrialState.SUCCEEDED, **facts: Any) -> Trial:
    metrics = {key: value for key, value in facts.items() if key in ("accuracy", "latency")}
    parameters = {key: value for key, value in facts.items() if key not in metrics}
    end = BEGUN + timedelta(seconds=name) if state.ended else None
    return Trial(str(name), state, parameters, metrics, start=BEGUN, end=end)


def test_the_best_is_the_first_of_those_that_have_succeeded_with_the_best_metric() -> None:
    trials = Trials(
        [
            trial(1, accuracy=0.5),
            trial(2, accuracy=0.9),
            trial(3, accuracy=0.9),
            trial(4, TrialState.ACTIVE, accuracy=0.99),
            trial(5, accuracy=float("nan")),
            trial(6, TrialState.INFEASIBLE),
        ],
        [ACCURACY],
    )
    best = trials.best()
    assert best is not None
    assert best.id == "2"
    worst = trials.best("accuracy", maximize=False)
    assert worst is not None
    assert worst.id == "1"
    assert [one.id for one in trials.optimal()] == ["2"]
    assert Trials([trial(1, TrialState.ACTIVE)], [ACCURACY]).best() is None
    with pytest.raises(InvalidArgument, match="acuracy"):
        trials.best("acuracy")


def test_one_trial_is_not_several() -> None:
    assert repr(Trials([trial(1, accuracy=0.5)], [ACCURACY])) == "<1 trial, 1 succeeded>"
    assert repr(Trials([], [ACCURACY])) == "<0 trials, 0 succeeded>"


def test_of_several_metrics_the_best_are_those_that_no_other_one_beats() -> None:
    trials = Trials(
        [
            trial(1, accuracy=0.9, latency=10.0),
            trial(2, accuracy=0.8, latency=5.0),
            trial(3, accuracy=0.8, latency=6.0),
            trial(4, accuracy=0.95),
            trial(5, accuracy=0.9, latency=10.0),
        ],
        [ACCURACY, LATENCY],
    )
    assert [one.id for one in trials.optimal()] == ["1", "2", "5"]
    fastest = trials.best("latency")
    assert fastest is not None
    assert fastest.id == "2"
    with pytest.raises(InvalidArgument, match=r"'accuracy' or 'latency'.*optimal"):
        trials.best()


def test_a_frame_has_a_row_for_each_trial_and_integers_stay_integers() -> None:
    frame = Trials(
        [
            trial(1, lr=0.1, n=3, optimizer="sgd", momentum=4, accuracy=0.5),
            trial(2, TrialState.ACTIVE, lr=1.0, n=5, optimizer="adam"),
        ],
        [ACCURACY],
    ).to_frame()
    assert list(frame.index) == ["1", "2"]
    assert str(frame.dtypes["n"]) == "int64"
    assert str(frame.dtypes["momentum"]) == "Int64"
    assert frame.loc["1", "momentum"] == 4
    assert pd.isna(frame.loc["2", "momentum"])
    assert pd.isna(frame.loc["2", "accuracy"])
    assert frame.loc["1", "seconds"] == 1.0
    assert frame.loc["1", "start"] == pd.Timestamp(BEGUN)
    assert list(frame[frame.optimizer == "adam"].state) == ["ACTIVE"]


def test_a_parameter_may_be_called_as_a_column_is() -> None:
    frame = Trials([trial(1, state_=1, seconds=3, accuracy=0.5)], [ACCURACY]).to_frame()
    assert (frame.loc["1", "seconds"], frame.loc["1", "seconds_"]) == (3, 1.0)
    assert Trials([], [ACCURACY]).to_frame().empty


def test_a_thousand_trials_are_listed_and_drawn_in_a_second() -> None:
    pytest.importorskip("matplotlib")
    many = [trial(n, lr=10.0 ** (n % 5), n=n % 300, o="ab"[n % 2], accuracy=n / 1000) for n in range(1000)]
    trials = Trials(many, [ACCURACY], log=["lr"])
    trials[:5].plot()  # imports
    trials[:5].to_frame()
    started = time.process_time()
    assert trials.best() == many[-1]
    assert len(trials.to_frame()) == 1000
    figure = trials.plot()
    trials._repr_html_()
    assert time.process_time() - started < 1
    history, *others = figure.axes
    assert [axes.get_xlabel() for axes in others] == ["lr", "n", "o"]
    assert [axes.get_xscale() for axes in others] == ["log", "linear", "linear"]
    assert [tick.get_text() for tick in others[2].get_xticklabels()] == ["a", "b"]
    best_so_far = history.get_lines()[1].get_ydata()
    assert list(best_so_far) == sorted(best_so_far)


def test_no_text_of_a_plot_lies_on_another() -> None:
    pytest.importorskip("matplotlib")
    names = ["sgd", "adam", "one that has a very long name", "rmsprop", "nadam"]
    trials = Trials(
        [
            trial(n, lr=10.0 ** (n % 5 - 4), rate=0.001 + n / 10_000, o=names[n % 5], n=n, accuracy=n / 30)
            for n in range(1, 31)
        ],
        [ACCURACY],
        log=["lr", "rate"],
    )
    figure = trials.plot()
    figure.savefig(io.BytesIO(), format="png")
    boxes = [axes.get_window_extent() for axes in figure.axes]
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = axis.get_view_interval()
        shown = [
            tick for tick in axis.get_major_ticks() + axis.get_minor_ticks() if low <= tick.get_loc() <= high
        ]
        texts = [axis.label, *(tick.label1 for tick in shown)]
        assert len(texts) > 2
        # The box of one that is slanted is larger than its letters.
        texts = [
            text for text in texts if text.get_text() and text.get_visible() and text.get_rotation() % 90 == 0
        ]
        boxes += [text.get_window_extent() for text in texts]
    assert not [(one, other) for one, other in itertools.combinations(boxes, 2) if one.overlaps(other)]


def test_there_is_nothing_to_draw_before_a_trial_has_ended() -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(InvalidArgument, match="no trial"):
        Trials([trial(1, TrialState.ACTIVE)], [ACCURACY]).plot()


def test_a_notebook_shows_a_table_with_the_best_marked() -> None:
    shown = Trials([trial(1, o="<b>", accuracy=0.5), trial(2, accuracy=0.9)], [ACCURACY])._repr_html_()
    assert "&lt;b&gt;" in shown
    assert shown.count("★") == 1
    assert shown.index("0.9") < shown.index("★")


def test_a_notebook_shows_the_latest_of_many_trials_and_the_best() -> None:
    shown = Trials([trial(n, accuracy=1 / n) for n in range(1, 301)], [ACCURACY])._repr_html_()
    rows = shown.split("<tr")[2:]
    assert len(rows) == 201
    assert "★ best" in rows[0]
    assert "<td>101</td>" in rows[1]
    assert "99 earlier trials are left out" in shown


def test_a_trial_tells_what_it_is() -> None:
    assert str(trial(3, n=2, lr=0.00123456, accuracy=0.97)) == (
        "trial 3: SUCCEEDED, n=2, lr=0.001235, accuracy=0.97"
    )
    with pytest.raises(NotFound, match="trial 3"):
        trial(3).model()


def test_a_notebook_shows_a_trial_without_the_types_that_hold_it() -> None:
    whole = Trial(
        "3",
        TrialState.SUCCEEDED,
        MappingProxyType({"o": "<b>", "lr": 0.00123456}),
        MappingProxyType({"accuracy": 0.97}),
        measurements=(Measurement(1, {"accuracy": 0.5}, 1.25), Measurement(2, {"accuracy": 0.97})),
        start=BEGUN,
        end=BEGUN + timedelta(seconds=3.5),
        stopped_early=True,
    )
    assert repr(whole) == "<trial 3: SUCCEEDED, stopped early, o=<b>, lr=0.001235, accuracy=0.97>"
    assert repr(whole.measurements) == "(<step 1 after 1.2 s: accuracy=0.5>, <step 2: accuracy=0.97>)"
    shown = whole._repr_html_()
    assert "<b>Trial 3</b>" in shown
    for row in (
        "<th>state</th><td>SUCCEEDED, stopped early</td>",
        "<th>parameters</th><td>o=&lt;b&gt;, lr=0.001235</td>",
        "<th>metrics</th><td>accuracy=0.97</td>",
        "<th>reports</th><td>2, the last one step 2: accuracy=0.97</td>",
        "<th>took</th><td>3.5 s</td>",
    ):
        assert row in shown
    failed = Trial("4", TrialState.INFEASIBLE, {}, infeasible_reason="It reported nothing.")
    assert repr(failed) == "<trial 4: INFEASIBLE, It reported nothing.>"
    assert failed._repr_html_().count("<tr>") == 2


class Search:
    """A search that goes on each time that it is looked at."""

    description = "Tuning mnist"
    trial_count = 2

    def __init__(self) -> None:
        self.trials_as_read = Trials([], [ACCURACY])


def test_a_log_has_a_line_when_a_trial_begins_and_when_it_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_progress, "can_animate", lambda: False)
    search = Search()
    with search_progress.shown(search, None) as show:
        show(JobState.RUNNING)
        search.trials_as_read = Trials([trial(1, TrialState.ACTIVE, n=3)], [ACCURACY])
        show(JobState.RUNNING)
        show(JobState.RUNNING)
        failed = Trial("2", TrialState.INFEASIBLE, {"n": 4}, infeasible_reason="It reported nothing.")
        search.trials_as_read = Trials([trial(1, n=3, accuracy=0.5), failed], [ACCURACY])
        show(JobState.SUCCEEDED)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "Tuning mnist: running",
        "Tuning mnist: trial 1 started: n=3",
        "Tuning mnist: trial 2 started: n=4",
        "Tuning mnist: trial 2 came to nothing: It reported nothing.; none succeeded so far (1 of 2)",
        "Tuning mnist: trial 1 ended after 1.0 s: accuracy=0.5; best accuracy 0.5 (trial 1) (2 of 2)",
        "Tuning mnist: succeeded",
    ]
    with search_progress.shown(search, False) as show:
        show(JobState.RUNNING)
    assert capsys.readouterr().err == ""


def test_a_log_tells_what_has_happened_in_its_order(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_progress, "can_animate", lambda: False)
    search = Search()
    with search_progress.shown(search, None) as show:
        search.trials_as_read = Trials([trial(1, TrialState.ACTIVE, n=1)], [ACCURACY])
        show(JobState.RUNNING)
        second = Trial(
            "2",
            TrialState.SUCCEEDED,
            {"n": 2},
            {"accuracy": 0.7},
            start=BEGUN + timedelta(seconds=2),
            end=BEGUN + timedelta(seconds=3),
        )
        about_to_start = Trial("3", TrialState.ACTIVE, {"n": 3})
        search.trials_as_read = Trials([trial(1, n=1, accuracy=0.5), second, about_to_start], [ACCURACY])
        show(JobState.RUNNING)
    lines = [line.removeprefix("Tuning mnist: trial ") for line in capsys.readouterr().err.splitlines()[1:]]
    assert [line.split()[:2] for line in lines] == [
        ["1", "started:"],
        ["1", "ended"],
        ["2", "started:"],
        ["2", "ended"],
        ["3", "started:"],
    ]


def test_of_a_search_that_is_over_already_only_the_end_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_progress, "can_animate", lambda: False)
    search = Search()
    search.trials_as_read = Trials([trial(1, n=3, accuracy=0.5), trial(2, n=4, accuracy=0.7)], [ACCURACY])
    with search_progress.shown(search, None) as show:
        show(JobState.SUCCEEDED)
    assert capsys.readouterr().err.splitlines() == [
        "Tuning mnist: succeeded, 2 of 2 trials, best accuracy 0.7 (trial 2)"
    ]
