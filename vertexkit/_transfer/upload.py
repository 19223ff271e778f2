"""Uploads a folder: what to send, what to skip, and whether all of it has arrived."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from vertexkit._core.names import GcsUri
from vertexkit._transfer.count import Count
from vertexkit._transfer.engine import Engine, Place
from vertexkit._transfer.existing import existing_objects
from vertexkit._transfer.file_upload import FileUpload, Route
from vertexkit._transfer.jobs import attempted, run_all, words
from vertexkit._transfer.local_tree import LocalTree, read_tree, reason, shown
from vertexkit._transfer.objects_api import ObjectsApi
from vertexkit._transfer.patience import Patience
from vertexkit._transfer.upload_sessions import UploadSessions
from vertexkit._transfer.values import ObjectInfo, UploadReport
from vertexkit.errors import ChecksumMismatch, InvalidArgument, NotFound, TransferFailed, VertexkitError
from vertexkit.progress import tracked

_LAST_LOOK = 5.0


class FolderUpload:
    """The upload of one folder.

    Args:
        place: The bucket.
        folder: The folder.
        prefix: What the objects' names start with; empty, or ending in ``/``.
        pattern: Which files, over paths inside the folder.
        engine: What moves the small files.
        tree: The files, where they are known already; then the pattern is not looked at.
    """

    def __init__(
        self,
        place: Place,
        folder: Path,
        prefix: str,
        pattern: str,
        engine: Engine,
        *,
        tree: LocalTree | None = None,
    ) -> None:
        self._place = place
        self._api = ObjectsApi(place.context, place.bucket)
        self._route = Route(self._api, engine, UploadSessions(place.context.target.storage_url))
        self._folder = folder
        self._prefix = prefix
        self._pattern = pattern
        self._known = tree
        self._patience = Patience()

    def run(self, threads: int) -> UploadReport:
        """Send what is not there yet, and check that all of it is.

        Args:
            threads: How many to send at a time.

        Raises:
            InvalidArgument: There is no such folder, or nothing in it matches.
            TransferFailed: Some files did not arrive; it names every one.
            VertexkitError: Nothing can be sent: no such bucket, no permission, no connection.
        """
        started = time.monotonic()
        tree = self._tree()
        names = [self._prefix + file.relative for file in tree.files]
        there = existing_objects(self._api, names, self._prefix)
        description = f"Uploading {shown(self._folder.resolve().name)}"
        total = sum(file.size for file in tree.files)
        with tracked(description, total, "bytes", self._place.context.progress) as tracker:
            count = Count(tracker, description, len(names))
            files = [
                FileUpload(file, name, there.get(name), self._route, count)
                for file, name in zip(tree.files, names, strict=True)
            ]
            self._send(files, threads)
            damaged = self._damaged(files)
            if damaged:
                # Damage on the way is rare, and seldom strikes twice.
                for file in damaged:
                    file.reset()
                self._send(damaged, threads)
                self._damaged(damaged)
        report = UploadReport(
            str(GcsUri(self._place.bucket, self._prefix.rstrip("/"))),
            files=len(files),
            uploaded=sum(file.is_sent for file in files),
            skipped=sum(file.is_skipped for file in files),
            bytes=sum(file.size for file in files if file.is_sent),
            seconds=time.monotonic() - started,
        )
        self._raise_failures(tree, files, report)
        return report

    def _tree(self) -> LocalTree:
        if self._known is not None:
            return self._known
        try:
            tree = read_tree(self._folder, self._pattern, self._prefix)
        except FileNotFoundError:
            raise InvalidArgument("folder", str(self._folder), "does not exist") from None
        except NotADirectoryError:
            raise InvalidArgument(
                "folder", str(self._folder), "is not a folder", remedy="use upload_file for one file"
            ) from None
        except OSError as error:
            raise InvalidArgument("folder", str(self._folder), f"cannot be read: {reason(error)}") from None
        if not tree.files and not tree.failures:
            if self._pattern == "**/*":
                raise InvalidArgument("folder", str(self._folder), "holds no files")
            raise InvalidArgument("pattern", self._pattern, f"matches no file in {self._folder}")
        return tree

    def _send(self, files: Sequence[FileUpload], threads: int) -> None:
        # The largest first: the last one to begin is what is waited for.
        ordered = sorted(files, key=lambda file: -file.file.size)
        run_all(ordered, threads * self._route.engine.per_thread, self._patience)

    def _damaged(self, files: Sequence[FileUpload]) -> list[FileUpload]:
        """Compare what was sent with what the service has, and delete what is not the same.

        Returns:
            The files that should be sent again.
        """
        sent = [file for file in files if file.is_sent and not file.is_verified]
        # A service that nobody waits for any more is not waited for here again.
        timeout = _LAST_LOOK if self._patience.is_over else None
        try:
            stored = existing_objects(self._api, [file.name for file in sent], self._prefix, timeout=timeout)
        except VertexkitError as error:
            for file in sent:
                file.disproved(f"it was sent, and could not be checked: {words(error)}")
                file.error = error
            return []
        for file in sent:
            found = stored.get(file.name)
            if found is None:
                file.disproved("the service took it, and does not have it", is_damaged=True)
            elif (found.size, found.crc32c) == (file.size, file.crc32c):
                file.is_verified = True
            elif file.generation is not None and file.generation != found.generation:
                file.disproved("somebody else wrote the object at the same time")
            else:
                what = f"it arrived with the crc32c {found.crc32c}, and has {file.crc32c}"
                file.disproved(f"{what}; {self._delete_damaged(found)}", is_damaged=True)
        return [file for file in sent if file.is_damaged]

    def _delete_damaged(self, found: ObjectInfo) -> str:
        """Delete an object that is not what was sent; what came of it."""
        try:
            attempted(lambda: self._api.delete(found.name, found.generation), self._patience)
        except NotFound:
            pass
        except VertexkitError as error:
            return f"the object could not be deleted: {words(error)}"
        return "the object is deleted"

    def _raise_failures(self, tree: LocalTree, files: Sequence[FileUpload], report: UploadReport) -> None:
        """Raise one error for all the files that did not arrive, if there are any."""
        failures = dict(tree.failures)
        missing = [file for file in files if not file.is_verified]
        for file in missing:
            failures[shown(file.file.path)] = file.failure or "it was not sent"
        if not failures:
            return
        only_damage = not tree.failures and all(file.is_damaged for file in missing)
        kind = ChecksumMismatch if only_damage else TransferFailed
        known = (file.error.remedy for file in missing if isinstance(file.error, VertexkitError))
        remedy = next(
            (text for text in known if text), "mend it and call again: only what is missing is sent"
        )
        total = len(files) + len(tree.failures)
        raise kind(
            f"{len(failures):,} of {total:,} files did not arrive in {report.uri}:", failures, remedy=remedy
        )
