"""Makes, finds and deletes buckets, through the JSON API.

Not through google-cloud-storage, whose import takes 0.2 s that a script with a small upload need not pay.

Reference: https://cloud.google.com/storage/docs/json_api/v1/buckets
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from vertexkit.errors import AlreadyExists, Conflict, FailedPrecondition, VertexkitError

if TYPE_CHECKING:
    from vertexkit._core.context import Context


class BucketAdmin:
    """Calls on buckets themselves."""

    def __init__(self, context: Context) -> None:
        self._clients = context.clients
        self._project = context.target.project
        self._url = f"{context.target.storage_url}/storage/v1/b"

    def create(self, name: str, location: str, labels: Mapping[str, str]) -> str:
        """Create a bucket with uniform access; its location.

        Raises:
            AlreadyExists: There is one of that name.
        """
        body = {
            "name": name,
            "location": location,
            "labels": dict(labels),
            "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}},
        }
        try:
            made = self._clients.http_json(
                "POST", self._url, body=body, params={"project": self._project}, resource=f"gs://{name}"
            )
        except Conflict as error:
            raise self._taken(name, error) from error
        return _location(made)

    def location(self, name: str) -> str:
        """Where a bucket is.

        Raises:
            NotFound: There is none.
        """
        found = self._clients.http_json(
            "GET", self._bucket_url(name), params={"fields": "location"}, resource=f"gs://{name}"
        )
        return _location(found)

    def list(self) -> list[tuple[str, str]]:
        """Name and location of every bucket of the project."""
        params: dict[str, str | int] = {
            "project": self._project,
            "fields": "items(name,location),nextPageToken",
        }
        found: list[tuple[str, str]] = []
        while True:
            page = self._clients.http_json("GET", self._url, params=params)
            found += [(str(item["name"]), _location(item)) for item in page.get("items", ())]
            if not page.get("nextPageToken"):
                return found
            params["pageToken"] = page["nextPageToken"]

    def delete(self, name: str) -> None:
        """Delete an empty bucket.

        Raises:
            NotFound: There is none.
            FailedPrecondition: It is not empty.
        """
        try:
            self._clients.http_json("DELETE", self._bucket_url(name), resource=f"gs://{name}", retry=True)
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

    def _bucket_url(self, name: str) -> str:
        return f"{self._url}/{quote(name, safe='')}"


def _location(bucket: Mapping[str, Any]) -> str:
    """The bucket's location as Vertex AI writes regions."""
    return str(bucket.get("location") or "").lower()
