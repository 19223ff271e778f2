"""A lean HTTP/1.1 client for Unix sockets: kept connections, one request at a time on each.

The routing of every prediction passes through here, and a general HTTP client would cost more than
the prediction itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path
from typing import Any, cast

import httptools

from vertexkit.emulator.serving.types import ServingReply


class ConnectionLost(Exception):
    """A connection ended before the whole answer came.

    Attributes:
        sent: Whether the request had been handed to the connection.
    """

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Connection(asyncio.Protocol):
    """One connection. Ask it only when it is idle."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._answer: asyncio.Future[ServingReply] | None = None
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []

    @property
    def usable(self) -> bool:
        """Whether a request may be sent on it."""
        transport = self._transport
        return transport is not None and not transport.is_closing() and self._answer is None

    def ask(self, request: bytes, body: bytes) -> asyncio.Future[ServingReply]:
        """Send a request; the future gets the reply, or :class:`ConnectionLost`."""
        assert self._transport is not None
        self._answer = self._loop.create_future()
        if len(body) < _JOINED_BYTES:
            self._transport.write(request + body)
        else:
            self._transport.writelines((request, body))
        return self._answer

    def abort(self) -> None:
        """Drop the connection at once, with whatever it is doing."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        # uvloop's transports are no subclasses of asyncio's, though they have all of their methods.
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        """Some of an answer came."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionLost(f"the model server does not speak HTTP: {error}", sent=True))
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._transport = None
        self._fail(ConnectionLost(f"the model server closed the connection ({exc or 'end'})", sent=True))

    def on_message_begin(self) -> None:
        """httptools: an answer starts."""
        self._headers = {}
        self._chunks = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools: one header of the answer."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """httptools: some of the answer's body."""
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        """httptools: the whole answer is there."""
        answer, self._answer = self._answer, None
        if not self._parser.should_keep_alive():
            self.abort()
        if answer is not None and not answer.done():
            body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            answer.set_result(ServingReply(self._parser.get_status_code(), self._headers, body))

    def _fail(self, error: Exception) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(error)


# Below this, copying head and body into one write is cheaper than a second buffer.
_JOINED_BYTES = 32 * 1024


class ConnectionPool:
    """Kept connections to one socket, a bounded number of them.

    Args:
        path: The Unix socket.
        limit: How many connections there may be; further requests wait for one.
    """

    def __init__(self, path: Path, limit: int = 64) -> None:
        self._path = str(path)
        self._limit = limit
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._opening = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def request(self, head: bytes, body: bytes) -> ServingReply:
        """Send a request on some connection and wait for its answer.

        Args:
            head: Request line and headers, with the blank line.
            body: The body.

        Raises:
            ConnectionLost: The connection could not be opened, or ended before the answer.
        """
        connection = await self._take()
        try:
            return await connection.ask(head, body)
        finally:
            # A connection that was left in the middle of an answer (on a timeout) is not usable.
            if connection.usable:
                self._idle.append(connection)
            else:
                connection.abort()
                self._all.discard(connection)
            self._wake_one()

    def close(self) -> None:
        """Drop every connection; requests on them get :class:`ConnectionLost`."""
        for connection in list(self._all):
            connection.abort()
        self._idle.clear()
        self._all.clear()

    async def _take(self) -> Connection:
        while True:
            while self._idle:
                connection = self._idle.pop()
                if connection.usable:
                    return connection
                self._all.discard(connection)
            if len(self._all) + self._opening < self._limit:
                return await self._open()
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                # The turn that has been given must not be lost with the one who waited for it.
                if turn.done() and not turn.cancelled():
                    self._wake_one()
                raise

    async def _open(self) -> Connection:
        self._opening += 1
        try:
            _, connection = await asyncio.get_running_loop().create_unix_connection(Connection, self._path)
        except OSError as error:
            self._wake_one()
            raise ConnectionLost(f"the model server takes no connection: {error}", sent=False) from error
        finally:
            self._opening -= 1
        self._all.add(connection)
        return connection

    def _wake_one(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return


def request_head(method: str, path: str, length: int, headers: dict[str, str] | None = None) -> bytes:
    """Request line and headers of a request with ``length`` bytes of body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: model-server", f"Content-Length: {length}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
