"""What there is in a folder to upload: every regular file, hidden ones too.

Links are followed, as ``cp -rL`` does, wherever they lead: what a program finds in the folder is what
the bucket gets. What cannot be sent is reported, never left out: a link to nothing, a link to a folder
around it (a loop), a folder that cannot be read, a pipe, socket or device, a name that no object can
have. Only this package's own unfinished downloads are no files of the folder's.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from vertexkit._core.names import object_name_problem
from vertexkit._transfer.glob import matches
from vertexkit.errors import InvalidArgument

UNFINISHED_PREFIX, UNFINISHED_SUFFIX = ".vertexkit-", ".part"
"""An unfinished download is called so, in the folder that it is for."""


@dataclass(frozen=True)
class LocalFile:
    """One file to send."""

    path: Path
    relative: str
    """Path inside the folder, with ``/``."""
    size: int


@dataclass
class LocalTree:
    """The files of a folder, and what in it cannot be sent."""

    files: list[LocalFile] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    """Local path and why it cannot be sent."""


def local_path(argument: str, given: object) -> Path:
    """The path that an argument means.

    Raises:
        InvalidArgument: It is none, or one that no file can have.
    """
    if not isinstance(given, str | os.PathLike):
        raise InvalidArgument(argument, given, "is not a path")
    path = Path(given)
    if "\0" in str(path):
        raise InvalidArgument(argument, given, "has a NUL character, as no path does")
    return path


def read_tree(folder: Path, pattern: str, prefix: str) -> LocalTree:
    """Find the files of a folder that match a pattern.

    Args:
        folder: The folder.
        pattern: Over paths inside the folder; see `vertexkit._transfer.glob`.
        prefix: What their names in the bucket will start with; empty, or ending in ``/``.

    Raises:
        OSError: The folder itself cannot be read.
    """
    tree = LocalTree()
    root = _Folder("", frozenset({_identity(folder.stat())}))
    waiting = [(root, _entries(folder))]
    while waiting:
        inside, entries = waiting.pop()
        for entry in entries:
            below = _read(entry, inside, pattern, prefix, tree)
            if below is None:
                continue
            try:
                waiting.append((below, _entries(entry.path)))
            except OSError as error:
                tree.failures[shown(entry.path)] = reason(error)
    tree.files.sort(key=lambda file: file.relative)
    return tree


@dataclass(frozen=True)
class _Folder:
    """A folder that is being read."""

    prefix: str
    """Its path inside the tree, ending in ``/``; empty for the tree itself."""
    around: frozenset[tuple[int, int]]
    """What identifies it and the folders that it is in."""


def _read(
    entry: os.DirEntry[str], inside: _Folder, pattern: str, prefix: str, tree: LocalTree
) -> _Folder | None:
    """Add one entry of a folder to the tree, or give it back when it is a folder to read."""
    relative = f"{inside.prefix}{entry.name}"
    wanted = matches(pattern, relative) and not _is_unfinished(entry.name)
    try:
        status = entry.stat()
    except OSError as error:
        if wanted:
            broken = entry.is_symlink() and isinstance(error, FileNotFoundError)
            tree.failures[shown(entry.path)] = "is a link to nothing" if broken else reason(error)
        return None
    if stat.S_ISDIR(status.st_mode):
        identity = _identity(status)
        if identity not in inside.around:
            return _Folder(f"{relative}/", inside.around | {identity})
        tree.failures[shown(entry.path)] = "is a link to a folder that it is in, which has no end"
    elif wanted and not stat.S_ISREG(status.st_mode):
        # Opening a pipe would wait for ever.
        tree.failures[shown(entry.path)] = "is a pipe, socket or device, not a file"
    elif wanted and (problem := object_name_problem(prefix + relative)) is not None:
        tree.failures[shown(entry.path)] = f"its name {problem}"
    elif wanted:
        tree.files.append(LocalFile(Path(entry.path), relative, status.st_size))
    return None


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def shown(path: str | Path) -> str:
    """A path that can be printed, whatever bytes its name is made of."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def reason(error: OSError) -> str:
    """Why a file cannot be read or written, in words: ``"Permission denied"``."""
    return error.strerror or str(error) or type(error).__name__


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _is_unfinished(name: str) -> bool:
    return name.startswith(UNFINISHED_PREFIX) and name.endswith(UNFINISHED_SUFFIX)
