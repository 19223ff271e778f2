"""The model server's HTTP face: the health and the predict route, as raw ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson

from vertexkit.emulator.serving.model_server.errors import RequestError
from vertexkit.emulator.serving.model_server.model import ServedModel

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_HEALTHY = orjson.dumps(
    {
        "model_version_status": [
            {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }
)
_THREADS = 4


def model_app(model: ServedModel, *, health_route: str, predict_route: str) -> App:
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
            body = await _read(receive)
            if model.answers_at_once(body):
                # Handing a request to a thread costs more than such an answer does.
                status, reply = _answer(model, body)
            else:
                loop = asyncio.get_running_loop()
                status, reply = await loop.run_in_executor(executor, _answer, model, body)
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


def _answer(model: ServedModel, body: bytes) -> tuple[int, bytes]:
    try:
        return 200, model.predict(body)
    except RequestError as error:
        return error.status, _error(error.message)


async def _read(receive: Receive) -> bytes:
    message = await receive()
    if not message.get("more_body", False):
        return bytes(message.get("body", b""))
    chunks = [message["body"]]
    while message.get("more_body", False):
        message = await receive()
        chunks.append(message.get("body", b""))
    return b"".join(chunks)


def _error(message: str) -> bytes:
    return orjson.dumps({"error": message})
