"""Predicting while the service fails, breaks off, dawdles, and while its model servers are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import model_servers

import vertexkit as vk

Inject = Callable[..., Callable[[], list[int]]]
PREDICT = "PredictionService.Predict"
ROWS = np.arange(60_000, dtype=np.float32).reshape(-1, 3)
"""Enough for several requests."""


@pytest.fixture(scope="module")
def session(emulator: Any) -> Iterator[vk.Session]:
    with vk.connect("predict-faults", emulator=emulator.rest, temporary=True) as session:
        yield session


@pytest.fixture(scope="module")
def endpoint(session: vk.Session, scaling_models: Mapping[int, Path]) -> vk.Endpoint:
    """A model that doubles its input, on two replicas."""
    endpoint = session.endpoints.create("doubling")
    model = session.models.upload("doubling", scaling_models[2])
    endpoint.deploy(model, machine="n1-standard-2", replicas=2)
    # Reads the signature, so that the faults of a test strike predictions.
    endpoint.predict(ROWS[:1])
    return endpoint


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERTEXKIT_NO_BACKOFF", "1")


def assert_doubled(endpoint: vk.Endpoint, **options: Any) -> vk.PredictResponse:
    response = endpoint.predict(ROWS, return_response=True, **options)
    np.testing.assert_array_equal(response.predictions, ROWS * 2)
    return response


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503},
        {"status": 429},
        {"status": 504},
        {"reset": True},
        {"reset": True, "after_work": True},
        {"latency": 0.05},
    ],
    ids=["503", "429", "504", "reset", "answer lost", "slow"],
)
def test_what_passes_costs_no_prediction(
    endpoint: vk.Endpoint, inject: Inject, fault: dict[str, Any]
) -> None:
    struck = inject({"method": PREDICT, "probability": 0.5, "seed": 3, **fault})
    response = assert_doubled(endpoint)
    assert struck()[0] > 0
    attempts = sum(info.attempts for info in response.requests)
    assert attempts == len(response.requests) + (0 if "latency" in fault else struck()[0])


@pytest.mark.parametrize(
    ("status", "kind"), [(400, vk.PredictionFailed), (403, vk.PermissionDenied), (500, vk.InternalError)]
)
def test_what_does_not_pass_is_raised_at_once(
    endpoint: vk.Endpoint, inject: Inject, status: int, kind: type[vk.VertexkitError]
) -> None:
    struck = inject({"method": PREDICT, "status": status})
    with pytest.raises(kind, match="Injected fault") as caught:
        endpoint.predict(ROWS[:1])
    assert struck() == [1]
    assert caught.value.resource == endpoint.resource_name


@pytest.mark.parametrize("fault", [{"status": 503}, {"reset": True}], ids=["503", "reset"])
def test_a_service_that_goes_on_failing_is_given_up_at_the_deadline(
    endpoint: vk.Endpoint, inject: Inject, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    monkeypatch.delenv("VERTEXKIT_NO_BACKOFF")
    inject({"method": PREDICT, **fault})
    with pytest.raises(vk.Unavailable) as caught:
        endpoint.predict(ROWS, timeout=1)
    assert caught.value.resource == endpoint.resource_name


def test_a_service_that_does_not_answer_is_given_up_at_the_deadline(
    endpoint: vk.Endpoint, inject: Inject
) -> None:
    inject({"method": PREDICT, "latency": 3})
    with pytest.raises(vk.DeadlineExceeded) as caught:
        endpoint.predict(ROWS[:1], timeout=0.3)
    assert caught.value.resource == endpoint.resource_name


@pytest.mark.parametrize(
    "rule",
    [
        {"method": "EndpointService.GetEndpoint", "status": 503, "times": 1},
        {"method": "ModelService.GetModel", "reset": True, "times": 1},
        {"storage": "GET /storage/v1/b/*", "status": 503, "times": 1},
    ],
    ids=["endpoint", "model", "schemata"],
)
def test_a_signature_is_found_though_reading_it_fails_at_first(
    session: vk.Session, endpoint: vk.Endpoint, inject: Inject, rule: dict[str, Any]
) -> None:
    again = session.endpoints.get(endpoint.resource_name)
    struck = inject(rule)
    with pytest.raises(vk.InvalidArgument, match=r"x: float32\[\?, 3\]"):
        again.predict(ROWS[:1, :2])
    assert struck() == [1]


def test_a_signature_that_storage_keeps_from_us_leaves_predictions_unchecked(
    session: vk.Session, endpoint: vk.Endpoint, inject: Inject
) -> None:
    again = session.endpoints.get(endpoint.resource_name)
    inject({"storage": "GET /storage/v1/b/*", "status": 403})
    assert again.predict(ROWS[:1]).dtype == np.float64


def test_killing_a_model_server_under_load_loses_no_prediction(
    endpoint: vk.Endpoint, emulator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VERTEXKIT_NO_BACKOFF")
    assert len(model_servers(emulator.pid)) >= 2
    stop = threading.Event()
    failures: list[BaseException] = []
    calls = 0

    def predict() -> None:
        nonlocal calls
        while not stop.is_set():
            try:
                np.testing.assert_array_equal(endpoint.predict(ROWS[:100]), ROWS[:100] * 2)
                calls += 1
            except BaseException as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=predict) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for pid in model_servers(emulator.pid):
            before = calls
            os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + 60
            while calls < before + 50 and not failures and time.monotonic() < deadline:
                time.sleep(0.01)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert calls >= 100


_INTERRUPTED = """
import sys
import numpy as np
import vertexkit as vk
with vk.connect("predict-faults", emulator=sys.argv[1]) as session:
    endpoint = session.endpoints.get(sys.argv[2])
    print("asking", flush=True)
    try:
        endpoint.predict(np.zeros((20_000, 3), np.float32), timeout=600)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def test_ctrl_c_ends_a_program_whose_predictions_hang(
    endpoint: vk.Endpoint, emulator: Any, inject: Inject
) -> None:
    struck = inject({"method": PREDICT, "latency": 30})
    program = subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTED, emulator.rest, endpoint.resource_name],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "asking\n"
        deadline = time.monotonic() + 30
        while struck() == [0] and time.monotonic() < deadline:
            time.sleep(0.05)
        program.send_signal(signal.SIGINT)
        # Far less than the 30 s that the requests would take, were they waited for.
        assert program.wait(15) == 0
        assert program.stdout.read() == "interrupted\n"
    finally:
        program.kill()
        program.communicate()
