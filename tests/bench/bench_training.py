"""What a training job costs beside the same program started by hand."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import vertexkit as vk
from tests.bench.deployed import ROOT
from tests.bench.report import Row, in_turn
from tests.conftest import launched

PROGRAM = "trainer_scripts.mnist_multiworker"
EPOCHS = 5
_FIRST_LINE = "import time\nprint(time.time(), flush=True)\n"


def run() -> list[Row]:
    """Both against one local Vertex AI that is already running, everything warm."""
    with (
        tempfile.TemporaryDirectory() as folder,
        launched() as emulator,
        vk.connect("bench-training", emulator=emulator.rest, temporary=True) as session,
    ):
        return [_first_line(session, Path(folder)), _two_workers(session, Path(folder))]


def _first_line(session: vk.Session, folder: Path) -> Row:
    """Until the script's first line, which tells the time that it is run at."""
    script = folder / "script.py"
    script.write_text(_FIRST_LINE)

    def ours() -> float:
        started = time.time()
        job = session.training.run(script, model=False, logs=False)
        (line,) = job.logs("workerpool0-0")
        return float(line.text) - started

    def theirs() -> float:
        started = time.time()
        command = [sys.executable, str(script)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return float(printed) - started

    ours(), theirs()
    medians = in_turn(ours, theirs, 5)
    return Row(
        "training: from run() to the script's first line",
        f"{medians[0]:.2f} s",
        f"python script.py {medians[1]:.2f} s",
        medians[0] - medians[1],
        target=0.7,
        unit="s more",
        at_most=True,
    )


def _two_workers(session: vk.Session, folder: Path) -> Row:
    """Two replicas with MNIST, to the end: by a job with a model's files in the bucket, and by hand."""

    def ours() -> float:
        started = time.perf_counter()
        session.training.run(PROGRAM, workers=1, args={"epochs": EPOCHS}, model=False, logs=False)
        return time.perf_counter() - started

    def theirs() -> float:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            started = time.perf_counter()
            _train_by_hand(Path(scratch))
            return time.perf_counter() - started

    ours()
    medians = in_turn(ours, theirs, 3)
    return Row(
        f"training: MNIST on two workers, {EPOCHS} epochs",
        f"{medians[0]:.1f} s",
        f"by hand with TF_CONFIG {medians[1]:.1f} s",
        medians[0] / medians[1],
        target=1.15,
        at_most=True,
    )


def _train_by_hand(folder: Path) -> None:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(2)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{listener.getsockname()[1]}" for listener in sockets]
    cluster = {"chief": [addresses[0]], "worker": [addresses[1]]}
    processes = []
    for kind in cluster:
        config = json.dumps({"cluster": cluster, "task": {"type": kind, "index": 0}})
        with (folder / f"{kind}.log").open("wb") as log:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", PROGRAM, f"--epochs={EPOCHS}"],
                    cwd=folder,
                    env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CONFIG": config},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    codes = [process.wait() for process in processes]
    if any(codes):
        raise RuntimeError("\n".join(log.read_text() for log in folder.glob("*.log")))
