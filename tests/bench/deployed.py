"""A real model on a real local Vertex AI, shared by the benches of one run."""

from __future__ import annotations

import atexit
import functools
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import vertexkit as vk
from tests.conftest import RunningEmulator, launched

ROOT = Path(__file__).resolve().parents[2]
_open = ExitStack()
atexit.register(_open.close)

_WRITE_MODEL = """
import sys, keras
images = keras.Input((28, 28), dtype="uint8", name="images")
hidden = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
hidden = keras.layers.Dense(100, activation="relu")(hidden)
keras.Model(images, keras.layers.Dense(10, activation="softmax")(hidden)).export(sys.argv[1], verbose=False)
"""


@dataclass(frozen=True)
class Deployed:
    """An endpoint with one model of MNIST's shape, untrained: its weights cost the same."""

    emulator: RunningEmulator
    endpoint: vk.Endpoint


@functools.cache
def deployed() -> Deployed:
    """The endpoint, made on first use and gone at exit."""
    folder = Path(_open.enter_context(tempfile.TemporaryDirectory())) / "0001"
    program = [sys.executable, "-c", _WRITE_MODEL, str(folder)]
    subprocess.run(program, check=True, capture_output=True, timeout=240)
    emulator = _open.enter_context(launched())
    session = _open.enter_context(vk.connect(emulator=emulator.rest))
    endpoint = session.endpoints.create("bench")
    endpoint.deploy(session.models.upload("bench", str(folder)), machine="n1-standard-2")
    return Deployed(emulator, endpoint)


def images() -> np.ndarray[Any, Any]:
    """The 1,000 test images of the MNIST subset: uint8[1000, 28, 28]."""
    with np.load(ROOT / "trainer_scripts" / "data" / "mnist_subset.npz") as data:
        return np.asarray(data["x_test"])


def measured(program: str, *arguments: str, env: dict[str, str]) -> Any:
    """What a program in an interpreter of its own prints as JSON."""
    run = subprocess.run(
        [sys.executable, "-c", program, *arguments], env=env, cwd=ROOT, capture_output=True, text=True
    )
    if run.returncode != 0:
        raise RuntimeError(f"the measured program failed:\n{run.stderr}")
    return json.loads(run.stdout)
