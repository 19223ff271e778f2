"""Predicting with real models: through vertexkit, and through Google's client over each transport."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import vertexkit as vk
from vertexkit.prediction import Predictor, http_sender

MNIST = Path(__file__).resolve().parents[2] / "trainer_scripts" / "data" / "mnist_subset.npz"


@dataclass(frozen=True)
class Deployed:
    """What the tests of this module share."""

    rest: str
    session: vk.Session
    digits: vk.Endpoint
    echo: vk.Endpoint
    images: np.ndarray[Any, Any]
    expected: np.ndarray[Any, Any]
    """What Keras predicted for the images, in the process that made the model."""


@pytest.fixture(scope="module")
def deployed(emulator: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("models")
    program = Path(__file__).with_name("write_predicting_models.py")
    command = [sys.executable, str(program), str(folder), str(MNIST)]
    written = subprocess.run(command, capture_output=True, text=True)
    assert written.returncode == 0, written.stderr
    with np.load(MNIST) as data, vk.connect("predicting", emulator=emulator.rest, temporary=True) as session:
        endpoints = {}
        for name in ("digits", "echo"):
            endpoints[name] = session.endpoints.create(name)
            endpoints[name].deploy(session.models.upload(name, folder / name), machine="n1-standard-2")
        yield Deployed(
            emulator.rest,
            session,
            **endpoints,
            images=data["x_test"],
            expected=np.load(folder / "expected.npy"),
        )


def test_a_thousand_images_are_predicted_as_keras_does(deployed: Deployed) -> None:
    response = deployed.digits.predict(deployed.images, return_response=True)
    assert response.predictions.dtype == np.float32
    np.testing.assert_allclose(response.predictions, deployed.expected, rtol=1e-4, atol=1e-6)
    assert len(response.requests) == 2
    assert set(response.deployed_model_ids) == {deployed.digits.deployed[0].id}
    assert set(response.model_version_ids) == {"1"}
    assert len(response.models) == 1000


def test_googles_client_gets_the_same(deployed: Deployed, aiplatform: Any) -> None:
    theirs = aiplatform.Endpoint(deployed.digits.resource_name).predict(deployed.images[:20].tolist())
    ours = deployed.digits.predict(deployed.images[:20], return_response=True)
    np.testing.assert_allclose(ours.predictions, theirs.predictions, rtol=1e-6)
    assert {theirs.deployed_model_id} == set(ours.deployed_model_ids)
    assert {theirs.model_resource_name} == set(ours.models)
    assert {theirs.model_version_id} == set(ours.model_version_ids)


EXTREMES: dict[str, Any] = {
    "f16": np.array([[65504, -6e-8], [0.1, -0.0]], np.float16),
    "f32": np.array([[3.4028235e38, 1e-45], [0.1, -0.0]], np.float32),
    "f64": np.array([[1.7976931348623157e308, 5e-324], [0.1, -0.0]]),
    "i8": np.array([[-128, 127], [0, 1]], np.int8),
    "i32": np.array([[-(2**31), 2**31 - 1], [0, 1]], np.int32),
    "i64": np.array([[-(2**63), 2**63 - 1], [0, 2**53 + 1]], np.int64),
    "u8": np.array([[0, 255], [1, 2]], np.uint8),
    "u64": np.array([[0, 2**64 - 1], [1, 2]], np.uint64),
    "flag": np.array([[True, False], [False, True]]),
    "text": np.array([["", 'ü\n"\\'], ["日本", "\x00"]], object),
    "raw_bytes": np.array([[b"", b"\x00\xff"], [b"text", bytes(range(256))]], object),
}


def test_every_dtype_comes_back_from_a_real_model_as_it_went(deployed: Deployed) -> None:
    predicted = deployed.echo.predict(EXTREMES)
    assert predicted.keys() == EXTREMES.keys()
    for name, sent in EXTREMES.items():
        assert predicted[name].dtype == sent.dtype
        np.testing.assert_array_equal(predicted[name], sent, err_msg=name)


def test_rows_and_frames_go_as_arrays_do(deployed: Deployed) -> None:
    rows = [{name: column[row].tolist() for name, column in EXTREMES.items()} for row in range(2)]
    predicted = deployed.echo.predict(rows)
    np.testing.assert_array_equal(predicted["i64"], EXTREMES["i64"])
    flat = pd.DataFrame(deployed.images[:3].reshape(3, -1))
    with pytest.raises(vk.InvalidArgument, match=r"images: uint8\[\?, 28, 28\]"):
        deployed.digits.predict(flat)


@pytest.mark.parametrize(
    ("instances", "words"),
    [
        (np.zeros((28, 28), np.uint8), r"pass instances\[None\]"),
        (np.full((1, 28, 28), 256), r"instances\[0, 0, 0\]=256"),
        ({"image": np.zeros((1, 28, 28), np.uint8)}, "missing: images; unknown: image"),
    ],
)
def test_what_the_model_does_not_take_is_refused_before_it_is_sent(
    deployed: Deployed, inject: Any, instances: Any, words: str
) -> None:
    struck = inject({"method": "PredictionService.*", "status": 500})
    with pytest.raises(vk.InvalidArgument, match=words):
        deployed.digits.predict(instances)
    assert struck() == [0]


def test_another_process_finds_the_signature_again(deployed: Deployed, emulator: Any) -> None:
    with vk.connect("predicting", emulator=emulator.rest) as session:
        endpoint = session.endpoints.get(deployed.digits.resource_name)
        with pytest.raises(vk.InvalidArgument, match=r"pass instances\[None\]"):
            endpoint.predict(deployed.images[0])
        assert endpoint.predict(deployed.images[:1]).dtype == np.float32


def test_the_models_words_are_those_that_googles_client_shows(deployed: Deployed, aiplatform: Any) -> None:
    refused = [[1, 2], [3]]
    with pytest.raises(Exception) as theirs:
        aiplatform.Endpoint(deployed.digits.resource_name).predict(refused)
    unchecked = Predictor(
        http_sender(deployed.session._context.clients), f"{deployed.rest}/v1/{deployed.digits.resource_name}"
    )
    with pytest.raises(vk.PredictionFailed) as ours:
        unchecked.predict(refused)
    with pytest.raises(vk.PredictionFailed) as raw:
        deployed.digits.raw_predict({"instances": refused})
    words = "Expecting tensor size: 2 but got: 1"
    for error in (str(theirs.value), str(ours.value), str(raw.value)):
        assert words in error
    assert ours.value.instances == range(2)
    assert raw.value.resource == deployed.digits.resource_name


def test_a_raw_body_reaches_the_model_server_and_its_answer_comes_back(deployed: Deployed) -> None:
    raw = deployed.digits.raw_predict({"inputs": {"images": deployed.images[:2]}})
    assert raw.content_type.startswith("application/json")
    assert raw.deployed_model_id == deployed.digits.deployed[0].id
    np.testing.assert_allclose(raw.json()["outputs"], deployed.expected[:2], rtol=1e-4, atol=1e-6)


def test_many_threads_predict_on_one_endpoint(deployed: Deployed) -> None:
    results: dict[int, Any] = {}

    def predict(first: int) -> None:
        results[first] = deployed.digits.predict(deployed.images[first : first + 25])

    threads = [threading.Thread(target=predict, args=(first,)) for first in range(0, 1000, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    predicted = np.concatenate([results[first] for first in range(0, 1000, 25)])
    np.testing.assert_allclose(predicted, deployed.expected, rtol=1e-4, atol=1e-6)


def test_an_endpoint_that_is_not_there_is_named(deployed: Deployed) -> None:
    name = deployed.digits.resource_name.rpartition("/")[0] + "/404"
    with pytest.raises(vk.NotFound) as caught:
        Predictor.for_endpoint(deployed.session._context, name).predict([1])
    assert caught.value.resource == name


def test_an_endpoint_without_a_model_says_so(deployed: Deployed) -> None:
    with deployed.session.endpoints.create("empty") as endpoint, pytest.raises(vk.FailedPrecondition):
        endpoint.predict([[1]])
