"""Uploads or downloads one file."""

from __future__ import annotations

import stat
from pathlib import Path

from vertexkit._core.retry import retrying
from vertexkit._transfer.checksums import crc32c, encoded
from vertexkit._transfer.content import read_whole
from vertexkit._transfer.count import Count
from vertexkit._transfer.engine import Place
from vertexkit._transfer.file_download import FileDownload
from vertexkit._transfer.file_upload import content_type_of
from vertexkit._transfer.jobs import LARGE_BYTES, attempted, run_all, words
from vertexkit._transfer.local_tree import reason, shown
from vertexkit._transfer.object_names import checked_name, name_in_bucket
from vertexkit._transfer.objects_api import ObjectsApi
from vertexkit._transfer.patience import Patience
from vertexkit._transfer.resumable import ResumableUpload
from vertexkit._transfer.upload_sessions import UploadSessions
from vertexkit._transfer.values import ObjectInfo
from vertexkit.errors import (
    AlreadyExists,
    ChecksumMismatch,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    TransferFailed,
    VertexkitError,
)
from vertexkit.progress import tracked

_DEADLINE = 60.0


def upload_file(
    place: Place, path: Path, name: str | None, content_type: str | None, *, overwrite: bool
) -> str:
    """See `vertexkit.storage.Bucket.upload_file`."""
    try:
        status = path.stat()
    except OSError as error:
        raise InvalidArgument("path", str(path), f"cannot be read: {reason(error)}") from None
    if stat.S_ISDIR(status.st_mode):
        raise InvalidArgument("path", str(path), "is a folder", remedy="use upload_dir")
    if not stat.S_ISREG(status.st_mode):
        raise InvalidArgument("path", str(path), "is a pipe, socket or device, not a file")
    given = path.name if name is None else name_in_bucket(place.bucket, name, "name")
    if not given or given.endswith("/"):
        given += path.name
    target = checked_name(place.bucket, given, "name")
    kind = content_type or content_type_of(path)
    try:
        if status.st_size >= LARGE_BYTES:
            return _upload_large(place, path, target, kind, status.st_size, overwrite=overwrite).uri
        return _upload_small(place, path, target, kind, overwrite=overwrite).uri
    except FailedPrecondition as error:
        if overwrite:
            raise
        raise AlreadyExists(
            "there is an object of that name already",
            resource=error.resource,
            remedy="leave out overwrite=False, or use another name",
        ) from error
    except VertexkitError:
        raise
    except OSError as error:
        raise TransferFailed("A file could not be sent:", {shown(path): reason(error)}) from error


def download_file(place: Place, name: str, path: Path) -> Path:
    """See `vertexkit.storage.Bucket.download_file`."""
    api = ObjectsApi(place.context, place.bucket)
    found = api.find(checked_name(place.bucket, name, "name"))
    if found is None:
        raise NotFound(
            "there is no such object", resource=api.uri(name_in_bucket(place.bucket, name, "name"))
        )
    if path.is_dir():
        base = found.name.rpartition("/")[2]
        if base in ("", ".", "..") or "\0" in base:
            raise InvalidArgument("path", str(path), f"is a folder, and no file can be called {base!r}")
        path /= base
    description = f"Downloading {found.uri}"
    shows = place.context.progress if found.size >= LARGE_BYTES else False
    with tracked(description, found.size, "bytes", shows) as tracker:
        file = FileDownload(found, path, api, None, Count(tracker, description, 1))
        run_all([file], 1, Patience())
    if isinstance(file.error, VertexkitError):
        raise file.error
    if file.error is not None:
        raise TransferFailed(
            "An object could not be saved:", {shown(path): words(file.error)}
        ) from file.error
    return path


def _upload_small(place: Place, path: Path, name: str, content_type: str, *, overwrite: bool) -> ObjectInfo:
    api = ObjectsApi(place.context, place.bucket)
    data = read_whole(path)

    def insert() -> ObjectInfo:
        return api.insert(name, data, content_type, overwrite=overwrite)

    # Sent again after a lost answer, it would find the object that it has made itself.
    stored = attempted(insert, Patience()) if overwrite else retrying(_DEADLINE, idempotent=False)(insert)
    # The service has compared already; this is for one that ignores what it was asked to compare.
    has = encoded(crc32c(data))
    if (stored.size, stored.crc32c) != (len(data), has):
        attempted(lambda: api.delete(name, stored.generation), Patience())
        why = f"it arrived with the crc32c {stored.crc32c}, and has {has}; the object is deleted"
        raise ChecksumMismatch("A file arrived damaged:", {shown(path): why})
    return stored


def _upload_large(
    place: Place, path: Path, name: str, content_type: str, size: int, *, overwrite: bool
) -> ObjectInfo:
    sessions = UploadSessions(place.context.target.storage_url)
    with tracked(f"Uploading {shown(path.name)}", size, "bytes", place.context.progress) as tracker:
        upload = ResumableUpload(
            ObjectsApi(place.context, place.bucket),
            path,
            name,
            content_type,
            patience=Patience(),
            progress=tracker.advance,
            overwrite=overwrite,
        )
        return upload.run(sessions)
