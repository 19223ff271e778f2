"""Preconditions: what must be true of an object for a request to be carried out.

Source: https://cloud.google.com/storage/docs/request-preconditions
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace

from vertexkit.emulator.gcs import errors, times
from vertexkit.emulator.gcs.records import BucketInfo, ObjectInfo


@dataclass(frozen=True)
class Conditions:
    """The preconditions of one request; None for one that it does not make."""

    generation_match: int | None = None
    """The generation that must be there; 0 for: there must be no such object."""
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None
    etag_match: str | None = None
    """``If-Match``: one of these quoted ETags must be there, or ``*`` for any object."""
    etag_not_match: str | None = None
    modified_since: str | None = None
    """``If-Modified-Since``: an HTTP date."""
    unmodified_since: str | None = None

    def check(self, current: ObjectInfo | None) -> None:
        """Check before a change.

        Args:
            current: The object that is there, or None.

        Raises:
            StorageError: 412; a precondition does not hold.
        """
        failed = self._failed_match(current) or self._failed_not_match(current)
        if failed is not None:
            raise errors.precondition_failed(failed)

    def check_read(self, current: ObjectInfo) -> None:
        """Check before an answer that holds the object or its metadata.

        Raises:
            StorageError: 412, or 304 if the reader has it already.
        """
        failed = self._failed_match(current)
        if failed is not None:
            raise errors.precondition_failed(failed)
        failed = self._failed_not_match(current)
        if failed is not None:
            raise errors.not_modified(failed)

    def check_bucket(self, bucket: BucketInfo, *, reading: bool = False) -> None:
        """Check the metageneration of a bucket.

        Raises:
            StorageError: 412, or 304 if the reader has it already.
        """
        if self.metageneration_match not in (None, bucket.metageneration):
            raise errors.precondition_failed("ifMetagenerationMatch")
        if self.metageneration_not_match == bucket.metageneration:
            failed = errors.not_modified if reading else errors.precondition_failed
            raise failed("ifMetagenerationNotMatch")

    def _failed_match(self, current: ObjectInfo | None) -> str | None:
        generation = 0 if current is None else current.generation
        metageneration = None if current is None else current.metageneration
        if self.generation_match not in (None, generation):
            return "If-Match"
        if self.metageneration_match not in (None, metageneration):
            return "If-Match"
        if self.etag_match is not None and not _matches(self.etag_match, current):
            return "If-Match"
        since = None if self.unmodified_since is None else times.parse_http_date(self.unmodified_since)
        if since is not None and self.etag_match is None and current is not None:
            return "If-Unmodified-Since" if current.updated_us // 1_000_000 > since else None
        return None

    def _failed_not_match(self, current: ObjectInfo | None) -> str | None:
        generation = 0 if current is None else current.generation
        metageneration = None if current is None else current.metageneration
        if self.generation_not_match == generation:
            return "If-None-Match"
        if self.metageneration_not_match is not None and self.metageneration_not_match == metageneration:
            return "If-None-Match"
        if self.etag_not_match is not None:
            return "If-None-Match" if _matches(self.etag_not_match, current) else None
        since = None if self.modified_since is None else times.parse_http_date(self.modified_since)
        if since is not None and current is not None and current.updated_us // 1_000_000 <= since:
            return "If-Modified-Since"
        return None


UNCONDITIONAL = Conditions()


def from_query(query: Mapping[str, str], *, source: bool = False) -> Conditions:
    """Read the JSON API's parameters: ``ifGenerationMatch`` and its kin.

    Args:
        query: The request's parameters.
        source: Read ``ifSourceGenerationMatch`` and its kin instead.

    Raises:
        StorageError: 400; one of them is not a number.
    """
    if not query:
        return UNCONDITIONAL
    start = "ifSource" if source else "if"
    return Conditions(
        generation_match=integer(query, f"{start}GenerationMatch"),
        generation_not_match=integer(query, f"{start}GenerationNotMatch"),
        metageneration_match=_metageneration(query, start, "Match"),
        metageneration_not_match=_metageneration(query, start, "NotMatch"),
    )


def _metageneration(query: Mapping[str, str], start: str, end: str) -> int | None:
    # Google's Python client writes ifMetaGenerationMatch when it uploads.
    found = integer(query, f"{start}Metageneration{end}")
    return integer(query, f"{start}MetaGeneration{end}") if found is None else found


def from_headers(headers: Mapping[bytes, bytes], *, source: bool = False) -> Conditions:
    """Read the XML API's headers: ``x-goog-if-generation-match``, ``If-Match`` and their kin.

    Args:
        headers: The request's headers, names in lower case.
        source: Read ``x-goog-copy-source-if-generation-match`` and its kin instead.

    Raises:
        StorageError: 400; one of them is not a number.
    """
    text = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in headers.items()
        if name.startswith((b"if-", b"x-goog-"))
    }
    start = "x-goog-copy-source-if" if source else "x-goog-if"
    plain = "x-goog-copy-source-if" if source else "if"
    if not any(name.startswith((start, f"{plain}-")) for name in text):
        return UNCONDITIONAL
    return Conditions(
        generation_match=integer(text, f"{start}-generation-match"),
        metageneration_match=integer(text, f"{start}-metageneration-match"),
        etag_match=text.get(f"{plain}-match"),
        etag_not_match=text.get(f"{plain}-none-match"),
        modified_since=text.get(f"{plain}-modified-since"),
        unmodified_since=text.get(f"{plain}-unmodified-since"),
    )


def from_read(query: Mapping[str, str], headers: Mapping[bytes, bytes]) -> Conditions:
    """Read what a request of the JSON API for an object asks: parameters, and HTTP's own ``If-*`` headers.

    Args:
        query: The request's parameters.
        headers: The request's headers, names in lower case.

    Raises:
        StorageError: 400; a parameter is not a number.
    """
    conditions = from_query(query)
    standard = {name: value for name, value in headers.items() if name.startswith(b"if-")}
    if not standard:
        return conditions
    given = from_headers(standard)
    return replace(
        conditions,
        etag_match=given.etag_match,
        etag_not_match=given.etag_not_match,
        modified_since=given.modified_since,
        unmodified_since=given.unmodified_since,
    )


def integer(values: Mapping[str, str], name: str) -> int | None:
    """A parameter that is a whole number, or None if it is not given.

    Raises:
        StorageError: 400; it is something else.
    """
    value = values.get(name)
    if value is None:
        return None
    try:
        return int(value)
    except ValueError:
        raise errors.invalid(f"Invalid value '{value}' for {name}: not a whole number.") from None


def version_tag(generation: int, metageneration: int) -> str:
    """The JSON API's ``etag``: opaque, and different for every change of content or metadata."""
    packed = b"\x08" + _varint(generation) + b"\x10" + _varint(metageneration)
    return base64.b64encode(packed).decode("ascii")


def http_etag(info: ObjectInfo) -> str:
    """The ``ETag`` header, quoted: the MD5 in hexadecimal where there is one."""
    if info.md5 is not None:
        return f'"{base64.b64decode(info.md5).hex()}"'
    return f'"-{version_tag(info.generation, info.metageneration)}"'


def _matches(wanted: str, current: ObjectInfo | None) -> bool:
    if current is None:
        return False
    if wanted.strip() == "*":
        return True
    etags = {http_etag(current).strip('"'), version_tag(current.generation, current.metageneration)}
    return any(etag.strip().removeprefix("W/").strip('"') in etags for etag in wanted.split(","))


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
