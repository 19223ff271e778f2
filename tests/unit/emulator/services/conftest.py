"""Fixtures of the services' tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local_services import ThreadServing, Vertex


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Vertex]]:
    """Starts the services on the same data, again and again."""
    started: list[Vertex] = []

    def begin(serving: ThreadServing | None = None) -> Vertex:
        if started:
            started[-1].close()
        started.append(Vertex(tmp_path, serving or ThreadServing()))
        return started[-1]

    yield begin
    started[-1].close()


@pytest.fixture
def vertex(start: Callable[[], Vertex]) -> Vertex:
    return start()
