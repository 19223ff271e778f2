"""MIME multipart bodies: ``multipart/related`` uploads as they arrive, ``multipart/mixed`` batches whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from email.message import Message
from typing import NamedTuple

from vertexkit.emulator.gcs import errors

_METADATA_LIMIT = 1 << 20


class Part(NamedTuple):
    """One part of a body."""

    headers: Mapping[str, str]
    """Headers, names in lower case."""
    body: bytes


def boundary_of(content_type: str | None, kind: str) -> bytes:
    """The boundary that a ``Content-Type`` header names.

    Args:
        content_type: The header.
        kind: The type that it must be, such as ``multipart/related``.

    Raises:
        StorageError: 400; it is another type, or names no boundary.
    """
    message = Message()
    message["content-type"] = content_type or ""
    boundary = message.get_boundary()
    # Some clients write multipart/mixed for uploads, and the service does not mind.
    if not boundary or not (content_type or "").lower().startswith("multipart/"):
        raise errors.invalid(f"The content type is not {kind} with a boundary: {content_type!r}.")
    if len(boundary) > 2 and boundary[0] == boundary[-1] == "'":
        # Google's command line writes its boundary so, and the service does not mind.
        boundary = boundary[1:-1]
    return boundary.encode("latin-1")


def split_parts(body: bytes, boundary: bytes) -> list[Part]:
    """The parts of a whole body.

    Raises:
        StorageError: 400; its last boundary is missing.
    """
    pieces = (b"\r\n" + body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")).split(b"\r\n--" + boundary)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise errors.invalid("The multipart body has no closing boundary.")
    return [_part(piece.removeprefix(b"\r\n")) for piece in pieces[1:-1]]


class RelatedUpload:
    """A ``multipart/related`` body of two parts: an object resource, and the object's content.

    The content is given out as it arrives, so that its size does not matter.
    """

    def __init__(self, chunks: AsyncIterator[bytes], boundary: bytes) -> None:
        self._chunks = chunks
        self._boundary = b"--" + boundary
        self._end_of_line = b"\r\n"
        self._held = b""

    async def resource(self) -> Part:
        """The first part.

        Raises:
            StorageError: 400; it is not there, or too large.
        """
        await self._up_to(self._boundary)
        # Some clients end lines with a bare line feed, and the service does not mind.
        if (await self._up_to(b"\n")).endswith(b"\r"):
            self._end_of_line = b"\r\n"
        else:
            self._end_of_line = b"\n"
        self._held = self._end_of_line + self._held
        headers = await self.content_headers()
        return Part(headers, await self._up_to(self._delimiter))

    async def content_headers(self) -> Mapping[str, str]:
        """The headers of the second part.

        Raises:
            StorageError: 400; it is not there.
        """
        return _headers(await self._up_to(self._end_of_line * 2))

    @property
    def _delimiter(self) -> bytes:
        return self._end_of_line + self._boundary

    async def content(self) -> AsyncIterator[bytes]:
        """The body of the second part.

        Raises:
            StorageError: 400; the closing boundary is missing, as when the body has been cut short.
        """
        delimiter = self._delimiter
        keep = len(delimiter) - 1
        while True:
            end = self._held.find(delimiter)
            if end >= 0:
                yield self._held[:end]
                await self._closing(self._held[end + len(delimiter) :])
                return
            if len(self._held) > keep:
                yield self._held[:-keep]
                self._held = self._held[-keep:]
            await self._more()

    async def _closing(self, rest: bytes) -> None:
        self._held = rest
        while len(self._held) < 2:
            await self._more()
        if not self._held.startswith(b"--"):
            raise errors.invalid("A multipart upload has two parts.")
        async for _ in self._chunks:
            pass

    async def _up_to(self, mark: bytes) -> bytes:
        while mark not in self._held:
            if len(self._held) > _METADATA_LIMIT:
                raise errors.invalid("The metadata part of the multipart body is too large.")
            await self._more()
        before, _, self._held = self._held.partition(mark)
        return before

    async def _more(self) -> None:
        try:
            self._held += await anext(self._chunks)
        except StopAsyncIteration:
            raise errors.invalid("The multipart body has no closing boundary.") from None


def _part(raw: bytes) -> Part:
    if raw.startswith(b"\r\n"):
        return Part({}, raw[2:])
    head, _, body = raw.partition(b"\r\n\r\n")
    return Part(_headers(head), body)


def _headers(head: bytes) -> dict[str, str]:
    headers = {}
    for line in head.decode("latin-1").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return headers
