"""A folder of the machine that something is shown at, to some processes only; gone when nobody needs it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from pathlib import Path


class MountPoint:
    """An empty folder that is there as long as it is held, by this process or another. From any thread.

    To remove it would take what is shown there from all who see it, so each who needs it has a lock on it.

    Args:
        path: The folder; one that is there already and has something in it stays.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._held = -1

    def hold(self) -> None:
        """See that it is there until it is released; where that cannot be, whoever mounts says so."""
        with self._lock, contextlib.suppress(OSError):
            while self._held < 0:
                with contextlib.suppress(FileExistsError):
                    self._path.mkdir()
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    self._open()

    def release(self) -> None:
        """Need it no more; it is removed if nobody else does."""
        with self._lock:
            if self._held < 0:
                return
            # Let go of first: of two who would both keep theirs meanwhile, neither could remove it.
            fcntl.flock(self._held, fcntl.LOCK_UN)
            with contextlib.suppress(OSError):
                fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_there(self._held):
                    self._path.rmdir()
            os.close(self._held)
            self._held = -1

    def _open(self) -> None:
        # Not through a link: one that leads nowhere would be neither there nor to be made, for ever.
        opened = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(opened, fcntl.LOCK_SH)
            if self._is_there(opened):
                self._held, opened = opened, -1
        finally:
            if opened >= 0:
                os.close(opened)

    def _is_there(self, opened: int) -> bool:
        """Whether what is open is the folder, and not one that was removed."""
        return os.path.samestat(os.fstat(opened), self._path.stat())
