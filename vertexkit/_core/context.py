"""What every noun shares of its session, without knowing the session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from vertexkit.errors import InvalidArgument

if TYPE_CHECKING:
    from vertexkit._core.rpc import Clients
    from vertexkit._core.target import Target
    from vertexkit.cleanup import Created


SESSION_LABEL: Final = "vertexkit_session"
"""The label by which one finds what a session has created."""


@dataclass(frozen=True)
class Context:
    """The parts of a session that its managers and nouns work with."""

    target: Target
    clients: Clients
    """Builds Google's clients on first use, and turns their failures into ours."""
    created: Created
    """What this session has created and not deleted yet."""
    labels: Mapping[str, str]
    """Labels that everything created carries, naming the session."""
    bucket: str
    """Name of the default bucket, which is created when first needed."""
    progress: bool | None = None
    """Whether to show progress; None for: when standard error is a terminal."""
    bucket_locations: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    """Regions of the buckets that are known to be there, by name; one that is deleted is taken out."""
    at_close: list[Callable[[], Any]] = field(default_factory=list, compare=False, repr=False)
    """What is to be called before the session is closed."""

    def labelled(self, labels: Mapping[str, str] | None) -> dict[str, str]:
        """The labels of something to be created.

        Args:
            labels: Its own labels. They go before those that the user gave to the session, but not
                before the one that names the session, by which what is left over is found.

        Raises:
            InvalidArgument: They are no mapping.
        """
        if labels is not None and not isinstance(labels, Mapping):
            raise InvalidArgument("labels", labels, "is no mapping from keys to values")
        own = {key: value for key, value in self.labels.items() if key == SESSION_LABEL}
        return {**self.labels, **(labels or {}), **own}
