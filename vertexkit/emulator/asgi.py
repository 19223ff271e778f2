"""What the HTTP applications of the emulator share: types, reading a body, one whole reply.

Source: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import orjson

from vertexkit.emulator.errors import ApiError, Code

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON = "application/json; charset=UTF-8"


TooLarge = Callable[[int, int], ApiError]
"""Makes the answer to a body of so many bytes (as far as is known) where so many are allowed."""


def too_large(_size: int, limit: int) -> ApiError:
    """The answer to a body of more than ``limit`` bytes."""
    return ApiError(Code.INVALID_ARGUMENT, f"Request payload size exceeds the limit: {limit} bytes.")


async def read_body(scope: Scope, receive: Receive, limit: int, *, refusal: TooLarge = too_large) -> bytes:
    """The whole body of a request, unpacked if it came with ``Content-Encoding: gzip``.

    Args:
        scope: The request's.
        receive: The request's.
        limit: Most bytes, packed or unpacked.
        refusal: Makes the answer to more.

    Raises:
        ApiError: INVALID_ARGUMENT if it is larger, not what its encoding says, or in an encoding
            other than gzip.
        ConnectionError: The client left before it was complete.
    """
    length = header(scope, b"content-length")
    if length is not None and int(length) > limit:
        # At once: what is refused all the same need not be kept until it has come.
        raise refusal(int(length), limit)
    body = await whole_body(receive, limit, refusal=refusal)
    encoding = (header(scope, b"content-encoding") or b"identity").strip().lower()
    if encoding == b"gzip":
        return _gunzip(body, limit, refusal)
    if encoding != b"identity":
        named = encoding.decode("latin-1")
        raise ApiError(Code.INVALID_ARGUMENT, f"Content-Encoding {named!r} is not supported: gzip is.")
    return body


async def whole_body(receive: Receive, limit: int | None = None, *, refusal: TooLarge = too_large) -> bytes:
    """The whole body of a request, as it came.

    Args:
        receive: The request's.
        limit: Most bytes; None for any number.
        refusal: Makes the answer to more.

    Raises:
        ApiError: INVALID_ARGUMENT if it is larger.
        ConnectionError: The client left before it was complete.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        # What came until now may pass for a whole body: an empty one asks for something else.
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client left before its request was complete")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if limit is not None and size > limit:
            raise refusal(size, limit)
        if not message.get("more_body"):
            return b"".join(parts)


def _gunzip(body: bytes, limit: int, refusal: TooLarge) -> bytes:
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise ApiError(Code.INVALID_ARGUMENT, f"The request body is not gzip: {error}") from error
    if len(plain) > limit:
        raise refusal(len(plain), limit)
    if not unpacker.eof:
        raise ApiError(Code.INVALID_ARGUMENT, "The gzip request body is cut short.")
    return plain


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of that (lower-case) name, or None."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None


async def reply(
    send: Send,
    status: int,
    body: bytes,
    *,
    content_type: str = JSON,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Send one whole response."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", content_type.encode("latin-1")),
                (b"content-length", str(len(body)).encode()),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


def error_json(error: ApiError) -> bytes:
    """Google's JSON for an error: https://cloud.google.com/apis/design/errors#http_mapping."""
    described = {
        "code": error.code.http_status,
        "message": error.message,
        "status": error.code.name,
    }
    return orjson.dumps({"error": described}, option=orjson.OPT_INDENT_2)


async def reply_error(send: Send, error: ApiError) -> None:
    """Send an error as the API does."""
    await reply(send, error.code.http_status, error_json(error))
