"""How a replica gets /gcs and is kept apart, by what this machine allows.

Nothing but /gcs and the numbering of processes differs from outside: the network and every other folder
are those of the machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vertexkit.emulator.jobs import keeper

MOUNT_POINT = Path("/gcs")

_PROBE_SECONDS = 20
_LOCK = "gcs-link.lock"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Isolation:
    """One way to run a keeper."""

    name: str
    """What does it: ``unshare``, ``bwrap``, ``link`` or ``nothing``."""
    wrapper: tuple[str, ...] = ()
    """The command that the keeper's is appended to."""
    first: bool = False
    """Whether the keeper is the first process of a namespace: what it leaves, the kernel ends."""
    mounts: bool = False
    """Whether the keeper itself is to mount /gcs, and what else is to be seen elsewhere."""
    binds: bool = False
    """Whether the wrapper takes what is to be seen elsewhere, as bubblewrap's options."""
    has_gcs: bool = True
    """Whether /gcs is there for the program."""

    def keeper_command(self, *arguments: str, mounts: Sequence[Sequence[str]] = ()) -> list[str]:
        """The command of a keeper.

        Args:
            arguments: Of the keeper.
            mounts: Folders to show elsewhere, each with where; left to the keeper unless ``binds``.
        """
        wrapper = list(self.wrapper)
        if self.binds:
            wrapper[-1:-1] = [word for folder, target in mounts for word in ("--dev-bind", folder, target)]
        return [*wrapper, *keeper.COMMAND, *arguments]


def by_unshare(*, root: bool) -> Isolation:
    """With util-linux; without being root in a user namespace, where one is root."""
    as_root = () if root else ("--user", "--map-root-user")
    wrapper = ("unshare", *as_root, "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    return Isolation("unshare", (*wrapper, "--"), first=True, mounts=True)


def by_bubblewrap(gcs: Path, entries: Sequence[os.DirEntry[str]]) -> Isolation:
    """With bubblewrap, whose new root is empty: each entry of the old one is bound into it.

    Args:
        gcs: What is shown as /gcs.
        entries: What there is in the root folder.
    """
    binds: list[str] = []
    for entry in sorted(entries, key=lambda entry: entry.name):
        if entry.path in ("/gcs", "/proc"):
            continue
        if entry.is_symlink():
            binds += ["--symlink", str(Path(entry.path).readlink()), entry.path]
        else:
            binds += ["--dev-bind", entry.path, entry.path]
    wrapper = ("bwrap", "--unshare-pid", "--as-pid-1", "--die-with-parent", *binds, "--proc", "/proc")
    wrapper = (*wrapper, "--dev-bind", os.path.realpath(gcs), "/gcs", "--")
    return Isolation("bwrap", wrapper, first=True, binds=True)


BY_LINK = Isolation("link")
"""Without namespaces, /gcs a symbolic link that this emulator owns."""
BY_NOTHING = Isolation("nothing", has_gcs=False)
"""Without namespaces, and without /gcs."""


class GcsMount:
    """Shows the buckets' folder as /gcs to what the engine runs, in the best way that works here.

    Args:
        gcs: The folder; its subfolders are the buckets.
        mount_point: Where a link is made if there are no namespaces.
    """

    def __init__(self, gcs: Path, *, mount_point: Path = MOUNT_POINT) -> None:
        self.folder = gcs
        self._mount_point = mount_point
        self._lock = threading.Lock()
        self._chosen: Isolation | None = None
        self._link_lock: IO[str] | None = None

    def isolation(self) -> Isolation:
        """The way that works here; found out when this is first called."""
        with self._lock:
            if self._chosen is None:
                self._chosen = self._choose()
                _log.info("jobs are kept apart by %s", self._chosen.name)
            return self._chosen

    def close(self) -> None:
        """Remove the link, if one was made."""
        with self._lock:
            if self._link_lock is not None:
                with contextlib.suppress(OSError):
                    self._mount_point.unlink()
                self._link_lock.close()
                self._link_lock = None

    def _choose(self) -> Isolation:
        if shutil.which("unshare") is not None:
            isolation = by_unshare(root=os.geteuid() == 0)
            if self._works(isolation):
                return isolation
        if shutil.which("bwrap") is not None:
            with os.scandir("/") as entries:
                isolation = by_bubblewrap(self.folder, list(entries))
            if self._works(isolation):
                return isolation
        return BY_LINK if self._linked() else BY_NOTHING

    def _works(self, isolation: Isolation) -> bool:
        """Whether a keeper that is started so is the first process, and sees our folder as /gcs."""
        settings: keeper.Settings = {
            "command": [],
            "env": {},
            "at_the_end": [],
            "folder": "/",
            "log": os.devnull,
            "after": 0,
            "log_limit": 0,
            "first": isolation.first,
            "gcs": str(self.folder) if isolation.mounts else None,
            "mounts": [],
            "lingers": False,
        }
        try:
            done = subprocess.run(
                isolation.keeper_command("--probe"),
                input=json.dumps(settings).encode() + b"\n",
                capture_output=True,
                timeout=_PROBE_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        status = self.folder.stat()
        if done.stdout == b"gcs %d %d\n" % (status.st_dev, status.st_ino):
            return True
        _log.info("%s does not work here: %s", isolation.name, done.stderr.decode(errors="replace").strip())
        return False

    def _linked(self) -> bool:
        """Make the link, in place of one whose emulator has gone; whether there is one of ours now."""
        lock = (self.folder.parent / _LOCK).open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._mount_point.is_symlink() and not _is_owned(self._mount_point):
                self._mount_point.unlink()
            self._mount_point.symlink_to(self.folder)
        except OSError as error:
            lock.close()
            _log.info("%s cannot be made: %s", self._mount_point, error.strerror)
            return False
        self._link_lock = lock
        return True


def _is_owned(link: Path) -> bool:
    """Whether a link is somebody else's, or that of an emulator which runs."""
    lock = link.readlink().parent / _LOCK
    if not lock.exists():
        # A folder that is no more is what an emulator leaves that was killed, and swept away by the next one.
        return link.exists() or "vertexkit" not in str(link.readlink())
    try:
        with lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False
