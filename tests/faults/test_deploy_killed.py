"""A deploy that is cut short by the death of the emulator leaves nothing behind."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from local_bucket import Bucket
from plain_api import PARENT, get, post

IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
RESOURCES = {"machineSpec": {"machineType": "n1-standard-2"}, "minReplicaCount": 1}

Launch = Callable[..., contextlib.AbstractContextManager[Any]]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_deploy_cut_short_ends_in_aborted_and_leaves_nothing(
    launch_emulator: Launch, scaling_models: Mapping[int, Path], tmp_path: Path, number: signal.Signals
) -> None:
    data = tmp_path / "data"
    with launch_emulator("--data-dir", str(data)) as first:
        uri = Bucket(first.storage, "p", "cut-short").put_folder("m", scaling_models[2])
        spec = {"displayName": "m", "artifactUri": uri, "containerSpec": {"imageUri": IMAGE}}
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
