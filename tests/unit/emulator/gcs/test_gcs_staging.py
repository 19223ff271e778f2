"""Bytes on their way into an object, when the disk does not take them all."""

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import pytest

from vertexkit.emulator.gcs.checksums import decode_crc32c
from vertexkit.emulator.gcs.staging import Staged
from vertexkit.emulator.gcs.store import Attributes, ObjectStore

FULL_AT = 100_000


@pytest.fixture
def staged(store: ObjectStore) -> Iterator[Staged]:
    opened = store.stage()
    yield opened
    opened.discard()


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow beyond ``FULL_AT`` bytes: a write takes what fits, and the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_AT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_upload_goes_on_behind_what_a_full_disk_took(store: ObjectStore, staged: Staged) -> None:
    content = bytes(range(256)) * 1000
    with full_disk(), pytest.raises(OSError, match="too large"):
        staged.write(content)
    assert staged.size == FULL_AT
    staged.write(content[staged.size :])
    info = store.commit("bucket", "a", staged, Attributes())
    assert store.read("bucket", "a") == content
    assert decode_crc32c(info.crc32c or "") == google_crc32c.value(content)


def test_a_file_that_is_not_what_was_hashed_becomes_no_object(store: ObjectStore, staged: Staged) -> None:
    staged.write(b"content")
    with Path(staged.path).open("ab") as other:
        other.write(b"stray")
    with pytest.raises(OSError, match="12 bytes are on the disk, and 7 were written"):
        store.commit("bucket", "a", staged, Attributes())
    assert store.find("bucket", "a") is None
