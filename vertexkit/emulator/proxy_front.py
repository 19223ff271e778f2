"""The proxy by which unmodified programs reach an emulator under Google's own names.

Programs that are told of it by ``HTTPS_PROXY`` ask it, with ``CONNECT``, for the hosts that they mean.
For Google's it answers itself, as those hosts: it ends TLS and hands the connection to gRPC or to
HTTP. For other hosts it may not (its certificate authority is bound to Google's names): they are passed
through unread, or refused.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from vertexkit.emulator.http_faults import MOST_HEADER_BYTES
from vertexkit.emulator.pass_through import PassThrough, Unreachable
from vertexkit.emulator.pipes import Held, join
from vertexkit.emulator.proxy_requests import BadRequest, ProxyRequest, parse

_SECONDS = 30.0
"""For a client to say what it wants, and again to finish the handshake of TLS."""
_LAST_SECONDS = 1.0
"""For a client to finish a request that has been refused already."""
_END = b"\r\n\r\n"
_CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"

_log = logging.getLogger(__name__)


class ProxyFront:
    """Answers ``CONNECT``, and requests for ``http://`` URLs.

    Args:
        context: TLS settings of a server that has certificates for Google's names.
        grpc_socket: Path of the Unix socket of the gRPC server.
        pass_through: What leads to other hosts; None to refuse them.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        grpc_socket: str,
        pass_through: PassThrough | None,
    ) -> None:
        self._context = context
        self._grpc_socket = grpc_socket
        self._pass_through = pass_through
        self._server: asyncio.Server | None = None
        self._transports: set[Any] = set()
        self._leading: set[asyncio.Task[None]] = set()

    async def start(self, listening: socket.socket, http: Callable[[], asyncio.Protocol]) -> None:
        """Serve.

        Args:
            listening: A socket that is bound already.
            http: Makes the protocol of an HTTP/1.1 connection to one of Google's hosts.
        """
        self._http = http
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Arrival(self), sock=listening)

    def stop_listening(self) -> None:
        """Take no more connections; those that are there go on."""
        if self._server is not None:
            self._server.close()

    def close(self) -> None:
        """Drop the connections that are still there."""
        self.stop_listening()
        for task in self._leading:
            task.cancel()
        for transport in self._transports:
            transport.abort()

    def arrived(self, transport: Any) -> None:
        """Remember a connection for ``close``, whoever looks after it from now on."""
        self._transports = {known for known in self._transports if not known.is_closing()} | {transport}

    def led(self, task: asyncio.Task[None]) -> None:
        """Remember who brings a connection on its way, until it is there."""
        self._leading.add(task)
        task.add_done_callback(self._leading.discard)

    async def lead(self, client: Any, request: ProxyRequest, head: bytes, received: bytes) -> None:
        """Bring a connection to where it wants to be.

        Args:
            client: Its transport, which does not read.
            request: What it asks for.
            head: That, as it came.
            received: What has come after it.

        Raises:
            Refused, BadRequest, Unreachable: What the client is to be told.
            OSError: There is nobody left to tell.
        """
        _log.debug("proxy %s %s", request.method, request.authority)
        if request.is_metadata:
            # Not passed through either: on one of Google's machines, that is somebody's real identity.
            raise Refused(HTTPStatus.NOT_FOUND, "There is no metadata server here.")
        if request.is_google and request.port != request.usual_port:
            raise Refused(HTTPStatus.FORBIDDEN, f"{request.host} has no port {request.port}.")
        if request.is_google and request.tunnel:
            if received:
                raise BadRequest("TLS has to wait for the answer to CONNECT.")
            await self._end_tls(client)
        elif request.is_google:
            _hand_over(client, self._http(), head + received)
            client.resume_reading()
        elif self._pass_through is None:
            raise Refused(
                HTTPStatus.FORBIDDEN,
                f"{request.host} is not googleapis.com, and this local Vertex AI lets no other host through: "
                "start it with --pass-through",
            )
        else:
            passage = await self._pass_through.connect(request, head)
            if request.tunnel:
                client.write(_CONNECTED)
            join(client, passage.head + received, passage.transport, passage.received)
            client.resume_reading()

    async def _end_tls(self, client: Any) -> None:
        loop = asyncio.get_running_loop()
        client.write(_CONNECTED)
        client.resume_reading()
        held = Held()
        tls: Any = await loop.start_tls(
            client, held, self._context, server_side=True, ssl_handshake_timeout=_SECONDS
        )
        if tls.get_extra_info("ssl_object").selected_alpn_protocol() == "h2":
            inner, grpc = await loop.create_unix_connection(Held, self._grpc_socket)
            join(tls, held.received, inner, grpc.received)
        else:
            _hand_over(tls, self._http(), held.received)


class Refused(Exception):
    """What is asked for is known, and not to be had."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Arrival(asyncio.Protocol):
    """A connection of which nobody knows yet where it wants to be."""

    def __init__(self, front: ProxyFront) -> None:
        self._front = front
        self._transport: Any = None
        self._received = b""
        self._deadline: asyncio.TimerHandle | None = None
        self._known = False
        """Whether it has said what it wants."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._front.arrived(transport)
        self._deadline = asyncio.get_running_loop().call_later(_SECONDS, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._known:
            return  # The rest of what is refused.
        self._received += data
        head, end, rest = self._received.partition(_END)
        if end:
            self._known = True
            self._settle()
            # What follows is for whom it will be led to.
            self._transport.pause_reading()
            leading = self._lead(head + end, rest)
            self._front.led(asyncio.get_running_loop().create_task(leading))
        elif len(self._received) > MOST_HEADER_BYTES:
            self._known = True
            self._settle()
            self._answer(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The request's headers are too large.")

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle()

    def _settle(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()

    async def _lead(self, head: bytes, received: bytes) -> None:
        try:
            await self._front.lead(self._transport, parse(head), head, received)
        except Refused as refusal:
            self._answer(refusal.status, str(refusal))
        except BadRequest as error:
            self._answer(HTTPStatus.BAD_REQUEST, str(error))
        except Unreachable as error:
            self._answer(HTTPStatus.BAD_GATEWAY, str(error))
        except OSError as error:
            # A handshake that failed: most often, the client does not trust the certificate.
            _log.debug("a connection through the proxy ended early: %s", error)
            self._transport.abort()
        except BaseException:
            self._transport.abort()
            raise

    def _answer(self, status: HTTPStatus, why: str) -> None:
        # In the first line too: it is all that most clients show of the answer to CONNECT.
        line = f"HTTP/1.1 {status.value} {why}".encode("latin-1", "replace")
        body = f"{why}\n".encode()
        fields = b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close"
        self._transport.write(b"\r\n".join((line, fields % len(body), b"", body)))
        # To close now, with a body on its way, would be a reset, which takes the answer away.
        self._transport.write_eof()
        self._transport.resume_reading()
        self._deadline = asyncio.get_running_loop().call_later(_LAST_SECONDS, self._transport.close)


def _hand_over(transport: Any, protocol: asyncio.Protocol, received: bytes) -> None:
    """Let a protocol have a connection, with what has come by it."""
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    if received:
        protocol.data_received(received)
