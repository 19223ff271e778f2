"""An emulator in this process, with parts made for the test."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvloop

from vertexkit.emulator.options import EmulatorInfo, EmulatorOptions
from vertexkit.emulator.parts import Parts
from vertexkit.emulator.server import Server


@contextlib.contextmanager
def served(parts: Parts, options: EmulatorOptions) -> Iterator[EmulatorInfo]:
    """A server in a thread of its own, gone at the end."""
    ready: Any = None
    stop, started = asyncio.Event(), threading.Event()
    loop = uvloop.new_event_loop()

    async def serve() -> None:
        nonlocal ready
        server = Server(options, assemble=lambda _place: parts)
        try:
            ready = await server.start()
        except BaseException as error:
            ready = error
            raise
        finally:
            started.set()
        await stop.wait()
        await server.stop()
        assert len(asyncio.all_tasks()) == 1, "tasks are left"

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(loop.run_until_complete, serve())
        started.wait(30)
        try:
            if isinstance(ready, BaseException):
                raise ready
            yield ready
        finally:
            loop.call_soon_threadsafe(stop.set)
            done.result(30)
            loop.close()
