"""Downloads a folder of a bucket: what to fetch, where it may go, and whether all of it has come."""

from __future__ import annotations

import os
import time
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vertexkit._core.names import GcsUri
from vertexkit._transfer.count import Count
from vertexkit._transfer.engine import Engine, Place
from vertexkit._transfer.file_download import FileDownload
from vertexkit._transfer.glob import matches
from vertexkit._transfer.jobs import run_all
from vertexkit._transfer.local_tree import reason, shown
from vertexkit._transfer.object_names import file_below
from vertexkit._transfer.objects_api import ObjectsApi
from vertexkit._transfer.patience import Patience
from vertexkit._transfer.values import DownloadReport, ObjectInfo
from vertexkit.errors import ChecksumMismatch, InvalidArgument, NotFound, TransferFailed, VertexkitError
from vertexkit.progress import tracked


class FolderDownload:
    """The download of one "folder" of a bucket.

    Args:
        place: The bucket.
        prefix: What the objects' names start with; empty, or ending in ``/``.
        folder: The local folder; made if it is not there.
        pattern: Which objects, over the names after the prefix.
        engine: What moves the small objects.
    """

    def __init__(self, place: Place, prefix: str, folder: Path, pattern: str, engine: Engine) -> None:
        self._place = place
        self._api = ObjectsApi(place.context, place.bucket)
        self._prefix = prefix
        self._folder = folder
        self._pattern = pattern
        self._engine = engine
        self._patience = Patience()
        self._failures: dict[str, str] = {}
        self._safe: dict[Path, str | None] = {}

    def run(self, threads: int) -> DownloadReport:
        """Fetch what is not there yet, and check all of it.

        Args:
            threads: How many to fetch at a time.

        Raises:
            NotFound: There is no such object.
            TransferFailed: Some objects did not become files; it names every one.
            VertexkitError: Nothing can be fetched: no such bucket, no permission, no connection.
        """
        started = time.monotonic()
        uri = GcsUri(self._place.bucket, self._prefix)
        objects = [
            item
            for item in self._api.list(self._prefix)
            if matches(self._pattern, self._relative(item).rstrip("/"))
        ]
        if not objects:
            raise NotFound("there is no such object in the bucket", resource=f"{uri}{self._pattern}")
        root = self._made_folder()
        paths = self._paths(root, objects)
        total = sum(item.size for item, _ in paths)
        description = f"Downloading {uri}"
        with tracked(description, total, "bytes", self._place.context.progress) as tracker:
            count = Count(tracker, description, len(paths))
            files = [FileDownload(item, path, self._api, self._engine, count) for item, path in paths]
            # The largest first: the last one to begin is what is waited for.
            files.sort(key=lambda file: -file.found.size)
            run_all(files, threads * self._engine.per_thread, self._patience)
        for file in files:
            if not (file.is_done or file.is_skipped):
                self._failures[file.found.uri] = file.failure or "it was not fetched"
        report = DownloadReport(
            self._folder,
            files=len(files),
            downloaded=sum(file.is_done for file in files),
            skipped=sum(file.is_skipped for file in files),
            bytes=sum(file.found.size for file in files if file.is_done),
            seconds=time.monotonic() - started,
        )
        self._raise_failures(files, len(objects))
        return report

    def _relative(self, item: ObjectInfo) -> str:
        return item.name[len(self._prefix) :]

    def _made_folder(self) -> Path:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            return self._folder.resolve(strict=True)
        except OSError as error:
            raise InvalidArgument("folder", str(self._folder), f"cannot be made: {reason(error)}") from None

    def _paths(self, root: Path, objects: Sequence[ObjectInfo]) -> list[tuple[ObjectInfo, Path]]:
        """Which file each object becomes. What cannot become one is a failure; folders are made."""
        paths = []
        clashes = _clashes(root, [self._relative(item) for item in objects])
        for item in objects:
            relative = self._relative(item)
            is_folder = relative.endswith("/") or not relative
            if is_folder and item.size == 0:
                # A console's way of showing an empty folder.
                relative += "."
            try:
                if relative in clashes:
                    raise ValueError(
                        "another object's name differs in case only, and would be the same file here"
                    )
                path = file_below(root, relative.removesuffix("/.")) if relative != "." else root
                problem = self._folder_problem(root, path if is_folder and item.size == 0 else path.parent)
                if problem is not None:
                    raise ValueError(problem)
            except ValueError as error:
                self._failures[item.uri] = str(error)
                continue
            if not (is_folder and item.size == 0):
                paths.append((item, path))
        return paths

    def _folder_problem(self, root: Path, folder: Path) -> str | None:
        """Make a folder; why nothing can be written there, or None if it can."""
        if folder not in self._safe:
            self._safe[folder] = _made_inside(root, folder)
        return self._safe[folder]

    def _raise_failures(self, files: Sequence[FileDownload], total: int) -> None:
        """Raise one error for all the objects that are no files now, if there are any."""
        if not self._failures:
            return
        missing = [file for file in files if file.failure is not None]
        all_damaged = len(missing) == len(self._failures) and all(file.is_damaged for file in missing)
        known = (file.error.remedy for file in missing if isinstance(file.error, VertexkitError))
        kind = ChecksumMismatch if all_damaged else TransferFailed
        raise kind(
            f"{len(self._failures):,} of {total:,} objects did not arrive in {shown(self._folder)}:",
            self._failures,
            remedy=next((text for text in known if text), "call again: only what is missing is fetched"),
        )


def _made_inside(root: Path, folder: Path) -> str | None:
    """Make a folder inside ``root``; what is wrong with it, or None."""
    try:
        # Before anything is made: a link on the way must not lead out.
        if not folder.resolve().is_relative_to(root):
            return f"{shown(folder)} leads out of the folder by a link"
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return reason(error)
    return None


def _clashes(root: Path, relatives: Sequence[str]) -> set[str]:
    """The names that this file system does not keep apart from another one of them."""
    folded = {relative: unicodedata.normalize("NFC", relative).casefold() for relative in relatives}
    counts = Counter(folded.values())
    clashing = {relative for relative, key in folded.items() if counts[key] > 1}
    return clashing if clashing and not _keeps_case(root) else set()


def _keeps_case(root: Path) -> bool:
    """Whether the file system tells ``a`` from ``A``."""
    probe = root / f".vertexkit-case-{os.getpid()}.part"
    probe.touch()
    try:
        return not probe.with_name(probe.name.upper()).exists()
    finally:
        probe.unlink()
