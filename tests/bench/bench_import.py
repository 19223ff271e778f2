"""What ``import vertexkit`` costs, and a whole script that predicts once."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from tests.bench.deployed import ROOT, deployed, measured
from tests.bench.report import Row, in_turn, milliseconds

_IMPORT = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"

_OURS = """
import sys
import vertexkit as vk
with vk.connect(emulator=sys.argv[1]) as session:
    predicted = session.endpoints.get(sys.argv[2]).predict([[[0] * 28] * 28])
assert predicted.shape == (1, 10)
"""

_THEIRS = """
import sys
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform
project, location = sys.argv[2].split("/")[1:4:2]
aiplatform.init(project=project, location=location, api_endpoint=sys.argv[1],
                credentials=AnonymousCredentials())
predicted = aiplatform.Endpoint(sys.argv[2]).predict([[[0] * 28] * 28]).predictions
assert len(predicted[0]) == 10
"""


def run() -> list[Row]:
    """Measure both sides in interpreters of their own, their .pyc files warm."""
    return [*_imports(), _cold_scripts()]


def _imports() -> list[Row]:
    env = dict(os.environ)

    def of(module: str) -> float:
        return float(measured(_IMPORT.format(module), env=env))

    of("vertexkit"), of("google.cloud.aiplatform")
    ours, theirs = in_turn(lambda: of("vertexkit"), lambda: of("google.cloud.aiplatform"), 5)
    return [
        Row(
            "import",
            milliseconds(ours),
            f"google.cloud.aiplatform {milliseconds(theirs)}",
            theirs / ours,
            target=25,
        ),
        Row("import: time", milliseconds(ours), "", ours * 1e3, target=60, unit="ms", at_most=True),
    ]


def _cold_scripts() -> Row:
    place = deployed()
    env = {**os.environ, **place.emulator.env}

    def seconds(program: str, address: str) -> float:
        started = time.perf_counter()
        command = [sys.executable, "-c", program, address, place.endpoint.resource_name]
        run = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
        if run.returncode != 0:
            raise RuntimeError(f"the measured program failed:\n{run.stderr}")
        return time.perf_counter() - started

    def ours() -> float:
        return seconds(_OURS, place.emulator.rest)

    def theirs() -> float:
        return seconds(_THEIRS, place.emulator.grpc)

    ours(), theirs()
    medians = in_turn(ours, theirs, 5)
    return Row(
        "script: connect, predict once, exit",
        milliseconds(medians[0]),
        f"aiplatform {milliseconds(medians[1])}",
        medians[1] / medians[0],
        target=3,
    )
