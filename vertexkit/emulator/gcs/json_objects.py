"""Objects over the JSON API, but for their upload.

Source: https://cloud.google.com/storage/docs/json_api/v1/objects
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vertexkit.emulator.gcs import errors, fields, json_shapes, resources
from vertexkit.emulator.gcs.conditions import from_query, from_read, integer, version_tag
from vertexkit.emulator.gcs.copying import ComposeSource, compose, copy_object
from vertexkit.emulator.gcs.globs import Glob
from vertexkit.emulator.gcs.http import Request, Response
from vertexkit.emulator.gcs.json_errors import json_response
from vertexkit.emulator.gcs.listing import Query, decode_token, encode_token
from vertexkit.emulator.gcs.media import media_response
from vertexkit.emulator.gcs.names import checked_name
from vertexkit.emulator.gcs.records import ObjectInfo
from vertexkit.emulator.gcs.store import ObjectStore

MAX_RESULTS = 1000
"""Objects and prefixes in one page."""
_SMALL = 1 << 20
"""A file of fewer bytes is read or copied sooner than a thread would take it over."""
_ENCRYPTED = b"x-goog-encryption-algorithm"


class JsonObjects:
    """The methods of ``objects``."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def list(self, request: Request, bucket: str) -> Response:
        """List objects, and prefixes in place of those behind a delimiter."""
        query = request.query
        if request.flag("softDeleted"):
            raise errors.unimplemented("soft delete (softDeleted)")
        if query.get("filter"):
            raise errors.unimplemented("filters over object contexts (filter)")
        page = self._store.page(bucket, _list_query(request))
        wanted = fields.parse_fields(query["fields"]) if query.get("fields") else None
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if page.items and fields.selects(wanted, "items"):
            items: Sequence[ObjectInfo] = page.items
            if fields.selects(wanted, "items", "crc32c"):
                items = await self._all_hashed(items)
            base_url = request.base_url
            answer["items"] = [resources.object_resource(info, base_url) for info in items]
        if page.prefixes:
            answer["prefixes"] = page.prefixes
        if page.next_start is not None:
            answer["nextPageToken"] = encode_token(page.next_start)
        return json_response(answer, request)

    async def get(self, request: Request, bucket: str, name: str) -> Response:
        """Get an object's metadata or, with ``alt=media``, its content."""
        if request.query.get("alt") == "media":
            return await self.download(request, bucket, name)
        info = self._store.get(
            bucket,
            name,
            generation=_generation(request),
            conditions=from_read(request.query, request.headers),
        )
        return json_response(resources.object_resource(await self._hashed(info), request.base_url), request)

    async def download(self, request: Request, bucket: str, name: str) -> Response:
        """Get an object's content."""
        _refuse_encryption(request)
        info, fd = self._store.open(
            bucket,
            name,
            generation=_generation(request),
            conditions=from_read(request.query, request.headers),
        )
        return await serve(
            self._store, request, info, fd, etag=version_tag(info.generation, info.metageneration)
        )

    async def patch(self, request: Request, bucket: str, name: str) -> Response:
        """Change some of an object's metadata; null removes a field or a key."""
        patch = await request.json()
        return await self._updated(request, bucket, name, lambda info: resources.patched(info, patch))

    async def update(self, request: Request, bucket: str, name: str) -> Response:
        """Replace an object's metadata."""
        resource = await request.json()
        return await self._updated(request, bucket, name, lambda info: resources.replaced(info, resource))

    async def _updated(
        self, request: Request, bucket: str, name: str, change: Callable[[ObjectInfo], ObjectInfo]
    ) -> Response:
        refuse_predefined_acl(request)
        info = self._store.update(
            bucket, name, change, generation=_generation(request), conditions=from_query(request.query)
        )
        return json_response(resources.object_resource(await self._hashed(info), request.base_url), request)

    async def delete(self, request: Request, bucket: str, name: str) -> Response:
        """Delete an object."""
        self._store.delete(
            bucket, name, generation=_generation(request), conditions=from_query(request.query)
        )
        return Response(204)

    async def compose(self, request: Request, bucket: str, name: str) -> Response:
        """Put up to 32 objects one after the other into one."""
        refuse_predefined_acl(request)
        body = await request.json()
        parts = [_compose_source(source) for source in json_shapes.inners(body, "sourceObjects")]
        if not parts:
            raise errors.required("sourceObjects")
        destination = json_shapes.inner(body, "destination")
        info = await asyncio.to_thread(
            compose,
            self._store,
            bucket,
            checked_name(name),
            parts,
            resources.new_attributes(destination, default_type=""),
            conditions=from_query(request.query),
            delete_sources=json_shapes.flag(body, "deleteSourceObjects") is True,
        )
        return json_response(resources.object_resource(info, request.base_url), request)

    async def copy(
        self, request: Request, bucket: str, name: str, target_bucket: str, target: str
    ) -> Response:
        """Copy an object."""
        info = await self._copied(request, bucket, name, target_bucket, target)
        return json_response(resources.object_resource(info, request.base_url), request)

    async def rewrite(
        self, request: Request, bucket: str, name: str, target_bucket: str, target: str
    ) -> Response:
        """Copy an object; never in several steps, as all of it is in one place."""
        info = await self._copied(request, bucket, name, target_bucket, target)
        answer = {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": str(info.size),
            "objectSize": str(info.size),
            "done": True,
            "resource": resources.object_resource(info, request.base_url),
        }
        return json_response(answer, request)

    async def _copied(
        self, request: Request, bucket: str, name: str, target_bucket: str, target: str
    ) -> ObjectInfo:
        query = request.query
        for parameter in ("destinationPredefinedAcl", "destinationKmsKeyName"):
            if query.get(parameter):
                raise errors.unimplemented(parameter)
        _refuse_encryption(request)
        body = await request.json()
        return await asyncio.to_thread(
            copy_object,
            self._store,
            (bucket, name),
            (target_bucket, checked_name(target)),
            # Metadata in the request replaces that of the source; without any, it is kept.
            attributes=resources.new_attributes(body) if body else None,
            generation=integer(query, "sourceGeneration"),
            source_conditions=from_query(query, source=True),
            conditions=from_query(query),
        )

    async def move(self, request: Request, bucket: str, name: str, target: str) -> Response:
        """Rename an object within its bucket, in one step."""
        info = self._store.move(
            bucket,
            name,
            target,
            source_conditions=from_query(request.query, source=True),
            conditions=from_query(request.query),
        )
        return json_response(resources.object_resource(await self._hashed(info), request.base_url), request)

    async def _all_hashed(self, items: Sequence[ObjectInfo]) -> Sequence[ObjectInfo]:
        if all(info.crc32c is not None for info in items):
            return items
        # A page of files from outside is a lot to read, however small each of them is.
        return await asyncio.to_thread(lambda: [self._store.with_crc32c(info) for info in items])

    async def _hashed(self, info: ObjectInfo) -> ObjectInfo:
        return await hashed(self._store, info)


async def serve(
    store: ObjectStore, request: Request, info: ObjectInfo, fd: int, *, etag: str | None = None
) -> Response:
    """The response with an object's content. It closes ``fd``, even if there is no response.

    Args:
        store: The store.
        request: The request.
        info: The object.
        fd: Its content.
        etag: The ``ETag`` header; None for that of the XML API.

    Raises:
        StorageError: 416.
    """
    try:
        return media_response(request, await hashed(store, info), fd, etag)
    except BaseException:
        os.close(fd)
        raise


async def hashed(store: ObjectStore, info: ObjectInfo) -> ObjectInfo:
    """The object with its crc32c, without holding up other requests."""
    if info.crc32c is not None:
        return info
    if info.size < _SMALL:
        return store.with_crc32c(info)
    return await asyncio.to_thread(store.with_crc32c, info)


def refuse_predefined_acl(request: Request) -> None:
    """Refuse to set an access control list.

    Raises:
        StorageError: 501.
    """
    for parameter in ("predefinedAcl", "destinationPredefinedAcl", "predefinedDefaultObjectAcl"):
        if request.query.get(parameter):
            raise errors.unimplemented(f"access control lists ({parameter})")
    if request.query.get("kmsKeyName"):
        raise errors.unimplemented("customer-managed encryption keys (kmsKeyName)")
    _refuse_encryption(request)


def _refuse_encryption(request: Request) -> None:
    if _ENCRYPTED in request.headers:
        raise errors.unimplemented("customer-supplied encryption keys")


def _generation(request: Request) -> int | None:
    return integer(request.query, "generation")


def _list_query(request: Request) -> Query:
    query = request.query
    prefix = query.get("prefix", "")
    limit = integer(query, "maxResults")
    if limit is not None and limit < 0:
        raise errors.invalid(f"Invalid maxResults: {limit}.")
    start = query.get("startOffset", "")
    if query.get("pageToken"):
        start = max(start, decode_token(query["pageToken"]))
    return Query(
        prefix=prefix,
        delimiter=query.get("delimiter", ""),
        start=start,
        end=query.get("endOffset", ""),
        limit=min(limit or MAX_RESULTS, MAX_RESULTS),
        trailing=request.flag("includeTrailingDelimiter"),
        accept=Glob(query["matchGlob"]).matches if query.get("matchGlob") else None,
    )


def _compose_source(source: Mapping[str, Any]) -> ComposeSource:
    name = json_shapes.text(source, "name")
    if not name:
        raise errors.required("sourceObjects[].name")
    conditions = json_shapes.inner(source, "objectPreconditions")
    return ComposeSource(
        name, json_shapes.integer(source, "generation"), json_shapes.integer(conditions, "ifGenerationMatch")
    )
