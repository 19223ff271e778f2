"""What TensorFlow and Keras really write, read back without them; and TensorBoard opened on it."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from storage_server import in_thread

from vertexkit._core.context import Context
from vertexkit._core.rpc import Clients
from vertexkit._core.target import Target
from vertexkit.cleanup import Created
from vertexkit.errors import InvalidArgument, NotFound
from vertexkit.session import Session
from vertexkit.storage import Buckets
from vertexkit.tensorboard import open_tensorboard
from vertexkit.training_outputs import checkpoints, metrics

URI = "gs://logged-bucket/job"

TRAINING = """
import sys
import keras, numpy as np, tensorflow as tf
logs, ckpt = sys.argv[1:]
x, y = np.ones((8, 3), "float32"), np.ones((8, 2), "float32")
model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
model.compile("sgd", "mse")
history = model.fit(x, y, epochs=3, validation_data=(x, y), verbose=0, callbacks=[
    keras.callbacks.TensorBoard(logs, histogram_freq=1),
    keras.callbacks.BackupAndRestore(ckpt + "/backup", delete_checkpoint=False),
    keras.callbacks.ModelCheckpoint(ckpt + "/{epoch:02d}.keras"),
])
manager = tf.train.CheckpointManager(tf.train.Checkpoint(v=tf.Variable(1.0)), ckpt + "/tf", max_to_keep=2)
for step in (9, 10):
    manager.save(step)
with tf.Graph().as_default():
    writer = tf.compat.v1.summary.FileWriter(logs + "/v1")
    value = tf.compat.v1.Summary.Value(tag="old", simple_value=0.5)
    writer.add_summary(tf.compat.v1.Summary(value=[value]), 4)
    writer.close()
writer = tf.summary.create_file_writer(logs + "/v2")
with writer.as_default():
    tf.summary.scalar("whole", 7, step=1)
    tf.summary.image("picture", np.zeros((1, 4, 4, 3)), step=1)
    tf.summary.text("words", "hello", step=1)
writer.close()
print(*history.history["loss"], *history.history["val_loss"])
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    """What a training has written, and the losses that it told of: three of training, three of validation."""
    folder = tmp_path_factory.mktemp("trained")
    command = [sys.executable, "-c", TRAINING, f"{folder}/logs", f"{folder}/checkpoints"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return folder, [float(word) for word in ran.stdout.split()]


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory, trained: tuple[Path, list[float]]) -> Iterator[Context]:
    """A session's parts, with what was trained in a bucket."""
    with in_thread(tmp_path_factory.mktemp("storage")) as server:
        target = Target("my-project", "us-central1", server.url, "", server.url, anonymous=True)
        clients = Clients(target)
        made = Context(target, clients, Created(), {}, bucket="unused-bucket", progress=False)
        Buckets(made).create("logged-bucket").upload_dir(trained[0], "job")
        yield made
        clients.close()


def until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_the_losses_that_keras_told_of_are_in_the_frame(
    context: Context, trained: tuple[Path, list[float]]
) -> None:
    frame = metrics(context, f"{URI}/logs")
    assert set(frame["run"]) == {"train", "validation", "v1", "v2"}
    losses = frame[frame["tag"] == "epoch_loss"]
    assert list(losses["run"]) == ["train"] * 3 + ["validation"] * 3
    assert list(losses["step"]) == [0, 1, 2] * 2
    assert list(losses["value"]) == pytest.approx(trained[1], rel=1e-6)
    others = {(row.run, row.tag, row.step, row.value) for row in frame.itertuples() if row.run[0] == "v"}
    assert {("v1", "old", 4, 0.5), ("v2", "whole", 1, 7.0)} <= others
    assert not {"picture", "words"} & set(frame["tag"])


def test_the_checkpoints_that_were_written_are_found(context: Context) -> None:
    found = {(item.name, item.kind, item.step) for item in checkpoints(context, f"{URI}/checkpoints")}
    assert found == {
        *((f"0{epoch}.keras", "keras", epoch) for epoch in (1, 2, 3)),
        ("backup/latest.weights.h5", "keras", 3),
        *((f"tf/ckpt-{step}", "tensorflow", step) for step in (9, 10)),
    }


def test_tensorboard_shows_what_is_there_and_what_comes(
    context: Context, trained: tuple[Path, list[float]]
) -> None:
    def runs() -> set[str]:
        return set(requests.get(f"{board.url}data/runs", timeout=10).json())

    with open_tensorboard(context, f"{URI}/logs") as board:
        assert board.url.startswith("http://127.0.0.1:")
        assert board.url in board._repr_html_()
        assert until(lambda: runs() == {"train", "validation", "v1", "v2"})
        Buckets(context).get("logged-bucket").upload_dir(trained[0] / "logs" / "train", "job/logs/later")
        assert until(lambda: "later" in runs())
        answer = requests.get(
            f"{board.url}data/plugin/scalars/scalars", {"run": "later", "tag": "epoch_loss"}, timeout=10
        )
        assert [value for _, _, value in answer.json()] == pytest.approx(trained[1][:3], rel=1e-6)
    assert not board.running
    assert "stopped" in repr(board)
    with pytest.raises(requests.ConnectionError):
        requests.get(board.url, timeout=10)
    board.stop()


def test_a_growing_event_file_is_gone_on_with_where_it_was(
    context: Context, trained: tuple[Path, list[float]], tmp_path: Path
) -> None:
    from vertexkit._core.names import GcsUri
    from vertexkit.logs_copy import LogsCopy

    bucket = Buckets(context).get("logged-bucket")
    (file,) = (trained[0] / "logs" / "validation").iterdir()
    content = file.read_bytes()
    name = f"growing/run/{file.name}"
    copy = LogsCopy(context, GcsUri("logged-bucket", "growing/"), tmp_path)
    bucket.write(name, content[:100])
    assert copy.update() == 1
    inode = (tmp_path / "run" / file.name).stat().st_ino
    bucket.write(name, content)
    bucket.write("growing/../../escaped", "x")
    assert copy.update() == 1
    assert copy.update() == 0
    assert (tmp_path / "run" / file.name).read_bytes() == content
    assert (tmp_path / "run" / file.name).stat().st_ino == inode
    assert not (tmp_path.parent / "escaped").exists()


def test_tensorboard_opens_on_a_job_that_has_logged_nothing_yet(context: Context) -> None:
    with open_tensorboard(context, "gs://logged-bucket/none/yet/") as board:
        assert requests.get(f"{board.url}data/runs", timeout=10).json() == []


def test_what_is_no_bucket_is_refused_and_nothing_is_left(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(InvalidArgument, match="gs://"):
        open_tensorboard(context, str(tmp_path))
    with pytest.raises(NotFound):
        open_tensorboard(context, "gs://no-such-bucket-of-ours/logs")
    assert not list(tmp_path.iterdir())


def test_tensorboard_goes_on_without_its_handle_and_ends_with_the_session(context: Context) -> None:
    session = Session(context.target, bucket="unused-bucket", progress=False)
    url = open_tensorboard(session._context, f"{URI}/logs").url
    gc.collect()
    assert requests.get(url, timeout=10).ok
    session.close()
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=10)


def test_tensorboard_ends_when_the_process_that_opened_it_is_killed(context: Context, tmp_path: Path) -> None:
    def files() -> list[Path]:
        return [path for path in tmp_path.rglob("*") if path.is_file()]

    program = (
        "import sys, time\n"
        "from vertexkit._core.context import Context\n"
        "from vertexkit._core.rpc import Clients\n"
        "from vertexkit._core.target import Target\n"
        "from vertexkit.cleanup import Created\n"
        "from vertexkit.tensorboard import open_tensorboard\n"
        "url = sys.argv[1]\n"
        "target = Target('my-project', 'us-central1', url, '', url, anonymous=True)\n"
        "context = Context(target, Clients(target), Created(), {}, 'unused-bucket', False)\n"
        "board = open_tensorboard(context, sys.argv[2])\n"
        "print(board.url, flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, context.target.storage_url, f"{URI}/logs"]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert requests.get(url, timeout=10).ok
        assert files()
        os.kill(process.pid, signal.SIGKILL)

    def has_gone() -> bool:
        try:
            requests.get(url, timeout=10)
        except requests.ConnectionError:
            return True
        return False

    assert until(has_gone, 10)
    assert until(lambda: not files(), 10)
