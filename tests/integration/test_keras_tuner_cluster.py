"""Distributed searches with Keras Tuner, by hand: what becomes of them when processes end at odd times."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from keras_tuner_replicas import ROOT, SECONDS, Replicas, until

SEARCH = [str(Path(__file__).with_name("keras_tuner_program.py"))]
SUPERVISED = [str(Path(__file__).with_name("supervised_program.py"))]
PROJECT = Path("output", "checkpoints", "keras_tuner", "mine", "parabola")


def runs(folder: Path, what: str) -> list[list[str]]:
    """Trial, tuner and process of every run that began, or that ended."""
    return [file.name.split(".")[:3] for file in (folder / "runs").glob(f"*.{what}")]


def times(folder: Path, what: str) -> dict[str, int]:
    """How often each trial began, or ended."""
    return dict(Counter(trial for trial, _, _ in runs(folder, what)))


def assert_all_done_once(folder: Path) -> None:
    """Six trials, each with one result."""
    ids = [str(number) for number in range(6)]
    assert times(folder, "ended") == dict.fromkeys(ids, 1)
    oracle = json.loads((folder / PROJECT / "oracle.json").read_text())
    assert sorted(oracle["start_order"]) == sorted(oracle["end_order"]) == ids
    for trial_id in ids:
        trial = json.loads((folder / PROJECT / f"trial_{trial_id}" / "trial.json").read_text())
        assert (trial["status"], trial["score"] >= 0) == ("COMPLETED", True)


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


Start = Callable[..., Replicas]


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[Start]:
    """Makes clusters; none of their processes may be left."""
    made: list[Replicas] = []
    (tmp_path / "runs").mkdir()

    def make(command: list[str], workers: int = 2) -> Replicas:
        made.append(Replicas(tmp_path, command, workers))
        return made[-1]

    yield make
    left = [pid for each in made for name in each.running for pid in _left(each, name)]
    for each in made:
        for process in each.running.values():
            process.kill()
            process.wait()
    assert not left


def _left(each: Replicas, name: str) -> list[int]:
    try:
        return each.children(name)
    except OSError:
        return []


# With Keras Tuner


@pytest.mark.parametrize("late", [10, pytest.param(60, marks=pytest.mark.slow)])
def test_with_a_late_chief_and_a_killed_process_each_trial_is_done_once(
    replicas: Start, tmp_path: Path, late: float
) -> None:
    (tmp_path / "hold").touch()
    (tmp_path / "linger").write_text("worker0")
    cluster = replicas(SEARCH)
    cluster.start("worker0", "worker1")
    time.sleep(late)
    for name in ("worker0", "worker1"):
        until(lambda: "Waiting for the chief at 127.0.0.1:" in cluster.log(name))  # noqa: B023
    cluster.start("chief")
    until(lambda: len(runs(tmp_path, "began")) == 2, printed=cluster.printed)
    (killed,) = [run for run in runs(tmp_path, "began") if run[1] == "worker0"]
    os.kill(int(killed[2]), signal.SIGKILL)
    (tmp_path / "hold").unlink()
    cluster.succeed()

    assert_all_done_once(tmp_path)
    assert times(tmp_path, "began") == {str(number): 1 for number in range(6)} | {killed[0]: 2}
    assert "the process of worker0 was killed by SIGKILL; it is started again" in cluster.log("worker0")
    assert f"Trial {killed[0]} starts again" in cluster.log("chief")
    # Who leaves late still gets its answers.
    left = {
        name: float(when)
        for name in cluster.names
        for when in re.findall(
            rf"^{name} leaves at ([\d.]+); best {{'x': 0\.", cluster.log(name), re.MULTILINE
        )
    }
    assert max(left["worker0"], left["worker1"]) < left["chief"] < left["worker0"] + 30


@pytest.mark.slow
def test_a_lost_replica_ends_the_search_which_goes_on_when_all_start_anew(
    replicas: Start, tmp_path: Path
) -> None:
    (tmp_path / "hold").touch()
    cluster = replicas(SEARCH)
    cluster.start()
    until(lambda: len(runs(tmp_path, "began")) == 2, printed=cluster.printed)
    children = [pid for name in cluster.names for pid in cluster.children(name)]
    cluster.kill("worker1")
    cluster.fail(f"worker1 ({cluster.cluster['worker'][1]}) is gone", "chief", "worker0")
    until(lambda: not any(map(alive, children)), 5)

    (tmp_path / "hold").unlink()
    cluster.start()
    cluster.succeed()
    assert_all_done_once(tmp_path)
    assert "Reloading Tuner from" in cluster.log("chief")
    assert sorted(times(tmp_path, "began").values()) == [1, 1, 1, 1, 2, 2]


@pytest.mark.slow
def test_a_trial_that_kills_its_process_each_time_fails_and_the_search_goes_on(
    replicas: Start, tmp_path: Path
) -> None:
    (tmp_path / "deadly").write_text("2")
    (tmp_path / "spare").touch()
    cluster = replicas(SEARCH, 1)
    cluster.start()
    cluster.succeed()
    assert times(tmp_path, "began") == {str(number): 1 for number in range(6)} | {"2": 3}
    assert times(tmp_path, "ended") == {str(number): 1 for number in range(6) if number != 2}
    trial = json.loads((tmp_path / PROJECT / "trial_2" / "trial.json").read_text())
    assert (trial["status"], trial["message"]) == (
        "FAILED",
        "The process that ran this trial was killed 3 times.",
    )
    # The chief's machine ran trials as well, if only the one that ended its process.
    assert {tuner for _, tuner, _ in runs(tmp_path, "began")} == {"worker0", "spare"}


@pytest.mark.slow
def test_the_packaged_search_finds_and_saves_a_model_that_serves_images(
    replicas: Start, tmp_path: Path
) -> None:
    cluster = replicas(["-m", "trainer_scripts.keras_tuner_search", "--max_epochs=2"])
    cluster.start()
    cluster.succeed()
    printed = cluster.log("chief")
    (score,) = re.findall(r"^Best val_accuracy: ([\d.]+)$", printed, re.MULTILINE)
    (found,) = re.findall(r"^Best hyperparameters: (.*)$", printed, re.MULTILINE)
    assert set(json.loads(found)) == {"learning_rate", "n_hidden", "n_neurons", "optimizer"}
    trials = [
        json.loads(file.read_text())
        for file in (tmp_path / "output" / "checkpoints" / "keras_tuner" / "search").glob(
            "trial_*/trial.json"
        )
    ]
    assert float(score) == pytest.approx(max(trial["score"] for trial in trials), abs=1e-4)
    # Both workers searched, the chief did not.
    assert all("val_accuracy" in cluster.log(f"worker{index}") for index in range(2))

    import numpy as np
    import tensorflow as tf

    served = tf.saved_model.load(str(tmp_path / "output" / "model")).signatures["serving_default"]
    with np.load(ROOT / "trainer_scripts" / "data" / "mnist_subset.npz") as digits:
        (probabilities,) = served(images=tf.constant(digits["x_test"])).values()
        accuracy = np.mean(probabilities.numpy().argmax(axis=1) == digits["y_test"])
    assert accuracy == pytest.approx(float(score), abs=2e-3) and accuracy > 0.4  # guessing: 0.1


def test_what_is_used_of_keras_tuner_beyond_its_public_face_is_as_it_was() -> None:
    """After an upgrade, read what has changed of it, then ``trainer_scripts/keras_tuner_oracle.py``."""
    code = """
import inspect, keras_tuner
from keras_tuner.src import utils
from keras_tuner.src.distribute import oracle_chief, oracle_client
from keras_tuner.src.engine import base_tuner, metrics_tracking, oracle, stateful, trial
assert keras_tuner.__version__ == "1.4.8", keras_tuner.__version__
def source(of): return inspect.getsource(of)
assert "oracle_chief.start_server(self.oracle)" in source(base_tuner.BaseTuner.search)
assert list(inspect.signature(oracle_chief.start_server).parameters) == ["oracle"]
assert {"directory", "overwrite"} <= set(inspect.signature(base_tuner.BaseTuner.__init__).parameters)
assert "timeout=TIMEOUT" in source(oracle_client.OracleClient) and oracle_client.TIMEOUT == 3600
assert list(inspect.signature(oracle_client.OracleClient.create_trial).parameters) == ["self", "tuner_id"]
assert "utils.save_json(fname, self.get_state())" in source(stateful.Stateful.save)
given_again = "if tuner_id in self.ongoing_trials:\\n            return self.ongoing_trials[tuner_id]"
assert given_again in source(oracle)
made = oracle.Oracle(objective="val_loss")
assert (made.ongoing_trials, made._retry_queue, made.start_order, made.end_order) == ({}, [], [], [])
assert metrics_tracking.MetricsTracker().metrics == {}
assert issubclass(trial.Trial, stateful.Stateful)
assert "began" not in trial.Trial(keras_tuner.HyperParameters()).get_state()
assert list(inspect.signature(trial.Trial.set_state).parameters) == ["self", "state"]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=SECONDS)


def test_a_search_that_was_killed_between_two_writes_resumes_with_each_trial_once(tmp_path: Path) -> None:
    """A trial's file is written before the list of trials, which still names one that has just ended."""
    code = """
import json, os, pathlib
from trainer_scripts import keras_tuner_child, keras_tuner_oracle
keras_tuner_oracle.prepare("", lambda directory: directory, keras_tuner_child.Tie())
import keras_tuner

def make():
    space = keras_tuner.HyperParameters()
    space.Float("x", 0, 1)
    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("error", "min"), max_trials=5, hyperparameters=space, seed=1)
    oracle._set_project_dir(".", "search")
    return oracle

killed = make()
for tuner in ("a", "b"):
    killed.create_trial(tuner)
for trial_id in "01":
    killed.update_trial(trial_id, {"error": 0.5})
killed.ongoing_trials["a"].status = "COMPLETED"
killed.end_trial(killed.ongoing_trials["a"])
oracle = pathlib.Path("search", "oracle.json")
before = oracle.read_text()
assert "0" in json.loads(before)["ongoing_trials"].values()
number = oracle.stat().st_ino
killed.create_trial("c")
assert oracle.stat().st_ino != number, "written in place: whoever reads meanwhile sees half of it"
assert {file.name for file in oracle.parent.iterdir()} == {"oracle.json", "trial_0", "trial_1", "trial_2"}
oracle.write_text(before)

resumed = make()
resumed.reload()
assert resumed.end_order == ["0"] and resumed._retry_queue == ["1"] and set(resumed.trials) == {"0", "1"}
again = resumed.create_trial("a")
assert again.trial_id == "1" and not again.metrics.exists("error")
assert [resumed.create_trial(tuner).trial_id for tuner in "bcd"] == ["2", "3", "4"]
assert resumed.create_trial("e").status == "STOPPED"
"""
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=SECONDS,
    )


def test_a_chief_whose_answer_never_ends_says_no_more_that_all_is_well(tmp_path: Path) -> None:
    code = """
import os, socket, sys, threading, time
from trainer_scripts import keras_tuner_child, keras_tuner_oracle
parent, child = socket.socketpair()
tie = keras_tuner_child.Tie(child)
keras_tuner_oracle.prepare("chief", lambda directory: directory, tie)
from keras_tuner.src.distribute import oracle_chief, oracle_client
import keras_tuner

class Stuck(keras_tuner.oracles.RandomSearchOracle):
    def create_trial(self, tuner_id):
        stuck.set()
        free.wait()
        return super().create_trial(tuner_id)

stuck, free = threading.Event(), threading.Event()
space = keras_tuner.HyperParameters()
space.Float("x", 0, 1)
oracle = Stuck(keras_tuner.Objective("error", "min"), max_trials=5, hyperparameters=space)
oracle._set_project_dir(".", "search")

def heard():
    parent.setblocking(False)
    try:
        while parent.recv(4096): pass
    except BlockingIOError: pass
    parent.settimeout(1)
    try:
        return bool(parent.recv(4096))
    except TimeoutError:
        return False

def watch():
    assert heard() and heard()
    client = oracle_client.OracleClient(oracle)
    asking = threading.Thread(target=client.create_trial, args=("worker0",))
    asking.start()
    stuck.wait()
    time.sleep(0.5)
    assert not heard()
    free.set()
    asking.join()
    assert heard()
    print("as it should be", flush=True)
    tie.leave.set()

threading.Thread(target=watch, daemon=True).start()
oracle_chief.start_server(oracle)
"""
    port = str(Replicas(tmp_path, []).cluster["chief"][0].rpartition(":")[2])
    told = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port, "KERASTUNER_TUNER_ID": "w"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, **told, "PYTHONPATH": str(ROOT), "no_grpc_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "as it should be" in done.stdout, done.stderr


# Without it: how processes are kept


def children_of(cluster: Replicas) -> list[int]:
    """The children of all replicas, once each is at work and in touch with the chief."""
    names = cluster.names
    until(lambda: cluster.log("chief").count("has joined") == len(names) - 1, printed=cluster.printed)
    until(lambda: all([*cluster.folder.glob(f"{name}.*.pid")] for name in names), printed=cluster.printed)
    return [pid for name in names for pid in cluster.children(name)]


def do(cluster: Replicas, name: str, status: int) -> None:
    """Let a program end."""
    beside = cluster.folder / f"{name}.soon"
    beside.write_text(str(status))
    beside.replace(cluster.folder / f"{name}.do")


def test_the_chief_leaves_when_the_last_worker_has(replicas: Start) -> None:
    cluster = replicas(SUPERVISED)
    cluster.start()
    children_of(cluster)
    do(cluster, "worker0", 0)
    until(lambda: cluster.running["worker0"].poll() == 0, 10)
    time.sleep(1)
    assert cluster.running["chief"].poll() is None
    do(cluster, "worker1", 0)
    cluster.succeed(10)
    assert "the chief leaves" in cluster.log("chief")


def test_a_worker_that_is_lost_ends_the_search_with_this_reason(replicas: Start) -> None:
    cluster = replicas(SUPERVISED)
    cluster.start()
    children = children_of(cluster)
    cluster.kill("worker1")
    cluster.fail(f"worker1 ({cluster.cluster['worker'][1]}) is gone", "chief", "worker0")
    until(lambda: not any(map(alive, children)), 5)


@pytest.mark.slow
def test_a_machine_that_falls_silent_is_taken_for_lost(replicas: Start) -> None:
    cluster = replicas(SUPERVISED)
    cluster.start()
    children_of(cluster)
    silent = cluster.running.pop("worker1")
    silent.send_signal(signal.SIGSTOP)
    try:
        # Whoever says something now and then is not.
        time.sleep(25)
        assert cluster.running["worker0"].poll() is cluster.running["chief"].poll() is None
        cluster.fail("worker1 (127.0.0.1:", "chief", "worker0", seconds=15)
    finally:
        silent.kill()
        silent.wait()


@pytest.mark.parametrize("whole", [True, False])
def test_workers_end_with_the_reason_when_the_chief_dies(replicas: Start, whole: bool) -> None:
    cluster = replicas(SUPERVISED)
    cluster.start()
    children = children_of(cluster)
    if whole:
        cluster.kill("chief")
        reason = f"the chief ({cluster.cluster['chief'][0]}) is gone"
    else:
        os.kill(cluster.children("chief")[0], signal.SIGKILL)
        reason = "the process of chief was killed by SIGKILL"
    cluster.fail(reason, "worker0", "worker1")
    assert cluster.running["chief"].returncode == (-signal.SIGKILL if whole else 128 + signal.SIGKILL)
    until(lambda: not any(map(alive, children)), 5)


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("worker0", 255, "the process of worker0 exited with status 255"),
        ("chief", 3, "the process of chief exited with status 3"),
        ("chief", 0, "the chief's program ended before its workers were done"),
    ],
)
def test_a_program_that_fails_or_a_chief_that_leaves_early_ends_the_search(
    replicas: Start, name: str, status: int, reason: str
) -> None:
    cluster = replicas(SUPERVISED)
    cluster.start()
    children_of(cluster)
    do(cluster, name, status)
    cluster.fail(reason, *cluster.names)
    assert cluster.running[name].returncode == (status or 1)


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [True, False])
def test_a_chief_that_answers_nobody_ends_the_search(replicas: Start, tmp_path: Path, stopped: bool) -> None:
    (tmp_path / "impatient").touch()
    cluster = replicas(SUPERVISED)
    cluster.start()
    children_of(cluster)
    time.sleep(4)
    assert all(process.poll() is None for process in cluster.running.values()), cluster.printed()
    if stopped:
        os.kill(cluster.children("chief")[0], signal.SIGSTOP)
    else:
        (tmp_path / "mute").touch()
    cluster.fail("the process of chief hangs: it has answered nobody for 3 s", *cluster.names, seconds=20)


def test_a_process_that_is_killed_again_and_again_is_given_up(replicas: Start) -> None:
    cluster = replicas(SUPERVISED)
    cluster.start()
    children_of(cluster)
    (first,) = cluster.children("worker1")
    os.kill(first, signal.SIGKILL)
    until(lambda: cluster.children("worker1") not in ([], [first]), 10)
    os.kill(cluster.children("worker1")[0], signal.SIGSEGV)
    cluster.fail("the process of worker1 was killed by SIGSEGV, after 1 restarts", *cluster.names)
    assert cluster.running["worker1"].returncode == 128 + signal.SIGSEGV


@pytest.mark.parametrize("name", ["chief", "worker0"])
def test_a_replica_passes_a_termination_on(replicas: Start, tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.stubborn").touch()
    cluster = replicas(SUPERVISED)
    cluster.start()
    children = children_of(cluster)
    cluster.running[name].terminate()
    until(lambda: (tmp_path / f"{name}.terminated").exists(), 10)
    # It takes its time, and is not waited for here: a service would not either.
    os.kill(cluster.children(name)[0], signal.SIGKILL)
    cluster.fail(f"{name} was sent SIGTERM", *cluster.names)
    assert cluster.running[name].returncode == 128 + signal.SIGTERM
    until(lambda: not any(map(alive, children)), 5)


def test_whoever_else_finds_a_port_changes_nothing(replicas: Start) -> None:
    cluster = replicas(SUPERVISED, 1)
    port = int(cluster.cluster["worker"][0].rpartition(":")[2])
    cluster.start("worker0")
    until(lambda: cluster.running["worker0"].poll() is None and _says(port, b"GET / HTTP/1.1\r\n\r\n"), 10)
    _says(port, b"")
    cluster.start("chief")
    children_of(cluster)
    _says(port, b"GET / HTTP/1.1\r\n\r\n")
    do(cluster, "worker0", 0)
    cluster.succeed(15)


def _says(port: int, words: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(words)
    except OSError:
        return False
    return True


def test_a_port_that_is_taken_and_a_replica_of_another_kind_are_refused(
    replicas: Start, tmp_path: Path
) -> None:
    cluster = replicas(SUPERVISED, 1)
    host, _, port = cluster.cluster["worker"][0].rpartition(":")
    with socket.create_server((host, int(port))):
        cluster.start("worker0")
        cluster.fail(f"worker0 cannot listen on port {port}", "worker0")
    cluster = replicas(SEARCH, 1)
    cluster.cluster["ps"] = ["127.0.0.1:1"]
    cluster.start("worker0")
    cluster.fail("has no use for replicas of type ps", "worker0", seconds=30)
