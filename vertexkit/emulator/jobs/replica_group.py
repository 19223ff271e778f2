"""The replicas of a job as one: what their ends mean for it, and how all of them are ended."""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from collections.abc import Callable
from dataclasses import dataclass

from vertexkit.emulator.jobs import plan
from vertexkit.emulator.jobs.replica_process import ReplicaExit, ReplicaProcess
from vertexkit.emulator.jobs.types import EndKind, JobEnd

_PARAMETER_SERVERS = 2
_EVALUATOR = 3


@dataclass(frozen=True)
class Patience:
    """How long a job waits for what, in seconds."""

    grace: float = 10.0
    """Between SIGTERM and SIGKILL."""
    closing: float = 5.0
    """For workers to end by themselves, once the chief has succeeded."""
    evaluating: float = 30.0
    """For an evaluator to, which has the last checkpoint still to test."""
    settling: float = 0.3
    """For the news of another replica's end that came first, once one has failed."""
    stopping: float = 1.0
    """Between SIGTERM and SIGKILL when the emulator itself ends."""
    stuck: float = 10.0
    """For a keeper to end what it keeps, before the keeper itself is killed."""


class ReplicaGroup:
    """The running replicas of a job.

    Args:
        patience: How long it waits for what.
        awake: A pipe that ends a wait when something is in it.
    """

    def __init__(self, patience: Patience, awake: int) -> None:
        self._patience = patience
        self._awake = awake
        self._members: list[tuple[plan.Replica, ReplicaProcess]] = []
        self._selector = selectors.DefaultSelector()
        self._selector.register(awake, selectors.EVENT_READ)

    def add(self, replica: plan.Replica, process: ReplicaProcess) -> None:
        """Watch this one too."""
        self._members.append((replica, process))
        self._selector.register(process, selectors.EVENT_READ, process)

    @property
    def all_started(self) -> bool:
        """Whether every program has been started."""
        return all(process.started for _, process in self._members)

    @property
    def failed_to_start(self) -> bool:
        """Whether the program of any could not be started."""
        return any(process.failure for _, process in self._members)

    @property
    def is_training(self) -> bool:
        """Whether any is left but parameter servers, which never end by themselves."""
        return any(
            not process.is_over and replica.pool_index != _PARAMETER_SERVERS
            for replica, process in self._members
        )

    @property
    def is_evaluating(self) -> bool:
        """Whether an evaluator is left."""
        return any(
            not process.is_over and replica.pool_index == _EVALUATOR for replica, process in self._members
        )

    def keepers(self) -> list[int]:
        """The process that keeps each, of those that are not over; from any thread."""
        return [process.pid for _, process in list(self._members) if not process.is_over]

    def exits(self) -> dict[str, ReplicaExit]:
        """How each ended, of those that have."""
        return {process.name: process.exit for _, process in self._members if process.exit is not None}

    def poll(self, deadline: float) -> None:
        """Wait for some news, until ``deadline`` (``time.monotonic``)."""
        timeout = None if deadline == float("inf") else max(0.0, deadline - time.monotonic())
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._awake, 64)
                continue
            process: ReplicaProcess = key.data
            process.read()
            if process.is_over:
                self._selector.unregister(process)

    def decided(self) -> JobEnd | None:
        """How the job ends, if what has come of its replicas decides it."""
        for _, process in self._members:
            if process.failure:
                message = f"The replica {process.name} could not be started: {process.failure}"
                return JobEnd(EndKind.FAILED, message, process.name)
        first = self._first_decisive()
        if first is None:
            return None
        # A failure has others follow within moments, and their news may overtake its own.
        deadline = time.monotonic() + self._patience.settling
        while not first[1].is_success and time.monotonic() < deadline and self.is_training:
            self.poll(deadline)
            first = self._first_decisive() or first
        replica, exit_ = first
        kind = EndKind.SUCCEEDED if exit_.is_success else EndKind.FAILED
        return JobEnd(kind, "", replica.name, exit_.exit_code, exit_.signal)

    def end(self, grace: float, hurry: Callable[[], bool]) -> None:
        """Ask what is left to end, wait, and make it.

        Args:
            grace: Seconds that it waits.
            hurry: Whether not to wait any more; looked at when the group is woken.
        """
        self._order(ReplicaProcess.ask)
        self._until_over(grace, hurry)
        self._order(ReplicaProcess.make)
        self._until_over(self._patience.stuck, lambda: False)
        self._order(ReplicaProcess.kill)
        self._until_over(self._patience.stuck, lambda: False)

    def close(self) -> None:
        """End everything at once that is still there, and let go of it."""
        self._order(ReplicaProcess.make)
        self._until_over(self._patience.stuck, lambda: False)
        self._order(ReplicaProcess.kill)
        self._selector.close()
        for _, process in self._members:
            process.close()

    def _first_decisive(self) -> tuple[plan.Replica, ReplicaExit] | None:
        """The first that failed, or the chief if it succeeded before that."""
        ended = [
            (replica, process.exit)
            for replica, process in self._members
            if process.exit is not None and (replica.is_chief or not process.exit.is_success)
        ]
        return min(ended, key=lambda one: one[1].time_ns, default=None)

    def _order(self, order: Callable[[ReplicaProcess], None]) -> None:
        for _, process in self._members:
            if not process.is_over:
                order(process)

    def _until_over(self, patience: float, hurry: Callable[[], bool]) -> None:
        deadline = time.monotonic() + patience
        while (
            any(not process.is_over for _, process in self._members)
            and time.monotonic() < deadline
            and not hurry()
        ):
            self.poll(deadline)
