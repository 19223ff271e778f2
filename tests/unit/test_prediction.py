"""The predictor: requests at once, answers in order, one deadline, retries of what may pass."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import create_autospec

import numpy as np
import pytest
import requests

from vertexkit._core.context import Context
from vertexkit._core.rpc import Clients
from vertexkit._core.target import Target
from vertexkit.cleanup import Created
from vertexkit.deployed_signatures import DeployedSignatures
from vertexkit.errors import (
    BadRequest,
    DeadlineExceeded,
    FailedPrecondition,
    InternalError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PredictionFailed,
    QuotaExceeded,
    Unauthenticated,
    Unavailable,
    VertexkitError,
)
from vertexkit.prediction import Predictor
from vertexkit.types import Signature, TensorSpec

ENDPOINT = "projects/1/locations/us-central1/endpoints/2"
URL = f"https://host/v1/{ENDPOINT}"
ROWS = np.arange(400, dtype=np.int64)


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERTEXKIT_NO_BACKOFF", "1")


@dataclass
class Answer:
    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Model:
    """Stands for the service: gives each instance back, and fails as told."""

    def __init__(self, fail: Callable[[list[Any], int], VertexkitError | None] = lambda instances, n: None):
        self.fail = fail
        self.attempts: Counter[str] = Counter()
        self.urls: set[str] = set()
        self.timeouts: list[float] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()

    def __call__(self, url: str, *, body: bytes, headers: Mapping[str, str], timeout: float) -> Answer:
        instances = json.loads(body)["instances"]
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self.urls.add(url)
            self.timeouts.append(timeout)
            key = str(instances[0])
            self.attempts[key] += 1
            attempt = self.attempts[key]
        try:
            failure = self.fail(instances, attempt)
            if failure is not None:
                raise failure
            return self.answer(instances)
        finally:
            with self._lock:
                self._at_once -= 1

    def answer(self, instances: list[Any]) -> Answer:
        # Every second request is answered by another model, as with traffic split in halves.
        number = str(1 + instances[0] % 2) if isinstance(instances[0], int) else "1"
        reply = {
            "predictions": instances,
            "deployedModelId": number,
            "model": f"projects/1/locations/us-central1/models/{number}",
            "modelVersionId": "7",
        }
        return Answer(json.dumps(reply).encode())


def predictor(model: Any, **options: Any) -> Predictor:
    return Predictor(model, URL, resource=ENDPOINT, **{"limit": 200, **options})


def test_answers_come_in_the_order_of_the_instances_whichever_request_ends_first() -> None:
    last_is_done = threading.Event()

    def hold_the_first_back(instances: list[Any], attempt: int) -> None:
        if instances[0] == 0:
            assert last_is_done.wait(10)
        elif instances[-1] == len(ROWS) - 1:
            last_is_done.set()

    model = Model(hold_the_first_back)
    predicted = predictor(model).predict(ROWS)
    assert predicted.tolist() == ROWS.tolist()
    assert model.urls == {f"{URL}:predict"}
    assert len(model.attempts) > 5


def test_requests_of_one_call_are_under_way_together_but_no_more_than_allowed() -> None:
    together = threading.Barrier(4)

    def meet(instances: list[Any], attempt: int) -> None:
        if instances[0] < 40:
            together.wait(10)

    model = Model(meet)
    predictor(model, limit=56, concurrency=4).predict(ROWS[:80])
    assert model.most_at_once == 4


def test_many_threads_may_predict_at_the_same_time() -> None:
    asked = predictor(Model())
    results: dict[int, Any] = {}

    def ask(offset: int) -> None:
        results[offset] = asked.predict(ROWS + offset).tolist()

    threads = [threading.Thread(target=ask, args=(offset,)) for offset in range(0, 8000, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {offset: (ROWS + offset).tolist() for offset in range(0, 8000, 1000)}


@pytest.mark.parametrize(
    "passing", [Unavailable("503"), QuotaExceeded("too many requests a minute"), DeadlineExceeded("504")]
)
def test_what_passes_is_tried_again(passing: VertexkitError) -> None:
    model = Model(lambda instances, attempt: passing if attempt < 3 else None)
    response = predictor(model).predict(ROWS, return_response=True)
    assert response.predictions.tolist() == ROWS.tolist()
    assert {info.attempts for info in response.requests} == {3}


@pytest.mark.parametrize(
    "failure",
    [
        NotFound("no such endpoint"),
        PermissionDenied("no"),
        Unauthenticated("no"),
        InternalError("the model server failed"),
        QuotaExceeded("The following quotas are exceeded: CustomModelServingT4GPUs"),
    ],
)
def test_what_does_not_pass_is_raised_at_once_as_it_is(failure: VertexkitError) -> None:
    model = Model(lambda instances, attempt: failure)
    with pytest.raises(type(failure)) as caught:
        predictor(model).predict(ROWS[:10])
    assert caught.value is failure
    assert sum(model.attempts.values()) == 1


def test_the_first_failure_that_does_not_pass_ends_the_call() -> None:
    def fail(instances: list[Any], attempt: int) -> VertexkitError | None:
        return NotFound("gone") if instances[0] == 0 else None

    model = Model(fail)
    with pytest.raises(NotFound):
        predictor(model, concurrency=1).predict(ROWS)
    assert list(model.attempts) == ["0"]


def test_requests_waiting_to_try_again_stop_when_another_fails_for_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VERTEXKIT_NO_BACKOFF")
    waiting = threading.Event()

    def fail(instances: list[Any], attempt: int) -> VertexkitError:
        if instances[0] == 0:
            assert waiting.wait(10)
            return NotFound("gone")
        waiting.set()
        return Unavailable("not yet")

    model = Model(fail)
    before = threading.active_count()
    with pytest.raises(NotFound):
        predictor(model, concurrency=8).predict(ROWS, timeout=600)
    deadline = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_the_models_own_words_and_the_instances_are_in_the_error() -> None:
    def fail(instances: list[Any], attempt: int) -> VertexkitError | None:
        return BadRequest("Dimension -1 must be 28", resource=ENDPOINT) if 100 in instances else None

    with pytest.raises(PredictionFailed) as caught:
        predictor(Model(fail)).predict(ROWS)
    assert caught.value.instances is not None
    assert 100 in caught.value.instances
    assert caught.value.resource == ENDPOINT
    message = str(caught.value)
    assert "Dimension -1 must be 28" in message
    assert f"instances {caught.value.instances.start} to {caught.value.instances.stop - 1}" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>", "not JSON"),
        (b"{}", "no list of predictions"),
        (b'{"predictions": [1]}', "1 predictions for 3 instances"),
    ],
)
def test_an_answer_that_is_none_names_the_endpoint_and_the_instances(content: bytes, words: str) -> None:
    with pytest.raises(PredictionFailed, match=words) as caught:
        predictor(lambda url, **sent: Answer(content)).predict([1, 2, 3])
    assert caught.value.resource == ENDPOINT
    assert caught.value.instances == range(3)


def test_the_response_tells_which_model_answered_each_instance() -> None:
    response = predictor(Model()).predict(ROWS, return_response=True)
    assert [row for info in response.requests for row in info.instances] == ROWS.tolist()
    assert len(response.deployed_model_ids) == len(response.models) == len(ROWS)
    for info in response.requests:
        expected = str(1 + info.instances.start % 2)
        assert info.deployed_model_id == expected
        assert {response.deployed_model_ids[row] for row in info.instances} == {expected}
        assert {response.models[row] for row in info.instances} == {info.model}
        assert {response.model_version_ids[row] for row in info.instances} == {"7"}
        assert info.request_bytes <= 200


# The deadline ------------------------------------------------------------------------------------


def test_a_service_that_never_recovers_is_given_up_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VERTEXKIT_NO_BACKOFF")
    # Whichever comes first: the last attempt's own failure, or the deadline while it waits for the next.
    with pytest.raises((Unavailable, DeadlineExceeded)):
        predictor(Model(lambda instances, attempt: Unavailable("down"))).predict(ROWS, timeout=0.5)


def test_a_service_that_never_answers_is_given_up_at_the_deadline() -> None:
    release = threading.Event()

    def hang(url: str, **sent: Any) -> Answer:
        release.wait(30)
        return Answer(b"")

    try:
        with pytest.raises(DeadlineExceeded, match=r"within 0\.1 seconds") as caught:
            predictor(hang).predict(ROWS, timeout=0.1)
        assert caught.value.resource == ENDPOINT
    finally:
        release.set()


def test_attempts_get_the_time_that_is_left() -> None:
    model = Model(lambda instances, attempt: Unavailable("again") if attempt < 4 else None)
    predictor(model).predict([1], timeout=30)
    assert model.timeouts == sorted(model.timeouts, reverse=True)
    assert all(0 < seconds <= 30 for seconds in model.timeouts)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "5", None, True, [1]])
def test_a_timeout_is_a_number_of_seconds_above_zero(timeout: Any) -> None:
    model = Model()
    with pytest.raises(InvalidArgument, match=r"timeout=.* is not a number of seconds above 0"):
        predictor(model).predict([1], timeout=timeout)
    with pytest.raises(InvalidArgument, match="timeout"):
        predictor(model).raw_predict(b"", timeout=timeout)
    assert not model.attempts


@pytest.mark.parametrize("timeout", [np.float32(30), np.int64(30), 30])
def test_a_timeout_may_be_any_real_number(timeout: Any) -> None:
    assert predictor(Model()).predict([1], timeout=timeout).tolist() == [1]


def test_ctrl_c_ends_the_call_though_a_request_hangs() -> None:
    release = threading.Event()

    def hang(url: str, **sent: Any) -> Answer:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        release.wait(30)
        return Answer(b"")

    before = threading.active_count()
    try:
        with pytest.raises(KeyboardInterrupt):
            predictor(hang, concurrency=1).predict(ROWS, timeout=600)
        assert not release.is_set()
    finally:
        release.set()
    deadline = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


# Signatures --------------------------------------------------------------------------------------


def model_of(dtype: str, columns: int) -> Signature:
    return Signature(
        {"x": TensorSpec("x", dtype, (None, columns))}, {"y": TensorSpec("y", dtype, (None, columns))}
    )


class Service:
    """The reads behind an endpoint's signatures, counted."""

    def __init__(self, traffic: Mapping[str, int], models: Mapping[str, Signature | None]) -> None:
        self.traffic = dict(traffic)
        self.models = dict(models)
        self.read: list[str] = []
        self.failure: VertexkitError | None = None
        self.storage_failure: VertexkitError | None = None
        self.storage_timeouts: list[float] = []

    def __call__(self, verb: str, name: str, *, timeout: float) -> dict[str, Any]:
        assert verb == "GET"
        assert timeout > 0
        self.read.append(name)
        if self.failure is not None:
            raise self.failure
        if name == ENDPOINT:
            deployed = [
                {"id": key, "model": f"projects/1/locations/us-central1/models/m{key}", "modelVersionId": "3"}
                for key in self.models
            ]
            return {"name": ENDPOINT, "deployedModels": deployed, "trafficSplit": self.traffic}
        if "/models/" in name:
            key = name.removeprefix("projects/1/locations/us-central1/models/m").removesuffix("@3")
            if self.models[key] is None:
                return {"name": name}
            return {"name": name, "predictSchemata": {"instanceSchemaUri": f"gs://bkt/{key}"}}
        raise AssertionError(f"nobody asked for {name}")

    def read_signature(self, model: Mapping[str, Any], *, timeout: float) -> Signature | None:
        uri = model.get("predictSchemata", {}).get("instanceSchemaUri")
        if uri is None:
            return None
        assert timeout > 0
        self.read.append(uri)
        self.storage_timeouts.append(timeout)
        if self.storage_failure is not None:
            raise self.storage_failure
        return self.models[uri.removeprefix("gs://bkt/")]

    def source(self) -> DeployedSignatures:
        return DeployedSignatures(self, self.read_signature, ENDPOINT)


def test_instances_are_checked_against_the_models_that_get_traffic_before_anything_is_sent() -> None:
    service = Service({"1": 100, "2": 0}, {"1": model_of("uint8", 2), "2": model_of("uint8", 5)})
    model = Model()
    asked = predictor(model, signatures=service.source())
    with pytest.raises(InvalidArgument, match=r"x: uint8\[\?, 2\]"):
        asked.predict(np.zeros((1, 5), np.uint8))
    assert not model.attempts
    assert not any("m2@" in name for name in service.read)


def test_predictions_have_the_dtype_of_the_signature() -> None:
    service = Service({"1": 100}, {"1": model_of("float32", 2)})
    predicted = predictor(Model(), signatures=service.source()).predict(np.array([[0.1, 0.2]]))
    assert predicted.dtype == np.float32


def test_a_signature_is_read_once() -> None:
    service = Service({"1": 100}, {"1": model_of("int64", 1)})
    asked = predictor(Model(), signatures=service.source())
    for _ in range(3):
        asked.predict([[1]])
    assert len(service.read) == len(set(service.read)) == 3


def test_a_model_without_signature_is_predicted_unchecked() -> None:
    service = Service({"1": 100}, {"1": None})
    predicted = predictor(Model(), signatures=service.source()).predict([[1], [2]])
    assert predicted.dtype == np.float64


FAILURES = [
    NotFound("gone"),
    PermissionDenied("no"),
    Unavailable("down"),
    InternalError("oops"),
    DeadlineExceeded("slow"),
]


@pytest.mark.parametrize("failure", FAILURES)
def test_what_cannot_be_read_of_a_model_does_not_keep_it_from_predicting(failure: VertexkitError) -> None:
    service = Service({"1": 100}, {"1": model_of("int64", 5)})
    service.failure = failure
    assert predictor(Model(), signatures=service.source()).predict([[1]]).tolist() == [[1.0]]


@pytest.mark.parametrize("failure", FAILURES)
def test_an_outage_of_storage_does_not_keep_a_model_from_predicting(failure: VertexkitError) -> None:
    service = Service({"1": 100}, {"1": model_of("int64", 5)})
    service.storage_failure = failure
    assert predictor(Model(), signatures=service.source()).predict([[1]]).tolist() == [[1.0]]


@pytest.mark.parametrize("place", ["failure", "storage_failure"])
def test_a_signature_that_could_not_be_read_is_asked_for_again_but_not_every_time(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service({"1": 100}, {"1": model_of("uint8", 1)})
    setattr(service, place, Unavailable("down"))
    asked = predictor(Model(), signatures=service.source())
    for _ in range(3):
        assert asked.predict([[1]]).dtype == np.float64
    assert len(service.read) == len(set(service.read))
    setattr(service, place, None)
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + 60)
    assert asked.predict([[1]]).dtype == np.uint8


def test_reading_signatures_takes_a_part_of_the_time_that_the_call_has() -> None:
    service = Service({"1": 100}, {"1": model_of("int64", 1)})
    predictor(Model(), signatures=service.source()).predict([[1]], timeout=3)
    assert 0 < service.storage_timeouts[0] <= 1


def test_who_waits_for_a_signature_that_another_thread_reads_waits_no_longer_than_its_own_part() -> None:
    service = Service({"1": 100}, {"1": model_of("int64", 1)})
    hanging, let_go = threading.Event(), threading.Event()

    def hang(model: Mapping[str, Any], *, timeout: float) -> Signature | None:
        hanging.set()
        assert let_go.wait(60)
        return None

    asked = predictor(Model(), signatures=DeployedSignatures(service, hang, ENDPOINT))
    first = threading.Thread(target=lambda: asked.predict([[1]]))
    first.start()
    try:
        assert hanging.wait(60)
        # Were the first thread waited for, this would run past its deadline.
        assert asked.predict([[1]], timeout=1.5).tolist() == [[1]]
    finally:
        let_go.set()
        first.join()


def test_a_model_deployed_since_by_somebody_else_takes_what_the_old_one_did_not() -> None:
    service = Service({"1": 100}, {"1": model_of("int64", 2)})
    asked = predictor(Model(), signatures=service.source())
    asked.predict([[1, 2]])
    service.models["2"] = model_of("int64", 3)
    service.traffic = {"1": 0, "2": 100}
    assert asked.predict([[2, 2, 3]]).tolist() == [[2, 2, 3]]
    with pytest.raises(InvalidArgument):
        asked.predict([[1, 2]])


def test_instances_are_checked_against_what_was_deployed_after_a_prediction_was_tried() -> None:
    service = Service({}, {})
    model = Model()
    asked = predictor(model, signatures=service.source())
    asked.predict([[1]])
    service.models["1"] = model_of("uint8", 2)
    service.traffic = {"1": 100}
    with pytest.raises(InvalidArgument, match=r"x: uint8\[\?, 2\]"):
        asked.predict(np.zeros((1, 5), np.uint8))
    assert len(model.attempts) == 1


def test_predicting_where_nothing_is_deployed_says_what_would_do() -> None:
    refusing = Model(lambda instances, attempt: FailedPrecondition("doesn't have traffic_split"))
    with pytest.raises(FailedPrecondition, match=r"traffic_split[\s\S]*deploy\(\) a model"):
        predictor(refusing).predict([[1]])


def test_an_answer_of_a_model_deployed_since_is_read_by_its_own_signature() -> None:
    service = Service({"1": 100}, {"1": model_of("float32", 1)})
    model = Model()
    asked = predictor(model, signatures=service.source())
    asked.predict([[1]])
    service.models["2"] = model_of("float64", 1)
    service.traffic = {"2": 100}
    reply = {"predictions": [[0.1]], "deployedModelId": "2"}
    model.answer = lambda instances: Answer(json.dumps(reply).encode())  # type: ignore[method-assign]
    predicted = asked.predict([[1]])
    assert predicted.dtype == np.float64
    assert predicted.tolist() == [[0.1]]


def test_a_refusal_stands_when_the_endpoint_cannot_be_asked_again() -> None:
    service = Service({"1": 100}, {"1": model_of("int64", 2)})
    asked = predictor(Model(), signatures=service.source())
    asked.predict([[1, 2]])
    service.failure = Unavailable("down")
    with pytest.raises(InvalidArgument):
        asked.predict([[1]])
    assert asked.predict([[1, 2]]).tolist() == [[1, 2]]


# Raw prediction ----------------------------------------------------------------------------------


def test_a_raw_body_goes_and_comes_as_it_is() -> None:
    sent: dict[str, Any] = {}

    def echo(url: str, *, body: bytes, headers: Mapping[str, str], timeout: float) -> Answer:
        sent.update(url=url, headers=headers)
        answered = {
            "Content-Type": "application/x",
            "X-Vertex-AI-Deployed-Model-Id": "5",
            "X-Vertex-AI-Model": "projects/1/locations/us-central1/models/9",
            "X-Vertex-AI-Model-Version-Id": "2",
        }
        return Answer(body, answered)

    asked = Predictor(echo, URL)
    raw = asked.raw_predict(b"\x00\xff", headers={"X-Mine": "1"}, content_type="application/x")
    assert raw.body == b"\x00\xff"
    assert raw.content_type == "application/x"
    assert raw.deployed_model_id == "5"
    assert raw.model.endswith("/models/9")
    assert raw.model_version_id == "2"
    assert sent["url"] == f"{URL}:rawPredict"
    assert sent["headers"] == {"X-Mine": "1", "Content-Type": "application/x"}
    assert asked.raw_predict({"inputs": np.array([1, 2])}).json() == {"inputs": [1, 2]}


@pytest.mark.parametrize("body", [b"x" * 201, 3, {"a": float("nan")}, {"a": object()}])
def test_a_raw_body_that_no_request_carries_is_not_sent(body: Any) -> None:
    model = Model()
    with pytest.raises(InvalidArgument, match="body"):
        predictor(model).raw_predict(body)
    assert not model.attempts


@pytest.mark.parametrize(
    "wrong",
    [
        {"headers": 5},
        {"headers": {"X": 5}},
        {"headers": {5: "x"}},
        {"headers": {"X": "a\r\nY: b"}},
        {"headers": {"X": "\u2713"}},
        {"content_type": None},
    ],
)
def test_headers_that_no_request_carries_are_not_sent(wrong: dict[str, Any]) -> None:
    model = Model()
    with pytest.raises(InvalidArgument, match=r"headers|content_type"):
        predictor(model).raw_predict(b'{"instances": [1]}', **wrong)
    assert not model.attempts


def test_a_raw_body_that_the_model_server_refuses_is_a_failed_prediction() -> None:
    with pytest.raises(PredictionFailed, match="bad input"):
        predictor(Model(lambda instances, attempt: BadRequest("bad input"))).raw_predict({"instances": [1]})


# The session's connections -----------------------------------------------------------------------

TARGET = Target("p", "us-central1", "https://host", "host:443", "https://storage", anonymous=True)


def session_answering(status: int, body: bytes) -> tuple[Context, Any]:
    http = create_autospec(requests.Session, instance=True)
    reply = requests.Response()
    reply.status_code = status
    reply._content = body
    http.post.return_value = reply
    clients = create_autospec(Clients, instance=True, http=http)
    clients.http_json.side_effect = NotFound("none of it matters here")
    return Context(TARGET, clients, create_autospec(Created, instance=True), {}, bucket="b"), http


def test_a_session_posts_json_to_the_endpoint_and_does_not_follow_redirects() -> None:
    session, http = session_answering(200, b'{"predictions": [2]}')
    predicted = Predictor.for_endpoint(session, ENDPOINT).predict([1], timeout=5)
    assert predicted.tolist() == [2]
    [call] = http.post.call_args_list
    assert call.args == (f"{URL}:predict",)
    assert call.kwargs["data"] == b'{"instances":[1]}'
    assert call.kwargs["headers"] == {"Content-Type": "application/json"}
    assert call.kwargs["allow_redirects"] is False
    assert 0 < call.kwargs["timeout"] <= 5


def test_a_dedicated_endpoint_is_asked_at_its_own_host_and_takes_more() -> None:
    session, http = session_answering(200, b'{"predictions": [2]}')
    asked = Predictor.for_endpoint(
        session, ENDPOINT, dedicated_dns="2.us-central1-1.prediction.vertexai.goog"
    )
    asked.predict(["x" * 5_000_000])
    [call] = http.post.call_args_list
    assert call.args == (f"https://2.us-central1-1.prediction.vertexai.goog/v1/{ENDPOINT}:predict",)
    with pytest.raises(InvalidArgument, match="more than the 1500000 bytes"):
        Predictor.for_endpoint(session, ENDPOINT).predict(["x" * 5_000_000])


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, PredictionFailed),
        (403, PermissionDenied),
        (404, NotFound),
        (500, InternalError),
        (302, VertexkitError),
    ],
)
def test_http_errors_become_ours(status: int, kind: type[VertexkitError]) -> None:
    body = json.dumps({"error": {"code": status, "message": "its words"}}).encode()
    session, _ = session_answering(status, body)
    with pytest.raises(kind, match="its words") as caught:
        Predictor.for_endpoint(session, ENDPOINT).predict([1])
    assert caught.value.resource == ENDPOINT


@pytest.mark.parametrize(
    "error",
    [
        requests.ConnectionError("Connection reset by peer"),
        requests.exceptions.ChunkedEncodingError("broken off"),
        requests.exceptions.ConnectTimeout("slow"),
    ],
)
def test_a_broken_connection_is_tried_again(error: Exception) -> None:
    session, http = session_answering(200, b'{"predictions": [2]}')
    http.post.side_effect = [error, error, http.post.return_value]
    assert Predictor.for_endpoint(session, ENDPOINT).predict([1]).tolist() == [2]
    assert http.post.call_count == 3
