"""Multipart uploads over the XML API: parts in any order, each in a file of its own until the end.

The service wants 5 MiB in every part but the last; here a part may have any size.

Source: https://cloud.google.com/storage/docs/multipart-uploads
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree

from vertexkit.emulator.gcs import errors, times
from vertexkit.emulator.gcs.checksums import Announced, combine_crc32c, decode_crc32c, encode_crc32c
from vertexkit.emulator.gcs.conditions import from_headers, http_etag, integer
from vertexkit.emulator.gcs.expiry import Expiry
from vertexkit.emulator.gcs.http import Request, Response
from vertexkit.emulator.gcs.intake import announced_by, take_in
from vertexkit.emulator.gcs.media import version_headers
from vertexkit.emulator.gcs.names import checked_name
from vertexkit.emulator.gcs.records import ObjectInfo
from vertexkit.emulator.gcs.store import Attributes, ObjectStore
from vertexkit.emulator.gcs.times import rfc3339
from vertexkit.emulator.gcs.xml import Node, xml_response
from vertexkit.emulator.gcs.xml_objects import attributes_of

_KIND = "multipart"
_MAX_PARTS = 10_000


class UploadedPart(NamedTuple):
    """One part that has arrived."""

    upload: str
    number: int
    size: int
    crc32c: str
    md5: str
    file: str
    updated_us: int

    @property
    def etag(self) -> str:
        """The part's ``ETag``, quoted: its MD5 in hexadecimal."""
        return f'"{base64.b64decode(self.md5).hex()}"'


class XmlUploads:
    """The methods of multipart uploads."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._folder = store.uploads_dir / _KIND
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._expiry = Expiry(store, _KIND)
        self._drop_old()
        self._remove_strays()

    async def initiate(self, request: Request, bucket: str, name: str) -> Response:
        """Start a multipart upload."""
        self._drop_old()
        self._store.bucket(bucket)
        attributes = attributes_of(request)
        upload_id = secrets.token_urlsafe(48)
        row = json.dumps(attributes)
        with self._store.lock:
            self._store.index.put_upload(
                (upload_id, _KIND, bucket, checked_name(name), times.now_us(), row, "")
            )
        return xml_response(
            ("InitiateMultipartUploadResult", [("Bucket", bucket), ("Key", name), ("UploadId", upload_id)])
        )

    async def put_part(self, request: Request, bucket: str, name: str) -> Response:
        """Put one part, in place of the one of that number."""
        upload_id, _ = self._upload(request, bucket, name)
        number = integer(request.query, "partNumber")
        if number is None or not 1 <= number <= _MAX_PARTS:
            raise errors.invalid(f"partNumber is a number from 1 to {_MAX_PARTS}.")
        if b"x-goog-copy-source" in request.headers:
            raise errors.unimplemented("parts that are copied from objects (x-goog-copy-source)")
        announced: Announced = announced_by(request)
        staged = self._store.stage()
        try:
            await take_in(request.chunks(), staged)
            crc32c, md5 = staged.crc32c, staged.md5 or ""
            announced.verify(crc32c, md5)
            staged.close()
            file = secrets.token_hex(16)
            part = UploadedPart(upload_id, number, staged.size, crc32c, md5, file, times.now_us())
            with self._store.lock:
                self._upload(request, bucket, name)  # it may have ended while the part arrived
                replaced = [old for old in self._parts(upload_id) if old.number == number]
                os.rename(staged.path, self._folder / file)  # noqa: PTH104 (path is a string)
                staged.is_placed = True
                self._store.index.put_part(part)
        finally:
            staged.discard()
        self._unlink(replaced)
        hashes = f"crc32c={crc32c},md5={md5}"
        return Response(200, [(b"etag", part.etag.encode()), (b"x-goog-hash", hashes.encode())])

    async def complete(self, request: Request, bucket: str, name: str) -> Response:
        """Put the parts together into an object."""
        upload_id, attributes = self._upload(request, bucket, name)
        parts = self._chosen(upload_id, await request.body())
        info = await asyncio.to_thread(self._assembled, request, (bucket, name), attributes, parts)
        uploaded = self._drop(upload_id)
        self._unlink(uploaded)
        answer = xml_response(
            (
                "CompleteMultipartUploadResult",
                [
                    ("Location", f"{request.base_url}/{bucket}/{name}"),
                    ("Bucket", bucket),
                    ("Key", name),
                    ("ETag", http_etag(info)),
                ],
            )
        )
        answer.headers += version_headers(info)
        return answer

    def _assembled(
        self,
        request: Request,
        target: tuple[str, str],
        attributes: Attributes,
        parts: Sequence[UploadedPart],
    ) -> ObjectInfo:
        staged = self._store.stage()
        try:
            crc = 0
            for part in parts:
                fd = os.open(self._folder / part.file, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    staged.append_file(fd, part.size)
                finally:
                    os.close(fd)
                crc = combine_crc32c(crc, decode_crc32c(part.crc32c), part.size)
            staged.declare(encode_crc32c(crc), None)
            return self._store.commit(
                *target,
                staged,
                attributes,
                conditions=from_headers(request.headers),
                announced=announced_of_object(request),
            )
        finally:
            staged.discard()

    async def abort(self, request: Request, bucket: str, name: str) -> Response:
        """Give an upload up."""
        upload_id, _ = self._upload(request, bucket, name)
        self._unlink(self._drop(upload_id))
        return Response(204)

    async def list_parts(self, request: Request, bucket: str, name: str) -> Response:
        """List the parts that have arrived."""
        upload_id, _ = self._upload(request, bucket, name)
        after = integer(request.query, "part-number-marker") or 0
        limit = integer(request.query, "max-parts") or 1000
        parts = [part for part in self._parts(upload_id) if part.number > after]
        listed: list[Node] = [
            ("Bucket", bucket),
            ("Key", name),
            ("UploadId", upload_id),
            ("StorageClass", "STANDARD"),
            ("PartNumberMarker", after),
            ("MaxParts", limit),
            ("IsTruncated", "true" if len(parts) > limit else "false"),
        ]
        if len(parts) > limit:
            listed.append(("NextPartNumberMarker", parts[limit - 1].number))
        for part in parts[:limit]:
            children: list[Node] = [
                ("PartNumber", part.number),
                ("LastModified", rfc3339(part.updated_us)),
                ("ETag", part.etag),
                ("Size", part.size),
            ]
            listed.append(("Part", children))
        return xml_response(("ListPartsResult", listed))

    async def list_uploads(self, request: Request, bucket: str) -> Response:
        """List the uploads that have been started and not ended, by name."""
        self._store.bucket(bucket)
        prefix = request.query.get("prefix", "")
        with self._store.lock:
            rows = list(self._store.index.uploads(_KIND, bucket))
        listed: list[Node] = [("Bucket", bucket), ("IsTruncated", "false")]
        for upload_id, _, _, name, created_us, _, _ in rows:
            if name.startswith(prefix):
                started: list[Node] = [
                    ("Key", name),
                    ("UploadId", upload_id),
                    ("StorageClass", "STANDARD"),
                    ("Initiated", rfc3339(created_us)),
                ]
                listed.append(("Upload", started))
        return xml_response(("ListMultipartUploadsResult", listed))

    def _upload(self, request: Request, bucket: str, name: str) -> tuple[str, Attributes]:
        upload_id = request.query.get("uploadId", "")
        with self._store.lock:
            row = self._store.index.upload(upload_id, _KIND)
        if row is None or (row[2], row[3]) != (bucket, name):
            raise errors.no_such_upload()
        return upload_id, Attributes(*json.loads(row[5]))

    def _parts(self, upload_id: str) -> list[UploadedPart]:
        with self._store.lock:
            return [UploadedPart(*row) for row in self._store.index.parts(upload_id)]

    def _chosen(self, upload_id: str, body: bytes) -> list[UploadedPart]:
        """The parts that a request to complete names.

        Raises:
            StorageError: 400; it is malformed, out of order, or names a part that is not there.
        """
        uploaded = {part.number: part for part in self._parts(upload_id)}
        chosen: list[UploadedPart] = []
        for number, etag in _named_parts(body):
            part = uploaded.get(number)
            if part is None or etag.strip('"') != part.etag.strip('"'):
                raise errors.invalid(
                    f"Part {number} was not uploaded with ETag {etag}.", xml_code="InvalidPart"
                )
            if chosen and chosen[-1].number >= number:
                raise errors.invalid("The parts are not in order.", xml_code="InvalidPartOrder")
            chosen.append(part)
        if not chosen:
            raise errors.invalid("An upload is completed with at least one part.", xml_code="MalformedXML")
        return chosen

    def _drop(self, upload_id: str) -> list[UploadedPart]:
        with self._store.lock:
            parts = self._parts(upload_id)
            self._store.index.drop_upload(upload_id)
        return parts

    def _unlink(self, parts: Sequence[UploadedPart]) -> None:
        for part in parts:
            (self._folder / part.file).unlink(missing_ok=True)

    def _drop_old(self) -> None:
        for upload_id in self._expiry.due():
            self._unlink(self._drop(upload_id))

    def _remove_strays(self) -> None:
        """Remove files of parts that no row names: those of a process that died in between."""
        with self._store.lock:
            known = {part.file for row in self._store.index.uploads(_KIND) for part in self._parts(row[0])}
        for file in self._folder.iterdir():
            if file.name not in known:
                file.unlink()


def announced_of_object(request: Request) -> Announced:
    """The checksum that a request to complete gives of the whole object; Content-MD5 is of its own body."""
    announced = announced_by(request)
    return Announced(crc32c=announced.crc32c)


def _named_parts(body: bytes) -> list[tuple[int, str]]:
    try:
        # Entities are what makes XML from outside dangerous, and no client writes any here.
        if b"<!" in body:
            raise ValueError("a document type")
        root = ElementTree.fromstring(body)  # noqa: S314 (no document type, so no entities)
        parts = [element for element in root if element.tag.rpartition("}")[2] == "Part"]
        named = []
        for part in parts:
            values = {child.tag.rpartition("}")[2]: child.text or "" for child in part}
            named.append((int(values["PartNumber"]), values["ETag"].strip()))
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise errors.invalid(f"The XML is malformed: {error}.", xml_code="MalformedXML") from None
    return named
