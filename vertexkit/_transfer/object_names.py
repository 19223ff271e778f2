"""Names of objects: how arguments give them, and which files they may become."""

from __future__ import annotations

import re
from pathlib import Path

from vertexkit._core.names import is_gcs_uri, object_name_problem, parse_gcs_uri
from vertexkit.errors import InvalidArgument

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def name_in_bucket(bucket: str, given: str, argument: str) -> str:
    """The name inside the bucket that an argument means: a name, or a whole ``gs://`` URI.

    Raises:
        InvalidArgument: It is a URI of another bucket, or none at all.
    """
    if not isinstance(given, str):
        raise InvalidArgument(argument, given, "is not the name of an object, nor its gs:// URI")
    if not is_gcs_uri(given):
        return given
    try:
        uri = parse_gcs_uri(given)
    except ValueError as error:
        raise InvalidArgument(argument, given, str(error)) from None
    if uri.bucket != bucket:
        raise InvalidArgument(
            argument,
            given,
            f"is in another bucket than this one, {bucket!r}",
            remedy=f"use session.buckets.get({uri.bucket!r})",
        )
    return uri.name


def checked_name(bucket: str, given: str, argument: str) -> str:
    """Like `name_in_bucket`, for a name that an object is to have.

    Raises:
        InvalidArgument: No object can have that name.
    """
    name = name_in_bucket(bucket, given, argument)
    problem = object_name_problem(name)
    if problem is not None:
        raise InvalidArgument(argument, given, problem)
    return name


def folder_prefix(bucket: str, given: str, argument: str) -> str:
    """The prefix, ending in ``/``, of everything in a "folder" of a bucket; empty for the whole bucket.

    Raises:
        InvalidArgument: No object can be there.
    """
    name = name_in_bucket(bucket, given, argument)
    prefix = name if not name or name.endswith("/") else f"{name}/"
    # What follows the slash is a file's, and checked with it.
    problem = object_name_problem(f"{prefix}x")
    if problem is not None:
        raise InvalidArgument(argument, given, problem)
    return prefix


def file_below(folder: Path, relative: str) -> Path:
    """The file that an object becomes when a folder is downloaded.

    Args:
        folder: The folder, resolved.
        relative: The object's name after the prefix.

    Raises:
        ValueError: The name would lead out of the folder, or no file can have it; says which.
    """
    parts = relative.split("/")
    if ".." in parts or "." in parts:
        raise ValueError("its name holds '.' or '..', and would lead elsewhere")
    if "" in parts:
        raise ValueError("its name starts or ends with '/', or holds '//', which the name of a file cannot")
    if _DRIVE.match(relative):
        raise ValueError("its name starts with a drive, and would lead elsewhere")
    if "\0" in relative:
        raise ValueError("its name holds a NUL character, which the name of a file cannot")
    return folder.joinpath(*parts)
