"""Real training jobs on the local Vertex AI: real processes, real digits, a model that answers.

``MNIST_NPZ`` names the full MNIST, to train on it in place of the packaged subset.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_runs import run_example
from trainer_prints import accuracy, digest, epochs

import vertexkit as vk
from tests.conftest import RunningEmulator, descendants

ROOT = Path(__file__).parents[2]
MNIST = Path(os.environ.get("MNIST_NPZ", ROOT / "trainer_scripts" / "data" / "mnist_subset.npz"))
ACCURACY = 0.85  # reached after two epochs; guessing reaches 0.1
SECONDS = 240


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Images and labels to test with."""
    with np.load(MNIST) as data:
        return data["x_test"][:1000], data["y_test"][:1000]


@pytest.fixture
def data(session: vk.Session) -> str:
    """The gs:// URI of the digits, in the session's bucket."""
    uri = f"{session.bucket.uri}/data/mnist.npz"
    session.bucket.upload_file(MNIST, uri)
    return uri


def printed(job: vk.CustomTrainingJob) -> Mapping[str, str]:
    """What each replica printed, all starts of the job together."""
    lines = defaultdict(list)
    for line in job.logs():
        lines[line.replica].append(line.text)
    return {replica: "\n".join(texts) for replica, texts in lines.items()}


def assert_answers(model: vk.Model | None, digits: tuple[Any, Any]) -> None:
    """Deploy the model that a job returned, and ask it."""
    assert model is not None
    images, truth = digits
    probabilities = model.deploy(machine="n1-standard-2").predict(images)
    assert probabilities.shape == (len(images), 10)
    assert float(np.mean(probabilities.argmax(axis=1) == truth)) > ACCURACY


OWN_SCRIPT = """
from trainer_scripts.environment import read_environment

environment = read_environment()
with environment.outputs() as outputs:
    print(environment.task, environment.is_chief, environment.rank, environment.world_size)
    print(outputs.model_dir.startswith("gs://"), environment.checkpoint_dir)
    print(environment.in_job, environment.region, sorted(environment.cluster), len(environment.job) > 0)
"""


def test_a_script_of_ones_own_reads_what_it_is_told_with_the_packaged_reader(
    session: vk.Session, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN_SCRIPT)
    base = f"{session.bucket.uri}/own"
    job = session.training.run(
        tmp_path / "own.py", workers=2, evaluators=1, base_output_dir=base, model=False, logs=False
    )
    told = {replica: text.splitlines() for replica, text in printed(job).items() if replica != "service"}
    assert {replica: lines[0] for replica, lines in told.items()} == {
        "workerpool0-0": "chief 0 True 0 4",
        "workerpool1-0": "worker 0 False 1 4",
        "workerpool1-1": "worker 1 False 2 4",
        "workerpool3-0": "evaluator 0 False 3 4",
    }
    for replica, (_, second, third) in told.items():
        assert second == f"{replica == 'workerpool0-0'} {base}/checkpoints"
        assert third == "True us-central1 ['chief', 'worker'] True"


def test_one_machine_trains_on_data_of_the_bucket_and_leaves_model_checkpoints_and_curves(
    session: vk.Session, data: str
) -> None:
    job = session.training.run("trainer_scripts.mnist_single", args={"epochs": 2, "data": data}, logs=False)
    assert job.state == "SUCCEEDED"
    (text,) = (text for replica, text in printed(job).items() if replica != "service")
    assert epochs(text) == [1, 2]
    assert accuracy(text) > ACCURACY
    assert job.model is not None
    assert [checkpoint.name for checkpoint in job.checkpoints()] == ["epoch-1", "epoch-2"]
    metrics = job.metrics()
    validation = metrics[(metrics.run == "validation") & (metrics.tag == "epoch_accuracy")]
    assert list(validation.step) == [0, 1]
    assert validation.value.iloc[-1] == pytest.approx(accuracy(text), abs=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="a replica's process is found in /proc")
def test_two_workers_resume_after_one_was_killed_and_stay_equal_to_the_bit(
    emulator: RunningEmulator, session: vk.Session, data: str, digits: tuple[Any, Any]
) -> None:
    job = session.training.run(
        "trainer_scripts.mnist_multiworker",
        workers=1,
        args={"epochs": 4, "data": data},
        restart_on_worker_restart=True,
        wait=False,
    )
    deadline = time.monotonic() + SECONDS
    while not job.checkpoints():
        assert time.monotonic() < deadline and not job.state.ended, list(job.logs())
        time.sleep(0.1)
    os.kill(worker_process(emulator), signal.SIGKILL)
    job.wait(SECONDS)

    texts = printed(job)
    chief, worker = texts["workerpool0-0"], texts["workerpool1-0"]
    (resumed,) = re.findall(r"^Resuming after epoch (\d+), from gs://", chief, re.MULTILINE)
    # What was completed before is not done again.
    assert int(resumed) >= 1
    after = chief.partition("Resuming after epoch")[2]
    assert epochs(after) == list(range(int(resumed) + 1, 5))
    assert digest(chief) == digest(worker)
    assert accuracy(chief) > ACCURACY
    assert_answers(job.model, digits)


def worker_process(emulator: RunningEmulator) -> int:
    """The process id of the training program that is worker 0."""
    found = []
    for pid in descendants(emulator.pid):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:  # it has ended
            continue
        is_program = b"trainer_scripts.mnist_multiworker" in command and b"-m" in command
        if is_program and re.search(rb'TF_CONFIG=[^\0]*"type": ?"worker"', environment):
            found.append(pid)
    assert found, "no process is worker 0"
    return max(found)  # below those that keep it


@pytest.mark.slow
def test_a_chief_trains_with_worker_parameter_server_and_evaluator(session: vk.Session, data: str) -> None:
    job = session.training.run(
        "trainer_scripts.mnist_parameter_server",
        workers=1,
        parameter_servers=1,
        evaluators=1,
        args={"epochs": 2, "data": data},
        logs=False,
    )
    texts = printed(job)
    assert accuracy(texts["workerpool0-0"]) > ACCURACY
    assert job.model is not None
    tested = re.findall(r"Epoch (\d+): test accuracy ([\d.]+)", texts["workerpool3-0"])
    assert tested[-1] == ("2", f"{accuracy(texts['workerpool0-0']):.4f}")
    metrics = job.metrics()
    assert set(metrics.run) == {"train", "evaluator"}


@pytest.mark.slow
def test_the_example_trains_on_two_machines_deploys_and_leaves_nothing(tmp_path: Path) -> None:
    finished = run_example("train_multiworker.py", tmp_path, "--epochs=2")
    weights = re.findall(r"workerpool(\d)-0 +SHA-256 of the weights: (\w+)", finished.stdout)
    assert {pool for pool, _ in weights} == {"0", "1"}
    assert len({digest for _, digest in weights}) == 1
    (trained,) = set(re.findall(r"Test accuracy: ([\d.]+)", finished.stdout))
    assert f"Accuracy by the endpoint: {trained}" in finished.stdout
    assert float(trained) > ACCURACY
