"""The file of an object: at its plain path, or among the odd ones if no plain path can hold its name."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from types import TracebackType

from vertexkit.emulator.gcs import names
from vertexkit.emulator.gcs.folders import Folders
from vertexkit.emulator.gcs.records import Identity, ObjectInfo, identity_of

_NO_PLACE = {errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}
"""Why a plain path can fail to hold a name: a file in place of a folder, the reverse, a link, its length."""
_NO_FOLDER = -1


class ObjectFiles:
    """The files of all objects. The caller holds the store's lock."""

    def __init__(self, folders: Folders, odd: Path) -> None:
        self._folders = folders
        self._odd = odd

    def reach(self, bucket: str, name: str) -> Reached:
        """The plain path of a name, for the length of a ``with``."""
        return Reached(self._folders, bucket, self._folders.plain_path(bucket, name))

    def odd_identity(self, bucket: str, name: str) -> Identity | None:
        """The identity of the odd file of a name, or None."""
        try:
            return identity_of(os.lstat(self._odd_path(bucket, name)))
        except FileNotFoundError:
            return None

    def open(self, info: ObjectInfo) -> int:
        """Open the file of an object for reading.

        Raises:
            OSError: It is not there any more.
        """
        if info.odd:
            return os.open(self._odd_path(info.bucket, info.name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        return self._folders.open_file([info.bucket, *info.name.split("/")])

    def path(self, info: ObjectInfo) -> str:
        """The path of an object's file."""
        if info.odd:
            return self._odd_path(info.bucket, info.name)
        return f"{self._folders.path}/{info.bucket}/{info.name}"

    def place_oddly(self, path: str, bucket: str, name: str) -> None:
        """Rename a file to the odd file of a name."""
        os.rename(path, self._odd_path(bucket, name))  # noqa: PTH104 (paths are strings)

    def remove_plain(self, bucket: str, name: str) -> None:
        """Remove the plain file of a name, with the folders that this leaves empty."""
        self._folders.remove_file([bucket, *name.split("/")])

    def remove_odd(self, bucket: str, name: str) -> None:
        """Remove the odd file of a name, if there is one."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._odd_path(bucket, name))  # noqa: PTH108 (the path is a string)

    def _odd_path(self, bucket: str, name: str) -> str:
        return f"{self._odd}/{names.odd_file_name(bucket, name)}"


class Reached:
    """The plain path of a name, its folder held open: a write looks there and then renames into it."""

    __slots__ = ("_bucket", "_components", "_folder", "_folders")

    def __init__(self, folders: Folders, bucket: str, components: list[str] | None) -> None:
        self._folders = folders
        self._bucket = bucket
        self._components = components
        self._folder = _NO_FOLDER

    def __enter__(self) -> Reached:
        if self._components is not None:
            with contextlib.suppress(OSError):
                self._folder = self._folders.open([self._bucket, *self._components[:-1]])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder != _NO_FOLDER:
            os.close(self._folder)

    def status(self) -> os.stat_result | None:
        """The status of the regular file that is there, or None."""
        if self._components is None or self._folder == _NO_FOLDER:
            return None
        try:
            status = os.stat(self._components[-1], dir_fd=self._folder, follow_symlinks=False)
        except OSError:
            return None
        return status if stat.S_ISREG(status.st_mode) else None

    @property
    def is_possible(self) -> bool:
        """Whether a path could hold the name at all."""
        return self._components is not None

    def place(self, path: str) -> bool:
        """Rename a file to here; False if something that is there leaves no place for it."""
        if self._components is None:
            return False
        try:
            if self._folder == _NO_FOLDER:
                self._folder = self._folders.open([self._bucket, *self._components[:-1]], create=True)
            os.rename(path, self._components[-1], dst_dir_fd=self._folder)
        except OSError as error:
            if error.errno not in _NO_PLACE:
                raise
            return False
        return True
