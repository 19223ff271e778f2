"""What the contract suites share: generated clients of Google's, a model, and Cloud Storage alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from storage_server import StorageServer, in_thread


@pytest.fixture
def parent(emulator: Any, project: str) -> str:
    """The location that resources are made in."""
    return f"projects/{project}/locations/{emulator.location}"


@pytest.fixture
def generated(aiplatform: Any, emulator: Any, transport: str) -> Callable[[str], Any]:
    """``generated("VizierServiceClient")``: a generated client, over each transport."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform_v1

    return lambda name: getattr(aiplatform_v1, name)(
        credentials=AnonymousCredentials(),
        transport=transport,
        client_options={"api_endpoint": emulator.grpc},
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Google's client ask for a state every 0.2 s: it waits 5 s, longer than most jobs here take."""
    from google.cloud.aiplatform import jobs, training_jobs

    for module in (jobs, training_jobs):
        monkeypatch.setattr(module, "_JOB_WAIT_TIME", 0.2)


@pytest.fixture(scope="session")
def measuring_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel that says how long its input is: ``data: string[?] -> length: int32[?]``."""
    folder = tmp_path_factory.mktemp("measuring")
    script = Path(__file__).parent.with_name("write_measuring_model.py")
    run = subprocess.run([sys.executable, str(script), str(folder)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageServer]:
    """The Cloud Storage server, in a thread."""
    with in_thread(tmp_path_factory.mktemp("storage")) as running:
        yield running
