"""Batch predictions whose model servers, or whose emulator, are killed: no instance is lost, none doubled."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import descendants, left_alive, model_servers
from local_bucket import Bucket
from plain_api import PARENT, get, post, texts
from waiting import until

IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
COUNT = 6_000
EXPECTED = [{"instance": [i, 0, 1], "prediction": [3.0 * i, 0.0, 3.0]} for i in range(COUNT)]

Launch = Callable[..., contextlib.AbstractContextManager[Any]]


def upload(emulator: Any, bucket: Bucket, model: Path) -> str:
    """The name of a model in a bucket's folder ``m``."""
    spec = {"imageUri": IMAGE}
    model_body = {"displayName": "m", "artifactUri": bucket.put_folder("m", model), "containerSpec": spec}
    return str(post(emulator, f"{PARENT}/models:upload", {"model": model_body})["response"]["model"])


def begin(emulator: Any, bucket: Bucket, model: str, *, batch_size: int = 1, **options: Any) -> str:
    """The name of a job that takes some seconds, if it is an instance at a time."""
    half = COUNT // 2
    for index, numbers in enumerate((range(half), range(half, COUNT))):
        # An input that is written anew is another one, for the jobs that there are.
        if f"in/{index}.jsonl" not in bucket.names("in/"):
            bucket.put(f"in/{index}.jsonl", "".join(f"[{i}, 0, 1]\n" for i in numbers).encode())
    job = {
        "displayName": "b",
        "model": model,
        "inputConfig": {
            "instancesFormat": "jsonl",
            "gcsSource": {"uris": [f"gs://{bucket.bucket}/in/*.jsonl"]},
        },
        "outputConfig": {
            "predictionsFormat": "jsonl",
            "gcsDestination": {"outputUriPrefix": f"gs://{bucket.bucket}/out"},
        },
        "dedicatedResources": {
            "machineSpec": {"machineType": "n1-standard-2"},
            "startingReplicaCount": 2,
        },
        "manualBatchTuningParameters": {"batchSize": batch_size},
        **options,
    }
    return str(post(emulator, f"{PARENT}/batchPredictionJobs", job)["name"])


def answered(emulator: Any, name: str) -> int:
    return int(get(emulator, name).get("completionStats", {}).get("successfulCount", 0))


def ended(emulator: Any, name: str, state: str = "SUCCEEDED") -> Any:
    found = until(lambda: (job := get(emulator, name)).get("endTime") and job, within=120)
    assert found["state"] == f"JOB_STATE_{state}", found
    return found


def assert_nothing_is_left(data: Path) -> None:
    """No copy of a model, and nothing of what was predicted on the way."""
    until(lambda: not list((data / "batch" / "jobs").iterdir()))
    until(lambda: not list((data / "batch" / "models").iterdir()))


def test_a_job_goes_on_when_the_emulator_was_killed(
    launch_emulator: Launch, tmp_path: Path, scaling_models: Mapping[int, Path]
) -> None:
    data = tmp_path / "data"
    with launch_emulator("--data-dir", str(data)) as first:
        bucket = Bucket(first.storage, "p")
        model = upload(first, bucket, scaling_models[3])
        name = begin(first, bucket, model)
        until(lambda: answered(first, name) > COUNT / 6)
        started = get(first, name)["startTime"]
        below = descendants(first.process.pid) - {first.process.pid}
        first.stop(signal.SIGKILL)
        assert not left_alive(below), "a model server outlived the emulator"
    with launch_emulator("--data-dir", str(data)) as second:
        # How far it had been is shown before the model is up, which is not in so short a time.
        until(lambda: answered(second, name) > COUNT / 6, within=1.5)
        # It has its own copy of the model.
        bucket = Bucket.at(second.storage, "p")
        requests.delete(f"{second.rest}/v1/{model}").raise_for_status()
        until(lambda: not bucket.delete_all("m/"))
        before = answered(second, name)
        assert get(second, name)["state"] == "JOB_STATE_RUNNING"
        until(lambda: answered(second, name) > max(before, COUNT / 3))
        # Once more, this time asked to.
        assert second.stop() == 0
    with launch_emulator("--data-dir", str(data)) as third:
        assert answered(third, name) > COUNT / 6, "it began anew"
        job = ended(third, name)
        assert job["startTime"] == started
        assert job["completionStats"] == {"successfulCount": str(COUNT)}
        bucket = Bucket.at(third.storage, "p")
        directory = job["outputInfo"]["gcsOutputDirectory"]
        assert bucket.lines(directory) == EXPECTED
        assert bucket.files(directory, "errors_stats") == ["", ""]
        assert texts(third, name).count("The local Vertex AI was stopped: the job goes on.") == 2
        assert_nothing_is_left(data)
        assert not model_servers(third.process.pid)


def test_a_job_that_had_just_been_created_goes_on(
    launch_emulator: Launch, tmp_path: Path, scaling_models: Mapping[int, Path]
) -> None:
    data = tmp_path / "data"
    with launch_emulator("--data-dir", str(data)) as first:
        bucket = Bucket(first.storage, "p")
        model = upload(first, bucket, scaling_models[3])
        name = begin(first, bucket, model, batch_size=64)
        requests.post(f"{first.rest}/v1/{begin(first, bucket, model)}:cancel", json={}).raise_for_status()
        assert get(first, name)["state"] == "JOB_STATE_PENDING"
        first.stop(signal.SIGKILL)
    with launch_emulator("--data-dir", str(data)) as second:
        jobs = get(second, f"{PARENT.removeprefix('/v1/')}/batchPredictionJobs")["batchPredictionJobs"]
        (cancelled,) = [job["name"] for job in jobs if job["name"] != name]
        ended(second, cancelled, "CANCELLED")
        job = ended(second, name)
        bucket = Bucket.at(second.storage, "p")
        assert bucket.lines(job["outputInfo"]["gcsOutputDirectory"]) == EXPECTED
        assert_nothing_is_left(data)


def test_a_replica_that_is_killed_takes_no_instance_with_it(
    launch_emulator: Launch, tmp_path: Path, scaling_models: Mapping[int, Path]
) -> None:
    data = tmp_path / "data"
    with launch_emulator("--data-dir", str(data)) as emulator:
        bucket = Bucket(emulator.storage, "p")
        name = begin(emulator, bucket, upload(emulator, bucket, scaling_models[3]))
        killed: set[int] = set()
        for part in (8, 4, 2):
            until(lambda part=part: answered(emulator, name) > COUNT / part)
            victim = min(model_servers(emulator.process.pid) - killed)
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
        job = ended(emulator, name)
        directory = job["outputInfo"]["gcsOutputDirectory"]
        assert bucket.lines(directory) == EXPECTED
        assert bucket.files(directory, "errors_stats") == ["", ""]
        assert any("Model servers died and were started again" in line for line in texts(emulator, name))
        assert_nothing_is_left(data)
        until(lambda: not model_servers(emulator.process.pid))


@pytest.mark.slow
def test_a_destination_that_goes_fails_the_job(
    launch_emulator: Launch, tmp_path: Path, scaling_models: Mapping[int, Path]
) -> None:
    data = tmp_path / "data"
    with launch_emulator("--data-dir", str(data)) as emulator:
        bucket = Bucket(emulator.storage, "p")
        other = Bucket(emulator.storage, "p", name="gone-soon")
        destination = {
            "predictionsFormat": "jsonl",
            "gcsDestination": {"outputUriPrefix": f"gs://{other.bucket}"},
        }
        model = upload(emulator, bucket, scaling_models[3])
        name = begin(emulator, bucket, model, outputConfig=destination)
        until(lambda: answered(emulator, name))
        requests.delete(f"{emulator.storage}/storage/v1/b/{other.bucket}").raise_for_status()
        job = ended(emulator, name, "FAILED")
        assert job["error"]["code"] == 9
        assert job["error"]["message"].startswith(
            f"Cannot write the output to gs://{other.bucket}/prediction-m-"
        )
        assert "outputInfo" not in job
        assert_nothing_is_left(data)
        assert not model_servers(emulator.process.pid)


@pytest.mark.slow
@pytest.mark.parametrize("gone", ["model", "input"])
def test_what_goes_before_it_is_read_is_texts(
    gone: str, launch_emulator: Launch, tmp_path: Path, scaling_models: Mapping[int, Path]
) -> None:
    data = tmp_path / "data"
    with launch_emulator("--data-dir", str(data)) as first:
        bucket = Bucket(first.storage, "p")
        name = begin(first, bucket, upload(first, bucket, scaling_models[3]), batch_size=64)
        first.stop(signal.SIGKILL)
    # What is behind a job that waits is changed by hand.
    folder = data / "gcs" / bucket.bucket
    if gone == "model":
        for copy in (data / "batch" / "jobs").glob("*/copied"):
            copy.unlink()
        (folder / "m" / "saved_model.pb").unlink()
        (folder / "m" / "fingerprint.pb").unlink()
        for path in (folder / "m" / "variables").iterdir():
            path.unlink()
    else:
        (folder / "in" / "1.jsonl").unlink()
    with launch_emulator("--data-dir", str(data)) as second:
        bucket = Bucket.at(second.storage, "p")
        if gone == "model":
            job = ended(second, name, "FAILED")
            assert job["error"]["code"] == 9
            assert "there is nothing in it any more" in job["error"]["message"]
        else:
            job = ended(second, name)
            assert bucket.lines(job["outputInfo"]["gcsOutputDirectory"]) == EXPECTED[: COUNT // 2]
            (failure,) = job["partialFailures"]
            assert f"gs://{bucket.bucket}/in/1.jsonl" in failure["message"]
        assert_nothing_is_left(data)
