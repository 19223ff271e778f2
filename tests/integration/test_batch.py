"""Real batch predictions on the local Vertex AI: real model servers, real digits, in every format.

``MNIST_NPZ`` names the full MNIST, to predict its test images in place of the packaged subset's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_runs import run_example

import vertexkit as vk
from tests.conftest import RunningEmulator

ROOT = Path(__file__).parents[2]
MNIST = Path(os.environ.get("MNIST_NPZ", ROOT / "trainer_scripts" / "data" / "mnist_subset.npz"))
ACCURACY = 0.85  # guessing reaches 0.1
MACHINE = "n1-standard-2"

Digits = Mapping[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def session(emulator: RunningEmulator) -> Iterator[vk.Session]:
    """A session whose resources are deleted after the tests."""
    with vk.connect("batch-digits", emulator=emulator.rest, temporary=True) as connected:
        yield connected


@pytest.fixture(scope="module")
def models(session: vk.Session, mnist_batch: Path) -> Mapping[str, vk.Model]:
    """One network in four models, by what they take."""
    names = ("images", "pixels", "records", "files")
    return {name: session.models.upload(name, mnist_batch / name) for name in names}


@pytest.fixture(scope="module")
def digits() -> Digits:
    """Images and labels to test with."""
    with np.load(MNIST) as data:
        return {"images": data["x_test"], "truth": data["y_test"]}


@pytest.fixture(scope="module")
def expected(mnist_batch: Path, digits: Digits) -> np.ndarray[Any, Any]:
    """What Keras says of them, in the process that trained it."""
    probabilities = np.load(mnist_batch / "expected.npy")
    assert np.mean(probabilities.argmax(axis=1) == digits["truth"]) > ACCURACY
    return np.asarray(probabilities)


@pytest.mark.parametrize(
    ("model", "source"),
    [
        ("images", "images.jsonl"),
        ("pixels", "pixels.csv"),
        ("records", "records.tfrecord"),
        ("records", "records.tfrecord.gz"),
        ("files", "files"),
    ],
    ids=["jsonl", "csv", "tf-record", "tf-record-gzip", "file-list"],
)
def test_digits_in_every_format_are_predicted_as_in_one_process_and_in_order(
    models: Mapping[str, vk.Model],
    mnist_batch: Path,
    digits: Digits,
    expected: np.ndarray[Any, Any],
    model: str,
    source: str,
) -> None:
    job = models[model].batch_predict(mnist_batch / "test" / source, machine=MACHINE)
    assert (job.progress.succeeded, job.progress.failed) == (len(expected), 0)
    found = job.to_numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
    truth = digits["truth"]
    assert np.sum(found.argmax(axis=1) == truth) == np.sum(expected.argmax(axis=1) == truth)


def test_an_array_on_two_replicas_comes_back_whole_and_in_order_though_images_repeat(
    models: Mapping[str, vk.Model], digits: Digits, expected: np.ndarray[Any, Any]
) -> None:
    order = np.random.default_rng(5).integers(0, len(expected), 2 * len(expected))
    job = models["images"].batch_predict(digits["images"][order], machine=MACHINE, replicas=2)
    np.testing.assert_allclose(job.to_numpy(), expected[order], rtol=1e-3, atol=1e-6)


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the example printed."""
    return run_example("batch_predict.py", tmp_path_factory.mktemp("example")).stdout


def test_the_example_predicts_an_array_and_what_is_good_of_a_file(printed: str) -> None:
    of_array, of_file = (float(found) for found in re.findall(r"Accuracy[^:]*: ([\d.]+)%", printed))
    assert of_array > 100 * ACCURACY
    # Two of a thousand are not counted.
    assert of_file == pytest.approx(of_array, abs=0.3)


def test_the_example_lists_what_failed_with_its_position_and_why(printed: str) -> None:
    failed = re.findall(r"^Failed: instance (\d+): (.+)$", printed, re.MULTILINE)
    assert [int(position) for position, _ in failed] == [100, 200]
    assert all(reason for _, reason in failed)


def test_the_example_shows_a_frame(printed: str) -> None:
    frame = printed.partition("== As a frame")[2]
    assert len(re.findall(r"^\d +", frame, re.MULTILINE)) == 5
