"""Connections to hosts that are not Google's: direct, or by the proxy that the user's environment names."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from vertexkit.emulator.pipes import Held
from vertexkit.emulator.proxy_requests import ProxyRequest, passed_on

_SECONDS = 60.0
_END = b"\r\n\r\n"


class Unreachable(Exception):
    """The host, or the proxy on the way to it, does not let us through."""


@dataclass(frozen=True)
class Passage:
    """An open connection to where a request leads."""

    transport: Any
    received: bytes
    """What has come by it already."""
    head: bytes
    """The head of the request, as that side is to see it; empty for a tunnel."""


class PassThrough:
    """Opens connections to any host.

    Args:
        proxies: Proxies to go by, as ``urllib.request.getproxies_environment`` has them.
    """

    def __init__(self, proxies: Mapping[str, str]) -> None:
        self._proxies = proxies

    async def connect(self, request: ProxyRequest, head: bytes) -> Passage:
        """Connect to the host of a request.

        Args:
            request: The request.
            head: Its head, as it came.

        Raises:
            Unreachable: Nobody answers there, or a proxy refused.
        """
        try:
            async with asyncio.timeout(_SECONDS):
                proxy = self._proxy_for(request)
                if proxy is None:
                    transport, held = await self._dial(request.host, request.port, encrypted=False)
                    own = b"" if request.tunnel else passed_on(head, request, target=request.path)
                    return Passage(transport, held.received, own)
                return await self._by(proxy, request, head)
        except TimeoutError as error:
            raise Unreachable(f"{request.authority} does not answer.") from error
        except OSError as error:
            raise Unreachable(f"{request.authority} cannot be reached: {error}") from error

    def _proxy_for(self, request: ProxyRequest) -> SplitResult | None:
        named = self._proxies.get("https" if request.tunnel else "http") or self._proxies.get("all")
        if not named or is_bypassed(request.host, self._proxies.get("no", "")):
            return None
        proxy = urlsplit(named if "://" in named else f"http://{named}")
        if proxy.scheme not in {"http", "https"} or not proxy.hostname:
            raise Unreachable(f"The environment names a proxy that is not HTTP's: {proxy.scheme}.")
        return proxy

    async def _by(self, proxy: SplitResult, request: ProxyRequest, head: bytes) -> Passage:
        encrypted = proxy.scheme == "https"
        port = proxy.port or (443 if encrypted else 80)
        transport, held = await self._dial(proxy.hostname or "", port, encrypted=encrypted)
        fields: tuple[str, ...] = ()
        if proxy.username is not None:
            user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
            fields = (f"Proxy-Authorization: Basic {base64.b64encode(user.encode()).decode()}",)
        if not request.tunnel:
            url = f"http://{request.authority}{request.path}"
            return Passage(transport, b"", passed_on(head, request, target=url, fields=fields))
        asked = (f"CONNECT {request.authority} HTTP/1.1", f"Host: {request.authority}", *fields, "", "")
        try:
            transport.write("\r\n".join(asked).encode("latin-1"))
            while _END not in held.received:
                before = held.received
                if await held.more() == before:
                    raise Unreachable("The proxy that the environment names closed the connection.")
            answer, _, received = held.received.partition(_END)
            status = answer.partition(b"\r\n")[0].decode("latin-1")
            if not status.startswith(("HTTP/1.1 2", "HTTP/1.0 2")):
                raise Unreachable(f"The proxy that the environment names refused: {status[:200]}")
        except BaseException:
            transport.abort()
            raise
        return Passage(transport, received, b"")

    async def _dial(self, host: str, port: int, *, encrypted: bool) -> tuple[Any, Held]:
        context = ssl.create_default_context() if encrypted else None
        return await asyncio.get_running_loop().create_connection(Held, host, port, ssl=context)


def is_bypassed(host: str, no_proxy: str) -> bool:
    """Whether ``NO_PROXY`` names a host, or a domain that it is in."""
    domains = (entry.strip().lower().lstrip(".") for entry in no_proxy.split(","))
    return any(domain and (domain in {"*", host} or host.endswith(f".{domain}")) for domain in domains)
