"""What an emulator says about itself, under ``/emulator`` of the REST port."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import parse_qs

import orjson

from vertexkit.emulator.asgi import Application, Receive, Scope, Send, read_body, reply
from vertexkit.emulator.environment import program_environment
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.faults import Faults
from vertexkit.emulator.options import EmulatorInfo

_MOST_BYTES = 1 << 20


def about(info: EmulatorInfo, faults: Faults) -> Mapping[str, Application]:
    """The applications that tell of an emulator, by their paths.

    Args:
        info: What ``GET /emulator`` answers; ``GET /emulator/environment`` has what leads programs to it.
        faults: What ``GET`` and ``PUT /emulator/faults`` are about.
    """

    def environment(query: Mapping[str, str]) -> dict[str, str]:
        return program_environment(info, query.get("project"), query.get("location"))

    return {
        "/emulator": _Told(lambda _query: asdict(info)),
        "/emulator/environment": _Told(environment),
        "/emulator/faults": _FaultRules(faults),
    }


class _Told:
    """Answers GET with an object."""

    def __init__(self, tell: Callable[[Mapping[str, str]], Mapping[str, Any]]) -> None:
        self._tell = tell

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            raise _nothing_here(scope)
        query = parse_qs(scope["query_string"].decode("latin-1"))
        await reply(send, 200, orjson.dumps(self._tell({name: values[-1] for name, values in query.items()})))


class _FaultRules:
    """Answers what is asked about the rules of what shall go wrong, and changes them."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "PUT":
            self._faults.replace(await read_body(scope, receive, _MOST_BYTES))
        elif scope["method"] != "GET":
            raise _nothing_here(scope)
        await reply(send, 200, orjson.dumps(self._faults.report()))


def _nothing_here(scope: Scope) -> ApiError:
    return ApiError(Code.NOT_FOUND, f"Method not found: {scope['method']} {scope['path']}")
