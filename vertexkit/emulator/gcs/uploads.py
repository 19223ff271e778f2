"""Resumable uploads: sessions that outlive connections, and the process.

A session's bytes are in a file of its own, so that what has been taken is the size of that file; its
request is a row. A restart reads the file once to have its checksums again.

Source: https://cloud.google.com/storage/docs/performing-resumable-uploads
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from typing import Any

from vertexkit.emulator.gcs import errors, times
from vertexkit.emulator.gcs.checksums import Announced
from vertexkit.emulator.gcs.conditions import UNCONDITIONAL, Conditions
from vertexkit.emulator.gcs.intake import take_in
from vertexkit.emulator.gcs.records import ObjectInfo
from vertexkit.emulator.gcs.staging import Staged
from vertexkit.emulator.gcs.store import Attributes, ObjectStore

_KIND = "resumable"
_KEPT_US = 7 * 24 * 3600 * 1_000_000
"""A session ends a week after its start, as the service's do."""
_CANCELLED = "cancelled"
_OPEN_SESSIONS = 128
"""So many sessions keep their file open; of the others, what is on the disk is all that is needed."""


@dataclass(frozen=True)
class UploadRequest:
    """What a resumable upload is to become."""

    bucket: str
    name: str
    attributes: Attributes
    conditions: Conditions = UNCONDITIONAL
    announced: Announced = field(default_factory=Announced)
    size: int | None = None
    """The size that the client announced, if it did."""


class Session:
    """One resumable upload. One request at a time works on it."""

    def __init__(self, session_id: str, request: UploadRequest, staged: Staged | None) -> None:
        self.id = session_id
        self.request = request
        self.staged = staged
        """The bytes taken so far; None once the upload has ended."""
        self.made: ObjectInfo | None = None
        """The object that the upload became."""
        self.lock = asyncio.Lock()

    @property
    def taken(self) -> int:
        """How many bytes have been taken."""
        return 0 if self.staged is None else self.staged.size


class ResumableUploads:
    """The resumable uploads of a store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._folder = store.uploads_dir / _KIND
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._forget_old()

    def start(self, request: UploadRequest) -> Session:
        """Start an upload.

        Raises:
            StorageError: 404 or 412; it is already clear that it would fail.
        """
        self._store.bucket(request.bucket)
        request.conditions.check(self._store.find(request.bucket, request.name))
        session_id = secrets.token_urlsafe(48)
        session = Session(session_id, request, Staged(str(self._folder / session_id)))
        self._write(session, outcome="")
        self._keep(session)
        return session

    def get(self, session_id: str) -> Session:
        """A session that has not ended, or that has become an object.

        Raises:
            StorageError: 404 for one that never was, 499 for a cancelled one.
        """
        session = self._sessions.get(session_id)
        if session is None:
            session = self._restored(session_id)
            self._keep(session)
        self._sessions.move_to_end(session_id)
        return session

    async def take(self, session: Session, start: int, chunks: AsyncIterator[bytes]) -> None:
        """Take bytes in.

        Args:
            session: The upload, locked by the caller.
            start: Where in the object the first of them belongs.
            chunks: The bytes. Those that have been taken before are passed over.

        Raises:
            ClientGone: The connection broke; what came has been taken.
            StorageError: 400; there would be a gap.
        """
        assert session.staged is not None
        if start > session.taken:
            raise errors.invalid(
                "Invalid request. According to the Content-Range header, the upload offset is "
                f"{start} byte(s), which exceeds already uploaded size of {session.taken} byte(s)."
            )
        await take_in(_behind(chunks, session.taken - start), session.staged)

    def finish(self, session: Session, announced: Announced) -> ObjectInfo:
        """Make the object.

        Args:
            session: The upload, locked by the caller.
            announced: Checksums that came with the last bytes.

        Raises:
            StorageError: 400, 404 or 412; the upload has ended without an object.
        """
        assert session.staged is not None
        request = session.request
        try:
            session.made = self._store.commit(
                request.bucket,
                request.name,
                session.staged,
                request.attributes,
                conditions=request.conditions,
                announced=request.announced.also(announced),
            )
        except errors.StorageError:
            self._end(session)
            with self._store.lock:
                self._store.index.drop_upload(session.id)
            del self._sessions[session.id]
            raise
        session.staged = None
        self._write(session, outcome=str(session.made.generation))
        # Whoever asks again is answered from the row.
        del self._sessions[session.id]
        return session.made

    def cancel(self, session: Session) -> None:
        """Give an upload up."""
        self._end(session)
        self._write(session, outcome=_CANCELLED)
        self._sessions.pop(session.id, None)

    def _keep(self, session: Session) -> None:
        self._sessions[session.id] = session
        idle = [kept for kept in self._sessions.values() if not kept.lock.locked()]
        for kept in idle[: max(0, len(self._sessions) - _OPEN_SESSIONS)]:
            if kept is not session:
                del self._sessions[kept.id]
                if kept.staged is not None:
                    kept.staged.close()

    def _end(self, session: Session) -> None:
        if session.staged is not None:
            session.staged.discard()
            session.staged = None

    def _write(self, session: Session, outcome: str) -> None:
        request = session.request
        row = json.dumps(asdict(request))
        with self._store.lock:
            self._store.index.put_upload(
                (session.id, _KIND, request.bucket, request.name, times.now_us(), row, outcome)
            )

    def _restored(self, session_id: str) -> Session:
        with self._store.lock:
            row = self._store.index.upload(session_id, _KIND)
        if row is None:
            raise errors.no_such_upload()
        *_, packed, outcome = row
        if outcome == _CANCELLED:
            raise cancelled()
        request = _unpacked(json.loads(packed))
        if not outcome:
            path = self._folder / session_id
            try:
                return Session(session_id, request, Staged.resumed(str(path)))
            except FileNotFoundError:
                # It became an object, and the process died before the row could say so.
                outcome = None
        session = Session(session_id, request, None)
        session.made = self._store.find(request.bucket, request.name)
        if session.made is None or outcome not in (None, str(session.made.generation)):
            raise errors.no_such_upload()
        return session

    def _forget_old(self) -> None:
        oldest = times.now_us() - _KEPT_US
        with self._store.lock:
            uploads = list(self._store.index.uploads(_KIND))
            for session_id, _, _, _, created_us, _, _ in uploads:
                if created_us < oldest:
                    self._store.index.drop_upload(session_id)
                    with contextlib.suppress(FileNotFoundError):
                        (self._folder / session_id).unlink()


def cancelled() -> errors.StorageError:
    """The upload has been cancelled, as the service says it."""
    return errors.StorageError(499, "clientClosedRequest", "Client Closed Request", "NoSuchUpload")


async def _behind(chunks: AsyncIterator[bytes], skip: int) -> AsyncIterator[bytes]:
    """The bytes behind the first ``skip``."""
    async for chunk in chunks:
        if skip >= len(chunk):
            skip -= len(chunk)
        else:
            yield chunk[skip:] if skip else chunk
            skip = 0


def _unpacked(row: dict[str, Any]) -> UploadRequest:
    return UploadRequest(
        row["bucket"],
        row["name"],
        Attributes(*row["attributes"]),
        Conditions(**row["conditions"]),
        Announced(**row["announced"]),
        row["size"],
    )
