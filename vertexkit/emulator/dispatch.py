"""From a decoded request to the service that answers it. gRPC and REST share this, so they agree."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from google.protobuf.message import Message

from vertexkit.emulator.answers import Answer
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.methods import Method

_log = logging.getLogger(__name__)


class Dispatcher:
    """Finds the handler of an RPC and lets nothing but ``ApiError`` out of it.

    Args:
        services: The objects that answer, by full service name. A handler is a method named as
            its RPC, takes the raw request and returns the raw response (an iterator of them when
            the RPC streams), or an ``Answer`` that holds it.
    """

    def __init__(self, services: Mapping[str, object]) -> None:
        self._services = services

    def implements(self, method: Method) -> bool:
        """Whether a service answers this RPC."""
        return callable(getattr(self._services.get(method.service), method.name, None))

    def call(self, method: Method, request: Message) -> Answer[Message]:
        """Answer one unary RPC.

        Raises:
            ApiError: The service refused, failed, or there is none.
        """
        return Answer.of(self._guarded(method, self._handler(method), request))

    def stream(self, method: Method, request: Message | Iterator[Message]) -> Answer[Iterator[Message]]:
        """Answer one RPC that streams its responses; raises as ``call`` does, also while iterating."""
        answer = Answer.of(self._guarded(method, self._handler(method), request))
        return Answer(self._responses(method, iter(answer.content)), answer.headers)

    def _responses(self, method: Method, responses: Iterator[Message]) -> Iterator[Message]:
        while True:
            try:
                yield self._guarded(method, next, responses)
            except StopIteration:
                return

    def _handler(self, method: Method) -> Callable[[Any], Any]:
        handler = getattr(self._services.get(method.service), method.name, None)
        if handler is None:
            raise not_implemented(method.full_name)
        found: Callable[[Any], Any] = handler
        return found

    def _guarded(self, method: Method, function: Callable[[Any], Any], argument: object) -> Any:
        try:
            return function(argument)
        except (ApiError, StopIteration):
            raise
        except Exception as error:
            raise unexpected(method.full_name, error) from error


def not_implemented(what: str) -> ApiError:
    """The answer to what the local Vertex AI does not do: its name, never a pretended success."""
    return ApiError(Code.UNIMPLEMENTED, f"{what} is not implemented by the local Vertex AI.")


def unexpected(what: str, error: Exception) -> ApiError:
    """The answer when a handler broke: INTERNAL with the reason; the traceback goes to the log."""
    _log.error("%s failed", what, exc_info=error)
    return ApiError(Code.INTERNAL, f"{what} failed in the local Vertex AI: {type(error).__name__}: {error}")
