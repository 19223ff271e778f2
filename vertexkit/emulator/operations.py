"""Long-running operations: real ones, durable, which really run and can really be cancelled.

An operation that a stop of the local Vertex AI cuts short ends in ABORTED, and says so, unless its
work was done by then: each that runs has an outcome, kept beside it, that a restart ends it with.
See https://google.aip.dev/151
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable

from google.protobuf import descriptor_pool, message_factory

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.filters import Filterable, Predicate, parse_filter
from vertexkit.emulator.messages import Empty, Operation, Raw
from vertexkit.emulator.store import Kind, PageRequest, Store
from vertexkit.emulator.validation import new_id

_LOGGER = logging.getLogger(__name__)

OPERATIONS = Kind("operations", Operation, "Operation")
OUTCOMES = Kind("operation_outcomes", Operation, "Outcome of the operation")
"""How each unfinished operation ends if this process does: in ABORTED until its work has decided it."""
_FILTERABLE = Filterable(Operation, {"done", "name"})
_LONGEST_WAIT = 60.0
"""Seconds that WaitOperation waits at most: each wait occupies a thread of the server."""
_MOST_WAITS = 8
"""At once, so that threads are left for calls that need not wait."""
_MOST_KEPT = 1000
"""Finished operations; older ones are forgotten."""
_PRUNE_EVERY = 100
_STOPPED = "The local Vertex AI was stopped before the operation finished."


class Running:
    """What the work of an operation sees of its operation."""

    def __init__(self, operations: Operations, name: str) -> None:
        self._operations = operations
        self.name = name
        self.cancelled = threading.Event()
        """Set when the work should stop."""
        self.finished = threading.Event()

    def raise_if_cancelled(self) -> None:
        """Stop here if the operation has been cancelled.

        Raises:
            ApiError: CANCELLED.
        """
        if self.cancelled.is_set():
            raise ApiError(Code.CANCELLED, "The operation was cancelled.")

    def update(self, metadata: Raw) -> None:
        """Show new metadata in the operation; its update time is filled in."""
        self._operations.update(self.name, metadata)

    def decide(self, response: Raw) -> None:
        """Have the operation end with this response, whatever happens until it does.

        To be called in the ``Store.transaction()`` that makes the change: then neither a kill nor an
        error while tidying up can have one without the other.
        """
        self._operations.decide(self.name, response=response)


Work = Callable[[Running], Raw]


class Operations:
    """All operations. Safe to use from any thread.

    Args:
        store: Where they are kept. Operations found unfinished in it end in ABORTED.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._running: dict[str, Running] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._waits = threading.BoundedSemaphore(_MOST_WAITS)
        self._closed = False
        self._begun = itertools.count(1)
        for outcome in store.all(OUTCOMES):
            _LOGGER.warning("%s ends: %s", outcome.name, outcome.error.message or "its work was done")
            self._finish(outcome.name)
        self._store.prune(OPERATIONS, keep=_MOST_KEPT, but_not=OUTCOMES)

    def start(self, parent_name: str, metadata: Raw, work: Work, *, settle: float = 0.0) -> Raw:
        """Begin an operation, whose work runs in a thread of its own.

        Args:
            parent_name: Resource name of what is worked on, without a version.
            metadata: Typed metadata with a ``generic_metadata``, whose times are filled in.
            work: Does the work and returns the response; an ``ApiError`` becomes the operation's error.
            settle: Seconds to wait for the work, so that what is quick is done in the first answer.

        Returns:
            The operation as it is then.

        Raises:
            ApiError: UNAVAILABLE, the local Vertex AI is stopping.
        """
        operation = _new(parent_name, metadata)
        running = Running(self, operation.name)
        thread = threading.Thread(
            target=self._run, args=(running, work), name=f"operation-{operation.name.rpartition('/')[2]}"
        )
        with self._lock:
            if self._closed:
                raise ApiError(Code.UNAVAILABLE, "The local Vertex AI is stopping.")
            with self._store.transaction():
                self._keep(operation)
                outcome = Operation(name=operation.name)
                _put_result(outcome, error=ApiError(Code.ABORTED, _STOPPED))
                self._store.insert(OUTCOMES, _location_of(operation.name), outcome)
            self._running[operation.name] = running
            self._threads[operation.name] = thread
            thread.start()
        if settle and running.finished.wait(settle):
            return self.get(operation.name)
        return operation

    def done(self, parent_name: str, metadata: Raw, response: Raw) -> Raw:
        """An operation whose work needed no time: recorded, and done in the first answer.

        Args:
            parent_name: Resource name of what was worked on, without a version.
            metadata: Typed metadata with a ``generic_metadata``, whose times are filled in.
            response: The response.
        """
        operation = _new(parent_name, metadata)
        operation.done = True
        operation.response.Pack(response)
        self._keep(operation)
        return operation

    def update(self, name: str, metadata: Raw) -> None:
        """Show new metadata in an operation that runs."""
        with self._store.transaction():
            operation = self._store.get(OPERATIONS, name)
            created = _metadata(operation).generic_metadata.create_time
            metadata.generic_metadata.create_time.CopyFrom(created)
            _put_metadata(operation, metadata)
            self._store.replace(OPERATIONS, operation)

    def decide(self, name: str, *, response: Raw | None = None, error: ApiError | None = None) -> None:
        """Set what an operation that runs ends with; the first response stays."""
        with self._store.transaction():
            outcome = self._store.get(OUTCOMES, name)
            if not outcome.HasField("response"):
                _put_result(outcome, response=response, error=error)
                self._store.replace(OUTCOMES, outcome)

    def get(self, name: str) -> Raw:
        """An operation as it is now.

        Args:
            name: Its canonical name, or ``projects/N/locations/L/operations/ID``.

        Raises:
            ApiError: NOT_FOUND.
        """
        operation = self._store.find(OPERATIONS, name)
        if operation is None:
            location, suffix = _location_of(name), "/operations/" + name.rpartition("/")[2]
            if name == location + suffix:
                found = (one for one in self._store.all(OPERATIONS, location) if one.name.endswith(suffix))
                operation = next(found, None)
        return self._store.get(OPERATIONS, name) if operation is None else operation

    def page(self, parent_name: str, request: PageRequest, filter_text: str) -> tuple[list[Raw], str]:
        """Operations on a resource, or all of a location, newest first.

        Raises:
            ApiError: INVALID_ARGUMENT, the filter, the page token or its size is wrong.
        """
        matches = parse_filter(filter_text, _FILTERABLE)
        location = _location_of(parent_name)
        if parent_name != location:
            below, also = f"{parent_name}/operations/", matches
            matches = _both(lambda operation: bool(operation.name.startswith(below)), also)
        return self._store.page(OPERATIONS, location, request, matches=matches)

    def wait(self, name: str, timeout: float | None) -> Raw:
        """An operation once it is done, or as it is after ``timeout`` seconds (60 at most).

        As it is at once when many wait already, which the API allows: the client asks again.
        """
        operation = self.get(name)
        with self._lock:
            running = self._running.get(operation.name)
        if running is not None and self._waits.acquire(blocking=False):
            try:
                limit = _LONGEST_WAIT if timeout is None else timeout
                running.finished.wait(max(0.0, min(limit, _LONGEST_WAIT)))
            finally:
                self._waits.release()
            operation = self.get(operation.name)
        return operation

    def cancel(self, name: str) -> None:
        """Ask an operation to stop; one that is done stays as it is.

        Raises:
            ApiError: NOT_FOUND.
        """
        operation = self.get(name)
        with self._lock:
            running = self._running.get(operation.name)
        if running is not None:
            running.cancelled.set()

    def delete(self, name: str) -> None:
        """Forget an operation that is done.

        Raises:
            ApiError: NOT_FOUND; FAILED_PRECONDITION, it still runs.
        """
        with self._store.transaction():
            operation = self.get(name)
            if not operation.done:
                raise ApiError(
                    Code.FAILED_PRECONDITION,
                    f"The Operation {operation.name} is still running; cancel it first.",
                )
            self._store.delete(OPERATIONS, operation.name)

    def close(self, timeout: float = 10.0) -> None:
        """Cancel what runs and wait for it; what ends now ends in ABORTED.

        Args:
            timeout: Seconds to wait in all. What has not ended by then ends in ABORTED at the next start.
        """
        with self._lock:
            self._closed = True
            running = list(self._running.values())
            threads = list(self._threads.values())
        for one in running:
            one.cancelled.set()
        deadline = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, running: Running, work: Work) -> None:
        error: ApiError | None = None
        response: Raw | None = None
        try:
            response = work(running)
        except ApiError as refused:
            # What was called off because everything stops was not cancelled by anybody.
            stopped = refused.code is Code.CANCELLED and self._closed
            error = ApiError(Code.ABORTED, _STOPPED) if stopped else refused
        except Exception as broken:
            # A defect of ours: the operation must end all the same, and say what happened.
            _LOGGER.exception("%s failed", running.name)
            error = ApiError(Code.INTERNAL, f"{type(broken).__name__}: {broken}")
        try:
            with self._store.transaction():
                self.decide(running.name, response=response, error=error)
                self._finish(running.name)
        finally:
            with self._lock:
                self._running.pop(running.name, None)
                self._threads.pop(running.name, None)
            running.finished.set()

    def _keep(self, operation: Raw) -> None:
        """Record a new operation, and forget the oldest once in a while."""
        self._store.insert(OPERATIONS, _location_of(operation.name), operation)
        if next(self._begun) % _PRUNE_EVERY == 0:
            self._store.prune(OPERATIONS, keep=_MOST_KEPT, but_not=OUTCOMES)

    def _finish(self, name: str) -> None:
        """End an operation with its outcome."""
        with self._store.transaction():
            operation, outcome = self._store.get(OPERATIONS, name), self._store.get(OUTCOMES, name)
            operation.done = True
            if outcome.HasField("response"):
                operation.response.CopyFrom(outcome.response)
            else:
                operation.error.CopyFrom(outcome.error)
            # Its update time is when it finished.
            _put_metadata(operation, _metadata(operation))
            self._store.replace(OPERATIONS, operation)
            self._store.delete(OUTCOMES, name)


def _put_result(operation: Raw, *, response: Raw | None = None, error: ApiError | None = None) -> None:
    if error is None:
        operation.response.Pack(Empty() if response is None else response)
    else:
        operation.error.code = error.code.number
        operation.error.message = error.message


def _new(parent_name: str, metadata: Raw) -> Raw:
    operation = Operation(name=f"{parent_name}/operations/{new_id()}")
    _put_metadata(operation, metadata)
    metadata.generic_metadata.create_time.CopyFrom(metadata.generic_metadata.update_time)
    operation.metadata.Pack(metadata)
    return operation


def _metadata(operation: Raw) -> Raw:
    """An operation's metadata, as the message that they are."""
    descriptor = descriptor_pool.Default().FindMessageTypeByName(operation.metadata.TypeName())
    metadata: Raw = message_factory.GetMessageClass(descriptor)()
    operation.metadata.Unpack(metadata)
    return metadata


def _put_metadata(operation: Raw, metadata: Raw) -> None:
    metadata.generic_metadata.update_time.FromNanoseconds(time.time_ns() // 1000 * 1000)
    operation.metadata.Pack(metadata)


def _location_of(name: str) -> str:
    """``projects/N/locations/L`` of a canonical name below it."""
    return "/".join(name.split("/", 4)[:4])


def _both(first: Predicate, second: Predicate | None) -> Predicate:
    return first if second is None else lambda message: first(message) and second(message)
