"""Faults, done to HTTP: wrong answers, late answers and broken connections."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import MutableMapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vertexkit.emulator.asgi import Application, Receive, Scope, Send, reply_error
from vertexkit.emulator.faults import Fault, Faults

_BREAK = "vertexkit.break"
MOST_HEADER_BYTES = 64 * 1024


class EmulatorProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, with bounded headers and connections that an application can break."""

    _unfinished: int | None = None
    """Bytes of a request whose headers have not all come; None between."""

    def on_message_begin(self) -> None:
        """Offer the extension with every request."""
        super().on_message_begin()
        self._unfinished = 0
        self.scope["extensions"] = {_BREAK: {"transport": self.transport}}

    def on_headers_complete(self) -> None:
        """Pass the request on."""
        self._unfinished = None
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Take what came, unless it is headers without an end, which the parser would keep for ever."""
        super().data_received(data)
        if self._unfinished is not None:
            self._unfinished += len(data)
            if self._unfinished > MOST_HEADER_BYTES and not self.transport.is_closing():
                self.send_400_response("Request headers are too large.")


class StorageFaults:
    """ASGI middleware that does the faults asked for to requests of Cloud Storage."""

    def __init__(self, application: Application, faults: Faults) -> None:
        self._application = application
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or fail to."""
        fault = self._faults.for_storage(scope["method"], scope["path"])
        if fault is None:
            await self._application(scope, receive, send)
        else:
            await suffer(fault, self._application, scope, receive, send)


async def suffer(fault: Fault, application: Application, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request as a fault says."""
    await asyncio.sleep(fault.latency)
    if fault.status is None and not fault.reset:
        await application(scope, receive, send)
        return
    if fault.after_work:

        async def swallow(_message: MutableMapping[str, Any]) -> None:
            """Lose the answer, not the work."""

        await application(scope, receive, swallow)
    if fault.reset:
        _break(scope["extensions"][_BREAK]["transport"])
    else:
        await reply_error(send, fault.error())


def _break(transport: Any) -> None:
    """Close a connection so that its peer sees a reset, where the system lets us."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in {socket.AF_INET, socket.AF_INET6}:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
