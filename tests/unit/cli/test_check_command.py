"""``vertexkit check`` without a target: findings, formats and exit status."""

from __future__ import annotations

import json

import pytest

from vertexkit._core.target import Target
from vertexkit.cli.main import main
from vertexkit.session import Session


def check(*arguments: str) -> int:
    return main(["check", *arguments])


def test_nothing_wrong_is_said_on_standard_error_and_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    good = ["--machine", "n1-standard-4", "--accelerator", "NVIDIA_TESLA_T4", "--replicas", "1", "5"]
    assert check(*good, "--framework", "tensorflow", "--traffic", "10", "--location", "europe-west4") == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "Nothing was found wrong.\n")


def test_findings_are_tab_separated_lines_in_a_pipe_and_exit_with_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert check("--machine", "e2-standard-4", "--accelerator", "NVIDIA_TESLA_T4", "--traffic", "101") == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[:2] for line in lines] == [["error", "accelerator"], ["error", "traffic"]]
    assert all(len(line.split("\t")) == 5 for line in lines)


def test_findings_are_objects_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("--json", "--artifact", "nothing") == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert found["severity"] == "error"
    assert found["argument"] == "artifact"
    assert "does not exist" in found["problem"]


def test_a_warning_is_shown_but_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    retired = ["--machine", "n1-standard-4", "--accelerator", "NVIDIA_TESLA_K80"]
    assert check(*retired) == 0
    assert capsys.readouterr().out.startswith("warning\taccelerator\tNVIDIA_TESLA_K80\t")


def test_the_count_of_accelerators_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("--machine", "g2-standard-4", "--accelerator", "NVIDIA_L4", "--accelerator-count", "2") == 1
    assert "accelerator_count\t2" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [("--accelerator", "NVIDIA_L4"), ("--framework", "tensorflow", "--image", "x"), ("--replicas", "1")],
)
def test_options_that_make_no_sense_together_are_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert check(*arguments) == 2


def test_a_framework_without_containers_is_an_error_with_the_frameworks_that_have_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert check("--framework", "mxnet") == 1
    assert "sklearn" in capsys.readouterr().out


def test_where_to_connect_changes_nothing_of_what_is_found(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = ["--framework", "mxnet", "--machine", "n1", "--replicas", "2", "1", "--traffic", "101"]
    assert check(*wrong) == 1
    offline = capsys.readouterr().out
    target = Target("p", "us-central1", "https://rest", "grpc:443", "https://storage", anonymous=True)
    monkeypatch.setattr("vertexkit.session.connect", lambda **_: Session(target))
    assert check(*wrong, "--emulator", "http://127.0.0.1:1") == 1
    assert capsys.readouterr().out == offline
    assert [line.split("\t")[1] for line in offline.splitlines()] == [
        "framework",
        "machine",
        "replicas",
        "traffic",
    ]
