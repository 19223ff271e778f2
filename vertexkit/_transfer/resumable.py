"""Uploads of large files that go on where they were interrupted, be it by the network or a kill.

The service keeps what has arrived of a resumable upload for a week, and says how much that is. All
that is left of the file is sent in one request: the service keeps what it has of a broken one, so
chunks would only add round trips. The CRC-32C is computed on the way.

https://cloud.google.com/storage/docs/performing-resumable-uploads
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from vertexkit._transfer.checksums import encoded
from vertexkit._transfer.content import Body, Content, LocalFailure
from vertexkit._transfer.jobs import attempted
from vertexkit._transfer.objects_api import ObjectsApi, decoded, info
from vertexkit._transfer.patience import Patience, is_passing
from vertexkit._transfer.upload_sessions import Session, UploadSessions
from vertexkit._transfer.values import ObjectInfo
from vertexkit.errors import ChecksumMismatch, ServiceError, Unavailable

_RESUME = 308
_GONE = (404, 410)
_SESSIONS = 3
_RANGE = re.compile(r"bytes=0-(\d+)")


class _SessionGone(Exception):
    """The service has forgotten the session, or never knew it."""


class ResumableUpload:
    """The upload of one large file."""

    def __init__(
        self,
        api: ObjectsApi,
        path: Path,
        name: str,
        content_type: str,
        *,
        patience: Patience,
        progress: Callable[[int], None],
        overwrite: bool = True,
    ) -> None:
        self._api = api
        self._path = path
        self._name = name
        self._content_type = content_type
        self._patience = patience
        self._progress = progress
        self._overwrite = overwrite
        self._told = 0

    def run(self, sessions: UploadSessions) -> ObjectInfo:
        """Send the file, or what is missing of it.

        Args:
            sessions: Where unfinished uploads are remembered.

        Returns:
            The object, whose checksum is that of the file.

        Raises:
            OSError: The file cannot be read, or changed while it was read.
            VertexkitError: The service did not take it.
        """
        with self._path.open("rb", buffering=0) as file:
            content = Content(file, self._patience.check, self._tell)
            with sessions.open(self._api.uri(self._name), self._path, os.fstat(file.fileno())) as session:
                stored = self._stored(session, content)
        self._verify(stored, content)
        return stored

    def _stored(self, session: Session, content: Content) -> ObjectInfo:
        """Go on with the session while it lasts, then with new ones, until the service has the file."""
        for _ in range(_SESSIONS):
            is_new = session.url is None
            if is_new:
                session.remember(attempted(lambda: self._start(content), self._patience))
            try:
                stored = self._sent(session, content)
            except _SessionGone:
                session.forget()
            except ServiceError as error:
                if is_passing(error):
                    raise
                session.forget()
                # What an earlier process has begun may be what is wrong.
                if is_new:
                    raise
            else:
                session.forget()
                return stored
        raise Unavailable(
            "the service forgets its upload sessions before the file has arrived",
            resource=self._api.uri(self._name),
        )

    def _sent(self, session: Session, content: Content) -> ObjectInfo:
        """Send what is missing, as often as it takes."""
        assert session.url is not None
        url, position = session.url, session.position

        def attempt() -> ObjectInfo:
            nonlocal position
            # After a failure, only the service knows how much has arrived.
            known, position = position, None
            return self._send(url, content, known)

        return attempted(attempt, self._patience)

    def _start(self, content: Content) -> str:
        return self._api.start_resumable(
            self._name, content.size, self._content_type, overwrite=self._overwrite
        )

    def _send(self, url: str, content: Content, position: int | None) -> ObjectInfo:
        """Send from ``position`` on; None for asking the service first."""
        while True:
            span, body = f"bytes */{content.size}", None
            if position is not None:
                span = f"bytes {position}-{content.size - 1}/{content.size}"
                body = Body(content, position)
            try:
                reply = self._api.send(
                    "PUT",
                    url,
                    resource=self._name,
                    data=body,
                    headers={"Content-Range": span},
                    good=(_RESUME, *_GONE),
                )
            except LocalFailure as failure:
                raise failure.error from None
            if reply.status_code in _GONE:
                raise _SessionGone
            if reply.status_code != _RESUME:
                return info(self._api.bucket, decoded(reply, self._api.uri(self._name)))
            held = _RANGE.fullmatch(reply.headers.get("Range", ""))
            arrived = 0 if held is None else int(held[1]) + 1
            if position is not None and arrived <= position:
                raise Unavailable("the service kept nothing of what was sent", resource=self._name)
            self._patience.renew()
            position = arrived

    def _verify(self, stored: ObjectInfo, content: Content) -> None:
        """Compare the service's checksum with the file's; delete what is not the file."""
        # When the service had everything already, not every byte passed through here.
        checksum = encoded(content.checksum(self._path))
        if stored.size == content.size and stored.crc32c == checksum:
            return
        attempted(lambda: self._api.delete(self._name, stored.generation), self._patience)
        why = f"arrived with the crc32c {stored.crc32c}, and has {checksum}; the object is deleted"
        raise ChecksumMismatch("A file arrived damaged", {self._api.uri(self._name): why})

    def _tell(self, done: int) -> None:
        """Report how far the upload is, once for each byte however often it is sent."""
        if done > self._told:
            self._progress(done - self._told)
            self._told = done
