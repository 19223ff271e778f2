"""Checksums: combined without reading, compared whatever their writing."""

import base64
import hashlib

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertexkit.emulator.gcs.checksums import (
    Announced,
    Hasher,
    combine_crc32c,
    decode_crc32c,
    encode_crc32c,
    parse_goog_hash,
)
from vertexkit.emulator.gcs.errors import StorageError


@given(st.binary(max_size=3000), st.binary(max_size=3000))
def test_the_checksum_of_two_strings_follows_from_theirs(first: bytes, second: bytes) -> None:
    combined = combine_crc32c(google_crc32c.value(first), google_crc32c.value(second), len(second))
    assert combined == google_crc32c.value(first + second)


@given(st.integers(0, 2**31), st.integers(0, 2**32 - 1))
def test_nothing_in_front_changes_nothing(size: int, crc: int) -> None:
    assert combine_crc32c(0, crc, size) == crc


@given(st.lists(st.binary()))
def test_pieces_hash_as_the_whole_does(pieces: list[bytes]) -> None:
    hasher = Hasher()
    for piece in pieces:
        hasher.update(piece)
    whole = b"".join(pieces)
    assert decode_crc32c(hasher.crc32c) == google_crc32c.value(whole)
    assert base64.b64decode(hasher.md5) == hashlib.md5(whole).digest()


@given(st.integers(0, 2**32 - 1))
def test_a_checksum_survives_its_writing(crc: int) -> None:
    assert decode_crc32c(encode_crc32c(crc)) == crc


def test_what_was_announced_is_compared() -> None:
    hasher = Hasher()
    hasher.update(b"content")
    right = Announced(hasher.crc32c, hasher.md5)
    right.verify(hasher.crc32c, hasher.md5)
    Announced().verify(hasher.crc32c, hasher.md5)
    for wrong in (Announced(crc32c="AAAAAA=="), Announced(md5=right.crc32c), Announced(crc32c="no base64")):
        with pytest.raises(StorageError) as refused:
            wrong.also(Announced()).verify(hasher.crc32c, hasher.md5)
        assert (refused.value.status, refused.value.xml_code) == (400, "BadDigest")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("crc32c=n03x6A==", Announced("n03x6A==", None)),
        ("crc32c=n03x6A==,md5=Ojk9c3dhfxgoKVVHYwFbHQ==", Announced("n03x6A==", "Ojk9c3dhfxgoKVVHYwFbHQ==")),
        ("md5=Ojk9c3dhfxgoKVVHYwFbHQ== , crc32c=n03x6A==", Announced("n03x6A==", "Ojk9c3dhfxgoKVVHYwFbHQ==")),
        ("", Announced()),
    ],
)
def test_the_hash_header_is_read(header: str, expected: Announced) -> None:
    assert parse_goog_hash(header) == expected
