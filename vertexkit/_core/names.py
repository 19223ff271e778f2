"""Resource names and ``gs://`` URIs: made and parsed here, and nowhere else.

Source: https://cloud.google.com/apis/design/resource_names and
https://cloud.google.com/storage/docs/buckets#naming
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_RESOURCE = re.compile(
    r"projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)"
    r"/(?P<collection>[A-Za-z]+)/(?P<id>[^/@]+)(?:@(?P<version>[^/]+))?"
)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
MAX_OBJECT_NAME_BYTES = 1024
_RESERVED = ".well-known/acme-challenge/"
_LOOKS_LIKE_IP = re.compile(r"\d+\.\d+\.\d+\.\d+")


@dataclass(frozen=True)
class ResourceName:
    """``projects/P/locations/L/COLLECTION/ID[@VERSION]``."""

    project: str
    location: str
    collection: str
    """``models``, ``endpoints``, ..."""
    id: str
    version: str | None = None
    """A version id or alias, of models only."""

    def __str__(self) -> str:
        """The name as the API writes it."""
        version = "" if self.version is None else f"@{self.version}"
        return f"{self.parent}/{self.collection}/{self.id}{version}"

    @property
    def parent(self) -> str:
        """``projects/P/locations/L``."""
        return location_name(self.project, self.location)

    @property
    def unversioned(self) -> ResourceName:
        """The same name without its version."""
        return ResourceName(self.project, self.location, self.collection, self.id)

    def at(self, version: str) -> ResourceName:
        """The name of one version of it."""
        return ResourceName(self.project, self.location, self.collection, self.id, version)


def location_name(project: str, location: str) -> str:
    """``projects/P/locations/L``."""
    return f"projects/{project}/locations/{location}"


def parse_resource_name(name: str) -> ResourceName:
    """Take a resource name apart.

    Raises:
        ValueError: ``name`` is not ``projects/P/locations/L/COLLECTION/ID[@VERSION]``.
    """
    match = _RESOURCE.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is not projects/PROJECT/locations/LOCATION/COLLECTION/ID")
    return ResourceName(**match.groupdict())


def is_resource_name(name: str) -> bool:
    """Whether ``name`` is a whole resource name, rather than an id or a display name."""
    return _RESOURCE.fullmatch(name) is not None


@dataclass(frozen=True)
class GcsUri:
    """``gs://bucket/name``; the name is empty for the bucket itself."""

    bucket: str
    name: str = ""

    def __str__(self) -> str:
        """The URI."""
        return f"gs://{self.bucket}/{self.name}" if self.name else f"gs://{self.bucket}"

    def __truediv__(self, part: str) -> GcsUri:
        """The URI of ``part`` below this one."""
        base = self.name.rstrip("/")
        return GcsUri(self.bucket, f"{base}/{part}" if base else part)


def is_gcs_uri(text: str) -> bool:
    """Whether ``text`` starts with ``gs://``."""
    return text.startswith("gs://")


def parse_gcs_uri(uri: str) -> GcsUri:
    """Take a ``gs://`` URI apart.

    Raises:
        ValueError: ``uri`` does not start with ``gs://``, or its bucket's name is impossible.
    """
    if not is_gcs_uri(uri):
        raise ValueError(f"{uri!r} does not start with gs://")
    bucket, _, name = uri[len("gs://") :].partition("/")
    problem = bucket_name_problem(bucket)
    if problem is not None:
        raise ValueError(f"the bucket {bucket!r} {problem}")
    return GcsUri(bucket, name)


def object_name_problem(name: str) -> str | None:
    """What is wrong with an object's name, or None if nothing is.

    Source: https://cloud.google.com/storage/docs/objects#naming
    """
    if not name:
        return "is empty"
    try:
        # Most names are ASCII, and the local Cloud Storage asks for every object.
        size = len(name) if name.isascii() else len(name.encode())
    except UnicodeEncodeError:
        return "is not valid UTF-8, as the names of objects are"
    if size > MAX_OBJECT_NAME_BYTES:
        return f"has {size} bytes in UTF-8, and the name of an object at most {MAX_OBJECT_NAME_BYTES}"
    if "\n" in name or "\r" in name:
        return "has a line break, as the name of no object does"
    if name in {".", ".."} or name.startswith(_RESERVED):
        return f"is '.' or '..', or starts with {_RESERVED}, as the name of no object does"
    return None


def bucket_name_problem(name: str) -> str | None:
    """What is wrong with a bucket's name, or None if nothing is.

    Source: https://cloud.google.com/storage/docs/buckets#naming
    """
    if not 3 <= len(name) <= 222 or any(len(part) > 63 for part in name.split(".")):
        return "is not 3 to 63 characters long (222 with dots, 63 between dots), as a bucket's name is"
    if not _BUCKET.fullmatch(name):
        return (
            "is not made of lower-case letters, digits, '-', '_' and '.', with a letter or digit at both "
            "ends, as a bucket's name is"
        )
    if ".." in name or _LOOKS_LIKE_IP.fullmatch(name):
        return "has '..' in it or is an IP address, as no bucket's name is"
    if name.startswith("goog") or "google" in name:
        return "starts with 'goog' or contains 'google', as no bucket's name does"
    return None
