"""Looking up the objects of many names in order, at less than the cost of one after the other."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from types import TracebackType

from vertexkit.emulator.gcs.folders import Folders
from vertexkit.emulator.gcs.names import path_components
from vertexkit.emulator.gcs.records import ObjectInfo, Rows, from_outside, identity_of, matching

_NO_FOLDER = -1


RowsFrom = Callable[[str, str, int], tuple[int, Rows]]


class OrderedLookup:
    """Finds the objects of plain names that come in order: rows in blocks, each folder opened once.

    Args:
        bucket: The bucket.
        folders: The buckets' folders.
        rows_from: Gives up to so many rows of a bucket from a name on, in order, and how many writes
            there had been by then.
        writes: How many writes there have been by now. Counted before each, so that what was read
            ahead is known to hold as long as the number stands still.
        block: How many rows to read at once.
    """

    def __init__(
        self, bucket: str, folders: Folders, rows_from: RowsFrom, writes: Callable[[], int], block: int
    ) -> None:
        self._bucket = bucket
        self._folders = folders
        self._rows_from = rows_from
        self._writes = writes
        self._block = block
        self._rows: dict[str, list[ObjectInfo]] = {}
        self._read_at = -1
        self._first = ""
        self._behind: str | None = ""
        """The first name whose rows may not have been read; None for none."""
        self._folder_name: str | None = None
        self._folder = _NO_FOLDER

    def __enter__(self) -> OrderedLookup:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def find(self, name: str) -> ObjectInfo | None:
        """The object of a name; None says nothing, and asks for a closer look."""
        folder_name, _, leaf = name.rpartition("/")
        if folder_name != self._folder_name:
            self._enter(folder_name)
        if self._folder == _NO_FOLDER or not leaf:
            return None
        if name < self._first or (self._behind is not None and name >= self._behind):
            self._read(name)
        try:
            status = os.stat(leaf, dir_fd=self._folder, follow_symlinks=False)
        except (OSError, ValueError):
            return None
        rows = self._rows.get(name)
        if rows is not None:
            return matching(rows, identity_of(status))
        if self._read_at == self._writes() and stat.S_ISREG(status.st_mode):
            return from_outside(self._bucket, name, status)
        return None

    def _read(self, name: str) -> None:
        self._read_at, rows = self._rows_from(self._bucket, name, self._block)
        self._rows = {}
        for row in rows:
            self._rows.setdefault(row.name, []).append(row)
        self._first = name
        # The block may have been cut off in the middle of its last name's rows.
        self._behind = rows[-1].name if len(rows) >= self._block else None

    def _enter(self, folder_name: str) -> None:
        self._leave()
        self._folder_name = folder_name
        components = path_components(folder_name) if folder_name else []
        if components is not None:
            try:
                self._folder = self._folders.open([self._bucket, *components])
            except OSError:
                self._folder = _NO_FOLDER

    def _leave(self) -> None:
        if self._folder != _NO_FOLDER:
            os.close(self._folder)
            self._folder = _NO_FOLDER
