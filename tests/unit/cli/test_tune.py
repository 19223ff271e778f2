"""``vertexkit tune``, and ``vertexkit jobs`` of tuning jobs: what becomes of options, what is shown."""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path
from unittest.mock import MagicMock

import click
import pytest
from training_sessions import NAME, TUNING_NAME, asked, training_session, tuning_job

from vertexkit.cli.main import main
from vertexkit.cli.space_option import parse_space
from vertexkit.cli.tune import tune
from vertexkit.errors import Finding, NotFound, PreflightFailed, TuningFailed
from vertexkit.spaces import Categorical, Discrete, Double, Integer, Parameter
from vertexkit.trials import Trials
from vertexkit.tuning import Tuning
from vertexkit.types import Machine

LINE = ["tune", "trial.py", "--metric", "accuracy", "--space", "lr=log:1e-3..10", "--trials", "8"]


@pytest.fixture(autouse=True)
def session(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    return training_session(monkeypatch)


@pytest.fixture
def with_search(session: MagicMock) -> MagicMock:
    """The search is what any name means."""
    session.tuning.get.side_effect = None
    session.tuning.get.return_value = made = tuning_job()
    session.training.get.side_effect = NotFound("there is none")
    return made


@pytest.mark.parametrize(
    ("text", "parameter"),
    [
        ("log:1e-3..10", Double(1e-3, 10, scale="log")),
        ("0.0..1", Double(0, 1)),
        ("double:0..1", Double(0, 1)),
        ("double:reverse_log:1..2", Double(1, 2, scale="reverse_log")),
        ("-1e3..-1.5", Double(-1000, -1.5)),
        ("1..300", Integer(1, 300)),
        ("log:1..300", Integer(1, 300, scale="log")),
        ("-3..3", Integer(-3, 3)),
        ("16,32,64", Discrete([16, 32, 64])),
        ("log:0.1,1", Discrete([0.1, 1.0], scale="log")),
        ("sgd,adam", Categorical(["sgd", "adam"])),
        ("relu", Categorical(["relu"])),
        ("categorical:1,2", Categorical(["1", "2"])),
        ("gs://b/x,gs://b/y", Categorical(["gs://b/x", "gs://b/y"])),
    ],
)
def test_values_are_written_as_they_are_read(text: str, parameter: Parameter) -> None:
    (found,) = parse_space((f"p={text}",)).values()
    assert found == parameter
    values = getattr(found, "values", ())
    assert [type(value) for value in values] == [type(value) for value in getattr(parameter, "values", ())]


@pytest.mark.parametrize(
    "texts",
    [
        ("lr",),
        ("=1..2",),
        ("lr=",),
        ("lr=log:0..1",),
        ("lr=2..1",),
        ("lr=a..b",),
        ("lr=integer:0.5..1",),
        ("lr=discrete:a,b",),
        ("lr=log:a,b",),
        ("lr=1,1",),
        ("lr=1..2", "lr=1..3"),
    ],
)
def test_values_that_cannot_be_are_wrong_usage(texts: tuple[str, ...], session: MagicMock) -> None:
    with pytest.raises(click.UsageError) as raised:
        parse_space(texts)
    assert texts[-1] in raised.value.message
    assert main([*LINE, *(f"--space={text}" for text in texts)]) == 2
    session.tuning.run.assert_not_called()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("p=2..1", "min=2: is above max=1. Remedy: write 1..2"),
        ("p=2.0..1", "min=2.0: is above max=1.0. Remedy: write 1.0..2.0"),
        ("p=log:0..1", "Remedy: begin above 0, or use no scale"),
        ("p=a,,b", "holds an empty text, which is no value to Vertex AI. Remedy: write 'none'"),
        ("p=discrete:nan,1", "Remedy: write categorical:VALUE,VALUE,... for texts"),
        ("p=0..18014398509481984", "Remedy: write 9007199254740992, or search a Double"),
    ],
)
def test_what_would_do_is_said_as_it_is_typed(text: str, words: str) -> None:
    with pytest.raises(click.UsageError) as raised:
        parse_space((text,))
    assert words in raised.value.message


def test_what_is_found_of_a_parameter_shows_it_as_it_is_typed(
    session: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [Double(0.5, 3, scale="log"), Integer(1, 3), Discrete([16, 32]), Categorical(["a", "b c"])]
    findings = [Finding("space['n']", one, "is wrong", f"write {one!r}") for one in asked]
    session.tuning.check.return_value = findings
    assert main([*LINE, "--check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    shown = ["log:0.5..3.0", "1..3", "16,32", "a,b c"]
    assert lines == [f"error\t--space n\t{one}\tis wrong\twrite {one}" for one in shown]
    session.tuning.run.side_effect = PreflightFailed(findings[1:2])
    assert main(LINE) == 1
    assert "--space n='1..3': is wrong. Remedy: write 1..3" in capsys.readouterr().err


def test_a_range_is_of_what_the_program_takes(
    tmp_path: Path, session: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "trial.py"
    script.write_text(
        "import argparse\n"
        "parser = argparse.ArgumentParser()\n"
        'parser.add_argument("-d", "--dropout", type=float)\n'
        'parser.add_argument("--layers", type=int)\n'
        'parser.add_argument("--other")\n'
        "parser.parse_args()\n"
    )
    spaces = ["dropout=0..1", "d=integer:0..1", "layers=log:1..4", "other=1..2"]
    line = [*LINE, *(f"--space={one}" for one in spaces)]
    line[1] = str(script)
    assert main(line) == 0
    assert asked(session.tuning.run)["space"] == {
        "lr": Double(1e-3, 10, scale="log"),
        "dropout": Double(0, 1),
        "d": Integer(0, 1),
        "layers": Integer(1, 4, scale="log"),
        "other": Integer(1, 2),
    }
    notes = [one for one in capsys.readouterr().err.splitlines() if one.startswith("--space")]
    assert notes == ["--space other=1..2: whole numbers only; double:1..2 is of all numbers between."]


def test_a_script_alone_is_run_with_what_is_usual(
    session: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(LINE) == 0
    assert asked(session.tuning.run) == {
        "program": "trial.py",
        "metric": "accuracy",
        "space": {"lr": Double(1e-3, 10, scale="log")},
        "trials": 8,
        "machine": Machine("n1-standard-4"),
        "wait": False,
    }
    session.tuning.run.return_value.wait.assert_called_once_with(logs=False)
    shown = capsys.readouterr()
    assert f"Created {TUNING_NAME}." in shown.err
    assert "best_trial\t1" in shown.out
    assert "best_parameters\tlr=0.1, n=3" in shown.out


def test_every_option_reaches_the_call_of_its_name(session: MagicMock) -> None:
    line = (
        "--space o=sgd,adam --minimize --parallel 3 --max-failed 2 --algorithm random "
        "--early-stopping median --measurement-selection best --name n --env A=1 --require numpy "
        "--workers 1 --timeout 60 --spot --label k=v"
    )
    assert main([*LINE, *line.split(), "--", "--epochs", "3"]) == 0
    given = asked(session.tuning.run)
    assert list(given["space"]) == ["lr", "o"]
    expected = {
        "maximize": False,
        "parallel": 3,
        "max_failed": 2,
        "algorithm": "random",
        "early_stopping": "median",
        "measurement_selection": "best",
        "name": "n",
        "args": ["--epochs", "3"],
        "env": {"A": "1"},
        "requirements": ["numpy"],
        "workers": 1,
        "timeout": 60.0,
        "spot": True,
        "labels": {"k": "v"},
    }
    assert {name: given[name] for name in expected} == expected


def test_no_argument_of_run_is_without_an_option() -> None:
    options = {parameter.name for parameter in tune.params if isinstance(parameter, click.Parameter)}
    arguments = set(inspect.signature(Tuning.run).parameters) - {"self", "args", "labels", "wait"}
    assert arguments <= options


def test_several_metrics_have_a_goal_each(session: MagicMock) -> None:
    assert main([*LINE, "--metric", "latency:minimize"]) == 0
    assert asked(session.tuning.run)["metric"] == {"accuracy": "maximize", "latency": "minimize"}
    assert main([*LINE, "--metric", "accuracy"]) == 2
    assert main([*LINE, "--metric", "best:of:minimize", "--metric", "minutes:all"]) == 0
    assert list(asked(session.tuning.run)["metric"]) == ["accuracy", "best:of", "minutes:all"]


@pytest.mark.parametrize(
    ("goal", "meant"), [("max", "maximize"), ("MIN", "minimize"), ("minimise", "minimize")]
)
def test_a_goal_that_is_none_is_not_taken_for_a_name(
    goal: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*LINE, "--metric", f"score:{goal}"]) == 2
    assert f"--metric score:{goal}: write score:{meant}" in capsys.readouterr().err


def test_logs_are_printed_where_they_are_asked_for(session: MagicMock) -> None:
    wait = session.tuning.run.return_value.wait
    assert main([*LINE, "--logs"]) == 0
    wait.assert_called_with(logs="stdout")
    assert main([*LINE, "--logs", "--json"]) == 0
    wait.assert_called_with(logs="stderr")
    assert main([*LINE, "--no-wait"]) == 0
    assert wait.call_count == 2


def test_a_check_does_nothing(session: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*LINE, "--check"]) == 0
    session.tuning.check.return_value = [Finding("parallel", 9, "is wrong", "use 1")]
    assert main([*LINE, "--check"]) == 1
    assert capsys.readouterr().out == "error\tparallel\t9\tis wrong\tuse 1\n"
    session.tuning.run.assert_not_called()


def test_what_fails_ends_with_one_and_says_why(
    session: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    session.tuning.run.return_value.wait.side_effect = TuningFailed(
        "the search failed", failures={"3": "It reported nothing."}
    )
    assert main(LINE) == 1
    assert "trial 3: It reported nothing." in capsys.readouterr().err


def test_ctrl_c_ends_with_130_and_says_what_became_of_the_job(
    session: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    interruption = KeyboardInterrupt()
    interruption.add_note("Tuning mnist was asked to stop")
    session.tuning.run.return_value.wait.side_effect = interruption
    assert main(LINE) == 130
    assert "was asked to stop" in capsys.readouterr().err


# -- vertexkit jobs ---------------------------------------------------------------------------


def test_both_kinds_are_listed(session: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    session.tuning.list.return_value = [tuning_job()]
    assert main(["jobs", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["kind"], row["resource_name"]) for row in rows] == [
        ("training", NAME),
        ("tuning", TUNING_NAME),
    ]


def test_a_search_is_shown_with_its_best_trial(
    with_search: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["jobs", "show", "search", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["kind"], shown["trials"], shown["ended_trials"], shown["max_trials"]) == ("tuning", 2, 2, 2)
    assert (shown["best_trial"], shown["best_metrics"]) == ("1", {"accuracy": 0.9})


def test_its_trials_are_a_line_each(with_search: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "trials", "search"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "1\tSUCCEEDED\tlr=0.1, n=3\taccuracy=0.9\t0.0\tTrue\t"
    assert second.endswith("\tFalse\tIt reported nothing.")


def test_a_trial_that_was_stopped_early_says_so(
    with_search: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    first = dataclasses.replace(with_search.trials[0], stopped_early=True)
    with_search.trials = Trials([first], with_search.objectives)
    assert main(["jobs", "trials", "search"]) == 0
    assert capsys.readouterr().out.endswith("\tTrue\tit was stopped early\n")


def test_the_log_of_a_trial_is_printed(
    session: MagicMock, with_search: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["jobs", "logs", "search", "--trial", "1", "--replica", "workerpool0-0"]) == 0
    with_search.logs.assert_called_once_with("1", "workerpool0-0", follow=False)
    assert capsys.readouterr().out == "1/workerpool0-0  epoch 1\n"
    session.training.get.side_effect = None
    session.tuning.get.side_effect = NotFound("there is none")
    assert main(["jobs", "logs", "mnist", "--trial", "1"]) == 2


def test_a_name_of_two_kinds_is_refused(
    session: MagicMock, with_search: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    session.training.get.side_effect = None
    assert main(["jobs", "cancel", "mnist"]) == 1
    shown = capsys.readouterr().err
    assert NAME in shown
    assert TUNING_NAME in shown
    with_search.cancel.assert_not_called()
    assert main(["jobs", "delete", TUNING_NAME, "--yes"]) == 0
    with_search.delete.assert_called_once_with()
