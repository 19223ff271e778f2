"""Fixtures of the client's tests. They import what they need where they need it: most tests here do not."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from doubles import Doubles
    from objects import Objects
    from stored import Storage


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what is tried again nor what is waited for lets any time pass."""
    from vertexkit import job, job_wait
    from vertexkit._core import deletion, operations

    monkeypatch.setenv("VERTEXKIT_NO_BACKOFF", "1")
    for module in (deletion, job, operations):
        monkeypatch.setattr(module, "intervals", lambda: itertools.repeat(0.0))
    monkeypatch.setattr(job_wait, "_FIRST_INTERVAL", 0.0)


@pytest.fixture
def doubles() -> Doubles:
    """A session's parts, which send nothing."""
    from doubles import Doubles

    return Doubles()


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Storage:
    """The buckets that jobs and models are sent to, in memory."""
    from stored import storage_in_memory

    return storage_in_memory(monkeypatch)


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch) -> Objects:
    """The objects that batch predictions are sent and read, in memory."""
    from objects import objects_in_memory

    return objects_in_memory(monkeypatch)
