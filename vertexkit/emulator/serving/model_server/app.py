"""The model server's HTTP face: the health and the predict route, as raw ASGI."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import orjson

from vertexkit.emulator.asgi import Application, Receive, Scope, Send, whole_body
from vertexkit.emulator.serving.model_server.errors import RequestError
from vertexkit.emulator.serving.model_server.model import ServedModel
from vertexkit.emulator.serving.types import VALUES_HEADER, Source

_HEALTHY = orjson.dumps(
    {
        "model_version_status": [
            {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }
)
_SOURCE_HEADER = VALUES_HEADER.lower().encode()
_SOURCES = {source.value.encode(): source for source in Source}
_THREADS = 4
# A larger body takes longer to decode than to hand to a thread.
_SMALL_BODY = 64 * 1024


def model_app(model: ServedModel, *, health_route: str, predict_route: str) -> Application:
    """The ASGI application that serves ``model``.

    Args:
        model: The loaded model.
        health_route: The path that answers 200 while the model is loaded.
        predict_route: The path that takes predict requests.
    """
    executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="predict")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        if path == predict_route and method == "POST":
            try:
                source = _SOURCES.get(dict(scope["headers"]).get(_SOURCE_HEADER, b""), Source.RAW)
                status, reply = 200, await _predict(model, await whole_body(receive), source, executor)
            except RequestError as error:
                status, reply = error.status, _error(error.message)
            except ConnectionError:
                return  # There is nobody left to answer.
        elif path == health_route and method == "GET":
            status, reply = 200, _HEALTHY
        else:
            status, reply = 404, _error(f"Malformed request: {method} {path}")
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", b"application/json"),
                    (b"content-length", str(len(reply)).encode()),
                ],
            }
        )
        await send({"type": "http.response.body", "body": reply})

    return app


async def _predict(model: ServedModel, body: bytes, source: Source, executor: ThreadPoolExecutor) -> bytes:
    loop = asyncio.get_running_loop()
    if len(body) > _SMALL_BODY:
        return await loop.run_in_executor(executor, lambda: model.answer(model.decode(body, source)))
    request = model.decode(body, source)
    if model.is_quick(request):
        # Handing such a request to a thread would cost more than answering it.
        return model.answer(request)
    return await loop.run_in_executor(executor, model.answer, request)


def _error(message: str) -> bytes:
    return orjson.dumps({"error": message})
