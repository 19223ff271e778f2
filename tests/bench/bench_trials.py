"""How many trials a search runs in a minute, beside a loop over the same commands."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import vertexkit as vk
from tests.bench.deployed import ROOT
from tests.bench.report import Row
from tests.conftest import launched

PROGRAM = "trainer_scripts.mnist_trial"
TRIALS, PARALLEL = 24, 2
ARGS = {"train_images": 2000, "epochs": 2}


def run() -> list[Row]:
    """The search, from run() to its result; then what its trials were asked to do, by a loop."""
    with (
        tempfile.TemporaryDirectory() as folder,
        launched() as emulator,
        vk.connect("bench-trials", emulator=emulator.rest, temporary=True) as session,
    ):
        began = time.perf_counter()
        job = session.tuning.run(
            PROGRAM,
            metric="accuracy",
            space={"learning_rate": vk.Double(1e-3, 1e-2, scale="log"), "n_neurons": vk.Integer(50, 200)},
            trials=TRIALS,
            parallel=PARALLEL,
            args=ARGS,
        )
        ours = time.perf_counter() - began
        asked = [{**ARGS, **trial.parameters} for trial in job.trials]
        if len(asked) != TRIALS or not all(trial.metrics for trial in job.trials):
            raise RuntimeError(f"not every trial succeeded: {job.to_frame()}")
        began = time.perf_counter()
        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(_by_hand, [Path(folder) / str(number) for number in range(TRIALS)], asked))
        theirs = time.perf_counter() - began
    return [
        Row(
            f"tuning: {TRIALS} trials of mnist_trial, {PARALLEL} at a time",
            f"{TRIALS / ours * 60:.0f} a minute",
            f"python -m, {PARALLEL} at a time {TRIALS / theirs * 60:.0f} a minute",
            theirs / ours,
            target=3,
        )
    ]


def _by_hand(folder: Path, args: dict[str, object]) -> None:
    folder.mkdir()
    options: Sequence[str] = [f"--{name}={value}" for name, value in args.items()]
    env = {
        "CLOUD_ML_HP_METRIC_FILE": str(folder / "metrics" / "output.metrics"),
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    done = subprocess.run(
        [sys.executable, "-m", PROGRAM, *options],
        cwd=folder,
        env={**os.environ, **env, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
