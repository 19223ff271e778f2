"""PredictionService: what it asks of the engine, and what it makes of the answers."""

import asyncio
import json
from dataclasses import replace

import pytest
from google.api import httpbody_pb2
from google.cloud import aiplatform_v1
from google.protobuf import json_format

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.routing import Route, Routes
from vertexkit.emulator.services.prediction import PredictionService
from vertexkit.emulator.serving import NoReplica, RequestTimeout, ServingReply

ENDPOINT = "projects/123456789012/locations/us-central1/endpoints/1"
MODEL = "projects/123456789012/locations/us-central1/models/7"
ROUTE = Route("key", "42", MODEL, 'mnist "é"', "3")
DEDICATED = ENDPOINT.replace("endpoints/1", "endpoints/2")
SIGNED = {
    "X-Vertex-AI-Endpoint-Id": "1",
    "X-Vertex-AI-Deployed-Model-Id": "42",
    "X-Vertex-AI-Model": MODEL,
    "X-Vertex-AI-Model-Version-Id": "3",
}


class FakeEngine:
    """Answers with ``reply`` and remembers what it was asked."""

    def __init__(self):
        self.reply = ServingReply(200, {"content-type": "application/json"}, b'{"predictions":[[0.5]]}')
        self.asked = []

    async def predict(self, key, body, *, raw=False, headers=None):
        self.asked.append((key, body, raw, headers))
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def service(engine, loop):
    routes = Routes()
    routes.set(ENDPOINT, [(ROUTE, 100)])
    routes.set(ENDPOINT + "0", [])
    routes.set(DEDICATED, [(replace(ROUTE, dedicated=True), 100)])
    return PredictionService(routes, engine, loop)


def http(service, body=b'{"instances":[1]}', *, endpoint=ENDPOINT, call="predict", headers=None):
    return asyncio.run(service.predict_http(endpoint, body, call, headers or {}))


def grpc(service, *instances, endpoint=ENDPOINT, parameters=None):
    request = aiplatform_v1.PredictRequest.pb()(endpoint=endpoint)
    for instance in instances:
        json_format.ParseDict(instance, request.instances.add())
    if parameters is not None:
        json_format.ParseDict(parameters, request.parameters)
    return service.Predict(request)


def raw_grpc(service, data=b"any", content_type="text/plain", *, endpoint=ENDPOINT):
    body = httpbody_pb2.HttpBody(data=data, content_type=content_type)
    return service.RawPredict(aiplatform_v1.RawPredictRequest.pb()(endpoint=endpoint, http_body=body))


def stream_grpc(service, endpoint=DEDICATED):
    body = httpbody_pb2.HttpBody(data=b"any", content_type="text/plain")
    request = aiplatform_v1.StreamRawPredictRequest.pb()(endpoint=endpoint, http_body=body)
    return service.StreamRawPredict(request)


def test_the_body_passes_undecoded_and_the_reply_says_who_made_it(service, engine):
    reply = http(service, b'{"instances": [ 1 ]}')
    assert engine.asked == [("key", b'{"instances": [ 1 ]}', False, None)]
    assert reply.status == 200
    assert json.loads(reply.body) == {
        "predictions": [[0.5]],
        "deployedModelId": "42",
        "model": MODEL,
        "modelDisplayName": 'mnist "é"',
        "modelVersionId": "3",
    }


def test_a_google_client_can_read_the_reply(service):
    parsed = json_format.Parse(http(service).body, aiplatform_v1.PredictResponse.pb()())
    assert parsed.deployed_model_id == "42"
    assert parsed.predictions[0].list_value.values[0].number_value == 0.5


def test_over_grpc_values_become_json_and_back(service, engine):
    response = grpc(service, [1, 2], {"a": "b"}, parameters={"p": 1})
    assert engine.asked[0][1] == b'{"instances":[[1,2],{"a":"b"}],"parameters":{"p":1}}'
    assert json_format.MessageToDict(response) == {
        "predictions": [[0.5]],
        "deployedModelId": "42",
        "model": MODEL,
        "modelDisplayName": 'mnist "é"',
        "modelVersionId": "3",
    }


def test_over_grpc_a_prediction_may_be_not_a_number(service, engine):
    engine.reply = ServingReply(200, {}, b'{"predictions":[NaN,Infinity]}')
    first, second = grpc(service, 1).predictions
    assert first.number_value != first.number_value
    assert second.number_value == float("inf")


def test_over_grpc_instances_are_required(service, engine):
    with pytest.raises(ApiError, match="Field: instances; Message: Required field is not set") as refused:
        grpc(service)
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert not engine.asked


CALLS = {"http": http, "grpc": lambda s: grpc(s, 1)}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_models_refusal_comes_with_its_own_words(service, engine, call):
    engine.reply = ServingReply(400, {}, b'{"error":"wrong shape"}')
    with pytest.raises(ApiError) as refused:
        call(service)
    assert (refused.value.code, refused.value.message) == (Code.INVALID_ARGUMENT, '{"error":"wrong shape"}')


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, Code.NOT_FOUND), (429, Code.RESOURCE_EXHAUSTED), (501, Code.UNIMPLEMENTED), (500, Code.INTERNAL)],
)
def test_other_statuses_of_the_model_server_keep_their_meaning(service, engine, status, code):
    engine.reply = ServingReply(status, {}, b"words")
    with pytest.raises(ApiError, match="words") as refused:
        http(service)
    assert refused.value.code is code


@pytest.mark.parametrize(
    ("error", "code"),
    [(NoReplica("none"), Code.UNAVAILABLE), (RequestTimeout("late"), Code.DEADLINE_EXCEEDED)],
)
@pytest.mark.parametrize("call", [*CALLS.values(), lambda s: http(s, call="rawPredict"), raw_grpc])
def test_without_an_answer_the_error_says_whether_to_try_again(service, engine, call, error, code):
    engine.reply = error
    with pytest.raises(ApiError, match=str(error)) as refused:
        call(service)
    assert refused.value.code is code


@pytest.mark.parametrize(
    ("endpoint", "code"),
    [
        (ENDPOINT + "1", Code.NOT_FOUND),
        (ENDPOINT + "0", Code.FAILED_PRECONDITION),
        ("nonsense", Code.INVALID_ARGUMENT),
    ],
)
def test_an_endpoint_without_a_model_or_that_is_none_is_refused(service, engine, endpoint, code):
    for call in (lambda: http(service, endpoint=endpoint), lambda: grpc(service, 1, endpoint=endpoint)):
        with pytest.raises(ApiError) as refused:
            call()
        assert refused.value.code is code
    assert not engine.asked


LIMITS = pytest.mark.parametrize(
    ("endpoint", "limit", "words"), [(ENDPOINT, 1_500_000, "1.500MB"), (DEDICATED, 10_000_000, "10.000MB")]
)


@LIMITS
def test_a_request_up_to_the_limit_is_taken_and_one_byte_more_refused(
    service, engine, endpoint, limit, words
):
    for call in ("predict", "rawPredict"):
        assert http(service, b" " * limit, endpoint=endpoint, call=call).status == 200
        with pytest.raises(ApiError) as refused:
            http(service, b" " * (limit + 1), endpoint=endpoint, call=call)
        assert refused.value.code is Code.INVALID_ARGUMENT
        assert refused.value.message == f"The request size ({limit + 1} bytes) exceeds {words} limit."
    assert len(engine.asked) == 2


@LIMITS
def test_over_grpc_the_size_of_the_message_counts(service, engine, endpoint, limit, words):
    with pytest.raises(ApiError, match=rf"The request size \(\d+ bytes\) exceeds {words}"):
        grpc(service, "a" * limit, endpoint=endpoint)
    assert not engine.asked


@LIMITS
def test_a_reply_over_the_limit_is_refused(service, engine, endpoint, limit, words):
    engine.reply = ServingReply(200, {}, b'{"predictions":["' + b"a" * limit + b'"]}')
    for call in (
        lambda: http(service, endpoint=endpoint),
        lambda: grpc(service, 1, endpoint=endpoint),
        lambda: http(service, endpoint=endpoint, call="rawPredict"),
        lambda: raw_grpc(service, endpoint=endpoint),
    ):
        with pytest.raises(ApiError, match=f"Response size too large.* max is {limit} bytes"):
            call()


def test_what_is_no_predict_request_is_refused_in_the_apis_words_alone(service, engine):
    engine.reply = ServingReply(422, {}, b'{"error":"Invalid JSON payload received."}')
    with pytest.raises(ApiError) as refused:
        http(service, b'{"inputs":[1]}')
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert refused.value.message == "Invalid JSON payload received."


def test_the_model_server_is_told_where_a_request_comes_from_and_by_nobody_else(service, engine):
    grpc(service, 1)
    http(service, call="rawPredict", headers={"X-Vertex-Values": "rest", "X-Mine": "1"})
    told = [headers for _, _, raw, headers in engine.asked if raw]
    assert told == [{"Content-Type": "application/json", "X-Vertex-Values": "grpc"}, {"X-Mine": "1"}]


def test_a_reply_without_predictions_is_an_internal_error(service, engine):
    engine.reply = ServingReply(200, {}, b"<html>")
    with pytest.raises(ApiError) as refused:
        http(service)
    assert refused.value.code is Code.INTERNAL


def test_a_raw_request_passes_as_it_is_with_its_headers_but_no_credentials(service, engine):
    headers = {
        "Content-Type": "text/csv",
        "X-Mine": "1",
        "Authorization": "Bearer secret",
        "Content-Encoding": "gzip",
        "host": "localhost",
    }
    reply = http(service, b"1,2", call="rawPredict", headers=headers)
    assert engine.asked == [("key", b"1,2", True, {"Content-Type": "text/csv", "X-Mine": "1"})]
    assert reply.body == engine.reply.body
    assert SIGNED.items() <= reply.headers.items()


def test_a_raw_reply_keeps_the_model_servers_status_over_rest(service, engine):
    engine.reply = ServingReply(400, {"content-type": "text/plain"}, b"no")
    reply = http(service, call="rawPredict")
    assert (reply.status, reply.body, reply.headers["content-type"]) == (400, b"no", "text/plain")


def test_a_raw_request_over_grpc_passes_with_its_content_type(service, engine):
    engine.reply = ServingReply(200, {"content-type": "text/html"}, b"<p>")
    answer = raw_grpc(service)
    assert engine.asked == [("key", b"any", True, {"content-type": "text/plain"})]
    assert (answer.content.content_type, answer.content.data) == ("text/html", b"<p>")
    assert answer.headers == SIGNED


def test_a_raw_answer_streams_in_one_piece_from_a_dedicated_endpoint(service, engine):
    engine.reply = ServingReply(200, {"content-type": "text/html"}, b"<p>")
    answer = stream_grpc(service)
    (piece,) = answer.content
    assert (piece.content_type, piece.data) == ("text/html", b"<p>")
    assert answer.headers == {**SIGNED, "X-Vertex-AI-Endpoint-Id": "2"}
    assert http(service, endpoint=DEDICATED, call="streamRawPredict").body == b"<p>"


def test_a_shared_endpoint_does_not_stream(service, engine):
    for call in (lambda: stream_grpc(service, ENDPOINT), lambda: http(service, call="streamRawPredict")):
        with pytest.raises(ApiError, match="dedicated") as refused:
            call()
        assert refused.value.code is Code.FAILED_PRECONDITION
    assert not engine.asked


def test_a_raw_request_that_the_model_refuses_is_an_error_over_grpc(service, engine):
    engine.reply = ServingReply(400, {}, b"no")
    with pytest.raises(ApiError, match="no"):
        raw_grpc(service)


@pytest.mark.parametrize("content_type", ["text/plain\r\nX-Other: 1", "té"])
def test_a_content_type_cannot_smuggle_headers(service, engine, content_type):
    with pytest.raises(ApiError, match="content_type") as refused:
        raw_grpc(service, content_type=content_type)
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert not engine.asked
