"""Logs of jobs, from what a process prints to what a client reads, against a real local Vertex AI."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from submitted import Submitted

import vertexkit as vk
from vertexkit.training_failure import training_failed

TALK = """
import os, sys
rank = os.environ.get("RANK", "0")
print("out of", rank)
print("error of", rank, file=sys.stderr)
sys.stdout.buffer.write(b"\\xff\\xfe binary\\n")
sys.stdout.write("no newline at the end")
"""
FLOOD = """
import sys
for number in range(30_000):
    print("line", number, "x" * 60, file=sys.stderr if number % 10 == 0 else sys.stdout)
"""


def test_every_replica_is_heard_with_its_name_and_its_streams(session: vk.Session) -> None:
    job = Submitted(session, TALK, workers=1)
    followed = job.followed()
    for replica, rank in (("workerpool0-0", "0"), ("workerpool1-0", "1")):
        said = [(line.severity, line.text) for line in job.logs.read(replica)]
        assert sorted(said) == [
            ("ERROR", f"error of {rank}"),
            ("INFO", "\\xff\\xfe binary"),
            ("INFO", "no newline at the end"),
            ("INFO", f"out of {rank}"),
        ]
    assert Counter(followed) == Counter(job.logs.read())
    assert [line.time for line in job.logs.read()] == sorted(line.time for line in followed)
    assert job.logs.tail(1, "workerpool0-0") == list(job.logs.read("workerpool0-0"))[-1:]


def test_a_flood_is_followed_without_a_line_lost_or_given_twice(session: vk.Session) -> None:
    job = Submitted(session, FLOOD)
    for lines in (job.followed(), list(job.logs.read("workerpool0-0"))):
        said = [line for line in lines if line.replica == "workerpool0-0"]
        for severity, expected in (
            ("INFO", [f"line {n} {'x' * 60}" for n in range(30_000) if n % 10]),
            ("ERROR", [f"line {n} {'x' * 60}" for n in range(0, 30_000, 10)]),
        ):
            assert [line.text for line in said if line.severity == severity] == expected
    assert job.state()["state"] == "JOB_STATE_SUCCEEDED"


def test_a_failure_is_explained_from_what_the_replica_printed(session: vk.Session) -> None:
    job = Submitted(session, "print('Epoch 1')\nimport cv2_that_is_not_there\n")
    message = job.wait()["error"]["message"]
    error = training_failed(job=job.name, message=message, logs=job.logs)
    assert (error.replica, error.exit_code) == ("workerpool0-0", 1)
    assert sorted(error.last_lines)[0] == "    import cv2_that_is_not_there"
    assert "Epoch 1" in error.last_lines
    assert 'requirements=["cv2-that-is-not-there"]' in str(error.remedy)


def test_a_replica_that_is_killed_is_named_with_its_signal(session: vk.Session) -> None:
    job = Submitted(session, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    error = training_failed(job=job.name, message=job.wait()["error"]["message"], logs=job.logs)
    assert (error.replica, error.exit_code, error.signal) == ("workerpool0-0", None, 9)
    assert "memory" in str(error.remedy)


def _listed(emulator: Any, body: dict[str, Any]) -> Any:
    return requests.post(f"{emulator.rest}/v2/entries:list", json=body, timeout=10)


def test_a_job_is_found_in_its_project_only(emulator: Any, session: vk.Session) -> None:
    job = Submitted(session, "print('hello')")
    job.wait()
    query = f'resource.type="ml_job" resource.labels.job_id="{job.logs.job_id}"'
    own = _listed(emulator, {"resourceNames": [f"projects/{session.project}"], "filter": query}).json()
    assert "hello" in json.dumps(own)
    assert _listed(emulator, {"resourceNames": ["projects/p-of-others"], "filter": query}).json() == {}


def test_what_is_no_read_of_a_log_is_refused_by_name(emulator: Any) -> None:
    answer = _listed(emulator, {"resourceNames": ["projects/p"], "filter": 'resource.type="global"'})
    assert (answer.status_code, answer.json()["error"]["status"]) == (501, "UNIMPLEMENTED")
    credentials = grpc.ssl_channel_credentials(Path(emulator.ca).read_bytes())
    with grpc.secure_channel(emulator.grpc, credentials) as channel:
        call = channel.unary_unary("/google.logging.v2.LoggingServiceV2/ListLogEntries")
        with pytest.raises(grpc.RpcError) as refused:
            call(b"", timeout=10)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "LoggingServiceV2.ListLogEntries" in refused.value.details()
