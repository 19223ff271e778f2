"""Jobs submitted with nothing between the test and the API but a wheel of the script."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import vertexkit as vk
from vertexkit.job_logs import JobLogs
from vertexkit.packaging import understand

IMAGE = "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-12.py310:latest"
_SECONDS = 60


class Submitted:
    """A CustomJob that runs a script.

    Args:
        session: Where.
        script: What each replica runs.
        workers: Replicas beside the chief.
    """

    def __init__(self, session: vk.Session, script: str, *, workers: int = 0) -> None:
        self._clients = session._context.clients
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "train.py")
            path.write_text(script)
            program = understand(path)
            wheel = program.wheel(Path(folder))
            assert wheel is not None
            package = session.bucket.upload_file(wheel)
        pool = {
            "machineSpec": {"machineType": "n1-standard-4"},
            "replicaCount": 1,
            "pythonPackageSpec": {
                "executorImageUri": IMAGE,
                "packageUris": [package],
                "pythonModule": program.module,
            },
        }
        pools = [pool, {**pool, "replicaCount": workers}] if workers else [pool]
        body = {"displayName": "submitted", "jobSpec": {"workerPoolSpecs": pools}}
        parent = f"projects/{session.project}/locations/{session.location}"
        self.name = str(self._clients.http_json("POST", f"{parent}/customJobs", body=body)["name"])
        self.logs = JobLogs(session._context, self.name.rpartition("/")[2])

    def state(self) -> dict[str, Any]:
        return self._clients.http_json("GET", self.name)

    def is_over(self) -> bool:
        return self.state()["state"] in {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"}

    def wait(self) -> dict[str, Any]:
        """The job, once it is over."""
        deadline = time.monotonic() + _SECONDS
        while not self.is_over():
            assert time.monotonic() < deadline, self.state()
            time.sleep(0.05)
        return self.state()

    def followed(self) -> list[Any]:
        """Every line that following it gives, to its end."""
        deadline = time.monotonic() + _SECONDS
        follower, lines = self.logs.follow(), []
        while not self.is_over():
            assert time.monotonic() < deadline, self.state()
            lines += follower.poll()
            time.sleep(0.05)
        return [*lines, *follower.finish()]
