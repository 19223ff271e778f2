"""Buckets of Cloud Storage, and the files in them.

Wherever the name of an object or a prefix is expected, a whole ``gs://bucket/name`` URI of the same
bucket does as well.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vertexkit._core.arguments import text
from vertexkit._core.names import GcsUri
from vertexkit._transfer.values import DownloadReport, ObjectInfo, UploadReport
from vertexkit.cleanup import Order
from vertexkit.config import refuse
from vertexkit.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from vertexkit.identifiers import check_labels

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit._transfer.bucket_admin import BucketAdmin
    from vertexkit._transfer.engine import Place
    from vertexkit._transfer.objects_api import ObjectsApi

__all__ = ["Bucket", "Buckets", "DownloadReport", "ObjectInfo", "UploadReport"]

_THREADS = 16
_EVERYTHING = "**/*"


class Buckets:
    """The buckets of a session's project: ``session.buckets``. Thread-safe."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def create(
        self,
        name: str,
        *,
        location: str | None = None,
        labels: Mapping[str, str] | None = None,
        exist_ok: bool = False,
    ) -> Bucket:
        """Create a bucket, with uniform access: who may do what is said for the bucket, not for each object.

        https://cloud.google.com/storage/docs/json_api/v1/buckets/insert

        Args:
            name: Its name, unique in the world; ``gs://name`` does as well.
            location: Its region; the session's by default, as Vertex AI wants it.
            labels: Labels for it, beside those of the session.
            exist_ok: Whether a bucket that is there already, in that region, will do.

        Returns:
            The bucket.

        Raises:
            InvalidArgument: No bucket can have that name, or carry those labels.
            AlreadyExists: There is one of that name: yours, or somebody else's.
            FailedPrecondition: With ``exist_ok``, there is one of yours in another region.
        """
        name = _bucket_name(name)
        text("location", location)
        carried = self._context.labelled(labels)
        refuse(check_labels(carried))
        where = location or self._context.target.location
        try:
            found = self._admin.create(name, where, carried)
        except AlreadyExists:
            if not exist_ok:
                raise
            bucket = self.get(name)
            if bucket.location != where.lower():
                raise FailedPrecondition(
                    f"the bucket exists, in {bucket.location} and not in {where}",
                    resource=bucket.uri,
                    remedy=f"use another name, or location={bucket.location!r}",
                ) from None
            return bucket
        bucket = Bucket(self._context, name, location=found)
        self._context.created.add(bucket.uri, lambda: self._delete(name), order=Order.BUCKETS)
        return bucket

    def get(self, name: str) -> Bucket:
        """Find a bucket by its name or ``gs://`` URI.

        Raises:
            InvalidArgument: No bucket can have that name.
            NotFound: There is none.
        """
        name = _bucket_name(name)
        return Bucket(self._context, name, location=self._admin.location(name))

    def list(self) -> list[Bucket]:
        """The buckets of the project, by name."""
        return [Bucket(self._context, name, location=location) for name, location in self._admin.list()]

    def delete(self, name: str, *, force: bool = False) -> None:
        """Delete a bucket.

        Args:
            name: Its name or ``gs://`` URI.
            force: Whether to delete everything that is in it first.

        Raises:
            NotFound: There is none.
            FailedPrecondition: It is not empty, and ``force`` is not given.
            CleanupIncomplete: Some of its objects could not be deleted.
        """
        Bucket(self._context, _bucket_name(name)).delete(force=force)

    def default(self) -> Bucket:
        """The session's default bucket, created in the session's region if it is not there yet."""
        name = self._context.bucket
        known = self._context.bucket_locations.get(name)
        if known is not None:
            return Bucket(self._context, name, location=known)
        try:
            bucket = self.get(name)
        except NotFound:
            bucket = self.create(name, exist_ok=True)
        self._context.bucket_locations[name] = bucket.location
        return bucket

    def _delete(self, name: str) -> None:
        self.delete(name, force=True)

    @property
    def _admin(self) -> BucketAdmin:
        from vertexkit._transfer.bucket_admin import BucketAdmin

        return BucketAdmin(self._context)

    def __repr__(self) -> str:
        return f"<Buckets of project {self._context.target.project!r}>"


class Bucket:
    """One bucket: ``session.bucket``, ``session.buckets.get(name)``. Thread-safe.

    Args:
        context: The session's parts.
        name: Name of the bucket, which need not exist yet.
        location: Its region, if it is known; else it is asked for when needed.
    """

    def __init__(self, context: Context, name: str, *, location: str | None = None) -> None:
        self._context = context
        self._name = name
        self._location = location

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def uri(self) -> str:
        """``gs://name``."""
        return f"gs://{self._name}"

    @property
    def location(self) -> str:
        """Its region in lower case, ``us-central1``, or its multi-region, ``us``."""
        if self._location is None:
            from vertexkit._transfer.bucket_admin import BucketAdmin

            self._location = BucketAdmin(self._context).location(self._name)
        return self._location

    def upload_file(
        self,
        path: str | os.PathLike[str],
        name: str | None = None,
        *,
        content_type: str | None = None,
        overwrite: bool = True,
    ) -> str:
        """Upload one file.

        The service's CRC-32C of what arrived is compared with the file's. A large file that was
        interrupted (2 MiB and more), even by a kill, goes on where it was when it is uploaded again.

        Args:
            path: The file.
            name: The object's name; a name that ends in ``/`` is the "folder" for it. By default the
                file's name.
            content_type: Media type; by default what goes with the file's name.
            overwrite: Whether an object of that name may be replaced.

        Returns:
            The object's ``gs://`` URI.

        Raises:
            InvalidArgument: The file cannot be read, or no object can have that name.
            AlreadyExists: There is one, and ``overwrite`` is False.
            TransferFailed: The file changed while it was read.
            ChecksumMismatch: It arrived damaged; the damaged object is deleted.
        """
        from vertexkit._transfer.local_tree import local_path
        from vertexkit._transfer.single_file import upload_file

        local = local_path("path", path)
        text("content_type", content_type)
        return upload_file(self._place, local, name, content_type, overwrite=overwrite)

    def upload_dir(
        self,
        folder: str | os.PathLike[str],
        prefix: str | None = None,
        *,
        pattern: str = _EVERYTHING,
        engine: Literal["obstore", "google"] | None = None,
        threads: int = _THREADS,
    ) -> UploadReport:
        """Upload the files of a folder, many at once, each as ``prefix/path inside the folder``.

        What is there already and equal, by size and CRC-32C, is not sent. When all is sent, the service's
        CRC-32C of every object is compared with that of the bytes that were read. Failures that may pass
        are tried again; a file that cannot be sent does not keep the others from it.

        Hidden files and empty files are files. Links are followed wherever they lead, as ``cp -rL`` does; a
        link to nothing, or to a folder around it, is a failure. Empty folders are not uploaded: Cloud Storage
        has none.

        Args:
            folder: The folder.
            prefix: Where to put the files: by default the name of the folder; ``""`` for the root of the
                bucket.
            pattern: Which files, over paths inside the folder: ``*`` and ``?`` match within one name,
                ``**`` any number of folders: ``"*.pb"``, ``"variables/*"``, ``"**/*.json"``.
            engine: ``"obstore"`` (the quicker one, and the default where it can carry the session's
                credentials) or ``"google"`` (google-cloud-storage, in threads).
            threads: How many threads to send with. obstore, whose transfers cost no thread, has four
                transfers in flight for each.

        Returns:
            What was sent and what was there.

        Raises:
            InvalidArgument: There is no such folder, nothing in it matches, or no object can have
                that prefix.
            TransferFailed: Some files did not arrive. It names every one of them, and why; the others
                are there, and calling again sends only what is missing.
            NotFound: There is no such bucket.
        """
        from vertexkit._transfer.engine import choose_engine
        from vertexkit._transfer.glob import compiled
        from vertexkit._transfer.local_tree import local_path
        from vertexkit._transfer.object_names import folder_prefix
        from vertexkit._transfer.upload import FolderUpload

        compiled(pattern)
        _check_threads(threads)
        path = local_path("folder", folder)
        where = folder_prefix(self._name, path.resolve().name if prefix is None else prefix, "prefix")
        return FolderUpload(self._place, path, where, pattern, choose_engine(self._place, engine)).run(
            threads
        )

    def download_file(self, name: str, path: str | os.PathLike[str] | None = None) -> Path:
        """Download one object, checked by its CRC-32C.

        Args:
            name: The object's name or ``gs://`` URI.
            path: The file to write, or the folder to write it into; by default the current folder.

        Returns:
            The file.

        Raises:
            NotFound: There is no such object.
            TransferFailed: The file cannot be written.
            ChecksumMismatch: The object arrived damaged; there is no file.
        """
        from vertexkit._transfer.local_tree import local_path
        from vertexkit._transfer.single_file import download_file

        return download_file(self._place, name, Path() if path is None else local_path("path", path))

    def download_dir(
        self,
        prefix: str,
        folder: str | os.PathLike[str],
        *,
        pattern: str = _EVERYTHING,
        engine: Literal["obstore", "google"] | None = None,
        threads: int = _THREADS,
    ) -> DownloadReport:
        """Download a "folder" of the bucket, many objects at once, each as ``folder/name after the prefix``.

        Files that are there already and equal, by size and CRC-32C, are not fetched. Every file is written
        under another name, checked, and renamed: there is never half a file. No object can be written
        outside the folder: one whose name would lead there is a failure.

        Args:
            prefix: The "folder" in the bucket; ``""`` for the whole bucket.
            folder: The local folder, made if it is not there.
            pattern: Which objects, over their names after the prefix; see `upload_dir`.
            engine: See `upload_dir`.
            threads: See `upload_dir`.

        Returns:
            What was fetched and what was there.

        Raises:
            NotFound: There is no such object, or no such bucket.
            TransferFailed: Some objects did not become files. It names every one of them, and why.
        """
        from vertexkit._transfer.download import FolderDownload
        from vertexkit._transfer.engine import choose_engine
        from vertexkit._transfer.glob import compiled
        from vertexkit._transfer.local_tree import local_path
        from vertexkit._transfer.object_names import folder_prefix

        compiled(pattern)
        _check_threads(threads)
        path = local_path("folder", folder)
        where = folder_prefix(self._name, prefix, "prefix")
        chosen = choose_engine(self._place, engine)
        return FolderDownload(self._place, where, path, pattern, chosen).run(threads)

    def list(self, prefix: str = "", *, pattern: str | None = None) -> list[ObjectInfo]:
        """The objects whose names start with ``prefix``, by name.

        Args:
            prefix: As Cloud Storage takes it: ``"model"`` starts ``model2/x`` too; ``"model/"`` does not.
            pattern: Which of them, over their names after the prefix; see `upload_dir`.

        Raises:
            NotFound: There is no such bucket.
        """
        from vertexkit._transfer.glob import compiled, matches
        from vertexkit._transfer.object_names import name_in_bucket

        start = name_in_bucket(self._name, prefix, "prefix")
        if pattern is None:
            return list(self._api.list(start))
        compiled(pattern)
        found = self._api.list(start)
        return [item for item in found if matches(pattern, item.name[len(start) :].lstrip("/"))]

    def read(self, name: str) -> bytes:
        """The bytes of an object, checked by its CRC-32C.

        Raises:
            NotFound: There is no such object.
        """
        from vertexkit._transfer.jobs import attempted
        from vertexkit._transfer.object_names import checked_name
        from vertexkit._transfer.patience import Patience

        name = checked_name(self._name, name, "name")
        return attempted(lambda: self._api.read(name), Patience())

    def write(
        self, name: str, data: bytes | bytearray | memoryview | str, *, content_type: str | None = None
    ) -> str:
        """Write an object.

        Args:
            name: Its name or ``gs://`` URI.
            data: Its bytes; text becomes UTF-8.
            content_type: Media type; by default what goes with the name.

        Returns:
            The object's ``gs://`` URI.
        """
        from vertexkit._transfer.file_upload import content_type_of
        from vertexkit._transfer.jobs import attempted
        from vertexkit._transfer.object_names import checked_name
        from vertexkit._transfer.patience import Patience

        if not isinstance(data, str | bytes | bytearray | memoryview):
            raise InvalidArgument("data", data, "is neither bytes nor text")
        text("content_type", content_type)
        name = checked_name(self._name, name, "name")
        content = data.encode() if isinstance(data, str) else bytes(data)
        kind = content_type or content_type_of(name)
        return attempted(lambda: self._api.insert(name, content, kind), Patience()).uri

    def exists(self, name: str | None = None) -> bool:
        """Whether there is an object of that name; without a name, whether there is the bucket."""
        from vertexkit._transfer.object_names import checked_name

        if name is not None:
            return self._api.find(checked_name(self._name, name, "name")) is not None
        from vertexkit._transfer.bucket_admin import BucketAdmin

        try:
            BucketAdmin(self._context).location(self._name)
        except NotFound:
            return False
        return True

    def delete(self, prefix: str | None = None, *, force: bool = False) -> int:
        """Delete an object, a "folder", or, without a prefix, the bucket itself.

        Args:
            prefix: The name of an object, or of a "folder" with everything in it: ``"model"`` deletes
                the object ``model`` and all of ``model/``, and never ``model2``.
            force: When the bucket itself is deleted, whether to delete everything that is in it first.

        Returns:
            How many objects were deleted.

        Raises:
            InvalidArgument: The prefix is empty, or given with ``force``.
            NotFound: There is nothing of that name.
            FailedPrecondition: The bucket is not empty, and ``force`` is not given.
            CleanupIncomplete: Some objects could not be deleted; it names every one.
        """
        from vertexkit._transfer.removal import remove

        if prefix is None:
            from vertexkit._transfer.bucket_admin import BucketAdmin

            deleted = remove(self._place, "") if force else 0
            try:
                BucketAdmin(self._context).delete(self._name)
            finally:
                # Whatever came of it, whether the bucket is there has to be asked again.
                self._context.bucket_locations.pop(self._name, None)
            self._context.created.forget(self.uri)
            return deleted
        from vertexkit._transfer.object_names import name_in_bucket

        name = name_in_bucket(self._name, prefix, "prefix")
        if not name:
            raise InvalidArgument(
                "prefix",
                prefix,
                "is empty",
                remedy="delete the bucket and all that is in it with delete(force=True)",
            )
        if force:
            raise InvalidArgument(
                "force", force, "is given with a prefix, and is for deleting the bucket itself"
            )
        deleted = remove(self._place, name)
        if deleted == 0:
            raise NotFound("there is no such object in the bucket", resource=str(GcsUri(self._name, name)))
        return deleted

    @property
    def _api(self) -> ObjectsApi:
        from vertexkit._transfer.objects_api import ObjectsApi

        return ObjectsApi(self._context, self._name)

    @property
    def _place(self) -> Place:
        from vertexkit._transfer.engine import Place

        return Place(self._context, self._name)

    def __repr__(self) -> str:
        where = "" if self._location is None else f" in {self._location}"
        return f"<Bucket {self.uri}{where}>"

    def _repr_html_(self) -> str:
        from vertexkit._core.html import described

        # What is not known yet is not asked for: showing a thing sends nothing.
        return described(f"Bucket {self._name}", {"uri": self.uri, "location": self._location or ""})


def _bucket_name(given: str) -> str:
    """The name that an argument means: a name, or the ``gs://`` URI of a bucket."""
    from vertexkit._core.names import bucket_name_problem

    if not isinstance(given, str):
        raise InvalidArgument("name", given, "is not the name of a bucket")
    name = given.removeprefix("gs://").removesuffix("/")
    problem = bucket_name_problem(name)
    if problem is not None:
        raise InvalidArgument("name", given, problem)
    return name


def _check_threads(threads: int) -> None:
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise InvalidArgument("threads", threads, "is not a number of threads from 1 up")
