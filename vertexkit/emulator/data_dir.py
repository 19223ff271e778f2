"""The folders of a running emulator: its data, private and locked, and its sockets."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import IO, Self

from vertexkit.errors import EmulatorFailed

# Short, for sockets are in there: their paths may have 104 bytes on macOS, half of them taken already.
_PREFIX = "vertexkit-"
_LOCK = "emulator.lock"
_SETTLED_SECONDS = 60.0
"""A temporary folder younger than this may belong to an emulator that has not locked it yet."""


class TemporaryFolder:
    """A private folder that ``close`` removes, or the next emulator to start if this one is killed.

    Attributes:
        path: The folder.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = _locked(self.path)

    def close(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


class DataDir:
    """Where one emulator keeps its data (``path``) and its sockets and working copies (``work``).

    A folder that was given outlives the emulator and is locked against a second one; it is made
    private, so it has to be new, empty or an emulator's already. One that was not given is temporary
    and goes with the emulator.

    Args:
        given: The folder to keep data in; None for a temporary one.

    Raises:
        EmulatorFailed: Another emulator uses the folder, it holds something else, or it cannot be used.
    """

    def __init__(self, given: Path | None) -> None:
        _sweep()
        # Sockets need a short path, which a user's folder need not have.
        self._temporary = TemporaryFolder()
        self._lock: IO[str] | None = None
        self.work = self._temporary.path / "work"
        self.work.mkdir(mode=0o700)
        self.path = self._temporary.path / "data"
        try:
            if given is not None:
                self.path = given.absolute()
                _check_ours(self.path)
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            if given is not None:
                self._lock = _locked(self.path)
        except OSError as error:
            self.close()
            raise EmulatorFailed(f"the data folder {self.path} cannot be used: {error}") from error
        except EmulatorFailed:
            self.close()
            raise

    def close(self) -> None:
        """Remove what is temporary, then let others in."""
        self._temporary.close()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _check_ours(folder: Path) -> None:
    """Refuse a folder whose permissions are not ours to change: a home or a project, for one."""
    if not folder.is_dir() or (folder / _LOCK).exists() or not any(folder.iterdir()):
        return
    raise EmulatorFailed(
        f"the folder {folder} holds something else than the data of an emulator",
        remedy=f"Give a new or an empty folder, as in --data-dir {folder / 'vertexkit-data'}.",
    )


def _locked(folder: Path) -> IO[str]:
    """Lock a folder for this process; the system unlocks it when the process ends, however it ends."""
    file = (folder / _LOCK).open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        owner = file.read().strip()
        file.close()
        raise EmulatorFailed(
            f"the data folder {folder} is in use by another emulator" + (f" (process {owner})" * bool(owner)),
            remedy="Stop that one, connect to it, or give this one another --data-dir.",
        ) from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _sweep() -> None:
    """Remove the temporary folders of emulators that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        # Somebody else's, just gone, or in use: then it is not ours to remove.
        with contextlib.suppress(OSError, EmulatorFailed):
            lock = folder / _LOCK
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            if time.time() - lock.stat().st_mtime > _SETTLED_SECONDS:
                with _locked(folder):
                    shutil.rmtree(folder, ignore_errors=True)
