"""Batches: up to 100 calls of the JSON API in one request.

Source: https://cloud.google.com/storage/docs/batch
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from vertexkit.emulator.gcs import errors
from vertexkit.emulator.gcs.http import Receive, Request, Response, Scope
from vertexkit.emulator.gcs.json_errors import json_error
from vertexkit.emulator.gcs.multipart import Part, boundary_of, split_parts

MAX_CALLS = 100

Answer = Callable[[Request], Awaitable[Response]]


class Batch:
    """The batch endpoint."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def run(self, request: Request) -> Response:
        """Carry out the calls, one after the other, and answer each."""
        boundary = boundary_of(request.header(b"content-type"), "multipart/mixed")
        parts = split_parts(await request.body(), boundary)
        if len(parts) > MAX_CALLS:
            raise errors.invalid(f"A batch holds at most {MAX_CALLS} calls, not {len(parts)}.")
        border = f"batch_{secrets.token_hex(16)}"
        pieces = [f"--{border}\r\n".encode() + await self._answered(request, part) for part in parts]
        body = b"\r\n".join([*pieces, f"--{border}--\r\n".encode()])
        return Response(200, [(b"content-type", f"multipart/mixed; boundary={border}".encode())], body)

    async def _answered(self, request: Request, part: Part) -> bytes:
        try:
            response = await self._carried_out(Request(*_inner(request, part)))
        except errors.StorageError as error:
            # Those before it have been carried out: it alone is refused.
            response = json_error(request, error)
        head = [f"HTTP/1.1 {response.status} {_phrase(response.status)}".encode()]
        head += [b"%s: %s" % header for header in response.headers]
        head.append(b"content-length: %d" % len(response.body))
        content_id = part.headers.get("content-id", "").strip("<>")
        outer = f"Content-Type: application/http\r\nContent-ID: <response-{content_id}>\r\n\r\n"
        return outer.encode() + b"\r\n".join(head) + b"\r\n\r\n" + response.body

    async def _carried_out(self, inner: Request) -> Response:
        path = inner.scope["raw_path"]
        if not path.startswith(b"/storage/v1/") or inner.query.get("alt") == "media":
            raise errors.invalid(
                "A batch holds calls of the JSON API that neither upload nor download content."
            )
        return await self._answer(inner)


def _inner(request: Request, part: Part) -> tuple[Scope, Receive]:
    """The call in a part, as if it had come on its own."""
    head, _, body = part.body.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    method, blank, rest = first.partition(b" ")
    if not blank:
        raise errors.invalid("A part of the batch is no HTTP request.")
    try:
        url = urlsplit(rest.rpartition(b" ")[0] if b" HTTP/" in rest else rest)
    except ValueError:
        raise errors.invalid("A part of the batch has no valid URL.") from None
    headers = []
    for line in lines:
        name, _, value = line.partition(b":")
        headers.append((name.strip().lower(), value.strip()))
    if not any(name == b"host" for name, _ in headers):
        headers.append((b"host", request.headers.get(b"host", b"localhost")))
    scope = {
        "type": "http",
        "method": method.decode("latin-1").upper(),
        "scheme": request.scope["scheme"],
        "raw_path": url.path,
        "query_string": url.query,
        "headers": headers,
    }

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body.removesuffix(b"\r\n"), "more_body": False}

    return scope, receive


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
