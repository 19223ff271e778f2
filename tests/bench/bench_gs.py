"""TensorFlow's own ``gs://`` code on the local Cloud Storage, against its code for local files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import requests
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from tests.bench.report import Row
from tests.conftest import launched

MEGABYTES = 256
_TURNS = 5
_TARGET = 100
_PROGRAM = Path(__file__).with_name("gs_program.py")


def run() -> list[Row]:
    """Measure both, one after the other."""
    with tempfile.TemporaryDirectory(prefix="vertexkit-bench-") as folder, launched() as emulator:
        client = storage.Client(
            project="bench-gs",
            credentials=AnonymousCredentials(),
            client_options=ClientOptions(api_endpoint=emulator.storage),
        )
        client.create_bucket("bench-gs")
        environment = requests.get(f"{emulator.rest}/emulator/environment", timeout=10).json()
        written, read = _measured("gs://bench-gs/large", environment)
        local_written, local_read = _measured(folder, environment)
    return [
        _row("TensorFlow writes", written, local_written),
        _row("TensorFlow reads", read, local_read),
    ]


def _row(what: str, ours: float, local: float) -> Row:
    return Row(
        f"{what} gs://, {MEGABYTES} MB",
        f"{ours:,.0f} MB/s",
        f"a local file {local:,.0f} MB/s",
        ours,
        target=_TARGET,
        unit="MB/s",
    )


def _measured(uri: str, environment: dict[str, str]) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, str(_PROGRAM), uri, str(MEGABYTES), str(_TURNS)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    turns = json.loads(done.stdout.splitlines()[-1])
    return median(turn[0] for turn in turns), median(turn[1] for turn in turns)
