"""What an engine is: something that moves many small objects at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from vertexkit.errors import ConfigurationError, InvalidArgument, VertexkitError

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit._transfer.patience import Patience

EngineName = Literal["obstore", "google"]


class Job(ABC):
    """One object to move. An engine tells it how it went, from any thread, exactly once.

    When a transfer is interrupted, the jobs that had not ended hear nothing.
    """

    name: str
    """The object's name."""

    @abstractmethod
    def failed(self, error: VertexkitError | OSError) -> None:
        """It did not work: the service or the network (VertexkitError), or the local file (OSError)."""


class Put(Job):
    """Bytes to write to an object."""

    content_type: str
    size: int
    """How many bytes there will be, about; what decides whether they are read in a thread."""

    @abstractmethod
    def data(self) -> bytes | None:
        """The bytes; None if, after all, there is nothing to send.

        Raises:
            OSError: They cannot be read.
        """

    @abstractmethod
    def sent(self, generation: int | None) -> None:
        """They have been written, as that generation of the object if the service said so."""


class Get(Job):
    """An object to read."""

    generation: int
    size: int

    @abstractmethod
    def is_wanted(self) -> bool:
        """Whether it is still worth reading."""

    @abstractmethod
    def received(self, data: bytes) -> None:
        """Its bytes, as they are stored: not decompressed.

        Raises:
            OSError: They cannot be written.
            VertexkitError: They are not what they should be.
        """


class Delete(Job):
    """An object to delete."""

    generation: int | None

    @abstractmethod
    def deleted(self) -> None:
        """It is gone, or was already."""


class Engine(Protocol):
    """Moves many small objects of one bucket at once."""

    name: EngineName

    def run(self, jobs: Iterable[Job], *, width: int, patience: Patience) -> None:
        """Do all the jobs, and return when each has been told how it went.

        Failures that may pass are tried again while the patience lasts. An interruption (Ctrl-C, or
        ``patience.stop``) ends it promptly.

        Args:
            jobs: What to do; taken as there is room.
            width: How many threads' worth of work to do at a time.
            patience: Shared with what else moves for the same call.
        """


@dataclass(frozen=True)
class Place:
    """A bucket, and the means to reach it."""

    context: Context
    bucket: str


def choose_engine(place: Place, name: EngineName | None) -> Engine:
    """The engine asked for; by default the quicker one, if it can carry the session's credentials.

    Raises:
        InvalidArgument: There is no such engine.
        ConfigurationError: obstore was asked for, and cannot carry the session's credentials.
    """
    from vertexkit._transfer.google_engine import GoogleEngine
    from vertexkit._transfer.obstore_engine import ObstoreEngine

    if name not in (None, "obstore", "google"):
        raise InvalidArgument("engine", name, "is neither 'obstore' nor 'google'")
    if name == "google":
        return GoogleEngine(place)
    try:
        return ObstoreEngine(place)
    except ConfigurationError:
        if name == "obstore":
            raise
        return GoogleEngine(place)
