"""Files in the buckets' folders, reached one folder at a time so that no symbolic link is followed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from vertexkit.emulator.gcs.names import path_components
from vertexkit.emulator.gcs.spelling import TELLS_ALL_APART, Spelling

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a pipe that somebody put into a bucket must not wait for its other end.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Folders:
    """The folder that holds one folder per bucket.

    Every method takes the components of a path below it, the bucket first. A component that is a
    symbolic link counts as not there (``NotADirectoryError``, or ``OSError`` with ``ELOOP``).
    """

    def __init__(self, root: Path, spelling: Spelling = TELLS_ALL_APART) -> None:
        self.path = str(root)
        self._spelling = spelling
        self._root = os.open(root, _FOLDER)

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._root)

    def plain_path(self, bucket: str, name: str) -> list[str] | None:
        """The path of an object below its bucket's folder, or None if no plain path can hold the name.

        A name that the file system confuses with another has one only if it is there, in that spelling.
        """
        components = path_components(name)
        if components is None or self._spelling.is_first(name):
            return components
        return components if self._is_spelled(bucket, components) else None

    def _is_spelled(self, bucket: str, components: Sequence[str]) -> bool:
        for depth, component in enumerate(components):
            try:
                with self.opened([bucket, *components[:depth]]) as folder:
                    if component not in os.listdir(folder):  # noqa: PTH208 (a descriptor)
                        return False
            except OSError:
                return False
        return True

    def create(self, name: str) -> None:
        """Make a bucket's folder, where other processes can write, unless something is there already."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=self._root)

    def open(self, components: Sequence[str], *, create: bool = False) -> int:
        """Open a folder, for the caller to close.

        Args:
            components: Its path.
            create: Make the folders that are missing.

        Raises:
            OSError: It is not there, or a component of its path is not a folder.
        """
        folder = self._root
        for component in components:
            try:
                inner = self._step(folder, component, create)
            finally:
                if folder != self._root:
                    os.close(folder)
            folder = inner
        return folder

    @contextlib.contextmanager
    def opened(self, components: Sequence[str]) -> Iterator[int]:
        """Open a folder for the length of a ``with``. Raises OSError, as ``open`` does."""
        folder = self.open(components)
        try:
            yield folder
        finally:
            os.close(folder)

    @staticmethod
    def _step(folder: int, component: str, create: bool) -> int:
        try:
            return os.open(component, _FOLDER, dir_fd=folder)
        except FileNotFoundError:
            if not create:
                raise
        with contextlib.suppress(FileExistsError):
            os.mkdir(component, 0o755, dir_fd=folder)
        return os.open(component, _FOLDER, dir_fd=folder)

    def open_file(self, components: Sequence[str]) -> int:
        """Open a file for reading.

        Raises:
            OSError: It is not there.
        """
        with self.opened(components[:-1]) as folder:
            return os.open(components[-1], _FILE, dir_fd=folder)

    def remove_file(self, components: Sequence[str]) -> None:
        """Remove a file, if it is there, and the folders that this leaves empty, but for the bucket's own."""
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            self.opened(components[:-1]) as folder,
        ):
            os.unlink(components[-1], dir_fd=folder)
        self._prune(components[:-1])

    def _prune(self, components: Sequence[str]) -> None:
        for depth in range(len(components), 1, -1):
            try:
                with self.opened(components[: depth - 1]) as parent:
                    os.rmdir(components[depth - 1], dir_fd=parent)
            except OSError:
                return

    def remove_folder(self, name: str) -> bool:
        """Remove a bucket's folder with the empty folders in it; False if anything else is in there."""
        try:
            with self.opened([name]) as folder:
                _remove_empty_folders(folder)
            os.rmdir(name, dir_fd=self._root)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True


def _remove_empty_folders(folder: int) -> None:
    """Remove the folders below an open one that hold nothing, or only such folders."""
    with os.scandir(folder) as entries:
        inner = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    for name in inner:
        opened = os.open(name, _FOLDER, dir_fd=folder)
        try:
            _remove_empty_folders(opened)
        finally:
            os.close(opened)
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=folder)
