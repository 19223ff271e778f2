"""Access control lists, which are refused: by the service's rule where it has one, else by name.

Source: https://cloud.google.com/storage/docs/uniform-bucket-level-access
"""

from __future__ import annotations

from vertexkit.emulator.gcs import errors
from vertexkit.emulator.gcs.http import Request, Response
from vertexkit.emulator.gcs.records import BucketInfo
from vertexkit.emulator.gcs.store import ObjectStore


class AccessControls:
    """The methods of ``bucketAccessControls`` and its kin for default objects and objects."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def refuse(self, request: Request, bucket: str, **_rest: str) -> Response:
        """Refuse to read or to change a list.

        Raises:
            StorageError: 400 where the bucket has no lists, 404 where it is not there, else 501.
        """
        if has_uniform_access(self._store.bucket(bucket)):
            verb = "get" if request.method == "GET" else "update"
            raise errors.invalid(
                f"Cannot {verb} legacy ACL for a bucket that has uniform bucket-level access. Read more at "
                "https://cloud.google.com/storage/docs/uniform-bucket-level-access"
            )
        raise errors.unimplemented(
            "access control lists; give access to the bucket with an IAM policy instead"
        )


def has_uniform_access(bucket: BucketInfo) -> bool:
    """Whether a bucket has uniform bucket-level access: IAM alone, and no access control lists."""
    uniform = bucket.attributes.get("iamConfiguration", {}).get("uniformBucketLevelAccess", {})
    return bool(uniform.get("enabled"))
