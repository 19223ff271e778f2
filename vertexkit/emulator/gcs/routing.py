"""From a request's method and path to its handler, by one ordered table."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vertexkit.emulator.gcs import errors
from vertexkit.emulator.gcs.errors import StorageError
from vertexkit.emulator.gcs.http import Request, Response, percent_decoded

Handler = Callable[..., Awaitable[Response]]
ErrorEncoder = Callable[[Request, StorageError], Response]


@dataclass(frozen=True)
class Route:
    """Requests of one kind, and who answers them."""

    methods: str
    """Methods, separated by blanks."""
    template: str
    """A path; ``{x}`` is one percent-encoded segment, ``{x...}`` the rest of the path."""
    handler: Handler
    """Called with the request and the template's values, as keywords."""
    encode_error: ErrorEncoder
    """Writes a refusal as this kind of request has it."""


class Router:
    """An ordered table of routes; the first that matches answers."""

    def __init__(self, routes: Sequence[Route]) -> None:
        # Sorted out beforehand by method and first segment, so that no request tries every pattern.
        self._tables: dict[tuple[str, bytes | None], list[tuple[re.Pattern[bytes], Route]]] = {}
        heads = {_head(route.template) for route in routes}
        for route in routes:
            own = _head(route.template)
            for method in route.methods.split():
                for head in heads if own is None else {own}:
                    pattern = _pattern(route.template)
                    self._tables.setdefault((method, head), []).append((pattern, route))

    def match(self, request: Request) -> tuple[Route, dict[str, Any]] | None:
        """The route of a request, with the values of its template, or None.

        Raises:
            StorageError: 400; the path is not UTF-8.
        """
        path: bytes = request.scope["raw_path"]
        head = path[1:].partition(b"/")[0]
        table = self._tables.get((request.method, head)) or self._tables.get((request.method, None), [])
        for pattern, route in table:
            found = pattern.fullmatch(path)
            if found is not None:
                return route, {key: percent_decoded(value) for key, value in found.groupdict().items()}
        return None


def nothing_here(request: Request) -> StorageError:
    """There is no such method of the API."""
    path = request.scope["raw_path"].decode("latin-1")
    return errors.unimplemented(f"{request.method} {path} of the Cloud Storage API")


def _head(template: str) -> bytes | None:
    """The first segment of a template, or None if it may be anything."""
    head = template[1:].partition("/")[0]
    return None if "{" in head or not head else head.encode()


def _pattern(template: str) -> re.Pattern[bytes]:
    pattern = re.sub(r"\\\{(\w+)(\\\.\\\.\\\.)?\\\}", _group, re.escape(template))
    return re.compile(pattern.encode(), re.DOTALL)


def _group(match: re.Match[str]) -> str:
    return f"(?P<{match[1]}>{'.+' if match[2] else '[^/]+'})"
