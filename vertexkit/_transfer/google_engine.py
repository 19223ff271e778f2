"""google-cloud-storage as an engine, for credentials that obstore cannot carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vertexkit._core.names import GcsUri
from vertexkit._core.rpc import translated
from vertexkit._transfer.engine import EngineName, Place

if TYPE_CHECKING:
    from google.cloud import storage

_TIMEOUT = (10.0, 60.0)  # to connect, and between two bytes


class GoogleEngine:
    """An `Engine` over ``google.cloud.storage.Client``, which is bound by the CPU that Python takes."""

    name: EngineName = "google"
    per_thread = 1

    def __init__(self, place: Place) -> None:
        self._bucket: storage.Bucket = place.context.clients.storage.bucket(place.bucket)
        self._uri = GcsUri(place.bucket)

    def put(self, name: str, data: bytes, content_type: str) -> int | None:
        """See `Engine.put`; the service refuses bytes that do not have the checksum sent with them."""
        blob = self._bucket.blob(name)
        with translated(str(self._uri / name)):
            # retry=None: `Patience` retries, and a policy inside another would multiply the attempts.
            blob.upload_from_string(
                data, content_type=content_type, checksum="crc32c", retry=None, timeout=_TIMEOUT
            )
        generation: int | None = blob.generation
        return generation

    def get(self, name: str, generation: int, size: int) -> bytes:
        """See `Engine.get`."""
        blob = self._bucket.blob(name, generation=generation)
        with translated(str(self._uri / name)):
            # checksum=None: the caller compares with the checksum of the listing, once.
            data: bytes = blob.download_as_bytes(
                raw_download=True, checksum=None, retry=None, timeout=_TIMEOUT
            )
        return data

    def delete(self, name: str) -> None:
        """See `Engine.delete`."""
        with translated(str(self._uri / name)):
            self._bucket.blob(name).delete(retry=None, timeout=_TIMEOUT)
