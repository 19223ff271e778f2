"""Remembers unfinished uploads of large files across processes, in the user's cache.

One small JSON file for each, called after what is uploaded where, and readable by its owner only: who
knows a session's URL can write the object. It is locked while an upload uses it, so that two processes
never feed one session; the second starts its own, which is not remembered.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

_KEPT_SECONDS = 7 * 24 * 3600
"""The service forgets a session after a week."""


class Session:
    """The session of one upload; its URL survives this process if there is a file to keep it in."""

    def __init__(self, descriptor: int | None, url: str | None) -> None:
        self.url = url
        self.position: int | None = None
        """How much the service has of it; None if only the service knows."""
        self._descriptor = descriptor

    def remember(self, url: str) -> None:
        """Keep the URL of a new session."""
        self.url, self.position = url, 0
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, json.dumps({"url": url, "started": time.time()}).encode(), 0)

    def forget(self) -> None:
        """The upload has ended, or cannot."""
        self.url = None
        if self._descriptor is not None:
            # What is empty when it is closed is deleted; until then it stays, and locked.
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)


class UploadSessions:
    """The unfinished uploads of this user.

    Args:
        service: Base URL of the storage service: sessions of one mean nothing to another.
        folder: Where to keep them; by default below ``$XDG_CACHE_HOME`` or ``~/.cache``.
    """

    def __init__(self, service: str, folder: Path | None = None) -> None:
        self._service = service
        if folder is None:
            cache = os.environ.get("XDG_CACHE_HOME", "")
            folder = (Path(cache) if cache else Path("~/.cache").expanduser()) / "vertexkit" / "uploads"
        self._folder = folder

    @contextlib.contextmanager
    def open(self, uri: str, path: Path, status: os.stat_result) -> Iterator[Session]:
        """The session in which this very file is sent to this object, if there is one.

        Args:
            uri: The object's ``gs://`` URI.
            path: The file.
            status: Its size, time and inode: another file of the same name is another upload.
        """
        facts = (
            self._service,
            uri,
            os.fspath(path.absolute()),
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
        )
        digest = hashlib.sha256(os.fsencode(json.dumps(facts))).hexdigest()
        file = self._folder / f"{digest}.json"
        descriptor = self._lock(file)
        try:
            if descriptor is None:
                yield Session(None, None)
            else:
                yield Session(descriptor, _read_url(descriptor))
        finally:
            if descriptor is not None:
                if os.fstat(descriptor).st_size == 0:
                    # Nothing was begun, or all is done.
                    file.unlink(missing_ok=True)
                os.close(descriptor)

    def _lock(self, file: Path) -> int | None:
        """Open and lock the file; None if it is in use, or there is no place for it."""
        import fcntl

        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._drop_old()
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            # Uploads work without a cache; they only cannot go on after a kill.
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return descriptor

    def _drop_old(self) -> None:
        oldest = time.time() - _KEPT_SECONDS
        for file in self._folder.glob("*.json"):
            with contextlib.suppress(OSError):
                if file.stat().st_mtime < oldest:
                    file.unlink()


def _read_url(descriptor: int) -> str | None:
    """The URL that the file holds, or None if it holds nothing sensible."""
    try:
        kept = json.loads(os.pread(descriptor, 65536, 0))
        url, started = kept["url"], kept["started"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    fresh = isinstance(started, int | float) and time.time() - started < _KEPT_SECONDS
    return url if isinstance(url, str) and fresh else None
