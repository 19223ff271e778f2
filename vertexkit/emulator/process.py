"""The emulator as a foreground process: signals, and the owner that may vanish."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable

import uvloop

from vertexkit.emulator.options import EmulatorInfo, EmulatorOptions
from vertexkit.emulator.server import Server

_STDIN = 0


def run(
    options: EmulatorOptions, *, on_ready: Callable[[EmulatorInfo], None], exit_with_stdin: bool = False
) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends the process at once.

    Args:
        options: How to start.
        on_ready: Called once every port answers.
        exit_with_stdin: Also stop when standard input ends, as it does when the process that
            owns this one is gone, however it went.

    Raises:
        EmulatorFailed: It did not start.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(options, on_ready, exit_with_stdin))


async def _run(
    options: EmulatorOptions, on_ready: Callable[[EmulatorInfo], None], exit_with_stdin: bool
) -> None:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()

    def stop(number: signal.Signals) -> None:
        if stopping.is_set():
            # Model servers notice that this end of their pipe is gone.
            os._exit(128 + number)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    if exit_with_stdin:
        threading.Thread(target=_watch_stdin, args=(loop, stopping), daemon=True, name="stdin").start()

    server = Server(options)
    info = await server.start()
    try:
        on_ready(info)
        await stopping.wait()
    finally:
        await server.stop()


def _watch_stdin(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    # os.read, not sys.stdin, whose lock would be held when the interpreter ends.
    while os.read(_STDIN, 4096):
        pass
    loop.call_soon_threadsafe(stopping.set)
