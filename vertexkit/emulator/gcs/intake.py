"""Bodies on their way from the network into a staged file, in memory that does not grow with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from vertexkit.emulator.gcs.checksums import NOTHING_ANNOUNCED, Announced, parse_goog_hash
from vertexkit.emulator.gcs.http import Request
from vertexkit.emulator.gcs.staging import Staged

_BLOCK = 1 << 20
_INLINE = 1 << 17
"""Fewer bytes than this are written and hashed sooner than a thread would take them over."""


def announced_by(request: Request) -> Announced:
    """The checksums that a request's headers give of its body."""
    if b"content-md5" not in request.headers and b"x-goog-hash" not in request.headers:
        return NOTHING_ANNOUNCED
    given = Announced(md5=request.header(b"content-md5"))
    return given.also(parse_goog_hash(request.header(b"x-goog-hash") or ""))


async def take_in(chunks: AsyncIterator[bytes], staged: Staged) -> None:
    """Write a body to a staged file; large ones in a thread, while the next block arrives.

    Raises:
        ClientGone: The connection broke before the end; what came is in the file.
    """
    loop = asyncio.get_running_loop()
    held: list[bytes] = []
    size = 0
    writing: asyncio.Future[None] | None = None
    try:
        async for chunk in chunks:
            held.append(chunk)
            size += len(chunk)
            if size >= _BLOCK:
                if writing is not None:
                    await writing
                writing = loop.run_in_executor(None, staged.write_all, held)
                held, size = [], 0
    finally:
        # On a broken connection too: what arrived is kept, so that a resumed upload need not send it again.
        if writing is not None:
            await writing
        if size > _INLINE:
            await loop.run_in_executor(None, staged.write_all, held)
        elif held:
            staged.write_all(held)
