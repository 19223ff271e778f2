"""One process in a group of its own, ended as a whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path


class ProcessGroup:
    """A running process that leads a group, holds our pipe as its standard input, and writes a log.

    Attributes:
        pid: Of the leader, and the group's id.
        exited: Set when the leader has ended.
    """

    def __init__(self, process: subprocess.Popen[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self._process = process
        self._loop = loop
        self.pid = process.pid
        self.exited = asyncio.Event()
        threading.Thread(target=self._wait, name=f"wait-{process.pid}", daemon=True).start()

    @classmethod
    async def start(cls, command: Sequence[str], *, env: Mapping[str, str], log: Path) -> ProcessGroup:
        """Start ``command``, appending what it writes to ``log``."""
        loop = asyncio.get_running_loop()
        return cls(await asyncio.to_thread(_popen, command, env, log), loop)

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.returncode

    async def end(self, grace: float) -> None:
        """End the whole group: ask, wait for ``grace`` seconds, make."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.exited.wait(), grace)
        # Also where the leader has gone: what it had started may be there still.
        self._signal(signal.SIGKILL)
        await self.exited.wait()

    def kill(self) -> None:
        """End the whole group at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _wait(self) -> None:
        self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        # The loop may have ended before the process: then nobody waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.exited.set)


def _popen(command: Sequence[str], env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env),
            start_new_session=True,
        )
