"""Resumable uploads: sessions that outlive connections, and the process.

A session's bytes are in a file of its own, so that what has been taken is the size of that file; its
request is a row. After a restart the file is read once, by whoever asks first, to have its checksums
again; from then on they are in memory, and only the open files are limited.

Source: https://cloud.google.com/storage/docs/performing-resumable-uploads
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from typing import Any

from vertexkit.emulator.gcs import errors, times
from vertexkit.emulator.gcs.checksums import Announced
from vertexkit.emulator.gcs.conditions import UNCONDITIONAL, Conditions
from vertexkit.emulator.gcs.expiry import Expiry
from vertexkit.emulator.gcs.intake import take_in
from vertexkit.emulator.gcs.records import ObjectInfo
from vertexkit.emulator.gcs.staging import Staged
from vertexkit.emulator.gcs.store import Attributes, ObjectStore

_KIND = "resumable"
_CANCELLED = "cancelled"
_OPEN_SESSIONS = 128
"""So many sessions keep their file open while no request is about them."""


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
        self.is_unread = False
        """Whether its bytes are on the disk, and have not been read since the restart."""
        self.made: ObjectInfo | None = None
        """The object that the upload became."""
        self.lock = asyncio.Lock()
        self.users = 0
        """How many requests are about it, those that wait for the lock included."""

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
        self._sessions: dict[str, Session] = {}
        self._open: OrderedDict[str, Session] = OrderedDict()
        """Those whose file is open, the one asked for last at the end."""
        self._expiry = Expiry(store, _KIND)
        self._forget_old()

    def start(self, request: UploadRequest) -> Session:
        """Start an upload.

        Raises:
            StorageError: 404 or 412; it is already clear that it would fail.
        """
        self._forget_old()
        self._store.bucket(request.bucket)
        request.conditions.check(self._store.find(request.bucket, request.name))
        session_id = secrets.token_urlsafe(48)
        session = Session(session_id, request, Staged(str(self._folder / session_id)))
        self._write(session, outcome="")
        self._sessions[session_id] = self._open[session_id] = session
        self._close_idle()
        return session

    @contextlib.asynccontextmanager
    async def locked(self, session_id: str, bucket: str) -> AsyncIterator[Session]:
        """A session that has not ended, or that has become an object, for one request at a time.

        Args:
            session_id: The upload.
            bucket: The bucket that the request is about.

        Raises:
            StorageError: 404 for one that never was, 499 for a cancelled one.
        """
        session = self._sessions.get(session_id)
        if session is None:
            session = self._restored(session_id)
        if session.request.bucket != bucket:
            raise errors.no_such_upload()
        if session.made is None:
            # Whoever else asks before its bytes have been read waits for this very session.
            self._sessions[session_id] = session
        session.users += 1
        try:
            async with session.lock:
                await self._reopen(session)
                yield session
        finally:
            session.users -= 1
            self._close_idle()

    async def _reopen(self, session: Session) -> None:
        if session.is_unread:
            try:
                session.staged = await asyncio.to_thread(Staged.resumed, str(self._folder / session.id))
            except FileNotFoundError:
                # It became an object, and the process died before the row could say so.
                self._forget(session)
                session.made = self._made(session.request, None)
            session.is_unread = False
        if session.staged is not None:
            session.staged.resume()
            self._open[session.id] = session
            self._open.move_to_end(session.id)

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
            raise
        session.staged = None
        self._write(session, outcome=str(session.made.generation))
        # Whoever asks again is answered from the row.
        self._forget(session)
        return session.made

    def cancel(self, session: Session) -> None:
        """Give an upload up."""
        self._end(session)
        self._write(session, outcome=_CANCELLED)

    def _close_idle(self) -> None:
        excess = len(self._open) - _OPEN_SESSIONS
        if excess <= 0:
            return
        idle = (session for session in self._open.values() if not session.users)
        for session in list(itertools.islice(idle, excess)):
            del self._open[session.id]
            if session.staged is not None:
                session.staged.suspend()

    def _end(self, session: Session) -> None:
        if session.staged is not None:
            session.staged.discard()
            session.staged = None
        self._forget(session)

    def _forget(self, session: Session) -> None:
        self._sessions.pop(session.id, None)
        self._open.pop(session.id, None)

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
        session = Session(session_id, _unpacked(json.loads(packed)), None)
        if outcome:
            session.made = self._made(session.request, outcome)
        else:
            session.is_unread = True
        return session

    def _made(self, request: UploadRequest, generation: str | None) -> ObjectInfo:
        """The object that an upload became, if it still is that one."""
        made = self._store.find(request.bucket, request.name)
        if made is None or generation not in (None, str(made.generation)):
            raise errors.no_such_upload()
        return made

    def _forget_old(self) -> None:
        for session_id in self._expiry.due():
            session = self._sessions.get(session_id)
            if session is not None:
                if session.users:
                    continue
                self._end(session)
            with self._store.lock:
                self._store.index.drop_upload(session_id)
            (self._folder / session_id).unlink(missing_ok=True)


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
