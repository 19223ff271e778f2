"""A session's parts around autospecced Google clients: everything of ours is real, nothing is sent."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import requests
from google.cloud.aiplatform_v1.services.endpoint_service import EndpointServiceClient
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient
from google.longrunning import operations_pb2
from google.rpc import status_pb2

from vertexkit._core.context import Context
from vertexkit._core.rpc import Clients
from vertexkit._core.target import Target
from vertexkit.cleanup import Created

PROJECT, LOCATION = "my-project", "us-central1"
PARENT = f"projects/{PROJECT}/locations/{LOCATION}"
LABELS = {"vertexkit_session": "s1"}

TARGET = Target(
    project=PROJECT,
    location=LOCATION,
    rest_url="https://rest.test",
    grpc_address="grpc.test:443",
    storage_url="https://storage.test",
    anonymous=True,
)


class Clock:
    """A time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 1.0)


class Rest:
    """What the REST API answers: JSON or bytes by path, a callable for it, or an HTTP status for an error.

    A path may have the verb before it, ``"POST projects/..."``, which goes before the path alone.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.bodies: list[Any] = []

    @property
    def posts(self) -> list[str]:
        """The paths of what was asked to be made or done."""
        return [path for verb, path, _ in self.asked if verb == "POST"]

    def request(self, verb: str, url: str, **options: Any) -> requests.Response:
        path = url.removeprefix("https://rest.test/v1/")
        self.asked.append((verb, path, dict(options.get("params") or {})))
        if options.get("data"):
            self.bodies.append(json.loads(options["data"]))
        answer = self.answers.get(f"{verb} {path}", self.answers.get(path, 404))
        if callable(answer):
            answer = answer()
        reply = requests.Response()
        reply.status_code = answer if isinstance(answer, int) else 200
        body = {"error": {"message": f"HTTP {answer}"}} if isinstance(answer, int) else answer
        reply._content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return reply


class Doubles:
    """A context, and the doubles below it."""

    def __init__(self) -> None:
        self.rest = Rest()
        self.models = create_autospec(ModelServiceClient, instance=True)
        self.endpoints = create_autospec(EndpointServiceClient, instance=True)
        http = create_autospec(requests.Session, instance=True)
        http.request.side_effect = self.rest.request
        self.clients = Clients(TARGET)
        self.clients._built.update(models=self.models, endpoints=self.endpoints, http=http)
        self.context = Context(
            target=TARGET,
            clients=self.clients,
            created=Created(),
            labels=LABELS,
            bucket="my-bucket",
            progress=False,
        )

    def sent(self, service: str, method: str) -> list[Any]:
        """The request messages that a method of ``models`` or ``endpoints`` was called with."""
        return [call.kwargs["request"] for call in getattr(getattr(self, service), method).call_args_list]


def done(response: Any = None, *, name: str = "operations/1") -> Any:
    """What a method that starts an operation returns, when that is over at once."""
    operation = operations_pb2.Operation(name=name, done=True)
    if response is None:
        operation.response.value = b""
    else:
        operation.response.Pack(type(response).pb(response))
    return SimpleNamespace(operation=operation)


def failed(code: int, message: str) -> Any:
    """The same, when the operation has failed."""
    error = status_pb2.Status(code=code, message=message)
    return SimpleNamespace(operation=operations_pb2.Operation(name="operations/1", done=True, error=error))


def running(name: str = "operations/1") -> Any:
    """The same, when the operation goes on."""
    return SimpleNamespace(operation=operations_pb2.Operation(name=name))


def in_turn(*answers: Any) -> Callable[..., Any]:
    """A side effect that gives (or raises) one answer after another."""
    left: Iterator[Any] = iter(answers)

    def answer(*_: Any, **__: Any) -> Any:
        value = next(left)
        if isinstance(value, BaseException):
            raise value
        return value

    return answer


def in_turn_forever(*answers: Any) -> Callable[[], Any]:
    """What gives one answer after another, and then the last again and again."""
    left = itertools.chain(answers, itertools.repeat(answers[-1]))
    return lambda: next(left)
