"""The fronts before services made for the test, in this process: what no real service does."""

import contextlib
import gzip
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import requests
from google.api.httpbody_pb2 import HttpBody
from google.cloud import aiplatform_v1
from google.protobuf.message import Message
from served import served

from vertexkit.emulator.answers import Answer
from vertexkit.emulator.asgi import read_body, reply
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.methods import AIPLATFORM, methods
from vertexkit.emulator.options import EmulatorInfo, EmulatorOptions
from vertexkit.emulator.parts import Parts

PARENT = "projects/p/locations/l"
MODELS = f"/v1/{PARENT}/models"
BIG = 20 * 1024 * 1024


class Models:
    """A model service that answers, refuses, breaks and waits on demand."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def GetModel(self, request: Any) -> Any:
        self.called.append(request.name)
        model = aiplatform_v1.Model.pb()(name=request.name)
        match request.name.rpartition("/")[2]:
            case "broken":
                raise ZeroDivisionError("one over nothing")
            case "wrong":
                return "not a message"
            case "big":
                model.description = "x" * BIG
            case "slow":
                self.entered.set()
                assert self.go_on.wait(30)
            case code if code in Code.__members__:
                raise ApiError(Code[code], f"because of {code}")
        return model

    def UpdateModel(self, request: Any) -> Any:
        return aiplatform_v1.Model.pb()(description=str(len(request.model.description)))


class Predictions:
    """Streams on demand, and answers ``:predict`` with what it got, or late."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.proceed = threading.Event()

    def ServerStreamingPredict(self, request: Any) -> Iterator[Any]:
        for number in range(3):
            yield aiplatform_v1.StreamingPredictResponse.pb()(
                outputs=[aiplatform_v1.Tensor.pb()(int_val=[number])]
            )
        if request.endpoint.endswith("/broken"):
            raise ZeroDivisionError("after three")

    def Predict(self, request: Any) -> Any:
        self.entered.release()
        assert self.proceed.wait(30)
        return aiplatform_v1.PredictResponse.pb()(model="late")

    def RawPredict(self, request: Any) -> Answer[HttpBody]:
        return Answer(HttpBody(data=b"1"), {"X-Made-By": "me"})

    def StreamRawPredict(self, request: Any) -> Answer[Iterator[HttpBody]]:
        return Answer(iter([HttpBody(data=b"1"), HttpBody(data=b"2")]), {"X-Made-By": "me"})

    def request_limit(self, endpoint_name: str) -> int:
        if endpoint_name.endswith("/none"):
            raise ApiError(Code.NOT_FOUND, "no such endpoint")
        return 1_500_000

    async def predict_http(self, endpoint_name: str, body: bytes, call: str, headers: Any) -> Any:
        if endpoint_name.endswith("/broken"):
            raise ZeroDivisionError("no model")
        given = {"Content-Type": "text/plain", "X-Call": call, "X-Got": headers.get("x-sent", "")}
        return SimpleNamespace(status=203, headers=given, body=endpoint_name.encode() + b" " + body)


async def storage(scope: Any, receive: Any, send: Any) -> None:
    body = await read_body(scope, receive, 1000)
    await reply(send, 200, body, content_type="text/plain")


@pytest.fixture(scope="module")
def models() -> Models:
    return Models()


@pytest.fixture(scope="module")
def predictions() -> Predictions:
    return Predictions()


@pytest.fixture(scope="module")
def info(models: Models, predictions: Predictions) -> Iterator[EmulatorInfo]:
    services = {f"{AIPLATFORM}.ModelService": models, f"{AIPLATFORM}.PredictionService": predictions}
    with served(Parts(services, predictions, storage), EmulatorOptions(allow_faults=True)) as info:
        yield info


@pytest.fixture(scope="module")
def channel(info: EmulatorInfo) -> Iterator[grpc.Channel]:
    credentials = grpc.ssl_channel_credentials(Path(info.ca).read_bytes())
    with grpc.secure_channel(
        info.grpc,
        credentials,
        [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    ) as channel:
        yield channel


def rpc(channel: grpc.Channel, name: str, request: Any, **options: Any) -> Any:
    """Call an RPC of ModelService or PredictionService with raw messages."""
    (method,) = (m for m in methods().values() if m.name == name and m.service.startswith(AIPLATFORM))
    kind = channel.unary_stream if method.server_streaming else channel.unary_unary
    call: Any = kind(
        method.path,
        request_serializer=lambda x: x if isinstance(x, bytes) else x.SerializeToString(),
        response_deserializer=method.response.FromString,
    )
    return call(request, timeout=30, **options)


def get_model(name: str) -> Message:
    request: Message = aiplatform_v1.GetModelRequest.pb()(name=f"{PARENT}/models/{name}")
    return request


@pytest.mark.parametrize("code", list(Code))
def test_an_error_is_the_same_over_both_transports(
    info: EmulatorInfo, channel: grpc.Channel, code: Code
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        rpc(channel, "GetModel", get_model(code.name))
    assert caught.value.code().value[0] == code.number  # type: ignore[attr-defined]
    assert caught.value.details() == f"because of {code.name}"  # type: ignore[attr-defined]
    answer = requests.get(f"{info.rest}{MODELS}/{code.name}")
    assert answer.status_code == code.http_status
    assert answer.json() == {
        "error": {"code": code.http_status, "message": f"because of {code.name}", "status": code.name}
    }


@pytest.mark.parametrize("broken", ["broken", "wrong"])
def test_a_broken_handler_is_an_internal_error_with_its_reason(
    info: EmulatorInfo, channel: grpc.Channel, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = requests.get(f"{info.rest}{MODELS}/{broken}")
    assert (answer.status_code, answer.json()["error"]["status"]) == (500, "INTERNAL")
    assert "ModelService.GetModel" in answer.json()["error"]["message"]
    assert "Traceback" in caplog.text
    with pytest.raises(grpc.RpcError) as caught:
        rpc(channel, "GetModel", get_model(broken))
    assert caught.value.code() is grpc.StatusCode.INTERNAL  # type: ignore[attr-defined]


def test_messages_larger_than_grpcs_default_pass_both_ways(channel: grpc.Channel, info: EmulatorInfo) -> None:
    assert len(rpc(channel, "GetModel", get_model("big")).description) == BIG
    big = aiplatform_v1.UpdateModelRequest.pb()(model={"description": "x" * BIG})
    assert rpc(channel, "UpdateModel", big).description == str(BIG)
    address = f"https://{info.grpc}{MODELS}"
    assert len(requests.get(f"{address}/big", verify=info.ca).json()["description"]) == BIG
    sent = requests.patch(f"{address}/1", json={"description": "x" * BIG}, verify=info.ca)
    assert sent.json()["description"] == str(BIG)


def test_a_body_over_the_limit_is_refused(info: EmulatorInfo) -> None:
    answer = requests.patch(f"{info.rest}{MODELS}/1", data=b"x" * (65 * 1024 * 1024))
    assert (answer.status_code, "payload size" in answer.text) == (400, True)


def test_a_gzip_body_is_unpacked_and_a_bomb_is_not(info: EmulatorInfo) -> None:
    headers = {"Content-Encoding": "gzip"}
    body = gzip.compress(json.dumps({"description": "abc"}).encode())
    url = f"{info.rest}{MODELS}/1"
    assert requests.patch(url, data=body, headers=headers).json() == {"description": "3"}
    for bad in (body[:-9], b"not gzip", gzip.compress(b" " * (65 * 1024 * 1024))):
        assert requests.patch(url, data=bad, headers=headers).status_code == 400


def test_a_prediction_may_come_packed_and_only_with_gzip(info: EmulatorInfo) -> None:
    url = f"{info.rest}/v1/{PARENT}/endpoints/7:predict"
    packed = requests.post(url, data=gzip.compress(b"plain"), headers={"Content-Encoding": "GZIP"})
    assert packed.text == f"{PARENT}/endpoints/7 plain"
    bomb = gzip.compress(b" " * 2_000_000)
    for encoding, body, words in (
        ("gzip", bomb, "exceeds 1.500MB limit"),
        ("br", b"?", "'br' is not supported"),
    ):
        refused = requests.post(url, data=body, headers={"Content-Encoding": encoding})
        assert (refused.status_code, words in refused.json()["error"]["message"]) == (400, True)


@pytest.mark.parametrize(
    ("endpoint", "status", "words"),
    [("none", 404, "no such endpoint"), ("7", 400, "64000000 bytes) exceeds")],
)
def test_a_prediction_that_nobody_will_answer_is_refused_before_its_body_comes(
    info: EmulatorInfo, endpoint: str, status: int, words: str
) -> None:
    refused = headers_only(
        info.rest, f"/v1/{PARENT}/endpoints/{endpoint}:predict", "Content-Length: 64000000"
    )
    assert refused.startswith(f"HTTP/1.1 {status} ".encode())
    assert words.encode() in refused


def test_a_body_without_a_length_is_read_up_to_the_limit_of_its_endpoint(info: EmulatorInfo) -> None:
    pieces = (b" " * 100_000 for _ in range(16))
    refused = requests.post(f"{info.rest}/v1/{PARENT}/endpoints/7:predict", data=pieces)
    assert (refused.status_code, "exceeds 1.500MB limit" in refused.text) == (400, True)


@pytest.mark.parametrize("port", ["rest", "storage", "grpc"])
def test_headers_without_an_end_are_not_kept(info: EmulatorInfo, port: str) -> None:
    address = getattr(info, port)
    number = int(address.rpartition(":")[2])
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", number), timeout=30))
        if port == "grpc":
            context = ssl.create_default_context(cafile=info.ca)
            connection = stack.enter_context(context.wrap_socket(connection, server_hostname="localhost"))
        connection.sendall(b"GET /emulator HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            for _ in range(100):
                connection.sendall(b"x" * 4096)
        # The connection has been ended, by an answer where it could still be sent.
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while connection.recv(4096):
                pass


def headers_only(address: str, path: str, *headers: str) -> bytes:
    """What is answered to a request of which only the headers are sent."""
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        lines = (f"POST {path} HTTP/1.1", "Host: localhost", *headers, "", "")
        connection.sendall("\r\n".join(lines).encode())
        return connection.recv(65536)


def test_streams_come_as_messages_and_as_an_array(info: EmulatorInfo, channel: grpc.Channel) -> None:
    request = aiplatform_v1.StreamingPredictRequest.pb()(endpoint=f"{PARENT}/endpoints/1")
    parts = rpc(channel, "ServerStreamingPredict", request)
    assert [part.outputs[0].int_val[0] for part in parts] == [0, 1, 2]
    address = f"{info.rest}/v1/{PARENT}/endpoints/1"
    answer = requests.post(f"{address}:serverStreamingPredict", json={})
    assert [part["outputs"][0]["intVal"] for part in answer.json()] == [[0], [1], [2]]


def test_predictions_that_wait_for_a_model_keep_nobody_else_waiting(
    predictions: Predictions, channel: grpc.Channel
) -> None:
    request = aiplatform_v1.PredictRequest.pb()(endpoint=f"{PARENT}/endpoints/1")
    with ThreadPoolExecutor(40) as threads:
        waiting = [threads.submit(rpc, channel, "Predict", request) for _ in range(40)]
        try:
            for _ in range(32):
                assert predictions.entered.acquire(timeout=30)
            assert rpc(channel, "GetModel", get_model("1")).name == f"{PARENT}/models/1"
            assert not any(one.done() for one in waiting)
        finally:
            predictions.proceed.set()
        assert {one.result(30).model for one in waiting} == {"late"}


@pytest.mark.parametrize(("name", "data"), [("RawPredict", b"1"), ("StreamRawPredict", b"12")])
def test_headers_of_an_answer_are_initial_metadata(channel: grpc.Channel, name: str, data: bytes) -> None:
    method = methods()[f"/{AIPLATFORM}.PredictionService/{name}"]
    make = channel.unary_stream if method.server_streaming else channel.unary_unary
    stub = make(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )
    if method.server_streaming:
        call = stub(method.request(), timeout=30)
        answered = b"".join(part.data for part in call)
    else:
        one, call = stub.with_call(method.request(), timeout=30)
        answered = one.data
    assert answered == data
    assert ("x-made-by", "me") in [tuple(pair) for pair in call.initial_metadata()]


def test_a_stream_that_breaks_ends_in_an_error(channel: grpc.Channel) -> None:
    request = aiplatform_v1.StreamingPredictRequest.pb()(endpoint=f"{PARENT}/endpoints/broken")
    parts = rpc(channel, "ServerStreamingPredict", request)
    with pytest.raises(grpc.RpcError, match="after three"):
        list(parts)


@pytest.mark.parametrize("call", ["predict", "rawPredict", "streamRawPredict"])
def test_a_prediction_passes_through_unread(info: EmulatorInfo, call: str) -> None:
    url = f"{info.rest}/v1/{PARENT}/endpoints/7:{call}"
    answer = requests.post(url, data=b"\x00not json", headers={"X-Sent": "me"})
    assert (answer.status_code, answer.content) == (203, f"{PARENT}/endpoints/7 ".encode() + b"\x00not json")
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["x-call"] == call
    assert answer.headers["x-got"] == ("" if call == "predict" else "me")


def test_a_prediction_that_fails_says_why(info: EmulatorInfo) -> None:
    address = f"{info.rest}/v1/{PARENT}/endpoints"
    none = requests.post(f"{address}/none:predict", data=b"{}")
    assert (none.status_code, none.json()["error"]["message"]) == (404, "no such endpoint")
    broken = requests.post(f"{address}/broken:predict", data=b"{}")
    assert (broken.status_code, broken.json()["error"]["status"]) == (500, "INTERNAL")


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff\xff\xff\xff\x7f", b"\x0a\x01\xff"])
def test_malformed_protobuf_is_an_error_and_nothing_else_breaks(channel: grpc.Channel, data: bytes) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        rpc(channel, "GetModel", data)
    assert caught.value.code() in {grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT}  # type: ignore[attr-defined]
    assert rpc(channel, "GetModel", get_model("1")).name == f"{PARENT}/models/1"


def test_a_web_page_is_refused_on_every_port(info: EmulatorInfo, channel: grpc.Channel) -> None:
    for url, verify in (
        (f"{info.rest}/emulator", True),
        (f"{info.storage}/storage/v1/b", True),
        (f"https://{info.grpc}/emulator", info.ca),
    ):
        assert requests.get(url, verify=verify).status_code == 200
        assert requests.get(url, verify=verify, headers={"Origin": "http://x"}).status_code == 403
        assert requests.get(url, verify=verify, headers={"Host": "rebound.example"}).status_code == 403
        image = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
        assert requests.get(url, verify=verify, headers=image).status_code == 403
        typed = {"Sec-Fetch-Site": "none"}
        assert requests.get(url, verify=verify, headers=typed).status_code == 200
    for header in (("origin", "http://x"), ("sec-fetch-site", "cross-site")):
        with pytest.raises(grpc.RpcError) as caught:
            rpc(channel, "GetModel", get_model("1"), metadata=[header])
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED  # type: ignore[attr-defined]


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
def test_tls_answers_to_no_name_but_its_own(info: EmulatorInfo, protocol: str) -> None:
    port = int(info.grpc.rpartition(":")[2])
    context = ssl.create_default_context(cafile=info.ca)
    context.check_hostname = False
    context.set_alpn_protocols([protocol])
    for name in ("localhost", "us-central1-aiplatform.googleapis.com"):
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname=name) as secure,
        ):
            assert secure.selected_alpn_protocol() == protocol
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain, server_hostname="rebound.example")


@pytest.mark.parametrize("path", ["/Nope/Nothing", f"/{AIPLATFORM}.ModelService/Nothing"])
def test_an_unknown_rpc_is_refused_by_name(channel: grpc.Channel, path: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(path)(b"", timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]
    assert path[1:].replace("/", ".") in caught.value.details()  # type: ignore[attr-defined]


def test_an_rpc_that_no_service_answers_is_refused_by_name_over_rest(info: EmulatorInfo) -> None:
    answer = requests.get(f"{info.rest}/v1/{PARENT}/customJobs")
    assert (answer.status_code, answer.json()["error"]["status"]) == (501, "UNIMPLEMENTED")
    assert "google.cloud.aiplatform.v1.JobService.ListCustomJobs" in answer.text
    beta = requests.get(f"{info.rest}/v1beta1/{PARENT}/models")
    assert (beta.status_code, "v1beta1" in beta.text) == (501, True)
    assert requests.get(f"{info.rest}/v1/nonsense").status_code == 404


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_tls_is_trusted_by_name_and_by_address(info: EmulatorInfo, host: str) -> None:
    port = info.grpc.rpartition(":")[2]
    assert requests.get(f"https://{host}:{port}/emulator", verify=info.ca).json()["pid"] == info.pid


def test_a_client_that_leaves_before_tls_is_up_or_in_a_request_harms_nobody(info: EmulatorInfo) -> None:
    port = int(info.grpc.rpartition(":")[2])
    context = ssl.create_default_context(cafile=info.ca)
    for request in (
        b"",
        b"GET /emulator HT",
        b"PATCH /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port)):
            pass
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.sendall(request)
    assert requests.get(f"https://{info.grpc}/emulator", verify=info.ca).status_code == 200


def test_a_client_that_reads_slowly_gets_everything_over_tls(info: EmulatorInfo) -> None:
    with requests.get(
        f"https://{info.grpc}{MODELS}/big",
        headers={"Accept-Encoding": "identity"},
        verify=info.ca,
        stream=True,
    ) as answer:
        size = 0
        for number, part in enumerate(answer.iter_content(256 * 1024)):
            # Long enough, at first, for every buffer on the way to fill up.
            time.sleep(0.3 if number < 3 else 0.001)
            size += len(part)
    assert size == int(answer.headers["content-length"]) > BIG


def test_a_server_that_stops_lets_calls_in_progress_end() -> None:
    models = Models()
    parts = Parts({f"{AIPLATFORM}.ModelService": models}, None, storage)
    with ThreadPoolExecutor(1) as pool:
        with served(parts, EmulatorOptions()) as info:
            answer = pool.submit(requests.get, f"{info.rest}{MODELS}/slow")
            assert models.entered.wait(30)
            threading.Timer(0.2, models.go_on.set).start()
        assert answer.result(30).status_code == 200
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{info.rest}/emulator")
    assert not Path(info.ca).exists()


def test_every_part_is_closed_in_order_also_when_one_fails() -> None:
    closed: list[str] = []

    def fail() -> None:
        closed.append("first")
        raise RuntimeError("stuck")

    parts = Parts({}, None, storage, closers=(fail, lambda: closed.append("second")))
    with served(parts, EmulatorOptions()):
        assert closed == []
    assert closed == ["first", "second"]
