"""What the contract suites of Cloud Storage share: its server alone, one a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from storage_server import StorageServer, in_thread


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageServer]:
    """The Cloud Storage server, in a thread."""
    with in_thread(tmp_path_factory.mktemp("storage")) as running:
        yield running
