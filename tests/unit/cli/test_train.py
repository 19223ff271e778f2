"""``vertexkit train``: what becomes of its options, and how it ends."""

from __future__ import annotations

import inspect
import json
from unittest.mock import MagicMock

import click
import pytest
from training_sessions import NAME, asked, training_session

from vertexkit.cli.main import main
from vertexkit.cli.train import train
from vertexkit.errors import Finding, InvalidArgument, TrainingFailed
from vertexkit.training import Training
from vertexkit.types import Machine


@pytest.fixture(autouse=True)
def session(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    return training_session(monkeypatch)


def test_a_script_alone_is_run_with_what_is_usual(
    session: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "train.py"]) == 0
    assert asked(session.training.run) == {
        "program": "train.py",
        "machine": Machine("n1-standard-4"),
        "wait": False,
    }
    session.training.run.return_value.wait.assert_called_once_with(logs="stdout")
    shown = capsys.readouterr()
    assert f"Created {NAME}." in shown.err
    assert "state\tSUCCEEDED" in shown.out


def test_what_follows_two_dashes_is_the_program_s(session: MagicMock) -> None:
    assert main(["train", "train.py", "--workers", "2", "--", "--epochs", "3", "--name=x"]) == 0
    assert asked(session.training.run)["args"] == ["--epochs", "3", "--name=x"]
    assert asked(session.training.run)["workers"] == 2
    assert "name" not in asked(session.training.run)


def test_every_option_reaches_the_call_of_its_name(session: MagicMock) -> None:
    line = (
        "train.py --name n --module m --env A=1 --env B=x=y --require numpy --require six<2 "
        "--machine n1-standard-8 --accelerator NVIDIA_TESLA_T4 --accelerator-count 2 --workers 1 "
        "--parameter-servers 2 --evaluators 1 --worker-machine a --parameter-server-machine b "
        "--evaluator-machine c --image i --framework pytorch --framework-version 2.4 --service-account s "
        "--timeout 60 --base-output-dir gs://b/o --tensorboard t --dataset d --restart-on-worker-restart "
        "--spot --network w --model M --serving-image v --label k=v"
    )
    assert main(["train", *line.split(), "--command", "python -c 'a b'"]) == 0
    assert asked(session.training.run) == {
        "program": "train.py",
        "name": "n",
        "module": "m",
        "env": {"A": "1", "B": "x=y"},
        "requirements": ["numpy", "six<2"],
        "machine": Machine("n1-standard-8", "NVIDIA_TESLA_T4", 2),
        "workers": 1,
        "parameter_servers": 2,
        "evaluators": 1,
        "worker_machine": "a",
        "parameter_server_machine": "b",
        "evaluator_machine": "c",
        "image": "i",
        "command": ["python", "-c", "a b"],
        "framework": "pytorch",
        "framework_version": "2.4",
        "service_account": "s",
        "timeout": 60.0,
        "base_output_dir": "gs://b/o",
        "tensorboard": "t",
        "dataset": "d",
        "restart_on_worker_restart": True,
        "spot": True,
        "network": "w",
        "model": "M",
        "serving_image": "v",
        "labels": {"k": "v"},
        "wait": False,
    }


def test_no_argument_of_run_is_without_an_option() -> None:
    options = {parameter.name for parameter in train.params if isinstance(parameter, click.Parameter)}
    arguments = set(inspect.signature(Training.run).parameters) - {"self", "args", "labels", "wait", "logs"}
    assert arguments <= options


def test_a_container_with_its_own_program_takes_the_arguments(session: MagicMock) -> None:
    assert main(["train", "--image", "gcr.io/a/b", "--no-model", "--", "--epochs=3"]) == 0
    assert asked(session.training.run)["args"] == ["--epochs=3"]
    assert "program" not in asked(session.training.run)
    assert asked(session.training.run)["model"] is False


@pytest.mark.parametrize(
    "options",
    [
        ["--model", "m", "--no-model"],
        ["--require", "six", "--requirements", "requirements.txt"],
        ["--accelerator-count", "2"],
        ["--env", "A"],
        ["--label", "=b"],
        ["--workers", "-1"],
        ["--image", "gcr.io/a/b", "--command", "python 'task.py"],
    ],
)
def test_options_that_contradict_are_wrong_usage(options: list[str], session: MagicMock) -> None:
    assert main(["train", "train.py", *options]) == 2
    session.training.run.assert_not_called()


def test_whoever_forgets_the_dashes_before_the_program_s_arguments_is_told(
    session: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "train.py", "--epochs", "3"]) == 2
    assert 'Arguments of the program itself follow "--".' in capsys.readouterr().err
    session.training.run.assert_not_called()


def test_json_has_standard_output_for_itself(session: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "train.py", "--json"]) == 0
    session.training.run.return_value.wait.assert_called_once_with(logs="stderr")
    assert json.loads(capsys.readouterr().out)["resource_name"] == NAME


def test_nobody_waits_and_nothing_is_printed_where_that_is_not_wanted(session: MagicMock) -> None:
    assert main(["train", "train.py", "--no-wait"]) == 0
    session.training.run.return_value.wait.assert_not_called()
    assert main(["train", "train.py", "--no-logs"]) == 0
    session.training.run.return_value.wait.assert_called_once_with(logs=False)


def test_a_check_does_nothing(session: MagicMock, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "train.py", "--check"]) == 0
    session.training.check.return_value = [Finding("workers", -1, "is wrong", "use 1")]
    assert main(["train", "train.py", "--check"]) == 1
    assert capsys.readouterr().out == "error\tworkers\t-1\tis wrong\tuse 1\n"
    session.training.run.assert_not_called()


def test_what_fails_ends_with_one_and_says_why(
    session: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    session.training.run.return_value.wait.side_effect = TrainingFailed("the chief exited with code 3")
    assert main(["train", "train.py"]) == 1
    assert "exited with code 3" in capsys.readouterr().err
    session.training.run.side_effect = InvalidArgument("workers", -1, "is wrong")
    assert main(["train", "train.py"]) == 1


def test_ctrl_c_ends_with_130_and_says_what_became_of_the_job(
    session: MagicMock, capsys: pytest.CaptureFixture[str]
) -> None:
    interruption = KeyboardInterrupt()
    interruption.add_note("Training mnist was asked to stop")
    session.training.run.return_value.wait.side_effect = interruption
    assert main(["train", "train.py"]) == 130
    assert "was asked to stop" in capsys.readouterr().err
