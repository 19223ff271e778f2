"""The API over gRPC, in plain text on a Unix socket; ``tls_front.py`` puts TLS before it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import grpc
from google.protobuf.message import Message

from vertexkit.emulator.dispatch import Dispatcher, not_implemented
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.faults import Fault, Faults
from vertexkit.emulator.guard import sent_by_page
from vertexkit.emulator.methods import AIPLATFORM, Method

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Both ways; gRPC's own default of 4 MB is less than one batch of images."""

_THREADS = 32
_MOST_CALLS = 512
"""At once, running and waiting for a thread; more are refused with RESOURCE_EXHAUSTED."""
_PREDICTIONS = f"{AIPLATFORM}.PredictionService"
_STATUS = {code.value[0]: code for code in grpc.StatusCode}
_RESET = (Code.UNAVAILABLE, "Connection reset by peer")

_log = logging.getLogger(__name__)


class GrpcFront:
    """A gRPC server for every RPC of the table.

    Args:
        methods: The RPCs by their gRPC path.
        dispatcher: What answers them.
        faults: What to go wrong on purpose.
        socket: Path of the Unix socket to listen on, in a folder that only this user can enter.
    """

    def __init__(
        self, methods: Mapping[str, Method], dispatcher: Dispatcher, faults: Faults, socket: Path
    ) -> None:
        self.socket = socket
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="grpc")
        # A prediction waits for its model, which may be starting: other calls must not wait with it.
        self._predictions = ThreadPoolExecutor(_THREADS, thread_name_prefix="grpc-predict")
        self._server = grpc.server(
            self._threads,
            handlers=[_Handlers(methods, dispatcher, faults, self._predictions)],
            maximum_concurrent_rpcs=_MOST_CALLS,
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ],
        )

    def start(self) -> None:
        """Listen."""
        self._server.add_insecure_port(f"unix:{self.socket}")
        self._server.start()

    def stop(self, grace: float) -> None:
        """Take no more calls, give those running ``grace`` seconds, and end. Blocks."""
        self._server.stop(grace).wait()
        for threads in (self._threads, self._predictions):
            threads.shutdown(wait=False, cancel_futures=True)


class _Handlers(grpc.GenericRpcHandler):
    """Makes the handler of an RPC when it is first called."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        dispatcher: Dispatcher,
        faults: Faults,
        predictions: ThreadPoolExecutor,
    ) -> None:
        self._predictions = predictions
        self._methods = methods
        self._dispatcher = dispatcher
        self._faults = faults
        self._made: dict[str, Any] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        path: str = handler_call_details.method
        metadata: Any = handler_call_details.invocation_metadata
        for key, value in metadata:
            if why := sent_by_page(key.encode(), value if isinstance(value, bytes) else value.encode()):
                return _refusing(ApiError(Code.PERMISSION_DENIED, why))
        handler = self._made.get(path)
        if handler is None:
            method = self._methods.get(path)
            if method is None:
                return _refusing(not_implemented(path[1:].replace("/", ".")))
            handler = self._made[path] = self._handler(method)
        return handler

    def _handler(self, method: Method) -> Any:
        codec: dict[str, Any] = {
            # ``type[Message]`` has these as class methods; generic handlers want functions.
            "request_deserializer": method.request.FromString,
            "response_serializer": method.response.SerializeToString,
        }
        if not method.server_streaming:
            return grpc.unary_unary_rpc_method_handler(self._placed(method, self._unary(method)), **codec)
        stream = self._placed(method, self._stream(method))
        if method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(stream, **codec)
        return grpc.unary_stream_rpc_method_handler(stream, **codec)

    def _placed(self, method: Method, answer: Any) -> Any:
        """Have the answer to a prediction made in a thread of the predictions' own."""
        if method.service == _PREDICTIONS:
            # gRPC's way to choose a pool by method; without it, the answer is made in the pool of all.
            answer.experimental_thread_pool = self._predictions
        return answer

    def _unary(self, method: Method) -> Callable[[Message, grpc.ServicerContext], Message]:
        def answer(request: Message, context: grpc.ServicerContext) -> Message:
            _log.debug("gRPC %s", method.full_name)
            fault = self._faults.for_method(method)
            try:
                _before(fault)
                reply = self._dispatcher.call(method, request)
                _after(fault)
            except ApiError as error:
                _abort(context, error)
            _say(context, reply.headers)
            return reply.content

        return answer

    def _stream(self, method: Method) -> Callable[[Any, grpc.ServicerContext], Iterator[Message]]:
        def answer(request: Any, context: grpc.ServicerContext) -> Iterator[Message]:
            _log.debug("gRPC %s", method.full_name)
            fault = self._faults.for_method(method)
            try:
                _before(fault)
                reply = self._dispatcher.stream(method, request)
                _say(context, reply.headers)
                yield from reply.content
                _after(fault)
            except ApiError as error:
                _abort(context, error)

        return answer


def _refusing(error: ApiError) -> Any:
    def answer(_request: bytes, context: grpc.ServicerContext) -> bytes:
        _abort(context, error)

    return grpc.unary_unary_rpc_method_handler(answer)


def _say(context: grpc.ServicerContext, headers: Mapping[str, str]) -> None:
    if headers:
        context.send_initial_metadata(tuple((name.lower(), value) for name, value in headers.items()))


def _abort(context: grpc.ServicerContext, error: ApiError) -> NoReturn:
    context.abort(_STATUS[error.code.number], error.message)
    raise AssertionError("abort does not return")


def _before(fault: Fault | None) -> None:
    if fault is not None:
        fault.wait()
        if not fault.after_work:
            _raise(fault)


def _after(fault: Fault | None) -> None:
    if fault is not None and fault.after_work:
        _raise(fault)


def _raise(fault: Fault) -> None:
    """Fail as the fault says; a reset as gRPC clients see one, for the socket is not ours to close."""
    if fault.reset:
        raise ApiError(*_RESET)
    if fault.status is not None:
        raise fault.error()
