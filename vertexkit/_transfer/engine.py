"""What an engine is: the quickest way to move one small object, from many threads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from vertexkit.errors import ConfigurationError, InvalidArgument

if TYPE_CHECKING:
    from vertexkit._core.context import Context

EngineName = Literal["obstore", "google"]


class Engine(Protocol):
    """Moves small objects of one bucket. Thread-safe; tries once, and raises errors of vertexkit."""

    name: EngineName
    per_thread: int
    """How many objects it moves for each thread that a caller asks for."""

    def put(self, name: str, data: bytes, content_type: str) -> int | None:
        """Write an object; the generation that it is, if the service says so."""

    def get(self, name: str, generation: int, size: int) -> bytes:
        """The bytes of one generation of an object, as they are stored: not decompressed."""

    def delete(self, name: str) -> None:
        """Delete an object.

        Raises:
            NotFound: It is not there.
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
