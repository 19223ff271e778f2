"""The packaged training programs, started by hand as without Vertex AI: real processes, real digits.

``MNIST_NPZ`` names the full MNIST, to train on it in place of the packaged subset.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trainer_prints import accuracy, digest, epochs

ROOT = Path(__file__).parents[2]
DATA = os.environ.get("MNIST_NPZ", str(ROOT / "trainer_scripts" / "data" / "mnist_subset.npz"))
ACCURACY = 0.85  # reached after two epochs; guessing reaches 0.1
SECONDS = 120


class Cluster:
    """Replicas of one program, each a process that knows of the others by TF_CONFIG."""

    def __init__(self, folder: Path, program: str, types: Sequence[str], *args: str) -> None:
        self.folder = folder
        with ExitStack() as held:
            addresses = [f"127.0.0.1:{_free_port(held)}" for _ in types]
        cluster: dict[str, list[str]] = {}
        tasks = []
        for kind, address in zip(types, addresses, strict=True):
            tasks.append((kind, len(cluster.get(kind, ()))))
            if kind != "evaluator":
                cluster.setdefault(kind, []).append(address)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        for kind, index in tasks:
            config = json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})
            name = f"{kind}{index}"
            self._processes[name] = start(folder, name, program, *args, env={"TF_CONFIG": config})

    def finish(self) -> Mapping[str, str]:
        """Wait for all to end with success; what each printed."""
        deadline = time.monotonic() + SECONDS
        codes = {name: process.wait(deadline - time.monotonic()) for name, process in self._processes.items()}
        printed = {name: output(self.folder, name) for name in self._processes}
        assert set(codes.values()) == {0}, f"{codes}\n" + "\n".join(printed.values())
        return printed

    def kill(self, name: str) -> None:
        """End one as a lost machine does."""
        self._processes[name].send_signal(signal.SIGKILL)

    def wait_for_failure(self, name: str) -> None:
        """Wait for one to end because of another."""
        assert self._processes[name].wait(SECONDS) != 0

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()


def start(
    folder: Path, name: str, program: str, *args: str, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """One process, in a folder where it has nothing but what it is given."""
    clean = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("AIP_", "TF_", "CLUSTER_", "CLOUD_ML_", "RANK", "WORLD_SIZE"))
    }
    (folder / "tmp").mkdir(exist_ok=True)
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", f"trainer_scripts.{program}", f"--data={DATA}", *args],
            cwd=folder,
            env={
                **clean,
                "PYTHONPATH": str(ROOT),
                "TMPDIR": str(folder / "tmp"),
                "TF_CPP_MIN_LOG_LEVEL": "3",
                **(env or {}),
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def run(folder: Path, program: str, *args: str) -> str:
    """One process on its own, to its end; what it printed."""
    code = start(folder, "alone", program, *args).wait(SECONDS)
    assert code == 0, output(folder, "alone")
    return output(folder, "alone")


def output(folder: Path, name: str) -> str:
    return (folder / f"{name}.log").read_text(errors="replace")


def served_accuracy(model_dir: Path) -> float:
    """How much of the test digits the SavedModel tells right, asked as a model server asks."""
    import tensorflow as tf

    signature = tf.saved_model.load(str(model_dir)).signatures["serving_default"]
    with np.load(DATA) as digits:
        (probabilities,) = signature(images=tf.constant(digits["x_test"])).values()
        return float(np.mean(probabilities.numpy().argmax(axis=1) == digits["y_test"]))


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The scalars that TensorBoard shows of a run, by tag: step and value."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    found: dict[str, list[tuple[int, float]]] = {}
    for file in sorted(folder.glob("events*")):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, make_ndarray(value.tensor).item()))
    return found


def _free_port(held: ExitStack) -> int:
    listener: Any = held.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    return int(listener.getsockname()[1])


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a test's processes run; nothing may be left among the temporary files."""
    yield tmp_path
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.slow
def test_one_machine_trains_over_all_devices_and_resumes_with_another_strategy(folder: Path) -> None:
    first = run(folder, "mnist_single", "--epochs=2", "--cpus=2")
    assert "MirroredStrategy over 2 devices" in first and epochs(first) == [1, 2]
    second = run(folder, "mnist_single", "--epochs=3", "--cpus=2", "--strategy=central")
    assert "CentralStorageStrategy over 2 devices" in second and "Resuming after epoch 2" in second
    assert epochs(second) == [3]
    assert min(accuracy(first), accuracy(second)) > ACCURACY
    # What is printed is what the saved model does, and what the curves show.
    assert served_accuracy(folder / "output" / "model") == pytest.approx(accuracy(second), abs=1e-3)
    *_, last = scalars(folder / "output" / "logs" / "validation")["epoch_accuracy"]
    assert last == (2, pytest.approx(accuracy(second), abs=1e-3))


@pytest.mark.slow  # test_training.py does the same in a job
def test_workers_stay_equal_to_the_bit_and_resume_after_one_was_killed(folder: Path) -> None:
    checkpoints = folder / "output" / "checkpoints"
    with Cluster(folder, "mnist_multiworker", ["chief", "worker"], "--epochs=50") as cluster:
        deadline = time.monotonic() + SECONDS
        while not (checkpoints / "epoch-1.index").exists():
            assert time.monotonic() < deadline, output(folder, "chief0")
            time.sleep(0.05)
        cluster.kill("worker0")
        cluster.wait_for_failure("chief0")
    (folder / "tmp").rename(folder / "left by the killed worker")
    done = max(int(file.stem.partition("-")[2]) for file in checkpoints.glob("epoch-*.index"))

    with Cluster(folder, "mnist_multiworker", ["chief", "worker"], f"--epochs={done + 1}") as cluster:
        printed = cluster.finish()
    for text in printed.values():
        assert f"Resuming after epoch {done}, from {checkpoints}/epoch-{done}" in text
        assert epochs(text) == [done + 1]
    assert digest(printed["chief0"]) == digest(printed["worker0"])
    assert accuracy(printed["chief0"]) == accuracy(printed["worker0"]) > ACCURACY
    assert served_accuracy(folder / "output" / "model") == pytest.approx(
        accuracy(printed["chief0"]), abs=1e-3
    )
    assert "Model saved" not in printed["worker0"]


def test_a_parameter_server_serves_while_an_evaluator_tests_every_checkpoint(folder: Path) -> None:
    replicas = ["chief", "worker", "ps", "evaluator"]
    with Cluster(folder, "mnist_parameter_server", replicas, "--epochs=2") as cluster:
        printed = cluster.finish()
    assert epochs(printed["chief0"]) == [1, 2]
    assert accuracy(printed["chief0"]) > ACCURACY
    assert served_accuracy(folder / "output" / "model") == pytest.approx(
        accuracy(printed["chief0"]), abs=1e-3
    )
    for name in ("worker0", "ps0"):
        assert "ends: the coordinator has" in printed[name]
    # The evaluator may be late for the first, never for the last.
    tested = re.findall(r"Epoch (\d+): test accuracy ([\d.]+)", printed["evaluator0"])
    assert tested[-1] == ("2", f"{accuracy(printed['chief0']):.4f}")
    shown = scalars(folder / "output" / "logs" / "evaluator")["epoch_accuracy"]
    assert [step for step, _ in shown] == [int(epoch) for epoch, _ in tested]


def test_a_program_in_the_wrong_cluster_says_which_is_the_right_one(folder: Path) -> None:
    cluster = {"chief": ["127.0.0.1:1"], "worker": ["127.0.0.1:2"]}

    def config(kind: str) -> Mapping[str, str]:
        return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": 0}})}

    started = {
        "mnist_single": start(folder, "mnist_single", "mnist_single", env=config("chief")),
        "mnist_multiworker": start(folder, "mnist_multiworker", "mnist_multiworker", env=config("evaluator")),
        "mnist_parameter_server": start(folder, "mnist_parameter_server", "mnist_parameter_server"),
    }
    told = {
        "mnist_single": "for several there is trainer_scripts.mnist_multiworker",
        "mnist_multiworker": "no use for parameter servers or an evaluator",
        "mnist_parameter_server": "needs a chief, a worker and a parameter server",
    }
    for program, process in started.items():
        assert process.wait(SECONDS) == 1
        assert told[program] in output(folder, program)
    assert not (folder / "output").exists()
