"""Connections that are passed on unread: two ends, what arrives at one is written to the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Dial = Callable[[Callable[[], asyncio.Protocol]], Awaitable[tuple[Any, Any]]]
"""Connects to what is behind a front, with a protocol made by the given factory."""


class End(asyncio.Protocol):
    """One end of a pipe: what arrives here is written to the other end, no faster than that takes it.

    An end of file closes both, which is asyncio's default: TLS has no half-closed connections.
    """

    def __init__(self) -> None:
        self.transport: Any = None
        self.other: End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        if self.other is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        """Have the other end wait."""
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Have the other end go on."""
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other end, which flushes what was written before."""
        if self.other is not None:
            self.other.transport.close()


class Held(asyncio.Protocol):
    """Keeps what arrives by a connection until somebody is there to take it."""

    def __init__(self) -> None:
        self.received = b""
        self._more = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Keep it."""
        self.received += data
        self._more.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake who waits; more than came will not come."""
        self._more.set()

    async def more(self) -> bytes:
        """All that has come, once there is more; the same as before if there will be no more."""
        await self._more.wait()
        self._more.clear()
        return self.received


def join(one: Any, held_of_one: bytes, other: Any, held_of_other: bytes) -> None:
    """Make a pipe of two connections.

    Args:
        one: Transport of a connection.
        held_of_one: What came by it and is for the other.
        other: Transport of the other.
        held_of_other: What came by that and is for the one.
    """
    ends = End(), End()
    ends[0].transport, ends[0].other = one, ends[1]
    ends[1].transport, ends[1].other = other, ends[0]
    one.set_protocol(ends[0])
    other.set_protocol(ends[1])
    if one.is_closing() or other.is_closing():
        # Whose protocol was not there yet to pass it on.
        one.close()
        other.close()
        return
    if held_of_one:
        other.write(held_of_one)
    if held_of_other:
        one.write(held_of_other)
