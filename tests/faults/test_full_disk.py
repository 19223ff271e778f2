"""A job that fills the disk on which the emulator keeps everything."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from local_bucket import Bucket

IMAGE = "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest"
BUCKET = "on-a-small-disk"
FILL = f"dd if=/dev/zero of=/gcs/{BUCKET}/filler bs=1M 2>/dev/null; echo full; exit 3"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(disk)]).returncode != 0:
        pytest.skip("mounting is not for us here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_job_that_fills_the_disk_ends_all_the_same_and_writers_are_told(
    launch_emulator: Callable[..., contextlib.AbstractContextManager[Any]], small_disk: Path
) -> None:
    pool = {
        "machineSpec": {"machineType": "n1-standard-4"},
        "replicaCount": 1,
        "containerSpec": {"imageUri": IMAGE, "command": ["sh", "-c", FILL]},
    }
    with launch_emulator("--data-dir", str(small_disk / "data")) as emulator:
        buckets = f"{emulator.storage}/storage/v1/b"
        requests.post(f"{buckets}?project=p", json={"name": BUCKET}).raise_for_status()
        parent = f"{emulator.rest}/v1/projects/p/locations/us-central1"
        body = {"displayName": "j", "jobSpec": {"workerPoolSpecs": [pool]}}
        job = requests.post(f"{parent}/customJobs", json=body).json()
        deadline = time.monotonic() + 30
        while "endTime" not in job and time.monotonic() < deadline:
            time.sleep(0.05)
            job = requests.get(f"{emulator.rest}/v1/{job['name']}").json()

        assert os.statvfs(small_disk).f_bavail == 0
        assert job["state"] == "JOB_STATE_FAILED"
        assert "exited with a non-zero status of 3" in job["error"]["message"]

        upload = f"{emulator.storage}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=more"
        refused = requests.post(upload, data=b"x" * 100_000)
        assert (refused.status_code, "is full" in refused.text) == (413, True)

        requests.delete(f"{buckets}/{BUCKET}/o/filler").raise_for_status()
        requests.post(upload, data=b"x" * 100_000).raise_for_status()


# The first is in the way of what is predicted, the second of its copy in the bucket.
@pytest.mark.slow
@pytest.mark.parametrize("count", [400_000, 220_000])
def test_a_batch_prediction_that_fills_the_disk_fails_and_gives_it_back(
    count: int,
    launch_emulator: Callable[..., contextlib.AbstractContextManager[Any]],
    small_disk: Path,
    scaling_models: Mapping[int, Path],
) -> None:
    data = small_disk / "data"
    with launch_emulator("--data-dir", str(data)) as emulator:
        bucket = Bucket(emulator.storage, "p")
        parent = f"{emulator.rest}/v1/projects/p/locations/us-central1"
        spec = {"imageUri": "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"}
        artifact = bucket.put_folder("m", scaling_models[2])
        model = {"displayName": "m", "artifactUri": artifact, "containerSpec": spec}
        uploaded = requests.post(f"{parent}/models:upload", json={"model": model}).json()["response"]
        source = {"uris": [bucket.put("in.jsonl", b"[1,2,3]\n" * count)]}
        free = os.statvfs(small_disk).f_bavail
        body = {
            "displayName": "b",
            "model": uploaded["model"],
            "inputConfig": {"instancesFormat": "jsonl", "gcsSource": source},
            "outputConfig": {
                "predictionsFormat": "jsonl",
                "gcsDestination": {"outputUriPrefix": f"gs://{bucket.bucket}/out"},
            },
            "dedicatedResources": {"machineSpec": {"machineType": "n1-standard-2"}},
            "manualBatchTuningParameters": {"batchSize": 5000},
        }
        job = requests.post(f"{parent}/batchPredictionJobs", json=body).json()
        deadline = time.monotonic() + 90
        while "endTime" not in job and time.monotonic() < deadline:
            time.sleep(0.05)
            job = requests.get(f"{emulator.rest}/v1/{job['name']}").json()
        assert job["state"] == "JOB_STATE_FAILED", job
        assert job["error"]["code"] == 8
        assert "No space left on device" in job["error"]["message"]
        assert "outputInfo" not in job
        assert not bucket.names("out/")
        while list((data / "batch" / "jobs").iterdir()) or list((data / "batch" / "models").iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        # What is left is a row and a log.
        assert free - os.statvfs(small_disk).f_bavail < 32
