"""Google's host names, and what answers for each: an ASGI application behind the proxy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from vertexkit.emulator.asgi import Application, Receive, Scope, Send, header, reply_error
from vertexkit.emulator.dispatch import not_implemented
from vertexkit.emulator.errors import ApiError

_API = re.compile(r"([a-z0-9-]+-)?aiplatform(\.[a-z0-9-]+\.rep)?\.googleapis\.com")
_STORAGE = re.compile(r"storage(\.[a-z0-9-]+\.rep)?\.googleapis\.com")
_BUCKET = re.compile(r"(?P<bucket>.+)\.storage\.googleapis\.com")
_SHARED = "www.googleapis.com"
_STORAGE_PATHS = ("/storage/", "/upload/storage/", "/download/storage/", "/resumable/upload/", "/batch")
_TOKEN_HOSTS = frozenset({_SHARED, "oauth2.googleapis.com"})
_TOKEN_PATHS = frozenset({"/token", "/oauth2/v4/token"})


class GoogleHosts:
    """Answers requests by the host that they name; what only Google has is refused by name.

    Args:
        api: The API's REST rules.
        storage: Cloud Storage; its ``/token`` gives out tokens.
        more: What answers for other hosts, by host and by how the path begins.
    """

    def __init__(
        self, api: Application, storage: Application, more: Mapping[str, Mapping[str, Application]]
    ) -> None:
        self._api = api
        self._storage = storage
        self._more = more

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            application, scope = self._chosen(scope)
            await application(scope, receive, send)
        except ApiError as error:
            await reply_error(send, error)
        except ConnectionError:
            return  # There is nobody left to answer.

    def _chosen(self, scope: Scope) -> tuple[Application, Scope]:
        host = (header(scope, b"host") or b"").decode("latin-1").partition(":")[0]
        host = host.lower().removesuffix(".")
        path: str = scope["path"]
        if _API.fullmatch(host):
            return self._api, scope
        if _STORAGE.fullmatch(host) or (host == _SHARED and path.startswith(_STORAGE_PATHS)):
            return self._storage, scope
        if host in _TOKEN_HOSTS and path in _TOKEN_PATHS:
            return self._storage, {**scope, "path": "/token", "raw_path": b"/token"}
        if bucket := _BUCKET.fullmatch(host):
            prefix = f"/{bucket['bucket']}"
            raw_path = quote(prefix).encode() + scope["raw_path"]
            return self._storage, {**scope, "path": prefix + path, "raw_path": raw_path}
        for prefix, application in self._more.get(host, {}).items():
            if path.startswith(prefix):
                return application, scope
        raise not_implemented(f"{host} ({scope['method']} {path})")
