"""HTTP as programs that mean Google's own servers speak it: looser than the parser takes it.

TensorFlow's ``gs://`` code announces bodies in ways that Google's servers forgive, and looks
response headers up as they write them, in capitals: ``Location``, not ``location``.
"""

from __future__ import annotations

from typing import Any

from vertexkit.emulator.http_faults import MOST_HEADER_BYTES, EmulatorProtocol

_END = b"\r\n\r\n"


class ProxiedProtocol(EmulatorProtocol):
    """The emulator's HTTP/1.1, for a connection that came through the proxy."""

    _head: bytes | None = b""
    """What has come of the head of a request; None while its body is coming."""

    def data_received(self, data: bytes) -> None:
        """Take what came, each request's head whole and in order."""
        if self._head is not None:
            data = self._head + data
            end = data.find(_END) + len(_END)
            if end < len(_END):
                self._head = data
                if len(data) > MOST_HEADER_BYTES and not self.transport.is_closing():
                    self.send_400_response("Request headers are too large.")
                return
            self._head = None
            data = with_one_framing(data[:end]) + data[end:]
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Pass the request on, and see to the head of its answer."""
        super().on_headers_complete()
        if self.scheme == "http":
            # The next request by a proxy's connection may be for another host, which is not ours to answer.
            self.cycle.keep_alive = False
        self.cycle.transport = _TitledHead(self.transport)  # type: ignore[assignment]

    def on_message_complete(self) -> None:
        """Look for the next request's head."""
        super().on_message_complete()
        self._head = b""


def with_one_framing(head: bytes) -> bytes:
    """The head of a request, announcing its body in one way.

    ``Transfer-Encoding: identity`` says nothing, and a ``Content-Length`` beside chunks is not the
    length of what is sent (RFC 9112, 6.3).
    """
    if b"\r\ntransfer-encoding:" not in head.lower():
        return head
    fields = [(line, *_field(line)) for line in head.split(b"\r\n")]
    chunked = any(name == b"transfer-encoding" and value == b"chunked" for _, name, value in fields)
    return b"\r\n".join(
        line
        for line, name, value in fields
        if (name, value) != (b"transfer-encoding", b"identity")
        and not (chunked and name == b"content-length")
    )


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.lower().partition(b":")
    return name, value.strip()


class _TitledHead:
    """The transport of one response, which writes its head first: with the header names in capitals."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        if not data.startswith(b"HTTP/1.1 100 "):
            # The body follows, as it is.
            self.write = self._transport.write  # type: ignore[method-assign]
            status, *fields = data.split(b"\r\n")
            titled = (b":".join((name.title(), *rest)) for name, *rest in (f.split(b":", 1) for f in fields))
            data = b"\r\n".join((status, *titled))
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
