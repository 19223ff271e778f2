"""Long-running operations: watched, waited for, cancelled, and found again by name.

API: https://cloud.google.com/vertex-ai/docs/general/long-running-operations
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from vertexkit._core.failures import from_status
from vertexkit.errors import DeadlineExceeded, FailedPrecondition, VertexkitError

if TYPE_CHECKING:
    from vertexkit._core.rpc import Clients

__all__ = ["Operation", "State", "intervals"]

T_co = TypeVar("T_co", covariant=True)

State = Literal["RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]

_FIRST_INTERVAL = 0.05
_LONGEST_INTERVAL = 5.0
_GROWTH = 1.4
# Twenty minutes of deploying shall not be given up for a minute without a network.
_LONGEST_OUTAGE = 300.0
# The last look, at the end of the time to wait, needs some time too.
_LEAST_SECONDS = 1.0
_STOP_SECONDS = 120.0
_CANCELLED = 1


def intervals() -> Iterator[float]:
    """Seconds between two looks: short at first, since local work is done in a moment, then longer."""
    interval = _FIRST_INTERVAL
    while True:
        yield interval
        interval = min(interval * _GROWTH, _LONGEST_INTERVAL)


class Operation(Generic[T_co]):
    """Work that goes on in the service, whoever watches it. Thread-safe.

    Attributes:
        name: Its resource name, by which another process finds it again.
    """

    def __init__(
        self,
        clients: Clients,
        proto: Any,
        *,
        resource: str,
        finish: Callable[[Any], T_co],
        failed: Callable[[VertexkitError], VertexkitError] | None = None,
    ) -> None:
        """Take over a ``google.longrunning.Operation``.

        Args:
            clients: To ask for it.
            proto: The operation as the service answered it; a done one is never asked for again.
            resource: What it works on, for errors.
            finish: Makes the result of the operation's packed response; called once.
            failed: Turns the operation's failure, or its cancellation, into the error to raise; called
                once, and may undo what had been done for it.
        """
        self.name: str = proto.name
        self._clients = clients
        self._proto = proto
        self._resource = resource
        self._finish = finish
        self._failed = failed
        self._lock = threading.RLock()
        self._outcome: tuple[T_co] | VertexkitError | None = None

    @property
    def state(self) -> State:
        """``RUNNING``, ``SUCCEEDED``, ``FAILED`` or ``CANCELLED``, as it is now."""
        proto = self._refreshed()
        if not proto.done:
            return "RUNNING"
        if not proto.HasField("error"):
            return "SUCCEEDED"
        return "CANCELLED" if proto.error.code == _CANCELLED else "FAILED"

    @property
    def done(self) -> bool:
        """Whether it is over, one way or another, as of now."""
        return bool(self._refreshed().done)

    def wait(self, timeout: float | None = None) -> Operation[T_co]:
        """Wait until it is over, however it ends.

        Args:
            timeout: Seconds to wait; None for as long as it takes.

        Returns:
            Itself.

        Raises:
            DeadlineExceeded: It is not over yet; it goes on.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        for interval in intervals():
            left = deadline - time.monotonic()
            if self._refreshed(min(max(left, _LEAST_SECONDS), _LONGEST_OUTAGE)).done:
                return self
            left = deadline - time.monotonic()
            if left <= 0:
                raise DeadlineExceeded(
                    f"the operation {self.name} is not over after {timeout:g} s; it goes on",
                    resource=self._resource,
                )
            time.sleep(min(interval, left))
        raise AssertionError("intervals() never ends")

    def result(self, timeout: float | None = None) -> T_co:
        """Wait until it is over, and give what it made.

        Args:
            timeout: Seconds to wait; None for as long as it takes.

        Raises:
            DeadlineExceeded: It is not over yet; it goes on.
            VertexkitError: It failed.
        """
        self.wait(timeout)
        with self._lock:
            if self._outcome is None:
                self._outcome = self._settled()
            if isinstance(self._outcome, VertexkitError):
                raise self._outcome
            return self._outcome[0]

    def cancel(self) -> None:
        """Ask the service to stop it. It may succeed all the same: `state` tells."""
        # One that is over meanwhile cannot be cancelled, which is no failure.
        with contextlib.suppress(FailedPrecondition):
            self._clients.call(
                self._clients.endpoints.cancel_operation, {"name": self.name}, resource=self.name
            )

    def stop(self) -> None:
        """Cancel it, and wait until it is over, which is at once if it is over already.

        Raises:
            DeadlineExceeded: It goes on, after two minutes.
        """
        deadline = time.monotonic() + _STOP_SECONDS
        if not self._refreshed(_STOP_SECONDS).done:
            self.cancel()
            self.wait(max(deadline - time.monotonic(), 0.0))

    def _settled(self) -> tuple[T_co] | VertexkitError:
        if not self._proto.HasField("error"):
            return (self._finish(self._proto.response),)
        error: VertexkitError = from_status(
            self._proto.error.code, self._proto.error.message, resource=self._resource
        )
        if self._failed is not None:
            cause, error = error, self._failed(error)
            error.__cause__ = None if cause is error else cause
        return error

    def _refreshed(self, timeout: float | None = None) -> Any:
        with self._lock:
            if not self._proto.done:
                self._proto = self._clients.call(
                    # Every generated client offers the operations of its host; this one is in use anyway.
                    self._clients.endpoints.get_operation,
                    {"name": self.name},
                    resource=self.name,
                    timeout=timeout,
                )
            return self._proto

    def __repr__(self) -> str:
        state = "over" if self._proto.done else "running when last asked"
        return f"<Operation {self.name}: {state}>"
