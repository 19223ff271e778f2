"""What is left of an emulator that had no chance to clean up: nothing that runs."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from local_bucket import Bucket

IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
PARENT = "/v1/projects/p/locations/us-central1"
SECONDS = 120

Launch = Callable[..., contextlib.AbstractContextManager[Any]]


def below(pid: int) -> set[int]:
    """Processes that a process has started, and those that they have."""
    shown = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = [tuple(map(int, line.split())) for line in shown.stdout.splitlines()]
    found, new = set(), {pid}
    while new:
        new = {child for child, parent in pairs if parent in new}
        found |= new
    return found


def running(pids: set[int]) -> set[int]:
    """Those that still run, zombies aside."""
    shown = subprocess.run(["ps", "-axo", "pid=,stat="], capture_output=True, text=True, check=True)
    rows = [line.split() for line in shown.stdout.splitlines()]
    return {int(pid) for pid, state in rows if not state.startswith("Z")} & pids


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether something becomes true within a generous time."""
    deadline = time.monotonic() + SECONDS
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return held


def post(emulator: Any, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """POST, wait for the operation, and give its response."""
    answer = requests.post(f"{emulator.rest}{path}", json=body)
    assert answer.ok, answer.text
    operation = answer.json()
    url = f"{emulator.rest}/v1/{operation['name']}"
    assert eventually(lambda: bool(requests.get(url).json().get("done")))
    done: dict[str, Any] = requests.get(url).json()
    assert "error" not in done, json.dumps(done)
    response: dict[str, Any] = done["response"]
    return response


def deploy(emulator: Any, model: Path, *, replicas: int) -> str:
    """Store, upload and deploy a model; the URL that predicts with it."""
    uri = Bucket(emulator.storage, "p", "killed-models").put_folder("m", model)
    spec = {"imageUri": IMAGE}
    made = post(
        emulator,
        f"{PARENT}/models:upload",
        {"model": {"displayName": "m", "artifactUri": uri, "containerSpec": spec}},
    )
    endpoint = post(emulator, f"{PARENT}/endpoints", {"displayName": "e"})["name"]
    resources = {
        "machineSpec": {"machineType": "n1-standard-2"},
        "minReplicaCount": replicas,
        "maxReplicaCount": replicas,
    }
    post(
        emulator,
        f"/v1/{endpoint}:deployModel",
        {
            "deployedModel": {"model": made["model"], "dedicatedResources": resources},
            "trafficSplit": {"0": 100},
        },
    )
    return f"/v1/{endpoint}:predict"


@pytest.mark.parametrize("how", ["killed", "its owner killed", "second signal"])
def test_no_model_server_outlives_an_emulator(
    launch_emulator: Launch, scaling_models: Mapping[int, Path], how: str
) -> None:
    with launch_emulator() as own:
        predict = deploy(own, scaling_models[2], replicas=2)
        servers = below(own.pid)
        assert len(servers) >= 2
        if how == "killed":
            own.process.kill()
        elif how == "its owner killed":
            # The end of a pipe is all that a killed owner leaves to be noticed.
            own.process.stdin.close()
        else:
            # Busy at the second signal, because the first one lets the call in progress end.
            os.kill(own.pid, signal.SIGTERM)
            with contextlib.suppress(ProcessLookupError):
                os.kill(own.pid, signal.SIGTERM)
        own.process.wait(30)
        assert eventually(lambda: not running(servers))
        with pytest.raises(requests.ConnectionError):
            requests.post(own.rest + predict, json={"instances": [[1, 2, 3]]})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_requests_in_flight_be_answered_and_ends_everything(
    launch_emulator: Launch, scaling_models: Mapping[int, Path], number: signal.Signals
) -> None:
    with launch_emulator("--allow-faults") as own:
        predict = deploy(own, scaling_models[2], replicas=2)
        servers = below(own.pid)
        faults = f"{own.rest}/emulator/faults"
        assert requests.put(faults, json={"rules": [{"method": "*.Predict", "latency": 1}]}).ok
        with ThreadPoolExecutor() as pool:
            asking = [
                pool.submit(requests.post, own.rest + predict, json={"instances": [[1, 2, 3]]})
                for _ in range(4)
            ]
            assert eventually(lambda: requests.get(faults).json()["rules"][0]["struck"] == len(asking))
            assert own.stop(number) == 0
            answers = [one.result() for one in asking]
        assert [answer.json()["predictions"] for answer in answers] == [[[2.0, 4.0, 6.0]]] * 4
        assert not running(servers)


def test_an_emulator_started_again_after_a_kill_serves_what_was_deployed(
    launch_emulator: Launch, scaling_models: Mapping[int, Path], tmp_path: Path
) -> None:
    folder = ["--data-dir", str(tmp_path / "data")]
    with launch_emulator(*folder) as first:
        predict = deploy(first, scaling_models[3], replicas=1)
        first.process.kill()
    with launch_emulator(*folder) as second:
        answer = requests.post(second.rest + predict, json={"instances": [[1, 2, 3]]}, timeout=SECONDS)
        assert answer.json()["predictions"] == [[3.0, 6.0, 9.0]]


def test_an_owner_that_is_killed_takes_its_emulator_along(tmp_path: Path) -> None:
    owner = (
        "import subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-m', 'vertexkit', 'emulator', 'start', '--json',"
        " '--exit-with-stdin'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)\n"
        "print(p.stdout.readline(), end='', flush=True)\n"
        "p.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        info = json.loads(process.stdout.readline())
        process.kill()
    assert eventually(lambda: not running({info["pid"]}))
    assert not Path(info["ca"]).exists()
