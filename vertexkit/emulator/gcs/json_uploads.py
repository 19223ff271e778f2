"""Uploads over the JSON API: simple, multipart, resumable.

Source: https://cloud.google.com/storage/docs/uploads-downloads
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

from vertexkit.emulator.gcs import errors, json_shapes, multipart, resources
from vertexkit.emulator.gcs.checksums import Announced
from vertexkit.emulator.gcs.conditions import from_query
from vertexkit.emulator.gcs.http import Request, Response, parse_json
from vertexkit.emulator.gcs.intake import announced_by, take_in
from vertexkit.emulator.gcs.json_errors import json_response
from vertexkit.emulator.gcs.json_objects import refuse_predefined_acl
from vertexkit.emulator.gcs.names import checked_name
from vertexkit.emulator.gcs.records import ObjectInfo
from vertexkit.emulator.gcs.store import Attributes, ObjectStore
from vertexkit.emulator.gcs.uploads import ResumableUploads, Session, UploadRequest, cancelled

_QUANTUM = 1 << 18
"""Every piece of a resumable upload but the last is a multiple of this."""
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19}|\*)", re.ASCII)
_SIZE = "x-upload-content-length"


class ContentRange(NamedTuple):
    """A ``Content-Range`` header of a resumable upload."""

    first: int | None
    """The first byte that the request holds; None if it holds none, and asks for the status."""
    last: int | None
    total: int | None
    """The size of the object; None while the client does not know it."""


class JsonUploads:
    """The method ``objects.insert``."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._sessions = ResumableUploads(store)

    async def insert(self, request: Request, bucket: str) -> Response:
        """Upload an object in one of the three ways, or go on with a resumable upload."""
        query = request.query
        if "upload_id" in query:
            return await self.resume(request, bucket)
        self._store.bucket(bucket)
        refuse_predefined_acl(request)
        kind = query.get("uploadType")
        if kind == "media":
            return await self._simple(request, bucket)
        if kind == "multipart":
            return await self._multipart(request, bucket)
        if kind == "resumable":
            return await self._start(request, bucket)
        raise errors.invalid(f"Invalid upload type: {kind!r}: media, multipart or resumable.")

    async def _simple(self, request: Request, bucket: str) -> Response:
        resource = _with_encoding({}, request)
        attributes = resources.new_attributes(resource, request.header(b"content-type"))
        name = _name(request, {})
        return await self._stored(
            request, (bucket, name), attributes, request.chunks(), announced_by(request)
        )

    async def _multipart(self, request: Request, bucket: str) -> Response:
        boundary = multipart.boundary_of(request.header(b"content-type"), "multipart/related")
        body = multipart.RelatedUpload(request.chunks(), boundary)
        resource = parse_json((await body.resource()).body)
        headers = await body.content_headers()
        if headers.get("content-transfer-encoding", "binary").lower() not in {"binary", "8bit", "7bit"}:
            raise errors.unimplemented("a Content-Transfer-Encoding of media")
        announced = resources.announced(resource).also(announced_by(request))
        attributes = resources.new_attributes(_with_encoding(resource, request), headers.get("content-type"))
        name = _name(request, resource)
        return await self._stored(request, (bucket, name), attributes, body.content(), announced)

    async def _stored(
        self,
        request: Request,
        target: tuple[str, str],
        attributes: Attributes,
        chunks: AsyncIterator[bytes],
        announced: Announced,
    ) -> Response:
        conditions = from_query(request.query)
        # Now, too: what is bound to fail should not take the whole body first.
        conditions.check(self._store.find(*target))
        staged = self._store.stage()
        try:
            await take_in(chunks, staged)
            info = self._store.commit(*target, staged, attributes, conditions=conditions, announced=announced)
        finally:
            staged.discard()
        return _made(info, request)

    async def _start(self, request: Request, bucket: str) -> Response:
        resource = await request.json()
        size = request.header(_SIZE.encode())
        session = self._sessions.start(
            UploadRequest(
                bucket,
                _name(request, resource),
                resources.new_attributes(
                    _with_encoding(resource, request), request.header(b"x-upload-content-type")
                ),
                from_query(request.query),
                resources.announced(resource).also(announced_by(request)),
                json_shapes.integer({_SIZE: size}, _SIZE),
            )
        )
        location = (
            f"{request.base_url}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={session.id}"
        )
        return Response(
            200, [(b"location", location.encode()), (b"x-guploader-uploadid", session.id.encode())]
        )

    async def resume(self, request: Request, bucket: str) -> Response:
        """Take more bytes of a resumable upload, or tell how many have been taken."""
        async with self._sessions.locked(request.query.get("upload_id", ""), bucket) as session:
            if session.made is not None:
                return _made(session.made, request)
            if session.staged is None:
                raise cancelled()
            return await self._continued(request, session)

    async def cancel(self, request: Request, bucket: str) -> Response:
        """Cancel a resumable upload."""
        async with self._sessions.locked(request.query.get("upload_id", ""), bucket) as session:
            if session.made is None:
                self._sessions.cancel(session)
        return Response(499)

    async def _continued(self, request: Request, session: Session) -> Response:
        span = _content_range(request)
        total = _total(session, span)
        if span.first is not None:
            length = request.content_length
            ends = span.last is not None and total == span.last + 1
            if span.last is not None and length is not None and length != span.last - span.first + 1:
                raise errors.invalid("The Content-Length and the Content-Range do not agree.")
            if span.last is not None and not ends and (span.last + 1 - span.first) % _QUANTUM:
                raise errors.invalid(
                    "Invalid request. Every piece of a resumable upload but the last is a multiple of "
                    f"{_QUANTUM} bytes."
                )
            await self._sessions.take(session, span.first, request.chunks())
            if span.last is None:
                total = session.taken if total is None else total
        if total is None or session.taken < total:
            return _incomplete(session)
        if session.taken > total:
            raise errors.invalid(f"The upload has {session.taken} bytes, not {total}.")
        return _made(self._sessions.finish(session, announced_by(request)), request)


def _made(info: ObjectInfo, request: Request) -> Response:
    return json_response(resources.object_resource(info, request.base_url), request)


def _incomplete(session: Session) -> Response:
    """308: more is to come, from the byte behind ``Range``."""
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    if session.taken:
        headers.append((b"range", b"bytes=0-%d" % (session.taken - 1)))
    return Response(308, headers)


def _content_range(request: Request) -> ContentRange:
    """The ``Content-Range`` header; without one, the request holds the whole object."""
    header = request.header(b"content-range")
    if header is None:
        return ContentRange(0, None, None)
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if match is None:
        raise errors.invalid(f"Failed to parse Content-Range header: {header}.")
    first, last, total = (None if text in (None, "*") else int(text) for text in match.groups())
    if first is not None and last is not None and (last < first or (total is not None and last >= total)):
        raise errors.invalid(f"Failed to parse Content-Range header: {header}.")
    return ContentRange(first, last, total)


def _total(session: Session, span: ContentRange) -> int | None:
    """The size of the object, as far as it is known."""
    announced = session.request.size
    if announced is not None and span.total is not None and announced != span.total:
        raise errors.invalid(
            f"The Content-Range gives a size of {span.total} bytes, X-Upload-Content-Length {announced}."
        )
    # A request for the status ends an upload only if it says how large the object is.
    if span.first is None:
        return span.total
    return announced if span.total is None else span.total


def _name(request: Request, resource: Mapping[str, Any]) -> str:
    name = json_shapes.text(resource, "name") or request.query.get("name")
    if not name:
        raise errors.required("name")
    return checked_name(name)


def _with_encoding(resource: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """The resource, with the content encoding that the request gives beside it."""
    encoding = request.query.get("contentEncoding") or request.header(b"content-encoding")
    if encoding and not resource.get("contentEncoding"):
        return {**resource, "contentEncoding": encoding}
    return {**resource}
