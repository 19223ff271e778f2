"""Jobs that the death of the emulator cuts short: how they are found by the next one."""

from __future__ import annotations

import contextlib
import signal
import time
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
CUSTOM_TASK = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"
BUCKET = "cut-short-jobs"
# Runs until the bucket says that it may end; a first run never does.
WAITS = (
    f"echo run of $CLOUD_ML_JOB_ID; echo 1 >> /gcs/{BUCKET}/runs; "
    f"while [ ! -e /gcs/{BUCKET}/proceed ]; do sleep 0.05; done; "
    'mkdir -p "/gcs/${AIP_MODEL_DIR#gs://}" && echo graph > "/gcs/${AIP_MODEL_DIR#gs://}saved_model.pb"'
)

Launch = Callable[..., contextlib.AbstractContextManager[Any]]


def wait_for(emulator: Any, name: str, *states: str) -> Any:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        found = get(emulator, name)
        if found["state"].partition("_STATE_")[2] in states:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{name} is not {states}: {found}")


def spec(**scheduling: Any) -> dict[str, Any]:
    return {
        "workerPoolSpecs": [
            {
                "machineSpec": {"machineType": "n1-standard-4"},
                "replicaCount": 1,
                "containerSpec": {"imageUri": IMAGE, "command": ["sh", "-c", WAITS]},
            }
        ],
        "baseOutputDirectory": {"outputUriPrefix": f"gs://{BUCKET}/out"},
        "scheduling": scheduling,
    }


def start_training(emulator: Any, **scheduling: Any) -> tuple[str, str]:
    """A pipeline whose job runs, and the job."""
    Bucket(emulator.storage, "p", BUCKET)
    pipeline = post(
        emulator,
        f"{PARENT}/trainingPipelines",
        {
            "displayName": "p",
            "trainingTaskDefinition": CUSTOM_TASK,
            "trainingTaskInputs": spec(**scheduling),
            "modelToUpload": {
                "displayName": "m",
                "containerSpec": {"imageUri": "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-12:latest"},
            },
        },
    )
    job = pipeline["trainingTaskMetadata"]["backingCustomJob"]
    wait_for(emulator, job, "RUNNING")
    until(lambda: f"run of {job.rpartition('/')[2]}" in texts(emulator, job), within=20)
    return pipeline["name"], job


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_that_was_running_has_failed_and_its_logs_are_there(
    launch_emulator: Launch, tmp_path: Path, number: signal.Signals
) -> None:
    data = str(tmp_path / "data")
    with launch_emulator("--data-dir", data) as first:
        pipeline, job = start_training(first)
        started = get(first, job)["startTime"]
        below = descendants(first.process.pid) - {first.process.pid}
        assert below
        assert first.stop(number) == (0 if number is signal.SIGTERM else -number)
        assert not left_alive(below), "the job outlived the emulator"
    with launch_emulator("--data-dir", data) as second:
        ended = get(second, job)
        assert (ended["state"], ended["error"]["code"]) == ("JOB_STATE_FAILED", 10)
        assert "was stopped before the job finished" in ended["error"]["message"]
        assert ended["startTime"] == started
        assert ended["endTime"] > started
        whole = get(second, pipeline)
        assert (whole["state"], whole["error"]) == ("PIPELINE_STATE_FAILED", ended["error"])
        said = texts(second, job)
        assert f"run of {job.rpartition('/')[2]}" in said
        assert "was stopped before the job finished" in said[-1]
        for name in (pipeline, job):
            assert requests.delete(f"{second.rest}/v1/{name}").json()["done"]


def test_a_job_that_is_to_be_restarted_runs_again_and_gives_its_model(
    launch_emulator: Launch, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    with launch_emulator("--data-dir", str(data)) as first:
        pipeline, job = start_training(first, restartJobOnWorkerRestart=True)
        started = get(first, job)["startTime"]
        assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    with launch_emulator("--data-dir", str(data)) as second:
        wait_for(second, job, "RUNNING")
        Bucket.at(second.storage, "p", BUCKET).put("proceed", b"1")
        whole = wait_for(second, pipeline, "SUCCEEDED", "FAILED")
        assert whole["state"] == "PIPELINE_STATE_SUCCEEDED", whole
        assert get(second, job)["startTime"] == started
        assert get(second, whole["modelToUpload"]["name"])["artifactUri"] == f"gs://{BUCKET}/out/model"
        assert texts(second, job).count(f"run of {job.rpartition('/')[2]}") == 2
        assert (data / "gcs" / BUCKET / "runs").read_text().split() == ["1", "1"]


def test_a_job_that_was_being_cancelled_is_cancelled(launch_emulator: Launch, tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    with launch_emulator("--data-dir", data) as first:
        stubborn = spec()
        stubborn["workerPoolSpecs"][0]["containerSpec"]["command"] = [
            "sh", "-c", "trap '' TERM; while :; do sleep 1; done",
        ]  # fmt: skip
        del stubborn["baseOutputDirectory"]
        job = post(first, f"{PARENT}/customJobs", {"displayName": "j", "jobSpec": stubborn})["name"]
        wait_for(first, job, "RUNNING")
        assert requests.post(f"{first.rest}/v1/{job}:cancel", json={}).ok
        assert get(first, job)["state"] == "JOB_STATE_CANCELLING"
        first.stop(signal.SIGKILL)
    with launch_emulator("--data-dir", data) as second:
        ended = get(second, job)
        assert (ended["state"], ended["error"]["code"]) == ("JOB_STATE_CANCELLED", 1)
