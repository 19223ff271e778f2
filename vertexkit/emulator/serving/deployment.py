"""One deployment: its replicas, and which of them gets the next request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from vertexkit.emulator.serving.connections import ConnectionLost
from vertexkit.emulator.serving.replica import Replica
from vertexkit.emulator.serving.types import DeploymentStatus, NoReplica, RequestTimeout, ServingReply

# A request that has seen so many replicas die under it is taken to be what kills them.
_DEATHS = 3


class Deployment:
    """The replicas of one deployed model. Lives in the event loop.

    Args:
        key: The engine's name for it.
        make_replica: Makes a replica that is not started, given its number and what to call on changes.
    """

    def __init__(self, key: str, make_replica: Callable[[int, Callable[[], None]], Replica]) -> None:
        self.key = key
        self._make_replica = make_replica
        self._replicas: list[Replica] = []
        self._starting: list[Replica] = []
        self._numbered = 0
        self._turn = 0
        self._in_flight = 0
        self._changed = asyncio.Event()

    @property
    def status(self) -> DeploymentStatus:
        """The deployment as it is now."""
        replicas = (*self._replicas, *self._starting)
        tail = tuple(line for replica in replicas for line in replica.log_tail())
        return DeploymentStatus(self.key, tuple(replica.status for replica in replicas), tail)

    async def resize(self, replicas: int, deadline: float) -> None:
        """Have so many replicas, all of them answering.

        Raises:
            ServingFailed: One did not come up; there are as many as before.
        """
        fresh = []
        for _ in range(replicas - len(self._replicas)):
            fresh.append(self._make_replica(self._numbered, self._on_change))
            self._numbered += 1
        self._starting += fresh
        try:
            async with asyncio.TaskGroup() as starting:
                for replica in fresh:
                    starting.create_task(replica.start(deadline))
        except BaseException as error:
            await asyncio.gather(*(replica.stop() for replica in fresh))
            raise error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error from None
        finally:
            self._starting = [replica for replica in self._starting if replica not in fresh]
        self._replicas += fresh
        self._on_change()
        surplus, self._replicas = self._replicas[replicas:], self._replicas[:replicas]
        await asyncio.gather(*(self._retire(replica, deadline) for replica in surplus))

    async def request(self, head: bytes, body: bytes, deadline: float) -> ServingReply:
        """Have some replica answer, another one where the first dies over it.

        Raises:
            NoReplica: None could answer before the deadline.
            RequestTimeout: One took the request, and had not answered by the deadline.
        """
        self._in_flight += 1
        deaths = 0
        replica: Replica | None = None
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    replica = None
                    replica = self._pick() or await self._wait_for_replica()
                    try:
                        return await replica.request(head, body)
                    except ConnectionLost as lost:
                        deaths += lost.sent
                        if deaths >= _DEATHS:
                            raise NoReplica(
                                f"The request was sent to {deaths} replicas, and each closed the connection "
                                f"before it answered: {lost}"
                            ) from lost
                        # The news that the replica has died may come after that of its connections.
                        await asyncio.sleep(0.01)
        except TimeoutError:
            if replica is None:
                raise NoReplica("No replica of the model became ready before the deadline") from None
            raise RequestTimeout("The model did not answer before the deadline") from None
        finally:
            self._in_flight -= 1

    async def stop(self, drain: float) -> None:
        """Wait for at most ``drain`` seconds until every request is answered, then end all replicas."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + drain
        while self._in_flight and loop.time() < deadline:
            await asyncio.sleep(0.01)
        replicas, self._replicas = self._replicas, []
        await asyncio.gather(*(replica.stop() for replica in replicas))

    async def _retire(self, replica: Replica, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        while replica.in_flight and loop.time() < deadline:
            await asyncio.sleep(0.01)
        await replica.stop()

    def _pick(self) -> Replica | None:
        """The routable replica with the fewest requests in flight; among equals, each in turn."""
        replicas = self._replicas
        if len(replicas) == 1:
            return replicas[0] if replicas[0].routable else None
        best = None
        for offset in range(len(replicas)):
            replica = replicas[(self._turn + offset) % len(replicas)]
            if replica.routable and (best is None or replica.in_flight < best.in_flight):
                best = replica
        if best is not None:
            self._turn = replicas.index(best) + 1
        return best

    async def _wait_for_replica(self) -> Replica:
        while True:
            self._changed.clear()
            replica = self._pick()
            if replica is not None:
                return replica
            await self._changed.wait()

    def _on_change(self) -> None:
        self._changed.set()
