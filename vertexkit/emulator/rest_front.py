"""The API over REST: an ASGI application that decodes, calls and encodes; nothing else."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, Protocol, cast

from vertexkit.emulator.answers import Answer
from vertexkit.emulator.asgi import (
    JSON,
    Application,
    Receive,
    Scope,
    Send,
    error_json,
    read_body,
    reply,
    reply_error,
)
from vertexkit.emulator.dispatch import Dispatcher, not_implemented, unexpected
from vertexkit.emulator.errors import ApiError, Code, prediction_too_large
from vertexkit.emulator.faults import Fault, Faults
from vertexkit.emulator.http_faults import suffer
from vertexkit.emulator.methods import AIPLATFORM, Method
from vertexkit.emulator.transcoding import decode, encode, encode_stream
from vertexkit.emulator.uri_templates import Match, Router

MAX_BODY_BYTES = 64 * 1024 * 1024

_THREADS = 32
_PREDICT = re.compile(
    rb"/v1/(projects/[^/%]+/locations/[^/%]+/endpoints/[^/%:]+):(?P<call>predict|rawPredict|streamRawPredict)"
)

PredictCall = Literal["predict", "rawPredict", "streamRawPredict"]
"""How a URL says which RPC of PredictionService is meant."""
_BETA_OPERATION = re.compile(rb"/v1beta1/projects/.+/operations(/[^/]+)?")


class Reply(Protocol):
    """What a model server answered: a status, headers and a body."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers to pass on."""
        ...

    @property
    def body(self) -> bytes:
        """The body, as it came."""
        ...


class HttpPredictor(Protocol):
    """Answers predictions without decoding what passes through."""

    def request_limit(self, endpoint_name: str) -> int:
        """Most bytes of a request to an endpoint; an ``ApiError`` when nothing there answers any."""
        ...

    async def predict_http(
        self, endpoint_name: str, body: bytes, call: PredictCall, headers: Mapping[str, str]
    ) -> Reply:
        """Answer a prediction request with what the model server answered."""
        ...


class RestFront:
    """ASGI application for every HTTP rule of the table.

    Args:
        methods: The RPCs by their gRPC path.
        dispatcher: What answers them.
        predictor: What answers predictions, which pass through undecoded; None for nobody.
        faults: What to go wrong on purpose.
        apps: What answers beside the API, by exact path.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        dispatcher: Dispatcher,
        predictor: HttpPredictor | None,
        faults: Faults,
        apps: Mapping[str, Application] | None = None,
    ) -> None:
        self._router = Router(methods.values())
        self._dispatcher = dispatcher
        self._predictor = predictor
        self._predict_methods = {
            b"predict": methods[f"/{AIPLATFORM}.PredictionService/Predict"],
            b"rawPredict": methods[f"/{AIPLATFORM}.PredictionService/RawPredict"],
            b"streamRawPredict": methods[f"/{AIPLATFORM}.PredictionService/StreamRawPredict"],
        }
        self._faults = faults
        self._apps = apps or {}
        # Services are synchronous: they may wait for a disk, or for a deploy.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="rest")

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await self._answer(scope, receive, send)
        except ApiError as error:
            await reply_error(send, error)
        except ConnectionError:
            return  # There is nobody left to answer.

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw_path: bytes = scope["raw_path"]
        if scope["method"] == "POST" and self._predictor is not None:
            predict = _PREDICT.fullmatch(raw_path)
            if predict is not None:
                method = self._predict_methods[predict["call"]]
                prediction = _Predict(self._predictor, method, predict)
                await self._perhaps(self._faults.for_method(method), prediction, scope, receive, send)
                return
        app = self._apps.get(scope["path"])
        if app is not None:
            await app(scope, receive, send)
            return
        if _BETA_OPERATION.fullmatch(raw_path):
            # google.longrunning is of no version: Google's command line polls the operations of v1 here.
            raw_path = raw_path.replace(b"/v1beta1/", b"/v1/", 1)
        elif raw_path.startswith(b"/v1beta1/"):
            raise not_implemented(f"v1beta1 of the API, as in {scope['method']} {scope['path']},")
        match = self._router.find(scope["method"], raw_path.decode("latin-1"))
        if match is None:
            raise ApiError(Code.NOT_FOUND, f"Method not found: {scope['method']} {scope['path']}")
        fault = self._faults.for_method(match.method)
        await self._perhaps(fault, _Call(self._dispatcher, match, self._threads), scope, receive, send)

    async def _perhaps(
        self, fault: Fault | None, application: Any, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if fault is None:
            await application(scope, receive, send)
        else:
            await suffer(fault, application, scope, receive, send)


class _Call:
    """Answers a request that names an RPC."""

    def __init__(self, dispatcher: Dispatcher, match: Match, threads: ThreadPoolExecutor) -> None:
        self._dispatcher = dispatcher
        self._match = match
        self._threads = threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(scope, receive, MAX_BODY_BYTES)
        loop = asyncio.get_running_loop()
        query = scope["query_string"].decode("latin-1")
        status, content_type, answer = await loop.run_in_executor(self._threads, self._work, query, body)
        headers = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()
        ]
        await reply(send, status, answer.content, content_type=content_type, headers=headers)

    def _work(self, query: str, body: bytes) -> tuple[int, str, Answer[bytes]]:
        """Decode, call and encode, in a thread, for large messages take a while."""
        method = self._match.method
        try:
            if not self._dispatcher.implements(method):
                # Before decoding, so that what is not there is named whatever was sent.
                raise not_implemented(method.full_name)
            request, wanted = decode(self._match, query, body)
            if method.server_streaming:
                stream = self._dispatcher.stream(method, request)
                content_type, content = encode_stream(list(stream.content), wanted)
                return 200, content_type, Answer(content, stream.headers)
            one = self._dispatcher.call(method, request)
            content_type, content = encode(one.content, wanted)
            return 200, content_type, Answer(content, one.headers)
        except ApiError as error:
            return error.code.http_status, JSON, Answer(error_json(error))
        except Exception as error:
            # A response that cannot be written, for one.
            broken = unexpected(method.full_name, error)
            return broken.code.http_status, JSON, Answer(error_json(broken))


class _Predict:
    """Answers a prediction, without a thread and without looking inside."""

    def __init__(self, predictor: HttpPredictor, method: Method, match: re.Match[bytes]) -> None:
        self._predictor = predictor
        self._method = method
        self._endpoint = match[1].decode()
        self._call = cast(PredictCall, match["call"].decode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # First of all: nothing is kept of what nobody will answer.
        limit = self._predictor.request_limit(self._endpoint)
        body = await read_body(scope, receive, limit, refusal=prediction_too_large)
        headers = {}
        if self._call != "predict":
            # Nothing of a plain prediction's is passed on, and it is the one that has to be quick.
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            answer = await self._predictor.predict_http(self._endpoint, body, self._call, headers)
        except ApiError:
            raise
        except Exception as error:
            raise unexpected(self._method.full_name, error) from error
        given = {name.lower(): value for name, value in answer.headers.items()}
        content_type = given.pop("content-type", JSON)
        given.pop("content-length", None)
        await reply(
            send,
            answer.status,
            answer.body,
            content_type=content_type,
            headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in given.items()],
        )
