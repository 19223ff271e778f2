"""Makes, finds and deletes buckets, through google-cloud-storage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from vertexkit._core.retry import retrying
from vertexkit._core.rpc import translated
from vertexkit.errors import AlreadyExists, Conflict, FailedPrecondition, VertexkitError

if TYPE_CHECKING:
    from google.cloud import storage

    from vertexkit._core.context import Context

T = TypeVar("T")

_DEADLINE = 60.0
_TIMEOUT = (10.0, 60.0)  # to connect, and between two bytes


class BucketAdmin:
    """Calls on buckets themselves."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def create(self, name: str, location: str, labels: Mapping[str, str]) -> str:
        """Create a bucket with uniform access; its location.

        Raises:
            AlreadyExists: There is one of that name.
        """
        bucket = self._client.bucket(name)
        bucket.labels = dict(labels)
        bucket.iam_configuration.uniform_bucket_level_access_enabled = True
        try:
            made: storage.Bucket = self._call(
                name,
                lambda: self._client.create_bucket(bucket, location=location, retry=None, timeout=_TIMEOUT),
                idempotent=False,
            )
        except Conflict as error:
            raise self._taken(name, error) from error
        return _location(made)

    def location(self, name: str) -> str:
        """Where a bucket is.

        Raises:
            NotFound: There is none.
        """
        return _location(
            self._call(name, lambda: self._client.get_bucket(name, retry=None, timeout=_TIMEOUT))
        )

    def list(self) -> list[tuple[str, str]]:
        """Name and location of every bucket of the project."""
        project = self._context.target.project
        return self._call(
            None,
            lambda: [
                (bucket.name, _location(bucket))
                for bucket in self._client.list_buckets(project=project, retry=None, timeout=_TIMEOUT)
            ],
        )

    def delete(self, name: str) -> None:
        """Delete an empty bucket.

        Raises:
            NotFound: There is none.
            FailedPrecondition: It is not empty.
        """
        try:
            self._call(
                name, lambda: self._client.bucket(name).delete(force=False, retry=None, timeout=_TIMEOUT)
            )
        except Conflict as error:
            raise FailedPrecondition(
                error.service_message,
                resource=f"gs://{name}",
                remedy="delete it with force=True, which deletes everything in it too",
            ) from error

    def _taken(self, name: str, error: Conflict) -> AlreadyExists:
        """Whose bucket it is that has the name already."""
        try:
            self.location(name)
        except VertexkitError:
            remedy = "it is not yours, and names are unique in the world: choose another"
        else:
            remedy = "pass exist_ok=True, or use buckets.get(name)"
        return AlreadyExists(error.service_message, resource=f"gs://{name}", remedy=remedy)

    def _call(self, name: str | None, call: Callable[[], T], *, idempotent: bool = True) -> T:
        resource = None if name is None else f"gs://{name}"

        def attempt() -> T:
            with translated(resource):
                return call()

        return retrying(_DEADLINE, idempotent=idempotent)(attempt)

    @property
    def _client(self) -> storage.Client:
        return self._context.clients.storage


def _location(bucket: storage.Bucket) -> str:
    """The bucket's location as Vertex AI writes regions."""
    return str(bucket.location or "").lower()
