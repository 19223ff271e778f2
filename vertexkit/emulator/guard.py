"""Keeps web pages out: the emulator asks for no token, so a browser must not be able to drive it.

A page of another site cannot help sending ``Origin`` with what matters and ``Sec-Fetch-Site`` with
everything (an image or a script is fetched without an ``Origin``), and one that rebinds its own name
to 127.0.0.1 cannot help sending that name as ``Host``, and in the handshake of TLS.
"""

from __future__ import annotations

import ipaddress
import logging

from vertexkit.emulator.asgi import Application, Receive, Scope, Send, reply_error
from vertexkit.emulator.errors import ApiError, Code

_MOST_REMEMBERED = 256
_SITES = frozenset({b"none", b"same-origin"})
"""What ``Sec-Fetch-Site`` says of an address typed in, and of a page of this server's own.

Source: https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header
"""

_log = logging.getLogger(__name__)


class Guard:
    """ASGI middleware that refuses what a web page sent, before the application sees it.

    Args:
        application: What answers the rest.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._allowed: set[bytes] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 403."""
        host = None
        for name, value in scope["headers"]:
            if name == b"host":
                if host is not None:
                    await _refuse(send, "Requests with two Host headers are refused.")
                    return
                host = value
            elif why := sent_by_page(name, value):
                await _refuse(send, why)
                return
        if host not in self._allowed:
            if host is None or not is_allowed_host(host.decode("latin-1")):
                await _refuse(send, "The Host is neither loopback nor googleapis.com.")
                return
            if len(self._allowed) < _MOST_REMEMBERED:
                self._allowed.add(host)
        _log.debug("HTTP %s %s", scope["method"], scope["path"])
        await self._application(scope, receive, send)


def sent_by_page(name: bytes, value: bytes) -> str | None:
    """Why a request with such a header (its name in lower case) is refused; None if it may pass."""
    if name == b"origin":
        return "Requests with an Origin are refused: no web page may call this server."
    if name == b"sec-fetch-site" and value.strip().lower() not in _SITES:
        return "Requests of another site are refused: no web page may call this server."
    return None


async def _refuse(send: Send, why: str) -> None:
    await reply_error(send, ApiError(Code.PERMISSION_DENIED, why))


def is_allowed_host(host: str) -> bool:
    """Whether ``Host: host`` (with or without a port) is loopback, or a name below googleapis.com."""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        port = port.removeprefix(":") if bracket else "?"
    else:
        name, _, port = host.partition(":")
    if port and not (port.isascii() and port.isdigit()):
        return False
    name = name.lower().removesuffix(".")
    if name in {"localhost", "googleapis.com"} or name.endswith(".googleapis.com"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
