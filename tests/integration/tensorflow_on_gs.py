"""An unmodified TensorFlow program that keeps all it has in a bucket: ``tensorflow_on_gs.py gs://BUCKET``.

Knows nothing of an emulator; prints what it found as one JSON object.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

ROOT = sys.argv[1]
MEGABYTES = 256
gfile: Any = tf.io.gfile


def files() -> dict[str, Any]:
    """What tf.io.gfile does."""
    folder = f"{ROOT}/files"
    gfile.makedirs(f"{folder}/sub")
    with gfile.GFile(f"{folder}/a b+ü.txt", "w") as file:
        file.write("one\n")
    with gfile.GFile(f"{folder}/a b+ü.txt", "a") as file:
        file.write("two\n")
    gfile.copy(f"{folder}/a b+ü.txt", f"{folder}/sub/copy.txt")
    gfile.rename(f"{folder}/sub/copy.txt", f"{folder}/sub/renamed.txt")
    try:
        gfile.copy(f"{folder}/a b+ü.txt", f"{folder}/sub/renamed.txt")
        refused = False
    except tf.errors.AlreadyExistsError:
        refused = True
    try:
        gfile.GFile(f"{folder}/missing").read()
        missing = ""
    except tf.errors.NotFoundError as error:
        missing = type(error).__name__
    found = {
        "content": gfile.GFile(f"{folder}/sub/renamed.txt").read(),
        "exists": [gfile.exists(f"{folder}/{name}") for name in ("a b+ü.txt", "sub", "sub/copy.txt")],
        "isdir": [gfile.isdir(f"{folder}/{name}") for name in ("a b+ü.txt", "sub")],
        "listed": sorted(gfile.listdir(folder)),
        "glob": [name.removeprefix(folder) for name in gfile.glob(f"{folder}/*/*.txt")],
        "walk": [[where.removeprefix(folder), sorted(names)] for where, _, names in gfile.walk(folder)],
        "length": gfile.stat(f"{folder}/a b+ü.txt").length,
        "refused": refused,
        "missing": missing,
    }
    gfile.remove(f"{folder}/a b+ü.txt")
    gfile.rmtree(folder)
    return {**found, "gone": not gfile.exists(folder) and not gfile.exists(f"{folder}/sub/renamed.txt")}


def large() -> dict[str, Any]:
    """One large file, there and back, with seeks."""
    block = np.random.default_rng(1).bytes(1 << 20)
    began = time.perf_counter()
    with gfile.GFile(f"{ROOT}/large", "wb") as file:
        for number in range(MEGABYTES):
            file.write(number.to_bytes(4, "big") + block[4:])
    written = time.perf_counter() - began
    began, right = time.perf_counter(), True
    with gfile.GFile(f"{ROOT}/large", "rb") as file:
        for number in range(MEGABYTES):
            right &= file.read(1 << 20) == number.to_bytes(4, "big") + block[4:]
        read = time.perf_counter() - began
        file.seek(200 << 20)
        right &= file.read(4) == (200).to_bytes(4, "big")
    return {"right": right, "written": MEGABYTES / written, "read": MEGABYTES / read}


def model() -> Any:
    """A small Keras model, trained a little."""
    made = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
    made.compile(optimizer="adam", loss="mse")
    return made


def models() -> dict[str, Any]:
    """SavedModel and ``.keras``, there and back."""
    made, x = model(), np.ones((1, 3), "float32")
    made.export(f"{ROOT}/saved", verbose=False)
    made.save(f"{ROOT}/model.keras")
    expected = made.predict(x, verbose=0)
    served = tf.saved_model.load(f"{ROOT}/saved").signatures["serving_default"](tf.constant(x))
    loaded = keras.models.load_model(f"{ROOT}/model.keras")
    return {
        "saved": bool(np.allclose(next(iter(served.values())), expected)),
        "keras": bool(np.allclose(loaded.predict(x, verbose=0), expected)),
    }


def checkpoints() -> dict[str, Any]:
    """tf.train.Checkpoint by a manager that keeps two."""
    step = tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(step=step, table=tf.Variable(tf.zeros([1000, 1000])))
    manager = tf.train.CheckpointManager(checkpoint, f"{ROOT}/checkpoints", max_to_keep=2)
    for _ in range(3):
        step.assign_add(1)
        manager.save()
    step.assign(0)
    checkpoint.restore(tf.train.latest_checkpoint(f"{ROOT}/checkpoints")).assert_consumed()
    return {"step": int(step), "kept": len(manager.checkpoints)}


def records() -> dict[str, Any]:
    """TFRecord files, plain and packed, through tf.data; and lines of text."""
    for kind in ("", "GZIP"):
        for shard in range(2):
            with tf.io.TFRecordWriter(f"{ROOT}/records{kind}/{shard}.tfrecord", options=kind) as writer:
                for number in range(500):
                    writer.write(f"{shard}-{number}".encode())
    with gfile.GFile(f"{ROOT}/lines.csv", "w") as file:
        file.write("".join(f"{number},{number * 2}\n" for number in range(1000)))
    found = {
        kind: sum(
            1
            for _ in tf.data.Dataset.list_files(f"{ROOT}/records{kind}/*.tfrecord").interleave(
                lambda name, kind=kind: tf.data.TFRecordDataset(name, compression_type=kind),
                num_parallel_calls=2,
            )
        )
        for kind in ("", "GZIP")
    }
    lines = tf.data.TextLineDataset(f"{ROOT}/lines.csv").batch(100)
    return {"records": found, "lines": sum(len(batch) for batch in lines)}


def training() -> dict[str, Any]:
    """Callbacks that write while it trains, and one that goes on after an interruption."""
    x, y = np.ones((8, 3), "float32"), np.ones((8, 2), "float32")
    seen: list[int] = []

    class Interrupt(keras.callbacks.Callback):
        def __init__(self, at: int | None) -> None:
            super().__init__()
            self.at = at

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == self.at:
                raise InterruptedError
            seen.append(epoch)

    def fit(at: int | None) -> None:
        callbacks = [
            keras.callbacks.TensorBoard(f"{ROOT}/logs", write_graph=False),
            keras.callbacks.ModelCheckpoint(f"{ROOT}/epochs/{{epoch}}.keras"),
            keras.callbacks.BackupAndRestore(f"{ROOT}/backup"),
            Interrupt(at),
        ]
        model().fit(x, y, epochs=4, verbose=0, callbacks=callbacks)

    with contextlib.suppress(InterruptedError):
        fit(2)
    fit(None)
    events = [
        value.tag
        for file in gfile.glob(f"{ROOT}/logs/train/events*")
        for event in tf.compat.v1.train.summary_iterator(file)
        for value in event.summary.value
    ]
    return {"epochs": seen, "losses": events.count("epoch_loss"), "kept": len(gfile.glob(f"{ROOT}/epochs/*"))}


def main() -> None:
    """Do it all."""
    parts: tuple[Callable[[], dict[str, Any]], ...] = (files, large, models, checkpoints, records, training)
    print(json.dumps({part.__name__: part() for part in parts}))


if __name__ == "__main__":
    main()
