"""The digits that the training programs read: every form that they come in, and what is said of a bad one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer_scripts.environment import Environment, read_environment

SUBSET = Path(__file__).parents[2] / "trainer_scripts" / "data" / "mnist_subset.npz"
COUNT = 14


def load(data: str = "", environment: Environment | None = None) -> Any:
    """``mnist_data.load``, which loads TensorFlow: not before a test that needs it runs."""
    from trainer_scripts import mnist_data

    return mnist_data.load(data, environment)


def png(image: Any) -> bytes:
    import tensorflow as tf

    return bytes(tf.io.encode_png(image[..., np.newaxis]).numpy())


@pytest.fixture(scope="module")
def images() -> np.ndarray[Any, Any]:
    """uint8[14, 28, 28], no two alike."""
    return np.random.default_rng(1).integers(0, 256, (COUNT, 28, 28), dtype=np.uint8)


@pytest.fixture(scope="module")
def labels() -> np.ndarray[Any, Any]:
    return np.arange(COUNT) % 10


def example(image: bytes, label: int, name: str = "image") -> bytes:
    import tensorflow as tf

    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    return bytes(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def write_tfrecord(file: Path, *records: bytes) -> Path:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record)
    return file


def write_csv(file: Path, images: Any, labels: Any, header: str = "") -> Path:
    rows = [",".join(map(str, [label, *image.ravel()])) for image, label in zip(images, labels, strict=True)]
    file.write_text("\n".join([header, *rows] if header else rows) + "\n")
    return file


def everything(digits: Any) -> tuple[Any, Any]:
    """All of it in the order of the labels' positions: what is held back is every seventh."""
    return (
        np.concatenate([digits.x_train, digits.x_test]),
        np.concatenate([digits.y_train, digits.y_test]),
    )


def assert_all_read(digits: Any, images: Any, labels: Any) -> None:
    held = [6, 13]
    order = [*(i for i in range(len(images)) if i not in held), *held]
    assert len(digits.x_test) == len(held)
    read_images, read_labels = everything(digits)
    np.testing.assert_array_equal(read_images, images[order])
    np.testing.assert_array_equal(read_labels, labels[order])
    assert (read_images.dtype, read_labels.dtype) == (np.uint8, np.int64)


def test_the_packaged_subset_is_what_there_is_when_nothing_is_said() -> None:
    digits = load("", read_environment({}))
    with np.load(SUBSET) as subset:
        np.testing.assert_array_equal(digits.x_train, subset["x_train"])
        np.testing.assert_array_equal(digits.y_test, subset["y_test"])
    assert str(digits) == "6,000 digits to train on, 1,000 to test with"


def test_an_npz_has_all_four_arrays(tmp_path: Path, images: Any, labels: Any) -> None:
    file = tmp_path / "digits.npz"
    np.savez_compressed(file, x_train=images, y_train=labels, x_test=images[:3], y_test=labels[:3])
    digits = load(str(file))
    np.testing.assert_array_equal(digits.x_train, images)
    np.testing.assert_array_equal(digits.y_test, labels[:3])


def test_keras_has_the_full_mnist(monkeypatch: pytest.MonkeyPatch, images: Any, labels: Any) -> None:
    pairs = (images, labels.astype(np.uint8)), (images[:3], labels[:3].astype(np.uint8))
    monkeypatch.setattr("keras.datasets.mnist.load_data", lambda: pairs)
    digits = load("keras")
    np.testing.assert_array_equal(digits.x_train, images)
    np.testing.assert_array_equal(digits.y_test, labels[:3])
    assert digits.y_train.dtype == np.int64


def test_a_download_that_fails_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise Exception("URL fetch failure on https://x/mnist.npz: None -- no route")

    monkeypatch.setattr("keras.datasets.mnist.load_data", fail)
    with pytest.raises(ValueError, match=r"keras: URL fetch failure .* name a copy of mnist\.npz"):
        load("keras")


@pytest.mark.parametrize("encode", [lambda image: image.tobytes(), png], ids=["pixels", "png"])
def test_tfrecords_hold_pixels_or_encoded_images(
    tmp_path: Path, images: Any, labels: Any, encode: Callable[[Any], bytes]
) -> None:
    records = [example(encode(image), label) for image, label in zip(images, labels, strict=True)]
    file = write_tfrecord(tmp_path / "digits.tfrecord", *records)
    assert_all_read(load(str(file)), images, labels)


@pytest.mark.parametrize("header", ["", "label," + ",".join(f"pixel{i}" for i in range(784))])
def test_a_csv_has_a_header_or_none(tmp_path: Path, images: Any, labels: Any, header: str) -> None:
    assert_all_read(load(str(write_csv(tmp_path / "digits.csv", images, labels, header))), images, labels)


def test_a_header_says_where_the_label_is(tmp_path: Path, images: Any, labels: Any) -> None:
    file = tmp_path / "digits.csv"
    rows = [",".join(map(str, [*image.ravel(), label])) for image, label in zip(images, labels, strict=True)]
    file.write_text("\n".join([",".join([*(f"pixel{i}" for i in range(784)), "label"]), *rows]))
    assert_all_read(load(str(file)), images, labels)


def test_wildcards_name_several_files_read_in_the_order_of_their_names(
    tmp_path: Path, images: Any, labels: Any
) -> None:
    write_csv(tmp_path / "digits-2.csv", images[7:], labels[7:])
    write_csv(tmp_path / "digits-1.csv", images[:7], labels[:7])
    assert_all_read(load(f"{tmp_path}/digits-*.csv"), images, labels)


def dataset(data_format: str, **uris: Path | str) -> Environment:
    given = {f"AIP_{name.upper()}_DATA_URI": str(uri) for name, uri in uris.items()}
    return read_environment({"AIP_DATA_FORMAT": data_format, **given})


def test_the_dataset_of_the_job_is_read_in_its_format(tmp_path: Path, images: Any, labels: Any) -> None:
    write_csv(tmp_path / "training-00000-of-00002", images[:7], labels[:7])
    write_csv(tmp_path / "training-00001-of-00002", images[7:], labels[7:])
    write_csv(tmp_path / "validation-00000", images[:1], labels[:1])
    write_csv(tmp_path / "test-00000", images[3:5], labels[3:5])
    given = {name: tmp_path / f"{name}-*" for name in ("training", "validation", "test")}
    digits = load("", dataset("csv", **given))
    np.testing.assert_array_equal(digits.x_train, images)
    np.testing.assert_array_equal(digits.y_test, labels[3:5])
    del given["test"]
    np.testing.assert_array_equal(load("", dataset("csv", **given)).x_test, images[:1])
    del given["validation"]
    assert_all_read(load("", dataset("csv", **given)), images, labels)


def test_what_the_user_names_goes_before_the_dataset(tmp_path: Path, images: Any, labels: Any) -> None:
    named = write_csv(tmp_path / "digits.csv", images, labels)
    digits = load(str(named), dataset("csv", training=tmp_path / "missing-*"))
    assert_all_read(digits, images, labels)


def test_a_dataset_of_images_names_them_line_by_line(tmp_path: Path, images: Any, labels: Any) -> None:
    lines = []
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        file = tmp_path / f"{number}.png"
        file.write_bytes(png(image))
        annotation = {"displayName": str(label), "annotationResourceLabels": {}}
        lines.append(json.dumps({"imageGcsUri": str(file), "classificationAnnotation": annotation}))
    (tmp_path / "training-1.jsonl").write_text("\n".join(lines) + "\n")
    digits = load("", dataset("jsonl", training=tmp_path / "training-*"))
    assert_all_read(digits, images, labels)


def bad_npz(folder: Path) -> Path:
    np.savez(folder / "bad.npz", x_train=np.zeros((2, 28, 28), np.uint8))
    return folder / "bad.npz"


def npz_of(folder: Path, **changed: Any) -> Path:
    arrays = {"x": np.zeros((2, 28, 28), np.uint8), "y": np.zeros(2, np.int64), **changed}
    np.savez(
        folder / "bad.npz",
        x_train=arrays["x"],
        y_train=arrays["y"],
        x_test=arrays["x"],
        y_test=arrays["y"],
    )
    return folder / "bad.npz"


def text(folder: Path, name: str, content: str) -> Path:
    (folder / name).write_text(content)
    return folder / name


IMAGE = np.zeros((28, 28), np.uint8)


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda f: f / "none.npz", r"cannot read .*none\.npz: .*No such file"),
        (lambda f: f / "none.csv", r"none\.csv, example 1: .*No such file"),
        (lambda f: f / "none.tfrecord", r"none\.tfrecord, example 1: .*No such file"),
        (lambda f: f / "none-*.csv", r"no file matches .*none-\*\.csv"),
        (lambda f: f / "digits.parquet", r"digits\.parquet: cannot read parquet; use .*\.npz, \.tfrecord"),
        (lambda f: text(f, "x.npz", "text"), r"x\.npz is not a \.npz file"),
        (bad_npz, r"bad\.npz needs the arrays x_train, .*; it has x_train\."),
        (lambda f: npz_of(f, x=np.zeros((2, 8, 8), np.uint8)), r"images are uint8\[2, 8, 8\], not uint8"),
        (lambda f: npz_of(f, x=np.zeros((2, 28, 28))), r"images are float64\[2, 28, 28\], not uint8"),
        (lambda f: npz_of(f, y=np.zeros(3, np.int64)), r"labels are int64\[3\], not one integer for each"),
        (lambda f: npz_of(f, y=np.zeros(2)), r"labels are float64\[2\], not one integer"),
        (lambda f: npz_of(f, y=np.array([0, 10])), "labels lie between 0 and 10, not 0 and 9"),
        (lambda f: text(f, "empty.csv", ""), r"empty\.csv holds no example"),
        (lambda f: text(f, "x.csv", "1,2,3\n"), r"x\.csv, example 1: 2 pixels, not 28 x 28"),
        (lambda f: write_csv(f / "x.csv", [IMAGE, IMAGE + 0.5], [1, 2]), "x.csv, example 2: a pixel is not"),
        (lambda f: write_csv(f / "x.csv", [IMAGE, IMAGE - 1.0], [1, 2]), "x.csv, example 2: a pixel is not"),
        (lambda f: text(f, "x.csv", "1,a,b\n"), "x.csv, example 1: could not convert string to float: 'a'"),
        (lambda f: text(f, "x.tfrecord", "no record at all"), r"x\.tfrecord, example 1: "),
        (
            lambda f: write_tfrecord(f / "x.tfrecord", example(bytes(784), 1), example(b"no image", 1)),
            r"x\.tfrecord, example 2: .*Unknown image file format",
        ),
        (
            lambda f: write_tfrecord(f / "x.tfrecord", example(bytes(784), 1, "picture")),
            r"x\.tfrecord, example 1: no feature image; it has ",
        ),
        (lambda f: text(f, "x.jsonl", "{}\n"), r"x\.jsonl, example 1: no 'classificationAnnotation'"),
        (lambda f: text(f, "x.jsonl", "[\n"), r"x\.jsonl, example 1: Expecting value"),
        (
            lambda f: text(
                f, "x.jsonl", '{"imageGcsUri": "/none.png", "classificationAnnotation": {"displayName": "1"}}'
            ),
            r"x\.jsonl, example 1: cannot read /none\.png",
        ),
    ],
)
def test_what_cannot_be_read_is_named_with_what_is_wrong(
    tmp_path: Path, write: Callable[[Path], Path], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        load(str(write(tmp_path)))
