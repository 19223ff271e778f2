"""The digits that the MNIST programs train on, from wherever they lie: Cloud Storage or a local file.

    digits = load("gs://bucket/mnist.npz")          # x_train, y_train, x_test, y_test, as Keras's own file
    digits = load("gs://bucket/mnist-*.tfrecord")   # tf.train.Example: image (pixels, PNG or JPEG), label
    digits = load("digits.csv")                     # the label, then 784 pixels; with or without a header
    digits = load("keras")                          # the full MNIST, downloaded by Keras
    digits = load("", environment)                  # what the job's dataset names, else the packaged subset

MNIST fits into memory. For data that does not, replace the arrays by a ``tf.data`` pipeline over
``tf.data.TFRecordDataset(tf.io.gfile.glob(...))``.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from trainer_scripts.environment import Environment

SUBSET = Path(__file__).with_name("data") / "mnist_subset.npz"
SIDE = 28
HELD_BACK = 7  # one in so many examples is for testing, where no test data was named

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Digits:
    """Images uint8[n, 28, 28] and their labels int64[n]."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array

    def __str__(self) -> str:
        return f"{len(self.x_train):,} digits to train on, {len(self.x_test):,} to test with"


def load(data: str = "", environment: Environment | None = None) -> Digits:
    """Read the digits into memory.

    Args:
        data: A path or ``gs://`` URI ending in ``.npz``, ``.tfrecord``, ``.tfrecords`` or ``.csv``, with
            wildcards if there are several files; or ``keras``.
        environment: Names the data of the job's dataset, for use where ``data`` is empty.

    Raises:
        ValueError: The data cannot be read, or is not what it should be; names the path and what is wrong.
    """
    if data == "keras":
        return _load_keras()
    if data:
        return _load_npz(data) if data.endswith(".npz") else _hold_back(*_load_files(data))
    if environment is None or not environment.training_data_uri:
        return _load_npz(str(SUBSET))
    data_format = environment.data_format
    train = _load_files(environment.training_data_uri, data_format)
    test_uri = environment.test_data_uri or environment.validation_data_uri
    return Digits(*train, *_load_files(test_uri, data_format)) if test_uri else _hold_back(*train)


def _load_keras() -> Digits:
    try:
        (x_train, y_train), (x_test, y_test) = tf.keras.datasets.mnist.load_data()
    except Exception as error:  # Keras has no narrower one for a download that failed
        raise ValueError(f"keras: {error}. Without a network, name a copy of mnist.npz instead.") from None
    return Digits(*_checked("keras", x_train, y_train), *_checked("keras", x_test, y_test))


def _load_npz(path: str) -> Digits:
    (file,) = _find(path)
    try:
        with np.load(io.BytesIO(_read(file)), allow_pickle=False) as arrays:
            names = ("x_train", "y_train", "x_test", "y_test")
            found = [arrays[name] for name in names if name in arrays]
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} is not a .npz file: {error}") from None
    if len(found) < 4:
        raise ValueError(f"{file} needs the arrays {', '.join(names)}; it has {', '.join(arrays) or 'none'}.")
    return Digits(*_checked(file, found[0], found[1]), *_checked(file, found[2], found[3]))


def _load_files(pattern: str, data_format: str = "") -> tuple[Array, Array]:
    """Images and labels of all files that match, in the order of their names."""
    suffix = data_format or Path(pattern).suffix.lstrip(".").rstrip("*")
    readers: Mapping[str, Callable[[str], Iterator[tuple[Array, int]]]] = {
        "tfrecord": _read_tfrecord,
        "tfrecords": _read_tfrecord,
        "csv": _read_csv,
        "jsonl": _read_jsonl,
    }
    if suffix not in readers:
        raise ValueError(
            f"{pattern}: cannot read {suffix or 'a file without a suffix'}; "
            f"use a file of .npz, .tfrecord, .csv or .jsonl, or 'keras'."
        )
    images, labels = [], []
    for file in _find(pattern):
        for number, (image, label) in enumerate(_numbered_failures(file, readers[suffix](file)), start=1):
            if image.size != SIDE * SIDE:
                raise ValueError(f"{file}, example {number}: {image.size} pixels, not {SIDE} x {SIDE}.")
            images.append(image.reshape(SIDE, SIDE))
            labels.append(label)
    if not images:
        raise ValueError(f"{pattern} holds no example.")
    return _checked(pattern, np.stack(images), np.array(labels))


def _read_tfrecord(file: str) -> Iterator[tuple[Array, int]]:
    """One ``tf.train.Example`` a record, with the features ``image`` (bytes) and ``label`` (an integer)."""
    for record in tf.data.TFRecordDataset(file).as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        if missing := {"image", "label"} - set(features):
            raise ValueError(f"no feature {' and '.join(sorted(missing))}; it has {', '.join(features)}")
        yield _pixels(features["image"].bytes_list.value[0]), features["label"].int64_list.value[0]


def _read_csv(file: str) -> Iterator[tuple[Array, int]]:
    """One image a row: the label, then its pixels, row by row. A header may put the label elsewhere."""
    with tf.io.gfile.GFile(file, "r") as lines:
        rows, label_at = csv.reader(lines), 0
        for row in rows:
            if rows.line_num == 1 and not row[0].strip().isdigit():
                label_at = row.index("label") if "label" in row else 0
                continue
            values = np.array(row, dtype=np.float64)
            yield _whole(np.delete(values, label_at)), int(values[label_at])


def _read_jsonl(file: str) -> Iterator[tuple[Array, int]]:
    """What Vertex AI exports of a dataset of images: where an image lies, and what it was labelled."""
    with tf.io.gfile.GFile(file, "r") as lines:
        for line in filter(str.strip, lines):
            example = json.loads(line)
            label = int(example["classificationAnnotation"]["displayName"])
            yield _pixels(_read(example["imageGcsUri"])), label


def _pixels(image: bytes) -> Array:
    """The pixels of an image: as they are, or encoded as PNG or JPEG."""
    if len(image) == SIDE * SIDE:
        return np.frombuffer(image, dtype=np.uint8)
    return np.asarray(tf.io.decode_image(image, channels=1, expand_animations=False))


def _numbered_failures(file: str, examples: Iterator[tuple[Array, int]]) -> Iterator[tuple[Array, int]]:
    """The examples; what goes wrong with one names the file and its number."""
    number = 0
    try:
        for number, example in enumerate(examples, start=1):  # noqa: B007 - told when it fails
            yield example
    except KeyError as error:
        raise ValueError(f"{file}, example {number + 1}: no {error}.") from None
    except (ValueError, IndexError, TypeError, tf.errors.OpError) as error:
        raise ValueError(f"{file}, example {number + 1}: {error}") from None


def _find(pattern: str) -> list[str]:
    """The files that match. Without a wildcard the path is taken as it is: a bucket need not be listed."""
    try:
        is_pattern = any(sign in pattern for sign in "*?[")
        files = sorted(tf.io.gfile.glob(pattern)) if is_pattern else [pattern]
    except tf.errors.OpError as error:
        raise ValueError(f"cannot list {pattern}: {error.message}") from None
    if not files:
        raise ValueError(f"no file matches {pattern}.")
    return files


def _read(file: str) -> bytes:
    try:
        return bytes(tf.io.gfile.GFile(file, "rb").read())
    except tf.errors.OpError as error:
        raise ValueError(f"cannot read {file}: {error.message}") from None


def _whole(values: Array) -> Array:
    if not np.array_equal(values, values.astype(np.uint8)):
        raise ValueError("a pixel is not a whole number from 0 to 255")
    return values.astype(np.uint8)


def _checked(path: str, images: Array, labels: Array) -> tuple[Array, Array]:
    """Images and labels, if that is what they are."""
    if images.dtype != np.uint8 or images.shape[1:] != (SIDE, SIDE):
        raise ValueError(
            f"{path}: images are {images.dtype}{list(images.shape)}, not uint8[n, {SIDE}, {SIDE}]."
        )
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: labels are {labels.dtype}{list(labels.shape)}, not one integer for each of the "
            f"{len(images):,} images."
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() <= 9:
        raise ValueError(f"{path}: labels lie between {labels.min()} and {labels.max()}, not 0 and 9.")
    return images, labels.astype(np.int64)


def _hold_back(images: Array, labels: Array) -> Digits:
    """Keep some for testing, the same ones in every replica."""
    held = np.arange(len(images)) % HELD_BACK == HELD_BACK - 1
    return Digits(images[~held], labels[~held], images[held], labels[held])
