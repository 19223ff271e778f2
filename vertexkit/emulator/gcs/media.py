"""The bytes of an object on the wire: whole, in part, or unpacked."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from urllib.parse import quote

from vertexkit.emulator.gcs import errors
from vertexkit.emulator.gcs.conditions import http_etag
from vertexkit.emulator.gcs.http import FileResponse, Headers, Request, Response, StreamResponse
from vertexkit.emulator.gcs.records import ObjectInfo
from vertexkit.emulator.gcs.times import http_date

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
_MAX_DIGITS = 18
"""No object has a byte whose number has more."""
_GZIP_MAGIC = b"\x1f\x8b"
_BLOCK = 1 << 18
_PASSED_ON = {
    "cacheControl": b"cache-control",
    "contentDisposition": b"content-disposition",
    "contentLanguage": b"content-language",
}


def version_headers(info: ObjectInfo, etag: str | None = None) -> Headers:
    """The headers that tell which object it is; ``etag`` in place of the XML API's."""
    headers: Headers = [
        (b"x-goog-generation", b"%d" % info.generation),
        (b"x-goog-metageneration", b"%d" % info.metageneration),
        (b"x-goog-stored-content-length", b"%d" % info.size),
        (b"etag", (etag or http_etag(info)).encode()),
    ]
    if info.crc32c is not None:
        md5 = "" if info.md5 is None else f",md5={info.md5}"
        headers.append((b"x-goog-hash", f"crc32c={info.crc32c}{md5}".encode()))
    return headers


def object_headers(info: ObjectInfo, etag: str | None = None) -> Headers:
    """The headers that tell of an object, but for those of its content's form."""
    headers = version_headers(info, etag)
    headers.append((b"last-modified", http_date(info.updated_us).encode()))
    attributes = info.attributes
    headers.append((b"x-goog-storage-class", attributes.get("storageClass", "STANDARD").encode()))
    headers.append(
        (b"x-goog-stored-content-encoding", attributes.get("contentEncoding", "identity").encode())
    )
    for field, header in _PASSED_ON.items():
        if field in attributes:
            headers.append((header, attributes[field].encode()))
    for key, value in attributes.get("metadata", {}).items():
        # What a header cannot hold is written as the service does, percent-encoded.
        headers.append(
            (
                f"x-goog-meta-{quote(key)}".encode(),
                quote(value, safe=" !#$&'()*+,/:;=?@[]~\"<>{}|^`\\").encode(),
            )
        )
    return headers


def media_response(request: Request, info: ObjectInfo, fd: int, etag: str | None = None) -> Response:
    """The content of an object as the request wants it. The response closes ``fd``.

    Args:
        request: The request.
        info: The object.
        fd: Its content.
        etag: The ``ETag`` header; None for that of the XML API.

    Raises:
        StorageError: 416; the range starts behind the end.
    """
    headers = object_headers(info, etag)
    content_type = info.content_type or "application/octet-stream"
    headers.append((b"content-type", content_type.encode("latin-1", "replace")))
    headers.append((b"accept-ranges", b"bytes"))
    encoding = info.attributes.get("contentEncoding", "")
    if encoding == "gzip" and not _takes_gzip(request) and os.pread(fd, 2, 0) == _GZIP_MAGIC:
        # Unpacked on the way: sizes and ranges are those of the packed bytes, so neither can be kept.
        headers += [(b"vary", b"Accept-Encoding"), (b"warning", b"214 UploadServer gunzipped")]
        return StreamResponse(200, headers, _unpacked(fd), fd)
    if encoding:
        headers.append((b"content-encoding", encoding.encode("latin-1", "replace")))
    wanted = request.header(b"range")
    span = None if wanted is None else requested_range(wanted, info.size)
    if span is None:
        return FileResponse(200, headers, fd, 0, info.size)
    first, last = span
    headers.append((b"content-range", b"bytes %d-%d/%d" % (first, last, info.size)))
    return FileResponse(206, headers, fd, first, last - first + 1)


def requested_range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte that a ``Range`` header asks for; None for all, as for a header that is malformed.

    Raises:
        StorageError: 416; there is no such byte.
    """
    match = _RANGE.fullmatch(header.strip().replace(" ", ""))
    if match is None or match.groups() == ("", ""):
        return None
    first, last = (_position(digits) for digits in match.groups())
    if first is None:
        length = min(last or 0, size)
        if length == 0:
            raise errors.range_not_satisfiable(size)
        return size - length, size - 1
    if last is not None and last < first:
        return None
    if first >= size:
        raise errors.range_not_satisfiable(size)
    return first, size - 1 if last is None else min(last, size - 1)


def _position(digits: str) -> int | None:
    if not digits:
        return None
    return int(digits) if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS


def _takes_gzip(request: Request) -> bool:
    accepted = request.header(b"accept-encoding") or ""
    for item in accepted.split(","):
        coding, _, quality = item.strip().lower().partition(";")
        if coding.strip() in {"gzip", "*"} and quality.replace(" ", "") not in {"q=0", "q=0.0"}:
            return True
    return False


def _unpacked(fd: int) -> Iterator[bytes]:
    """The content of a gzip file, of one member or several."""
    offset = 0
    unpacker = zlib.decompressobj(wbits=31)
    while packed := os.pread(fd, _BLOCK, offset):
        offset += len(packed)
        while packed:
            block = unpacker.decompress(packed, _BLOCK)
            if block:
                yield block
            packed = unpacker.unconsumed_tail
            if unpacker.eof:
                packed = unpacker.unused_data
                unpacker = zlib.decompressobj(wbits=31)
