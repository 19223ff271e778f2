"""Requests to the Cloud Storage API without a server in between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from vertexkit.emulator.gcs.app import StorageApp


class Answer(NamedTuple):
    """What the API answered."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which is JSON."""
        return orjson.loads(self.body)


async def ask(
    app: StorageApp,
    method: str,
    url: str,
    body: Any = b"",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send one request; a body that is not bytes is sent as JSON."""
    sent: list[Any] = []
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    parts = urlsplit(url)

    async def receive() -> Any:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "scheme": "http",
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
    }
    await app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(sent[0]["status"], dict(sent[0]["headers"]), content)
