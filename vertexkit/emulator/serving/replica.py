"""One replica: a model server process, kept alive and watched."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vertexkit.emulator.serving.connections import ConnectionLost, ConnectionPool, request_head
from vertexkit.emulator.serving.process_group import ProcessGroup
from vertexkit.emulator.serving.types import HealthPolicy, ReplicaStatus, ServingFailed, ServingReply

_logger = logging.getLogger(__name__)

_STARTING_POLL_SECONDS = 0.02
# What TensorFlow writes whatever one tells it, before its log levels take effect.
_NOISE = re.compile(
    r"[IW]\d{4} .*\.cc:\d+\]|WARNING: All log messages before absl|INFO: Created TensorFlow Lite"
)
_LOG_TAIL_LINES = 20
_LOG_TAIL_BYTES = 16 * 1024
_LOG_LIMIT_BYTES = 8 * 1024 * 1024
# A replica that has lived for so long is no longer one that dies over and over.
_SETTLED_SECONDS = 60.0


@dataclass(frozen=True)
class ReplicaPlan:
    """How one replica's process is started."""

    command: Sequence[str]
    env: Mapping[str, str]
    socket: Path
    log: Path
    health_route: str


class Replica:
    """One replica. Lives in the event loop.

    Args:
        index: Its number within the deployment.
        plan: How its process is started.
        health: When it gets requests.
        changed: Called whenever it may have become routable, or stopped being so.
    """

    def __init__(
        self, index: int, plan: ReplicaPlan, health: HealthPolicy, changed: Callable[[], None]
    ) -> None:
        self.index = index
        self.in_flight = 0
        self.restarts = 0
        self.routable = False
        self._plan = plan
        self._health = health
        self._changed = changed
        self._process: ProcessGroup | None = None
        self._pool = ConnectionPool(plan.socket)
        self._supervisor: asyncio.Task[None] | None = None
        self._health_head = request_head("GET", plan.health_route, 0)

    @property
    def status(self) -> ReplicaStatus:
        """The replica as it is now."""
        alive = self._process is not None and not self._process.exited.is_set()
        pid = self._process.pid if alive and self._process is not None else None
        return ReplicaStatus(self.index, pid, self.routable, self.restarts, self.in_flight)

    async def start(self, deadline: float) -> None:
        """Start the process, wait until its health route answers, and keep it alive from then on.

        Args:
            deadline: Of the event loop's clock.

        Raises:
            ServingFailed: It died, or did not answer by the deadline; it does not run.
        """
        try:
            process = await self._launch()
            await self._until_healthy(process, deadline)
        except BaseException:
            await self.stop()
            raise
        self._supervisor = asyncio.create_task(self._supervise(process), name=f"replica-{self.index}")

    async def request(self, head: bytes, body: bytes) -> ServingReply:
        """Send a request to it.

        Raises:
            ConnectionLost: It died, or stopped being routed to, before it answered.
        """
        self.in_flight += 1
        try:
            return await self._pool.request(head, body)
        finally:
            self.in_flight -= 1

    async def stop(self) -> None:
        """End the process with its whole group, and keep it alive no more."""
        self._set_routable(False)
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
        if self._process is not None:
            await self._process.end(self._health.grace)
        self._pool.close()
        self._plan.socket.unlink(missing_ok=True)

    def log_tail(self) -> tuple[str, ...]:
        """The last lines of its log, oldest first."""
        try:
            with self._plan.log.open("rb") as log:
                log.seek(max(0, self._plan.log.stat().st_size - _LOG_TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ()
        lines = (line for line in text.splitlines() if line.strip() and not _NOISE.match(line))
        return tuple(lines)[-_LOG_TAIL_LINES:]

    async def _launch(self) -> ProcessGroup:
        self._plan.socket.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if self._plan.log.stat().st_size > _LOG_LIMIT_BYTES:
                self._plan.log.unlink()
        self._process = await ProcessGroup.start(self._plan.command, env=self._plan.env, log=self._plan.log)
        return self._process

    async def _until_healthy(self, process: ProcessGroup, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        while not (self._plan.socket.exists() and await self._is_healthy()):
            if process.exited.is_set():
                raise ServingFailed(self._last_words(process), self.log_tail())
            if loop.time() >= deadline:
                raise ServingFailed(
                    "Model server never became ready. Please validate that your model file or container "
                    f"configuration are valid: it did not answer {self._plan.health_route} within "
                    f"{loop.time() - started:.0f} s.",
                    self.log_tail(),
                )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.exited.wait(), _STARTING_POLL_SECONDS)
        self._set_routable(True)

    async def _is_healthy(self) -> bool:
        try:
            async with asyncio.timeout(self._health.timeout):
                reply = await self._pool.request(self._health_head, b"")
        except (ConnectionLost, TimeoutError):
            return False
        return reply.status == 200

    async def _supervise(self, process: ProcessGroup) -> None:
        """Watch the process; when it has died, start it again; for ever."""
        deaths = 0
        while True:
            born = time.monotonic()
            await self._watch(process)
            self._set_routable(False)
            process.kill()
            self._pool.close()
            deaths = 0 if time.monotonic() - born > _SETTLED_SECONDS else deaths + 1
            delay = self._health.backoff[min(deaths, len(self._health.backoff)) - 1] if deaths else 0.0
            _logger.warning("%s It is started again.", self._last_words(process))
            await asyncio.sleep(delay)
            process = await self._launch()
            self.restarts += 1
            with contextlib.suppress(ServingFailed):
                await self._until_healthy(process, float("inf"))

    async def _watch(self, process: ProcessGroup) -> None:
        """Check the process's health until it ends."""
        failures = 0
        while not process.exited.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.exited.wait(), self._health.interval)
                return
            failures = 0 if await self._is_healthy() else failures + 1
            if failures == 0:
                self._set_routable(True)
            elif failures >= self._health.failures and self.routable:
                _logger.warning(
                    "Replica %d (process %d) failed %d health checks in a row and gets no more requests.",
                    self.index,
                    process.pid,
                    failures,
                )
                self._set_routable(False)
                # Those that wait for its answer are sent to another.
                self._pool.close()

    def _set_routable(self, routable: bool) -> None:
        if routable != self.routable:
            self.routable = routable
            self._changed()

    def _last_words(self, process: ProcessGroup) -> str:
        code = process.returncode
        how = "" if code is None else f" with status {code}"
        if code is not None and code < 0:
            how = f" on signal {signal.Signals(-code).name}"
        tail = self.log_tail()
        words = f" {tail[-1]}" if tail else ""
        return f"Model server exited unexpectedly{how}.{words}"
