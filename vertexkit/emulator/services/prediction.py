"""PredictionService: requests passed to model servers, their replies given Vertex AI's form.

Source: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/predict
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, Protocol

import orjson
from google.api import httpbody_pb2
from google.cloud import aiplatform_v1

from vertexkit import json_text
from vertexkit.emulator.answers import Answer
from vertexkit.emulator.errors import ApiError, Code, prediction_too_large
from vertexkit.emulator.routing import Route, Routes
from vertexkit.emulator.serving import VALUES_HEADER, NoReplica, RequestTimeout, ServingReply, Source

_LIMIT_BYTES, _DEDICATED_LIMIT_BYTES = 1_500_000, 10_000_000
"""Of one request and of one reply, on a shared and on a dedicated public endpoint.

Source: https://cloud.google.com/vertex-ai/docs/predictions/choose-endpoint-type
"""
_PREDICTIONS = b'{"predictions":'
_NOT_A_PREDICT_REQUEST = 422
"""The model server's status for a body that the API itself refuses; the words are the API's."""
_FROM_GRPC = {"Content-Type": "application/json", VALUES_HEADER: Source.GRPC.value}
_NOT_PASSED_ON = frozenset(
    {
        "accept-encoding",
        "authorization",
        "connection",
        # The front has undone it.
        "content-encoding",
        "content-length",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        # It is the service's to say.
        VALUES_HEADER.lower(),
    }
)
_CODES = {
    400: Code.INVALID_ARGUMENT,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    409: Code.ABORTED,
    429: Code.RESOURCE_EXHAUSTED,
    499: Code.CANCELLED,
    501: Code.UNIMPLEMENTED,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}

_PredictResponse = aiplatform_v1.PredictResponse.pb()


class Serving(Protocol):
    """What answers requests for a deployment: the serving engine."""

    async def predict(
        self, key: str, body: bytes, *, raw: bool = False, headers: Mapping[str, str] | None = None
    ) -> ServingReply:
        """Answer one request."""
        ...


class PredictionService:
    """Predict, RawPredict and StreamRawPredict, over both transports.

    Args:
        routes: Which deployed model answers.
        serving: What runs the model servers.
        loop: The event loop that ``serving`` lives in.
    """

    def __init__(self, routes: Routes, serving: Serving, loop: asyncio.AbstractEventLoop) -> None:
        self._routes = routes
        self._serving = serving
        self._loop = loop

    def request_limit(self, endpoint_name: str) -> int:
        """Most bytes of a request to an endpoint, so that a larger one need not be read.

        Args:
            endpoint_name: Resource name of the endpoint.

        Raises:
            ApiError: There is no such endpoint, or nothing on it takes traffic.
        """
        return _limit(dedicated=self._routes.is_dedicated(endpoint_name))

    async def predict_http(
        self,
        endpoint_name: str,
        body: bytes,
        call: Literal["predict", "rawPredict", "streamRawPredict"],
        headers: Mapping[str, str],
    ) -> ServingReply:
        """Answer a REST request, whose body passes through undecoded. From the event loop.

        Args:
            endpoint_name: Resource name of the endpoint.
            body: The body.
            call: Which RPC it is for.
            headers: A raw request's headers, of which most are passed on; not needed of others.

        Raises:
            ApiError: There is no such endpoint, nothing on it takes traffic, or the model refused.
        """
        route = self._routes.pick(endpoint_name)
        if call == "streamRawPredict":
            _check_streams(route)
        if call != "predict":
            reply = await self._raw(route, body, headers)
            return replace(reply, headers={**reply.headers, **_signature(endpoint_name, route)})
        _check_request_size(route, len(body))
        predictions = await self._predictions(route, body)
        # The one copy of the reply: predictions as the model server wrote them, and who made them.
        return ServingReply(200, {}, b"%b,%b" % (predictions[:-1], _signed(route)))

    def Predict(self, request: Any) -> Any:
        """Answer over gRPC, where instances and predictions are protobuf values."""
        if not request.instances:
            raise ApiError(
                Code.INVALID_ARGUMENT,
                "List of found errors:\t1.Field: instances; Message: Required field is not set.\t",
            )
        # Here, because numpy is a tenth of what an idle emulator may weigh, and REST does without it.
        from vertexkit.emulator.services.prediction_values import from_values, to_value_bytes

        route = self._routes.pick(request.endpoint)
        _check_request_size(route, request.ByteSize())
        parameters = request.parameters if request.HasField("parameters") else None
        body = from_values(request.instances, parameters)
        reply = self._wait(self._predictions(route, body, _FROM_GRPC))
        response = _PredictResponse(
            deployed_model_id=route.deployed_model_id,
            model=route.model_name,
            model_version_id=route.model_version_id,
            model_display_name=route.model_display_name,
        )
        for prediction in json_text.loads(reply)["predictions"]:
            response.predictions.add().MergeFromString(to_value_bytes(prediction))
        return response

    def RawPredict(self, request: Any) -> Answer[httpbody_pb2.HttpBody]:
        """Answer an arbitrary body over gRPC; initial metadata say who answered."""
        return self._raw_answer(request, self._routes.pick(request.endpoint))

    def StreamRawPredict(self, request: Any) -> Answer[Iterator[httpbody_pb2.HttpBody]]:
        """Answer an arbitrary body over gRPC with a stream.

        The prebuilt TensorFlow containers answer in one piece, so the stream holds one message.
        """
        route = self._routes.pick(request.endpoint)
        _check_streams(route)
        answer = self._raw_answer(request, route)
        return Answer(iter((answer.content,)), answer.headers)

    def _raw_answer(self, request: Any, route: Route) -> Answer[httpbody_pb2.HttpBody]:
        content_type = request.http_body.content_type or "application/json"
        if not (content_type.isascii() and content_type.isprintable()):
            # It becomes a line of an HTTP request, and must not become two.
            raise ApiError(Code.INVALID_ARGUMENT, "http_body.content_type is not a media type.")
        reply = self._wait(self._raw(route, request.http_body.data, {"content-type": content_type}))
        if reply.status != 200:
            raise _refused(reply)
        answered = reply.headers.get("content-type", "application/json")
        body = httpbody_pb2.HttpBody(content_type=answered, data=reply.body)
        return Answer(body, _signature(request.endpoint, route))

    async def _predictions(
        self, route: Route, body: bytes, headers: Mapping[str, str] | None = None
    ) -> bytes:
        reply = await self._ask(route, body, raw=headers is not None, headers=headers)
        if reply.status == _NOT_A_PREDICT_REQUEST:
            raise ApiError(Code.INVALID_ARGUMENT, orjson.loads(reply.body)["error"])
        if reply.status != 200:
            raise _refused(reply)
        if not reply.body.startswith(_PREDICTIONS):
            raise ApiError(Code.INTERNAL, "The model server's reply holds no predictions.")
        _check_reply_size(route, len(reply.body))
        return reply.body

    async def _raw(self, route: Route, body: bytes, headers: Mapping[str, str]) -> ServingReply:
        _check_request_size(route, len(body))
        passed = {name: value for name, value in headers.items() if name.lower() not in _NOT_PASSED_ON}
        reply: ServingReply = await self._ask(route, body, raw=True, headers=passed)
        _check_reply_size(route, len(reply.body))
        return reply

    async def _ask(
        self, route: Route, body: bytes, *, raw: bool = False, headers: Mapping[str, str] | None = None
    ) -> ServingReply:
        await route.up()
        try:
            return await self._serving.predict(route.key, body, raw=raw, headers=headers)
        except NoReplica as error:
            raise ApiError(Code.UNAVAILABLE, str(error)) from error
        except RequestTimeout as error:
            raise ApiError(Code.DEADLINE_EXCEEDED, str(error)) from error

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _signed(route: Route) -> bytes:
    """The end of a PredictResponse: all that follows the predictions, without the opening brace."""
    return orjson.dumps(
        {
            "deployedModelId": route.deployed_model_id,
            "model": route.model_name,
            "modelDisplayName": route.model_display_name,
            "modelVersionId": route.model_version_id,
        }
    )[1:]


def _signature(endpoint_name: str, route: Route) -> dict[str, str]:
    """What a raw reply's headers say of who made it, for its body says nothing."""
    return {
        "X-Vertex-AI-Endpoint-Id": endpoint_name.rpartition("/")[2],
        "X-Vertex-AI-Deployed-Model-Id": route.deployed_model_id,
        "X-Vertex-AI-Model": route.model_name,
        "X-Vertex-AI-Model-Version-Id": route.model_version_id,
    }


def _refused(reply: ServingReply) -> ApiError:
    """The model server's own words, as Vertex AI passes them on."""
    return ApiError(_CODES.get(reply.status, Code.INTERNAL), reply.body.decode(errors="replace"))


def _check_streams(route: Route) -> None:
    """Refuse what shared endpoints do not do.

    Source: https://cloud.google.com/vertex-ai/docs/predictions/using-dedicated-endpoints
    """
    if not route.dedicated:
        raise ApiError(
            Code.FAILED_PRECONDITION,
            "StreamRawPredict is only supported for dedicated endpoints: create the endpoint with "
            "dedicated_endpoint_enabled.",
        )


def _limit(*, dedicated: bool) -> int:
    return _DEDICATED_LIMIT_BYTES if dedicated else _LIMIT_BYTES


def _check_request_size(route: Route, size: int) -> None:
    limit = _limit(dedicated=route.dedicated)
    if size > limit:
        raise prediction_too_large(size, limit)


def _check_reply_size(route: Route, size: int) -> None:
    limit = _limit(dedicated=route.dedicated)
    if size > limit:
        raise ApiError(
            Code.INVALID_ARGUMENT,
            f"Failed to handle request. deployed_model_id: {route.deployed_model_id} with error: "
            f"`Response size too large. Received at least {size} bytes; max is {limit} bytes.`",
        )
