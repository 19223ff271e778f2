"""The metric file of a trial, as it grows, is written anew, and is met half written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vertexkit.emulator.services.study_spec import measurement, measurement_message
from vertexkit.emulator.services.trial_metrics import TrialMetrics
from vertexkit.emulator.tuning.types import Kind, Measurement, Metric, Parameter, Selection, StudyConfig

STARTED = 1000.0


def study(*metrics: Metric, selection: Selection = Selection.LAST) -> StudyConfig:
    parameter = Parameter("x", Kind.DOUBLE, 0.0, 1.0)
    return StudyConfig(metrics or (Metric("score"),), (parameter,), measurement_selection=selection)


def line(step: int = 1, score: Any = 0.5, tag: str = "score", time: float | None = None, **more: Any) -> str:
    """As cloudml-hypertune writes it: numbers as strings."""
    report = {
        "checkpoint_path": "",
        "global_step": str(step),
        "timestamp": STARTED + (step if time is None else time),
        "trial": "1",
        tag: str(score),
        **more,
    }
    return json.dumps(report, sort_keys=True) + "\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "output.metrics"


@pytest.fixture
def read(file: Path) -> Callable[..., list[tuple[int, float]]]:
    """Reads the file with these lines in it; steps and scores of all measurements so far."""

    def take(metrics: TrialMetrics, *lines: str, ended: bool = False) -> list[tuple[int, float]]:
        file.write_text("".join(lines))
        metrics.read(file, started=STARTED, ended=ended)
        return [(one.step, one.metrics["score"]) for one in metrics.measurements]

    return take


def test_lines_are_measurements_with_the_time_since_the_start(file: Path) -> None:
    metrics = TrialMetrics(study())
    file.write_text(line(1, 0.25) + line(2, "1e-3"))
    assert metrics.read(file, started=STARTED)
    assert metrics.measurements == (
        Measurement(1, 1.0, {"score": 0.25}),
        Measurement(2, 2.0, {"score": 0.001}),
    )
    assert not metrics.read(file, started=STARTED)
    assert metrics.problem() == ""


def test_no_file_is_nothing_reported(tmp_path: Path) -> None:
    metrics = TrialMetrics(study())
    assert not metrics.read(None, started=STARTED)
    assert not metrics.read(tmp_path / "none", started=STARTED, ended=True)
    assert "ended without reporting" in metrics.problem()


def test_what_falls_out_of_the_file_is_kept(read: Callable[..., Any]) -> None:
    metrics = TrialMetrics(study())
    lines = [line(step, step) for step in range(1, 160)]
    assert len(read(metrics, *lines[:60])) == 60
    assert len(read(metrics, *lines[20:120])) == 120
    assert read(metrics, *lines[59:159]) == [(step, step) for step in range(1, 160)]


def test_a_file_met_half_written_changes_nothing_and_doubles_nothing(read: Callable[..., Any]) -> None:
    metrics = TrialMetrics(study())
    lines = [line(step, step) for step in range(1, 5)]
    assert len(read(metrics, *lines[:3])) == 3
    assert len(read(metrics)) == 3
    assert len(read(metrics, lines[0])) == 3
    assert len(read(metrics, lines[0], lines[1][:30])) == 3
    assert len(read(metrics, *lines[:3], lines[3][:-1])) == 3
    assert read(metrics, *lines) == [(1, 1), (2, 2), (3, 3), (4, 4)]


def test_the_last_line_needs_no_end_once_nobody_writes_any_more(read: Callable[..., Any]) -> None:
    metrics = TrialMetrics(study())
    unfinished = line(1).rstrip("\n")
    assert read(metrics, unfinished) == []
    assert read(metrics, unfinished[:-9], ended=True) == []
    assert read(metrics, unfinished, ended=True) == [(1, 0.5)]


def test_equal_reports_at_different_times_are_two(read: Callable[..., Any]) -> None:
    metrics = TrialMetrics(study())
    assert read(metrics, line(0, 1, time=1.0), line(0, 1, time=2.0)) == [(0, 1), (0, 1)]
    without_time = '{"score": 1}\n'
    metrics = TrialMetrics(study())
    assert read(metrics, without_time) == [(0, 1)]
    assert read(metrics, without_time, without_time) == [(0, 1), (0, 1)]
    times = [one.elapsed for one in metrics.measurements]
    assert times == sorted(set(times))


def test_measurements_are_in_order_of_their_steps(read: Callable[..., Any]) -> None:
    metrics = TrialMetrics(study())
    assert read(metrics, line(2, 1), line(1, 2, time=3.0), line(1, 3, time=4.0)) == [(1, 2), (1, 3), (2, 1)]


def test_metrics_of_one_step_are_one_measurement(file: Path) -> None:
    metrics = TrialMetrics(study(Metric("score"), Metric("cost", maximize=False)))
    file.write_text(line(1, 1) + line(1, 2, "cost") + line(2, 3, "cost") + line(2, 4) + line(2, 5, time=9))
    metrics.read(file, started=STARTED)
    assert [dict(one.metrics) for one in metrics.measurements] == [
        {"score": 1.0, "cost": 2.0},
        {"cost": 3.0, "score": 4.0},
        {"score": 5.0},
    ]
    metrics = TrialMetrics(study(Metric("score"), Metric("cost")))
    file.write_text(line(1, 1))
    metrics.read(file, started=STARTED)
    assert metrics.problem() == 'The trial did not report the metric "cost", only "score".'


def test_what_was_known_before_a_restart_is_not_reported_again(read: Callable[..., Any]) -> None:
    lines = [line(step, step) for step in range(1, 4)]
    first = TrialMetrics(study())
    read(first, *lines[:2])
    second = TrialMetrics(study(), first.measurements)
    assert read(second, *lines) == [(1, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize("time", [1 / 3, 0.1, 2 / 7, 0.7, 0.123])
def test_what_was_kept_in_nanoseconds_is_the_same_measurement(read: Callable[..., Any], time: float) -> None:
    first = TrialMetrics(study())
    read(first, line(1, 1, time=time))
    kept = [measurement(measurement_message(one)) for one in first.measurements]
    assert read(TrialMetrics(study(), kept), line(1, 1, time=time)) == [(1, 1)]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([line(tag="acc"), line(tag="loss")], 'asks for, but "acc", "loss": hyperparameter_metric_tag'),
        ([line(3, "nan")], 'reported nan for the metric "score" at step 3'),
        ([line(3, "-inf")], 'reported -inf for the metric "score" at step 3'),
        (['{"score": NaN, "global_step": 3}\n'], 'reported nan for the metric "score" at step 3'),
        ([line(1, "x" * 100)], f'reported "{"x" * 60}" for the metric "score" at step 1, which is no number'),
        (["[1]\n", "nothing\n", "\n", "1\n", '{"trial": "1"}\n', "[" * 100_000 + "\n"], "without reporting"),
        ([line(1, True)], 'reported "True" for the metric "score"'),
    ],
)
def test_a_trial_that_cannot_be_compared_says_why(
    read: Callable[..., Any], lines: list[str], problem: str
) -> None:
    metrics = TrialMetrics(study())
    assert read(metrics, *lines, ended=True) == []
    assert problem in metrics.problem()


def test_only_the_last_value_has_to_be_finite_where_the_last_counts(read: Callable[..., Any]) -> None:
    for selection, last, problem in [
        (Selection.LAST, "nan", True),
        (Selection.BEST, "nan", False),
        (Selection.LAST, "1.0", False),
    ]:
        metrics = TrialMetrics(study(selection=selection))
        read(metrics, line(1, "nan"), line(2, 1.0), line(3, last))
        assert bool(metrics.problem()) == problem


def test_odd_steps_and_times_are_taken_as_they_can_be(read: Callable[..., Any]) -> None:
    metrics = TrialMetrics(study())
    steps = ["-3", "2.0", "no", None, "1e400"]
    lines = [line(0, index, time=index + 1.0, global_step=step) for index, step in enumerate(steps)]
    assert read(metrics, *lines) == [(0, 0), (0, 2), (0, 3), (0, 4), (2, 1)]
    # A clock that was put back.
    metrics = TrialMetrics(study())
    read(metrics, line(1, 1, time=-50.0))
    assert [one.elapsed for one in metrics.measurements] == [0.0]


def test_a_file_without_end_is_read_from_its_end_and_measurements_are_bounded(
    file: Path, read: Callable[..., Any]
) -> None:
    metrics = TrialMetrics(study(Metric("score"), selection=Selection.BEST))
    lines = [line(step, 99.0 if step == 10 else 1.0) for step in range(1, 20_001)]
    for end in range(2_000, 20_001, 2_000):
        found = read(metrics, *lines[:end])
    assert len(found) <= 1_000
    assert (10, 99.0) in found and found[-1] == (20_000, 1.0)


def test_what_a_trial_reported_before_it_started_anew_counts_no_more(file: Path, tmp_path: Path) -> None:
    metrics = TrialMetrics(study(selection=Selection.BEST))
    file.write_text(line(1, 0.9) + line(2, "nan"))
    assert metrics.read(file, started=STARTED)

    anew = tmp_path / "anew" / "output.metrics"
    assert metrics.read(anew, started=STARTED)  # nothing is reported yet
    assert metrics.measurements == ()
    assert not metrics.read(anew, started=STARTED)

    anew.parent.mkdir()
    anew.write_text(line(1, 0.4))
    assert metrics.read(anew, started=STARTED)
    assert [one.metrics["score"] for one in metrics.measurements] == [0.4]
    assert metrics.problem() == ""
