"""The objects of one bucket through the JSON API: what bulk transfers do not do.

Reference: https://cloud.google.com/storage/docs/json_api/v1/objects
"""

from __future__ import annotations

import io
import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from vertexkit._core.failures import from_http
from vertexkit._core.names import GcsUri
from vertexkit._core.retry import retrying
from vertexkit._core.rpc import translated
from vertexkit._transfer.checksums import crc32c, encoded
from vertexkit._transfer.gzipped import expanded
from vertexkit._transfer.patience import is_passing
from vertexkit._transfer.values import ObjectInfo
from vertexkit.errors import ChecksumMismatch, InternalError, NotFound, TransferFailed, Unavailable

if TYPE_CHECKING:
    import requests

    from vertexkit._core.context import Context

_SECONDS = 60.0
_TIMEOUT = (10.0, 60.0)  # to connect, and between two bytes
_CRC32C = re.compile(r"crc32c=([^,\s]+)")
_FIELDS = "name,size,crc32c,generation,contentEncoding,updated"


class ObjectsApi:
    """Calls on the objects of one bucket. Thread-safe.

    Only `list` and `find` try again what has failed; for the others, that is `attempted`'s.
    """

    def __init__(self, context: Context, bucket: str) -> None:
        self._clients = context.clients
        self._base = context.target.storage_url
        self.bucket = bucket

    def uri(self, name: str) -> str:
        """``gs://bucket/name``."""
        return str(GcsUri(self.bucket, name))

    def list(
        self, prefix: str = "", *, first: str = "", last: str = "", timeout: float | None = None
    ) -> Iterator[ObjectInfo]:
        """The objects whose names start with ``prefix``, in the order of their names in UTF-8.

        Args:
            prefix: What their names start with.
            first: The first name wanted.
            last: The last name wanted.
            timeout: Seconds for each page, however often it is asked for; by default what is usual.
        """
        params: dict[str, str | int] = {"fields": f"items({_FIELDS}),nextPageToken", "maxResults": 1000}
        if prefix:
            params["prefix"] = prefix
        if first:
            params["startOffset"] = first
        if last:
            # endOffset is exclusive, and nothing sorts between a name and the name with a NUL after it.
            params["endOffset"] = f"{last}\0"
        url = f"{self._base}/storage/v1/b/{quote(self.bucket, safe='')}/o"
        while True:
            page = self._got(url, params, f"gs://{self.bucket}", timeout)
            yield from map(self._info, page.get("items", ()))
            if "nextPageToken" not in page:
                return
            params["pageToken"] = page["nextPageToken"]

    def find(self, name: str) -> ObjectInfo | None:
        """The object of that name, or None if there is none."""
        try:
            found = self._got(self._object_url(name), {"fields": _FIELDS}, self.uri(name))
        except NotFound as error:
            if "bucket" in error.service_message and "object" not in error.service_message:
                raise
            return None
        return self._info(found)

    def _got(
        self, url: str, params: Mapping[str, str | int], resource: str, timeout: float | None = None
    ) -> dict[str, Any]:
        """What a GET answers, asked for again after all that Cloud Storage wants asked again."""
        import tenacity

        deadline = time.monotonic() + (_SECONDS if timeout is None else timeout)

        def attempt() -> dict[str, Any]:
            left = max(deadline - time.monotonic(), 0.001)
            return self._clients.http_json("GET", url, params=params, timeout=left, resource=resource)

        policy = retrying(deadline - time.monotonic())
        return policy.copy(retry=tenacity.retry_if_exception(is_passing))(attempt)

    def read(self, name: str) -> bytes:
        """The bytes of an object, expanded if it is stored as gzip, and checked.

        Raises:
            ChecksumMismatch: They are not the object's.
            TransferFailed: The object is said to be gzip, and is not.
        """
        # With gzip accepted, the service sends what it stores, which is what the checksum is of.
        with self.send(
            "GET",
            self._object_url(name),
            params={"alt": "media"},
            headers={"Accept-Encoding": "gzip"},
            resource=name,
            stream=True,
        ) as reply:
            with translated(self.uri(name)):
                content: bytes = reply.raw.read(decode_content=False)
            headers = reply.headers
        said = _CRC32C.search(headers.get("x-goog-hash", ""))
        sent_as = headers.get("content-encoding", "identity")
        is_as_stored = headers.get("x-goog-stored-content-encoding", sent_as) == sent_as
        if is_as_stored and said is not None and said[1] != (has := encoded(crc32c(content))):
            why = f"it arrived with the crc32c {has}, and has {said[1]}"
            raise ChecksumMismatch("An object arrived damaged:", {self.uri(name): why})
        if sent_as != "gzip":
            return content
        try:
            return b"".join(expanded(io.BytesIO(content)))
        except OSError as error:
            raise TransferFailed("An object cannot be read:", {self.uri(name): str(error)}) from error

    def stream(
        self, name: str, *, start: int, stop: int, generation: int, block: int = 1024 * 1024
    ) -> Iterator[bytes]:
        """The rest of an object's bytes as they are stored.

        Args:
            name: The object's name.
            start: The first byte.
            stop: The object's size.
            generation: The generation to read.
            block: The greatest number of bytes to give at a time.

        Raises:
            VertexkitError: They did not come, or not all of them.
        """
        # With gzip accepted, the service sends what it stores; without, it would decompress it.
        headers = {"Accept-Encoding": "gzip"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with self.send(
            "GET",
            self._object_url(name),
            params={"alt": "media", "generation": str(generation)},
            headers=headers,
            resource=name,
            stream=True,
        ) as reply:
            if start and reply.status_code != 206:
                raise InternalError(
                    f"asked for a range, the service answered {reply.status_code}", resource=self.uri(name)
                )
            done = start
            while done < stop:
                with translated(self.uri(name)):
                    data: bytes = reply.raw.read(min(block, stop - done), decode_content=False)
                if not data:
                    raise Unavailable(
                        f"the connection ended after {done - start} bytes", resource=self.uri(name)
                    )
                done += len(data)
                yield data

    def insert(self, name: str, data: bytes, content_type: str, *, overwrite: bool = True) -> ObjectInfo:
        """Write an object in one request. The service refuses bytes that do not have our checksum."""
        about = {"name": name, "contentType": content_type, "crc32c": encoded(crc32c(data))}
        boundary = secrets.token_hex(16)
        body = b"".join(
            (
                f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode(),
                json.dumps(about).encode(),
                f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\n\r\n".encode(),
                data,
                f"\r\n--{boundary}--\r\n".encode(),
            )
        )
        params = {"uploadType": "multipart", "fields": _FIELDS}
        if not overwrite:
            params["ifGenerationMatch"] = "0"
        headers = {"Content-Type": f"multipart/related; boundary={boundary}"}
        reply = self.send(
            "POST", self._upload_url(), params=params, data=body, headers=headers, resource=name
        )
        return self._info(decoded(reply, self.uri(name)))

    def delete(self, name: str, generation: int | None = None) -> None:
        """Delete an object, or that generation of it.

        Raises:
            NotFound: It is not there.
        """
        params = {} if generation is None else {"ifGenerationMatch": str(generation)}
        self.send("DELETE", self._object_url(name), params=params, resource=name)

    def start_resumable(self, name: str, size: int, content_type: str, *, overwrite: bool) -> str:
        """Begin an upload that can be interrupted; the URL to send the bytes to."""
        params = {"uploadType": "resumable", "name": name, "fields": _FIELDS}
        if not overwrite:
            params["ifGenerationMatch"] = "0"
        headers = {"X-Upload-Content-Type": content_type, "X-Upload-Content-Length": str(size)}
        reply = self.send("POST", self._upload_url(), params=params, headers=headers, resource=name)
        if "Location" not in reply.headers:
            raise InternalError("the reply names no upload session", resource=self.uri(name))
        return str(reply.headers["Location"])

    def send(
        self,
        verb: str,
        url: str,
        *,
        resource: str,
        params: Mapping[str, str] | None = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        good: tuple[int, ...] = (),
        stream: bool = False,
    ) -> requests.Response:
        """Send a request, and give its reply.

        Args:
            verb: HTTP method.
            url: The whole URL.
            resource: Name of the object concerned, for errors.
            params: Query parameters.
            data: The body: bytes, or an iterable of bytes with a length.
            headers: Headers.
            good: Statuses from 300 that are no failure.
            stream: Whether to leave the body of the reply to be read.
        """
        with translated(self.uri(resource)):
            reply = self._clients.http.request(
                verb,
                url,
                params=params,
                data=data,
                headers=headers,
                timeout=_TIMEOUT,
                # A 308 is the progress of an upload here, and no redirection.
                allow_redirects=False,
                stream=stream,
            )
        if reply.status_code >= 300 and reply.status_code not in good:
            with translated(self.uri(resource)):
                content = reply.content
            raise from_http(reply.status_code, content, resource=self.uri(resource))
        return reply

    def _object_url(self, name: str) -> str:
        return f"{self._base}/storage/v1/b/{quote(self.bucket, safe='')}/o/{quote(name, safe='')}"

    def _upload_url(self) -> str:
        return f"{self._base}/upload/storage/v1/b/{quote(self.bucket, safe='')}/o"

    def _info(self, item: Mapping[str, Any]) -> ObjectInfo:
        return info(self.bucket, item)


def info(bucket: str, item: Mapping[str, Any]) -> ObjectInfo:
    """An object resource of the API as a value."""
    name = str(item["name"])
    updated = item.get("updated")
    return ObjectInfo(
        name,
        int(item.get("size", 0)),
        str(item.get("crc32c", "")),
        int(item.get("generation", 0)),
        f"gs://{bucket}/{name}",
        item.get("contentEncoding") or None,
        None if updated is None else datetime.fromisoformat(str(updated)),
    )


def decoded(reply: requests.Response, resource: str) -> dict[str, Any]:
    """The JSON object of a reply.

    Raises:
        InternalError: There is none.
    """
    try:
        found = json.loads(reply.content)
    except ValueError as error:
        raise InternalError(f"the reply is not JSON: {reply.content[:200]!r}", resource=resource) from error
    if not isinstance(found, dict):
        raise InternalError(f"the reply is no JSON object: {reply.content[:200]!r}", resource=resource)
    return found
