"""TLS on one port for both transports: what speaks HTTP/2 goes to gRPC, what speaks HTTP/1.1 to REST.

Google's client takes one ``api_endpoint`` for gRPC and REST alike, so both must answer at one
address; ALPN says which is meant. Bytes are passed on unread, so this costs one copy.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

from vertexkit.emulator.pipes import Dial, End

_log = logging.getLogger(__name__)


class TlsFront:
    """Ends TLS and passes each connection on by the protocol that it chose.

    Args:
        context: TLS settings of the server, offering ``h2`` and ``http/1.1``.
        grpc_socket: Path of the Unix socket of the gRPC server.
        rest_address: Host and port of the REST server.
    """

    def __init__(self, context: ssl.SSLContext, grpc_socket: str, rest_address: tuple[str, int]) -> None:
        self._context = context
        self._grpc_socket = grpc_socket
        self._rest_address = rest_address
        self._server: asyncio.Server | None = None
        self._clients: set[_Client] = set()

    async def start(self, listening: socket.socket) -> None:
        """Serve on a socket that is bound already."""
        loop = asyncio.get_running_loop()

        async def to_grpc(factory: Callable[[], asyncio.Protocol]) -> tuple[Any, Any]:
            return await loop.create_unix_connection(factory, self._grpc_socket)

        async def to_rest(factory: Callable[[], asyncio.Protocol]) -> tuple[Any, Any]:
            return await loop.create_connection(factory, *self._rest_address)

        self._server = await loop.create_server(
            lambda: _Client(to_grpc, to_rest, self._clients), sock=listening, ssl=self._context
        )

    def stop_listening(self) -> None:
        """Take no more connections; those that are there go on."""
        if self._server is not None:
            self._server.close()

    def close(self) -> None:
        """Drop the connections that are still there."""
        self.stop_listening()
        for client in list(self._clients):
            client.abort()


class _Client(End):
    """The client's end, which looks for its other end once TLS is up."""

    def __init__(self, to_grpc: Dial, to_rest: Dial, clients: set[_Client]) -> None:
        super().__init__()
        self._to_grpc = to_grpc
        self._to_rest = to_rest
        self._clients = clients
        self._early: list[bytes] = []
        self._dialling: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._clients.add(self)
        chosen = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        dial = self._to_grpc if chosen == "h2" else self._to_rest
        self._dialling = asyncio.get_running_loop().create_task(self._dial(dial))

    async def _dial(self, dial: Dial) -> None:
        inner = End()
        # Before dialling, for a gRPC server speaks first.
        inner.other = self
        try:
            await dial(lambda: inner)
        except OSError as error:
            _log.warning("nobody behind the TLS front: %s", error)
            self.transport.abort()
            return
        if self.transport.is_closing():
            inner.transport.close()
            return
        self.other = inner
        for data in self._early:
            inner.transport.write(data)
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            # Not much: dialling a neighbour takes microseconds.
            self._early.append(data)
        else:
            self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._clients.discard(self)

    def abort(self) -> None:
        """Drop the connection now."""
        self.transport.abort()
