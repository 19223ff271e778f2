"""Requests whose client leaves before they are complete: nothing is done of what was only half asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from local_services import Vertex

from vertexkit.emulator.asgi import whole_body
from vertexkit.emulator.dispatch import Dispatcher
from vertexkit.emulator.faults import Faults
from vertexkit.emulator.methods import AIPLATFORM, methods
from vertexkit.emulator.rest_front import RestFront
from vertexkit.emulator.serving.model_server.app import model_app

GONE = {"type": "http.disconnect"}
HALF = {"type": "http.request", "body": b'{"inst', "more_body": True}
WHOLE = {"type": "http.request", "body": b"{}", "more_body": False}


def answered(
    application: Any, verb: str, path: str, messages: Iterable[Any], query: bytes = b""
) -> list[Any]:
    """What an application sends to a client from which these messages arrive."""
    arriving, sent = iter(messages), []

    async def receive() -> Any:
        return next(arriving)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": verb,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": [],
    }
    asyncio.run(application(scope, receive, send))
    return sent


@pytest.mark.parametrize("messages", [[GONE], [HALF, GONE]])
def test_an_update_whose_client_leaves_changes_nothing(vertex: Vertex, messages: list[Any]) -> None:
    name = vertex.create_endpoint()
    vertex.deploy(name, vertex.upload())
    before = vertex.endpoint(name)
    services = {f"{AIPLATFORM}.EndpointService": vertex.endpoints}
    front = RestFront(methods(), Dispatcher(services), None, Faults(allowed=False))
    try:
        mask = b"updateMask=trafficSplit,displayName"
        assert answered(front, "PATCH", f"/v1/{name}", messages, mask) == []
    finally:
        front.close()
    assert vertex.endpoint(name) == before
    assert list(before.traffic_split.values()) == [100]


@pytest.mark.parametrize("messages", [[GONE], [HALF, GONE]])
def test_a_model_server_takes_no_part_of_a_request_for_the_whole(messages: list[Any]) -> None:
    class Model:
        def decode(self, body: bytes, *, values: bool) -> Any:
            raise AssertionError(f"asked to decode {body!r}")

    app = model_app(Model(), health_route="/health", predict_route="/predict")  # type: ignore[arg-type]  # never reached
    assert answered(app, "POST", "/predict", messages) == []


def test_a_body_in_pieces_is_put_together() -> None:
    arriving = iter([HALF, WHOLE])

    async def receive() -> Any:
        return next(arriving)

    assert asyncio.run(whole_body(receive)) == b'{"inst{}'
