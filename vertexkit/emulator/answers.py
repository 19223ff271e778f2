"""What a handler answers when there is more to say than its response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

_Content = TypeVar("_Content")


@dataclass(frozen=True)
class Answer(Generic[_Content]):
    """A response, or an iterator of them, and what is said about it.

    Most handlers have nothing to add, and return the response alone.
    """

    content: _Content
    headers: Mapping[str, str] = field(default_factory=dict)
    """Initial metadata over gRPC (where names are lower case), headers over REST."""

    @classmethod
    def of(cls, returned: Any) -> Answer[Any]:
        """What a handler returned, as an answer."""
        return returned if isinstance(returned, Answer) else Answer(returned)
