"""What the tests of the local Cloud Storage share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vertexkit.emulator.gcs.store import ObjectStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    """A store with a bucket."""
    opened = ObjectStore(tmp_path / "data")
    opened.create_bucket("bucket", "project")
    yield opened
    opened.close()
