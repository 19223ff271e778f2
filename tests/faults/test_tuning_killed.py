"""Searches whose trials, or whose emulator, are killed: no trial is lost, none is doubled, each is said."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import descendants, left_alive
from local_bucket import Bucket
from plain_api import PARENT, get, post, texts
from waiting import until

IMAGE = "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-12.py310:latest"
BUCKET = "killed-searches"

# Says that it runs, waits until it may go on where it is to, and reports what it was given.
TRIAL = f"""
import hypertune, os, sys, time
trial, x = os.environ["CLOUD_ML_TRIAL_ID"], float(sys.argv[1].removeprefix("--x="))
with open(f"/gcs/{BUCKET}/runs", "a") as file:
    file.write(f"{{trial}} {{sys.argv[1]}} {{os.getpid()}}\\n")
reporter = hypertune.HyperTune()
reporter.report_hyperparameter_tuning_metric("score", x, 1)
while int(trial) > 2 and not os.path.exists(f"/gcs/{BUCKET}/proceed"):
    time.sleep(0.05)
reporter.report_hyperparameter_tuning_metric("score", x * 2, 2)
"""
# Waits for nothing.
QUICK = TRIAL.replace("int(trial) > 2", "False")

Launch = Callable[..., contextlib.AbstractContextManager[Any]]


def search(emulator: Any, program: str = TRIAL, **options: Any) -> str:
    """The name of a search that has begun."""
    requests.post(f"{emulator.storage}/storage/v1/b?project=p", json={"name": BUCKET})
    spec: dict[str, Any] = {
        "workerPoolSpecs": [
            {
                "machineSpec": {"machineType": "n1-standard-4"},
                "replicaCount": 1,
                "containerSpec": {"imageUri": IMAGE, "command": ["python3", "-c", program]},
            }
        ],
        "baseOutputDirectory": {"outputUriPrefix": f"gs://{BUCKET}/out"},
        **options.pop("trialJobSpec", {}),
    }
    job = post(
        emulator,
        f"{PARENT}/hyperparameterTuningJobs",
        {
            "displayName": "search",
            "studySpec": {
                "metrics": [{"metricId": "score", "goal": "MAXIMIZE"}],
                "parameters": [{"parameterId": "x", "doubleValueSpec": {"minValue": 0, "maxValue": 1}}],
            },
            "trialJobSpec": spec,
            "maxTrialCount": 6,
            "parallelTrialCount": 2,
            **options,
        },
    )
    return str(job["name"])


def ended(emulator: Any, name: str, state: str = "SUCCEEDED") -> Any:
    found = until(lambda: (job := get(emulator, name)).get("endTime") and job)
    assert found["state"] == f"JOB_STATE_{state}", found
    return found


def states(job: Any) -> list[str]:
    return [trial["state"] for trial in job["trials"]]


def x_of(trial: Any) -> float:
    (parameter,) = trial["parameters"]
    return float(parameter["value"])


def runs(data: Path) -> list[tuple[str, float, int]]:
    """Trial, parameter and process of every program that was started."""
    file = data / "gcs" / BUCKET / "runs"
    lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    return [(trial, float(argument.removeprefix("--x=")), int(pid)) for trial, argument, pid in lines]


def proceed(emulator: Any) -> None:
    Bucket.at(emulator.storage, "p", BUCKET).put("proceed", b"1")


def test_a_search_goes_on_when_the_emulator_is_started_again(launch_emulator: Launch, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with launch_emulator("--data-dir", str(data)) as first:
        name = search(first)
        # Trials 1 and 2 end, 3 and 4 run and have reported once.
        before = until(
            lambda: (
                (job := get(first, name))
                and [bool(trial.get("measurements")) for trial in job.get("trials", [])] == [True] * 4
                and states(job) == ["SUCCEEDED", "SUCCEEDED", "ACTIVE", "ACTIVE"]
                and job
            )
        )
        below = descendants(first.process.pid) - {first.process.pid}
        first.stop(signal.SIGKILL)
        assert not left_alive(below), "a trial outlived the emulator"
    with launch_emulator("--data-dir", str(data)) as second:
        until(lambda: [run[0] for run in runs(data)].count("4") == 2)
        again = get(second, name)
        assert again["trials"][:2] == before["trials"][:2]
        assert states(again) == ["SUCCEEDED", "SUCCEEDED", "ACTIVE", "ACTIVE"]
        proceed(second)
        after = ended(second, name)
        assert after["trials"][:2] == before["trials"][:2]
        assert [trial["id"] for trial in after["trials"]] == ["1", "2", "3", "4", "5", "6"]
        assert states(after) == ["SUCCEEDED"] * 6
        assert (after["createTime"], after["startTime"]) == (before["createTime"], before["startTime"])
        for trial in after["trials"]:
            final = trial["finalMeasurement"]
            assert final["metrics"][0]["value"] == pytest.approx(2 * x_of(trial))
            assert [one["stepCount"] for one in trial["measurements"]] == ["1", "2"]
        for index in (2, 3):
            assert x_of(after["trials"][index]) == x_of(before["trials"][index])
            assert after["trials"][index]["customJob"] != before["trials"][index]["customJob"]
            old = get(second, before["trials"][index]["customJob"])
            assert "was stopped before the job finished" in old["error"]["message"]
        started = [(trial, x) for trial, x, _ in runs(data)]
        assert sorted(trial for trial, _ in started) == ["1", "2", "3", "3", "4", "4", "5", "6"]
        assert len(set(started)) == 6
        told = texts(second, name)
        assert any("the search goes on after 4 trials" in text for text in told)
        assert "Trial 3 is started again." in told
        assert requests.delete(f"{second.rest}/v1/{name}").json()["done"]
        assert not requests.get(f"{second.rest}{PARENT}/hyperparameterTuningJobs").json()


def test_a_search_that_is_ended_again_and_again_loses_and_doubles_nothing(
    launch_emulator: Launch, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    name, done, counts = "", set[str](), dict[str, int]()
    for attempt, number in enumerate([signal.SIGKILL, signal.SIGTERM, signal.SIGKILL]):
        with launch_emulator("--data-dir", str(data)) as emulator:
            if not name:
                name = search(emulator, QUICK, maxTrialCount=10, parallelTrialCount=3)
            count = 3 * attempt + 2
            until(lambda: len(get(emulator, name).get("trials", [])) >= count)  # noqa: B023 (called at once)
            done |= {trial["id"] for trial in get(emulator, name)["trials"] if "endTime" in trial}
            counts |= {trial: [run[0] for run in runs(data)].count(trial) for trial in done}
            emulator.stop(number)
    with launch_emulator("--data-dir", str(data)) as emulator:
        job = ended(emulator, name)
    assert [trial["id"] for trial in job["trials"]] == [str(number) for number in range(1, 11)]
    assert states(job) == ["SUCCEEDED"] * 10
    # Whatever was started for a trial got what the trial has, and nothing was started for one that had ended.
    assert {(trial, x) for trial, x, _ in runs(data)} == {
        (trial["id"], x_of(trial)) for trial in job["trials"]
    }
    assert done and counts == {trial: [run[0] for run in runs(data)].count(trial) for trial in done}


def test_a_search_that_was_being_cancelled_is_cancelled(launch_emulator: Launch, tmp_path: Path) -> None:
    data = tmp_path / "data"
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1); time.sleep(600)"
    with launch_emulator("--data-dir", str(data)) as first:
        name = search(first, stubborn)
        until(lambda: get(first, name)["state"] == "JOB_STATE_RUNNING")
        assert requests.post(f"{first.rest}/v1/{name}:cancel", json={}).ok
        assert get(first, name)["state"] == "JOB_STATE_CANCELLING"
        first.stop(signal.SIGKILL)
    with launch_emulator("--data-dir", str(data)) as second:
        job = ended(second, name, "CANCELLED")
        assert job["error"]["code"] == 1
        assert set(states(job)) == {"INFEASIBLE"}


def test_a_trial_that_is_killed_is_infeasible_and_the_search_goes_on(
    launch_emulator: Launch, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    with launch_emulator("--data-dir", str(data)) as emulator:
        name = search(emulator)
        until(lambda: [trial.get("measurements") for trial in get(emulator, name).get("trials", ())][2:3])
        until(lambda: get(emulator, name)["trials"][2].get("measurements"))
        victims = [
            pid
            for pid in descendants(emulator.process.pid)
            if b"CLOUD_ML_TRIAL_ID=3\0" in environment(pid) and b"hypertune" in command(pid)
        ]
        assert victims
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        proceed(emulator)
        job = ended(emulator, name)
    assert states(job) == ["SUCCEEDED", "SUCCEEDED", "INFEASIBLE", "SUCCEEDED", "SUCCEEDED", "SUCCEEDED"]
    killed = job["trials"][2]
    assert "workerpool0-0" in killed["infeasibleReason"] and "SIGKILL" in killed["infeasibleReason"]
    assert [one["stepCount"] for one in killed["measurements"]] == ["1"]
    assert "finalMeasurement" not in killed


def environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
