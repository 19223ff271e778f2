"""A deploy that is cut short by the death of the emulator leaves nothing behind."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
PARENT = "/v1/projects/p/locations/us-central1"
RESOURCES = {"machineSpec": {"machineType": "n1-standard-2"}, "minReplicaCount": 1}

Launch = Callable[..., contextlib.AbstractContextManager[Any]]


def post(emulator: Any, path: str, body: Mapping[str, Any]) -> Any:
    answer = requests.post(emulator.rest + path, json=body)
    assert answer.ok, answer.text
    return answer.json()


def get(emulator: Any, name: str) -> Any:
    answer = requests.get(f"{emulator.rest}/v1/{name}")
    assert answer.ok, answer.text
    return answer.json()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_deploy_cut_short_ends_in_aborted_and_leaves_nothing(
    launch_emulator: Launch, scaling_models: Mapping[int, Path], tmp_path: Path, number: signal.Signals
) -> None:
    data = tmp_path / "data"
    with launch_emulator("--data-dir", str(data)) as first:
        requests.post(
            f"{first.storage}/storage/v1/b?project=p", json={"name": "cut-short"}
        ).raise_for_status()
        for path in (path for path in scaling_models[2].rglob("*") if path.is_file()):
            requests.post(
                f"{first.storage}/upload/storage/v1/b/cut-short/o",
                params={"uploadType": "media", "name": f"m/{path.relative_to(scaling_models[2]).as_posix()}"},
                data=path.read_bytes(),
            ).raise_for_status()
        spec = {"displayName": "m", "artifactUri": "gs://cut-short/m", "containerSpec": {"imageUri": IMAGE}}
        model = post(first, f"{PARENT}/models:upload", {"model": spec})["response"]["model"]
        endpoint = post(first, f"{PARENT}/endpoints", {"displayName": "e"})["response"]["name"]
        deployed_model = {"model": model, "dedicatedResources": RESOURCES}
        deploying = post(first, f"/v1/{endpoint}:deployModel", {"deployedModel": deployed_model})
        assert not deploying.get("done")
        assert get(first, model)["deployedModels"]
        assert first.stop(number) == (0 if number is signal.SIGTERM else -number)
    with launch_emulator("--data-dir", str(data)) as second:
        ended = get(second, deploying["name"])
        assert (ended["done"], ended["error"]["code"]) == (True, 10)
        assert "stopped before the operation finished" in ended["error"]["message"]
        assert "deployedModels" not in get(second, endpoint)
        assert "deployedModels" not in get(second, model)
        assert list((data / "serving").iterdir()) == []
        for name in (endpoint, model):
            assert requests.delete(f"{second.rest}/v1/{name}").json()["done"]
