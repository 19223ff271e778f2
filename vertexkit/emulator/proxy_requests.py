"""What a program asks of a proxy: a tunnel (``CONNECT``), or a request for another host."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

_METADATA = frozenset({"metadata", "metadata.google.internal", "169.254.169.254"})
_OWN_FIELDS = ("proxy-", "connection:", "keep-alive:")
"""Header fields that are for the proxy and not for whom it passes the request to."""


class BadRequest(Exception):
    """It is nothing that a proxy can be asked."""


@dataclass(frozen=True)
class ProxyRequest:
    """One request to a proxy."""

    method: str
    host: str
    """In lower case, without a dot at its end or the brackets of an IPv6 address."""
    port: int
    path: str
    """Path and query; empty for a tunnel."""

    @property
    def tunnel(self) -> bool:
        """Whether a connection is asked for, and not an answer."""
        return self.method == "CONNECT"

    @property
    def usual_port(self) -> int:
        """The port that such a request is for when it names none."""
        return 443 if self.tunnel else 80

    @property
    def authority(self) -> str:
        """``host:port``."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_google(self) -> bool:
        """Whether it is for one of the names that the emulator's certificate vouches for."""
        return self.host == "googleapis.com" or self.host.endswith(".googleapis.com")

    @property
    def is_metadata(self) -> bool:
        """Whether it is for what tells programs on Google's machines who they are."""
        return self.host in _METADATA


def parse(head: bytes) -> ProxyRequest:
    """Read the head of a request.

    Raises:
        BadRequest: It is none to a proxy.
    """
    line = head.partition(b"\r\n")[0].decode("latin-1")
    words = line.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadRequest("This is no HTTP/1.1 request.")
    method, target, _ = words
    if method != "CONNECT" and target.startswith("/"):
        raise BadRequest(
            "This port is a proxy, for HTTPS_PROXY; `vertexkit emulator env` prints what programs need."
        )
    try:
        url = urlsplit(f"//{target}" if method == "CONNECT" else target)
        host, port = url.hostname, url.port
    except ValueError:
        host = port = None
    if not host or (url.scheme != "http" and method != "CONNECT") or (port is None and method == "CONNECT"):
        raise BadRequest(
            f"A proxy is asked for host:port, or for http://host/path, not for {target[:200]!r}."
        )
    path = "" if method == "CONNECT" else (url.path or "/") + (f"?{url.query}" if url.query else "")
    return ProxyRequest(method, host.lower().removesuffix("."), 80 if port is None else port, path)


def passed_on(head: bytes, request: ProxyRequest, *, target: str, fields: tuple[str, ...] = ()) -> bytes:
    """The head of a request (which is no tunnel) as the next server is to see it.

    Args:
        head: As it came.
        request: What it says.
        target: What to ask the next server for: a path, or to another proxy a URL.
        fields: Header fields to add.
    """
    lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")[1:]
    kept = [line for line in lines if not line.lower().startswith(_OWN_FIELDS)]
    # One request by each connection, for the next one may be for another host.
    return "\r\n".join(
        (f"{request.method} {target} HTTP/1.1", *kept, *fields, "Connection: close", "", "")
    ).encode("latin-1")
