"""Buckets and objects over the XML API, as the bulk clients use it.

Source: https://cloud.google.com/storage/docs/xml-api/reference-methods
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from vertexkit.emulator.gcs import errors, resources
from vertexkit.emulator.gcs.conditions import from_headers, http_etag, integer
from vertexkit.emulator.gcs.copying import copy_object
from vertexkit.emulator.gcs.http import Request, Response, header_text, percent_decoded
from vertexkit.emulator.gcs.intake import announced_by, take_in
from vertexkit.emulator.gcs.json_objects import MAX_RESULTS, serve
from vertexkit.emulator.gcs.json_shapes import check_header
from vertexkit.emulator.gcs.listing import Page, Query, decode_token, encode_token
from vertexkit.emulator.gcs.media import version_headers
from vertexkit.emulator.gcs.names import checked_name
from vertexkit.emulator.gcs.store import Attributes, ObjectStore
from vertexkit.emulator.gcs.times import rfc3339
from vertexkit.emulator.gcs.xml import Node, xml_response

_SMALL = 1 << 17
_META = b"x-goog-meta-"
_FIELDS = {
    b"cache-control": "cacheControl",
    b"content-disposition": "contentDisposition",
    b"content-encoding": "contentEncoding",
    b"content-language": "contentLanguage",
    b"x-goog-custom-time": "customTime",
    b"x-goog-storage-class": "storageClass",
}
_REFUSED = {
    b"x-goog-acl": "access control lists",
    b"x-goog-encryption-algorithm": "customer-supplied encryption keys",
    b"x-goog-encryption-kms-key-name": "customer-managed encryption keys",
}
_SUBRESOURCES = {
    "acl",
    "billing",
    "cors",
    "encryption",
    "lifecycle",
    "location",
    "logging",
    "storageClass",
    "tagging",
    "versioning",
    "versions",
    "websiteConfig",
}


class XmlObjects:
    """The methods of the XML API, but for multipart uploads."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def list(self, request: Request, bucket: str) -> Response:
        """List the objects of a bucket, in either version of the listing."""
        query = request.query
        _refuse_subresources(query)
        after = query.get("start-after" if "list-type" in query else "marker")
        start = f"{after}\0" if after else ""
        if query.get("continuation-token"):
            start = decode_token(query["continuation-token"])
        limit = integer(query, "max-keys")
        page = self._store.page(
            bucket,
            Query(
                prefix=query.get("prefix", ""),
                delimiter=query.get("delimiter", ""),
                start=start,
                limit=max(0, min(MAX_RESULTS if limit is None else limit, MAX_RESULTS)),
            ),
        )
        return xml_response(("ListBucketResult", _listed(bucket, query, page)))

    async def head_bucket(self, request: Request, bucket: str) -> Response:
        """Tell whether a bucket is there."""
        _refuse_subresources(request.query)
        info = self._store.bucket(bucket)
        return Response(200, [(b"x-goog-bucket-location", info.location.encode())])

    async def get(self, request: Request, bucket: str, name: str) -> Response:
        """Get an object's content, or with HEAD only what there is to tell of it."""
        _refuse_subresources(request.query)
        _refuse(request)
        info, fd = self._store.open(
            bucket,
            name,
            generation=integer(request.query, "generation"),
            conditions=from_headers(request.headers),
        )
        return await serve(self._store, request, info, fd)

    async def put(self, request: Request, bucket: str, name: str) -> Response:
        """Put an object, from the body or from another object."""
        _refuse_subresources(request.query)
        if b"x-goog-copy-source" in request.headers:
            return await self._copy(request, bucket, name)
        attributes = attributes_of(request)
        conditions = from_headers(request.headers)
        announced = announced_by(request)
        length = request.content_length
        if length is not None and length <= _SMALL:
            data = await request.body(_SMALL)
            info = self._store.write(
                bucket, name, data, attributes=attributes, conditions=conditions, announced=announced
            )
            return Response(200, version_headers(info))
        # What is bound to fail should not take the whole body first.
        self._store.bucket(bucket)
        conditions.check(self._store.find(bucket, checked_name(name)))
        staged = self._store.stage()
        try:
            await take_in(request.chunks(), staged)
            info = self._store.commit(
                bucket, name, staged, attributes, conditions=conditions, announced=announced
            )
        finally:
            staged.discard()
        return Response(200, version_headers(info))

    async def _copy(self, request: Request, bucket: str, name: str) -> Response:
        source = request.headers[b"x-goog-copy-source"].removeprefix(b"/")
        source_bucket, _, source_name = percent_decoded(source).partition("/")
        replace = request.headers.get(b"x-goog-metadata-directive", b"COPY").upper() == b"REPLACE"
        generation = request.header(b"x-goog-copy-source-generation")
        at_generation = {} if generation is None else {"x-goog-copy-source-generation": generation}
        info = await asyncio.to_thread(
            copy_object,
            self._store,
            (source_bucket, checked_name(source_name)),
            (bucket, checked_name(name)),
            attributes=attributes_of(request) if replace else None,
            generation=integer(at_generation, "x-goog-copy-source-generation"),
            source_conditions=from_headers(request.headers, source=True),
            conditions=from_headers(request.headers),
        )
        made = xml_response(
            ("CopyObjectResult", [("LastModified", rfc3339(info.updated_us)), ("ETag", http_etag(info))])
        )
        made.headers += version_headers(info)
        return made

    async def delete(self, request: Request, bucket: str, name: str) -> Response:
        """Delete an object."""
        _refuse_subresources(request.query)
        self._store.delete(
            bucket,
            name,
            generation=integer(request.query, "generation"),
            conditions=from_headers(request.headers),
        )
        return Response(204)


def attributes_of(request: Request) -> Attributes:
    """The metadata that a request's headers give a new object.

    Raises:
        StorageError: 501; they ask for what is not done here.
    """
    _refuse(request)
    resource: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    content_type = None
    for name, value in request.scope["headers"]:
        if name == b"content-type":
            content_type = value.decode("latin-1")
        elif name in _FIELDS:
            resource[_FIELDS[name]] = value.decode("latin-1")
        elif name.startswith(_META):
            metadata[name[len(_META) :].decode("latin-1")] = header_text(value)
    if metadata:
        resource["metadata"] = metadata
    if not resource:
        if content_type:
            check_header("Content-Type", content_type)
        return Attributes(content_type or "application/octet-stream")
    if "contentEncoding" in resource:
        # The framing of the transfer is not the object's.
        codings = [coding.strip() for coding in resource["contentEncoding"].split(",")]
        resource["contentEncoding"] = ",".join(coding for coding in codings if coding != "aws-chunked")
    return resources.new_attributes(resource, content_type)


def _refuse(request: Request) -> None:
    for header, what in _REFUSED.items():
        if header in request.headers:
            raise errors.unimplemented(f"{what} ({header.decode()})")


def _refuse_subresources(query: Mapping[str, str]) -> None:
    if query:
        asked = _SUBRESOURCES & query.keys()
        if asked:
            raise errors.unimplemented(f"?{asked.pop()} of the XML API")


def _listed(bucket: str, query: Mapping[str, str], page: Page) -> list[Node]:
    encode = quote if query.get("encoding-type") == "url" else str
    result: list[Node] = [
        ("Name", bucket),
        ("Prefix", encode(query.get("prefix", ""))),
        ("IsTruncated", "false" if page.next_start is None else "true"),
        ("KeyCount", len(page.items) + len(page.prefixes)),
    ]
    if query.get("delimiter"):
        result.append(("Delimiter", encode(query["delimiter"])))
    if page.next_start is not None:
        result.append(("NextContinuationToken", encode_token(page.next_start)))
        last = max([info.name for info in page.items] + page.prefixes, default="")
        result.append(("NextMarker", encode(last)))
    for info in page.items:
        contents: list[Node] = [
            ("Key", encode(info.name)),
            ("Generation", info.generation),
            ("MetaGeneration", info.metageneration),
            ("LastModified", rfc3339(info.updated_us)),
            ("ETag", http_etag(info)),
            ("Size", info.size),
        ]
        result.append(("Contents", contents))
    result += [("CommonPrefixes", [("Prefix", encode(prefix))]) for prefix in page.prefixes]
    return result
