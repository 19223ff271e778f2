"""Fixtures of the services' tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local_jobs import LocalJobs, ToldEngine
from local_services import ThreadServing, Vertex, one_after_another


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Vertex]]:
    """Starts the services on the same data, again and again."""

    def vertex(serving: ThreadServing | None = None) -> Vertex:
        return Vertex(tmp_path, serving or ThreadServing())

    with one_after_another(vertex) as begin:
        yield begin


@pytest.fixture
def vertex(start: Callable[[], Vertex]) -> Vertex:
    return start()


@pytest.fixture
def start_jobs(tmp_path: Path) -> Iterator[Callable[[], LocalJobs]]:
    """Starts the services of jobs on the same data, again and again."""
    with one_after_another(lambda: LocalJobs(tmp_path, ToldEngine())) as begin:
        yield begin


@pytest.fixture
def jobs(start_jobs: Callable[[], LocalJobs]) -> LocalJobs:
    return start_jobs()
