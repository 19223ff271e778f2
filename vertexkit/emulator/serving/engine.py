"""The serving engine: deployments by key, for callers in any thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from vertexkit.emulator.data_dir import TemporaryFolder
from vertexkit.emulator.serving.connections import request_head
from vertexkit.emulator.serving.deployment import Deployment
from vertexkit.emulator.serving.replica import Replica, ReplicaPlan
from vertexkit.emulator.serving.types import (
    VALUES_HEADER,
    DeploymentSpec,
    DeploymentStatus,
    HealthPolicy,
    NoReplica,
    ServingFailed,
    ServingReply,
    Source,
)

_logger = logging.getLogger(__name__)

_T = TypeVar("_T")

_PREDICT_SECONDS = 60.0
_DRAIN_SECONDS = 10.0
_CANCEL_POLL_SECONDS = 0.1
# What a Unix socket's address holds, less the name of the socket: 108 bytes on Linux, 104 on macOS.
_SOCKET_FOLDER_BYTES = 80
_ROUTE = re.compile(r"/[!-~]*")
# PredictRequest holds its instances as protobuf Values. Their JSON passes through undecoded, so the
# model server is told that it is one: that 1.0 in it is the same as 1, and which fields it may have.
_JSON = {"Content-Type": "application/json", VALUES_HEADER: Source.REST.value}


class ServingEngine:
    """Model servers, started, watched, and asked.

    Args:
        work_dir: A folder for sockets and logs; created with mode 0700.
        loop: The running event loop in which replicas are watched and requests routed.
        health: When replicas get requests.
        model_server: The command that serves a model; it is given ``--socket`` and ``--scratch``, and the
            ``AIP_*`` variables.
    """

    def __init__(
        self,
        work_dir: Path,
        loop: asyncio.AbstractEventLoop,
        *,
        health: HealthPolicy | None = None,
        model_server: Sequence[str] = (sys.executable, "-m", "vertexkit.emulator.serving.model_server"),
    ) -> None:
        self._work_dir = work_dir
        self._loop = loop
        self._health = health or HealthPolicy()
        self._model_server = tuple(model_server)
        self._deployments: dict[str, _Entry] = {}
        self._numbered = 0
        work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What model servers find out about an artifact, for all who serve it.
        self._scratch = work_dir / "scratch"
        self._scratch.mkdir(mode=0o700, exist_ok=True)
        self._own_sockets: TemporaryFolder | None = None
        self._sockets = work_dir
        if len(os.fsencode(work_dir)) > _SOCKET_FOLDER_BYTES:
            self._own_sockets = TemporaryFolder()
            self._sockets = self._own_sockets.path

    def deploy(
        self, spec: DeploymentSpec, *, timeout: float, cancelled: threading.Event | None = None
    ) -> None:
        """Start a deployment, and return when every replica answers its health route.

        Blocks; call it from any thread but the loop's.

        Args:
            spec: What to deploy; its key must be new.
            timeout: Seconds in which every replica must answer.
            cancelled: Gives the deploy up when it is set.

        Raises:
            ServingFailed: A replica did not come up, or the deploy was given up. Nothing of it runs.
        """
        self._call(_unless_cancelled(self._deploy(spec, timeout), cancelled))

    def undeploy(self, key: str) -> None:
        """Answer the requests in flight, end every replica, and forget the deployment.

        Blocks; call it from any thread but the loop's. A key that is not deployed is no error.
        """
        self._call(self._undeploy(key, _DRAIN_SECONDS))

    def resize(self, key: str, replicas: int, *, timeout: float = 300.0) -> None:
        """Have so many replicas. Blocks; call it from any thread but the loop's.

        Raises:
            ServingFailed: A replica did not come up; there are as many as before.
            KeyError: Nothing of that key is deployed.
        """
        self._call(self._resize(key, replicas, timeout))

    def status(self, key: str) -> DeploymentStatus:
        """A deployment as it is now. From any thread.

        Raises:
            KeyError: Nothing of that key is deployed.
        """
        return self._deployments[key].deployment.status

    def close(self) -> None:
        """End every deployment. Blocks; call it from any thread but the loop's."""
        self._call(self.aclose())

    async def aclose(self) -> None:
        """End every deployment, without waiting for requests in flight. From the loop."""
        await asyncio.gather(*(self._undeploy(key, 0.0) for key in list(self._deployments)))
        await asyncio.to_thread(shutil.rmtree, self._scratch, ignore_errors=True)
        if self._own_sockets is not None:
            self._own_sockets.close()

    async def predict(
        self,
        key: str,
        body: bytes,
        *,
        raw: bool = False,
        headers: Mapping[str, str] | None = None,
        timeout: float = _PREDICT_SECONDS,
    ) -> ServingReply:
        """Have a replica answer a request. From the loop.

        The request goes to the replica with the fewest in flight. Where the replica dies before it
        answers, the request is sent to another, or to the same when it is back.

        Args:
            key: The deployment.
            body: The request's body, undecoded.
            raw: Whether ``headers`` are passed on, rather than the body being JSON.
            headers: Headers of the raw request.
            timeout: Seconds in which it must be answered.

        Raises:
            NoReplica: Nothing of that key is deployed, or no replica could answer in time.
            RequestTimeout: A replica took the request, and did not answer in time.
        """
        entry = self._deployments.get(key)
        if entry is None or entry.predict_route is None:
            raise NoReplica(f"{key} is not deployed")
        passed = dict(headers or {}) if raw else _JSON
        head = request_head("POST", entry.predict_route, len(body), passed)
        return await entry.deployment.request(head, body, self._loop.time() + timeout)

    def _call(self, work: Coroutine[object, object, _T]) -> _T:
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            work.close()
            raise RuntimeError("this would wait for itself: call it from another thread")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _deploy(self, spec: DeploymentSpec, timeout: float) -> None:
        if spec.key in self._deployments:
            raise ServingFailed(f"{spec.key} is deployed already")
        for variable in ("AIP_HEALTH_ROUTE", "AIP_PREDICT_ROUTE"):
            # Users choose the routes, and they become lines of HTTP requests.
            if not _ROUTE.fullmatch(spec.env[variable]):
                raise ServingFailed(f"{variable} is not the path of a URL: {spec.env[variable]!r}")
        self._numbered += 1
        name = f"d{self._numbered}"
        folder = self._work_dir / name
        folder.mkdir(mode=0o700)
        deployment = Deployment(spec.key, self._replica_maker(spec, name, folder))
        # Known from now on, so that closing the engine ends it also while it starts.
        entry = self._deployments[spec.key] = _Entry(deployment, folder)
        deadline = self._loop.time() + timeout
        entry.starting = asyncio.create_task(deployment.resize(spec.replicas, deadline))
        try:
            await asyncio.shield(entry.starting)
        except BaseException as error:
            given_up = entry.starting.cancelled()
            await self._undeploy(spec.key, 0.0)
            # Where it was undeployed by someone else, that is still under way.
            await entry.gone.wait()
            if given_up:
                raise ServingFailed(f"{spec.key} was undeployed while it started") from error
            raise
        entry.starting = None
        entry.predict_route = spec.env["AIP_PREDICT_ROUTE"]

    async def _undeploy(self, key: str, drain: float) -> None:
        entry = self._deployments.pop(key, None)
        if entry is None:
            return
        if entry.starting is not None:
            entry.starting.cancel()
            await asyncio.wait({entry.starting})
        await entry.deployment.stop(drain)
        await asyncio.to_thread(shutil.rmtree, entry.folder, ignore_errors=True)
        entry.gone.set()

    async def _resize(self, key: str, replicas: int, timeout: float) -> None:
        await self._deployments[key].deployment.resize(replicas, self._loop.time() + timeout)

    def _replica_maker(
        self, spec: DeploymentSpec, name: str, folder: Path
    ) -> Callable[[int, Callable[[], None]], Replica]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("AIP_")}
        env = {**inherited, **spec.env, "AIP_STORAGE_URI": str(spec.artifact_dir), "PYTHONUNBUFFERED": "1"}

        def make(index: int, changed: Callable[[], None]) -> Replica:
            socket = self._sockets / f"{name}-{index}.sock"
            command = [*self._model_server, "--socket", str(socket), "--scratch", str(self._scratch)]
            plan = ReplicaPlan(
                command, env, socket, folder / f"replica-{index}.log", spec.env["AIP_HEALTH_ROUTE"]
            )
            return Replica(index, plan, self._health, changed)

        return make


class _Entry:
    """A deployment, what goes with it, and its predict route once it takes requests."""

    def __init__(self, deployment: Deployment, folder: Path) -> None:
        self.deployment = deployment
        self.folder = folder
        self.predict_route: str | None = None
        self.starting: asyncio.Task[None] | None = None
        self.gone = asyncio.Event()


async def _unless_cancelled(work: Coroutine[object, object, None], cancelled: threading.Event | None) -> None:
    task = asyncio.ensure_future(work)
    while cancelled is not None and not task.done():
        await asyncio.wait({task}, timeout=_CANCEL_POLL_SECONDS)
        if cancelled.is_set() and not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, ServingFailed):
                await task
            raise ServingFailed("The deploy was cancelled")
    await task
