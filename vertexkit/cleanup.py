"""What a session has created and not deleted yet, and how to delete it in the right order."""

from __future__ import annotations

import enum
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from vertexkit.errors import CleanupIncomplete, NotFound, VertexkitError
from vertexkit.progress import status

__all__ = ["CleanupReport", "Created", "Order", "noting"]

_log = logging.getLogger("vertexkit")


class Order(enum.IntEnum):
    """What is deleted before what: first what costs money by the hour, last what others live in."""

    ENDPOINTS = 0
    JOBS = 1
    MODELS = 2
    OBJECTS = 3
    BUCKETS = 4


@dataclass(frozen=True)
class CleanupReport:
    """What a clean-up deleted."""

    deleted: tuple[str, ...]
    """Names of the resources, in the order in which they went."""

    def __str__(self) -> str:
        """One line per resource."""
        if not self.deleted:
            return "Nothing to clean up"
        return "\n".join(["Deleted:", *(f"  - {name}" for name in self.deleted)])


@dataclass(frozen=True)
class _Entry:
    name: str
    delete: Callable[[], None]
    order: int
    number: int


class Created:
    """The registry of what one session has created. Thread-safe."""

    def __init__(self, progress: bool | None = None) -> None:
        """Begin with nothing.

        Args:
            progress: Whether to show how deleting goes; None for: when standard error is a terminal.
        """
        self._progress = progress
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._count = 0

    def add(self, name: str, delete: Callable[[], None], *, order: int) -> None:
        """Remember a resource that was created.

        Args:
            name: Its name, as errors and reports shall show it.
            delete: Deletes it, and whatever it holds; NotFound counts as success.
            order: An `Order`; a lower one is deleted first, and of equals the youngest.
        """
        with self._lock:
            self._count += 1
            self._entries[name] = _Entry(name, delete, order, self._count)

    def forget(self, name: str) -> None:
        """Forget a resource that is gone, or that was never registered."""
        with self._lock:
            self._entries.pop(name, None)

    @property
    def names(self) -> tuple[str, ...]:
        """What there is to delete, in the order in which it would go."""
        return tuple(entry.name for entry in self._in_order())

    def names_in(self, order: int) -> tuple[str, ...]:
        """The names of those that go together, the youngest first."""
        return tuple(entry.name for entry in self._in_order() if entry.order == order)

    def delete_all(self) -> CleanupReport:
        """Delete everything, going on after a failure.

        Raises:
            CleanupIncomplete: Something could not be deleted; it stays registered, so that the
                next call tries it again.
            KeyboardInterrupt: As always; a note on it names what is left.
        """
        deleted: list[str] = []
        failures: dict[str, str] = {}
        entries = self._in_order()
        if not entries:
            return CleanupReport(())
        with status("Cleaning up", self._progress) as shown:
            for entry in entries:
                shown.describe(f"Cleaning up: {entry.name}")
                try:
                    entry.delete()
                except NotFound:
                    pass
                except VertexkitError as error:
                    failures[entry.name] = str(error)
                    continue
                except BaseException as error:  # Ctrl-C: who is in a hurry must know what goes on costing
                    error.add_note("\n  - ".join(["Not deleted, and perhaps still paid for:", *self.names]))
                    raise
                self.forget(entry.name)
                deleted.append(entry.name)
                _log.info("deleted %s", entry.name)
        if failures:
            raise CleanupIncomplete(failures)
        return CleanupReport(tuple(deleted))

    def _in_order(self) -> list[_Entry]:
        with self._lock:
            return sorted(self._entries.values(), key=lambda entry: (entry.order, -entry.number))


def noting(error: BaseException, undo: Callable[[], object], what: str) -> None:
    """Undo something because of ``error``.

    What failed first is what the user must see first: a failure to undo becomes a note on it.

    Args:
        error: What failed; the caller raises it afterwards.
        undo: Undoes what was done.
        what: What is left, should that fail: ``"the endpoint projects/..."``.

    Raises:
        BaseException: Undoing was interrupted (by a second Ctrl-C); a note says what is left.
    """
    left = f"Perhaps still there, and paid for: {what}."
    try:
        undo()
    except VertexkitError as failure:
        error.add_note(f"{left} Cleaning up failed too: {failure}")
    except BaseException as interruption:
        interruption.add_note(left)
        raise
