"""Whether a bucket that a job reads or writes is there, and where the job runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vertexkit._core.names import parse_gcs_uri
from vertexkit.errors import Finding, NotFound, PermissionDenied
from vertexkit.regions import check_bucket_location
from vertexkit.storage import Buckets

if TYPE_CHECKING:
    from vertexkit._core.context import Context

__all__ = ["check_bucket"]


def check_bucket(context: Context, argument: str, uri: str) -> list[Finding]:
    """What is wrong with the bucket of a URI. The session's own is created when it is needed.

    Args:
        context: The session's parts.
        argument: What the finding calls the URI; ``"bucket"`` stands for the session's own bucket.
        uri: ``gs://bucket``, or anything in it.
    """
    name = parse_gcs_uri(uri).bucket
    location = context.bucket_locations.get(name)
    if location is None:
        try:
            location = Buckets(context).get(name).location
        except NotFound:
            if argument == "bucket":
                return []
            remedy = "create it with session.buckets.create()"
            return [Finding(argument, uri, "is in a bucket that does not exist", remedy)]
        except PermissionDenied:
            return []  # the account that the job runs as may well be allowed to use it
    return check_bucket_location(location, context.target.location, argument, uri)
