"""Requests and responses, as close to ASGI as they can be: a small object costs little else than this."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import orjson

from vertexkit.emulator.gcs import errors

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_FILE_BLOCK = 1 << 20
_JSON_LIMIT = 8 << 20


class ClientGone(Exception):
    """The client closed the connection before its request was whole."""


class Request:
    """One request."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.headers: Mapping[bytes, bytes] = dict(scope["headers"])
        """The headers, names in lower case; of a repeated one, the last."""
        self._receive = receive

    @cached_property
    def query(self) -> Mapping[str, str]:
        """The parameters of the query; of a repeated one, the last."""
        query = self.scope["query_string"]
        return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)) if query else {}

    def header(self, name: bytes) -> str | None:
        """A header as text; values that a repeated one has are joined by commas."""
        if name not in self.headers:
            return None
        return ",".join(header_text(value) for key, value in self.scope["headers"] if key == name)

    def flag(self, name: str) -> bool:
        """Whether a parameter of the query says yes."""
        return self.query.get(name, "").lower() == "true"

    @property
    def content_length(self) -> int | None:
        """The size of the body, if the client says it."""
        length = self.headers.get(b"content-length")
        return int(length) if length is not None and length.isdigit() else None

    @property
    def base_url(self) -> str:
        """``http://host:port`` as the client wrote it."""
        host = self.headers.get(b"host", b"localhost").decode("latin-1")
        return f"{self.scope['scheme']}://{host}"

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, piece by piece.

        Raises:
            ClientGone: The connection broke before the end.
        """
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            body = message.get("body", b"")
            if body:
                yield body
            if not message.get("more_body", False):
                return

    async def body(self, limit: int = _JSON_LIMIT) -> bytes:
        """The whole body.

        Raises:
            ClientGone: The connection broke before the end.
            StorageError: 413; it has more than ``limit`` bytes.
        """
        pieces = []
        size = 0
        async for piece in self.chunks():
            size += len(piece)
            if size > limit:
                raise errors.StorageError(
                    413, "uploadTooLarge", "The request is too large.", "EntityTooLarge"
                )
            pieces.append(piece)
        return b"".join(pieces)

    async def gone(self) -> None:
        """Return when the client has closed the connection; of a request whose body nobody else reads."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def json(self) -> dict[str, Any]:
        """The body, a JSON object; empty counts as ``{}``.

        Raises:
            StorageError: 400; it is something else.
        """
        return parse_json(await self.body())


def parse_json(body: bytes) -> dict[str, Any]:
    """A JSON object; empty counts as ``{}``.

    Raises:
        StorageError: 400; it is something else.
    """
    if not body.strip():
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise errors.invalid(f"Parse Error: {error}", reason="parseError") from None
    if not isinstance(value, dict):
        raise errors.invalid("Parse Error: the body is not a JSON object.", reason="parseError")
    return value


def percent_decoded(raw: bytes) -> str:
    """A piece of a URL as text.

    Raises:
        StorageError: 400; it is not UTF-8.
    """
    try:
        return (unquote_to_bytes(raw) if b"%" in raw else raw).decode()
    except UnicodeDecodeError:
        raise errors.invalid("The URL is not valid UTF-8.") from None


class Response:
    """An answer that is in memory."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Headers | None = None, body: bytes = b"") -> None:
        self.status = status
        self.headers: Headers = [] if headers is None else headers
        self.body = body

    async def send(self, send: Send, *, head: bool = False) -> None:
        """Send it; for a HEAD request, without the body."""
        headers = self.headers
        # A 304 or 204 has no body, and an HTTP/1.1 client waits for none.
        if self.status not in (204, 304) and not any(name == b"content-length" for name, _ in headers):
            headers = [*headers, (b"content-length", b"%d" % len(self.body))]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head else self.body})

    def close(self) -> None:
        """Let go of what the answer holds."""


class FileResponse(Response):
    """A piece of an open file, which is closed after it."""

    __slots__ = ("_fd", "_length", "_start")

    def __init__(self, status: int, headers: Headers, fd: int, start: int, length: int) -> None:
        super().__init__(status, [*headers, (b"content-length", b"%d" % length)])
        self._fd = fd
        self._start = start
        self._length = length

    async def send(self, send: Send, *, head: bool = False) -> None:
        """Send it block by block, as fast as the client takes it.

        Raises:
            EOFError: The file has been cut short; the connection must be closed, so that the client notices.
        """
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        at, end = self._start, self._start if head else self._start + self._length
        while end - at > _FILE_BLOCK:
            block = os.pread(self._fd, _FILE_BLOCK, at)
            if not block:
                raise EOFError("the file of the object has been cut short")
            at += len(block)
            await send({"type": "http.response.body", "body": block, "more_body": True})
        block = os.pread(self._fd, end - at, at)
        if len(block) < end - at:
            raise EOFError("the file of the object has been cut short")
        await send({"type": "http.response.body", "body": block})

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class StreamResponse(Response):
    """An answer whose size nobody knows yet."""

    __slots__ = ("_blocks", "_fd")

    def __init__(self, status: int, headers: Headers, blocks: Iterator[bytes], fd: int) -> None:
        super().__init__(status, headers)
        self._blocks = blocks
        self._fd = fd

    async def send(self, send: Send, *, head: bool = False) -> None:
        """Send it block by block."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        if not head:
            for block in self._blocks:
                await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def close(self) -> None:
        """Close the file that the blocks come from."""
        os.close(self._fd)


def header_text(value: bytes) -> str:
    """A header's value; the service takes UTF-8 in customer metadata."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
