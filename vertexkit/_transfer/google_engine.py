"""Many objects at once with google-cloud-storage and threads, for credentials that obstore cannot carry."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from vertexkit._core.names import GcsUri
from vertexkit._core.rpc import translated
from vertexkit._transfer.engine import Delete, EngineName, Get, Job, Place, Put
from vertexkit._transfer.patience import Patience, Stopped, is_passing
from vertexkit.errors import NotFound, VertexkitError

if TYPE_CHECKING:
    from google.cloud import storage

T = TypeVar("T")

_TIMEOUT = (10.0, 120.0)  # to connect, and between two bytes


class GoogleEngine:
    """An `Engine` over ``google.cloud.storage.Client``."""

    name: EngineName = "google"

    def __init__(self, place: Place) -> None:
        self._bucket: storage.Bucket = place.context.clients.storage.bucket(place.bucket)
        self._uri = GcsUri(place.bucket)

    def run(self, jobs: Iterable[Job], *, width: int, patience: Patience) -> None:
        """See `Engine.run`; ``width`` is the number of threads."""
        with ThreadPoolExecutor(width, thread_name_prefix="vertexkit-transfer") as pool:
            futures = [pool.submit(self._do, job, patience) for job in jobs]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                # Ctrl-C: what is on its way ends, what waits does not begin.
                patience.stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _do(self, job: Job, patience: Patience) -> None:
        try:
            if isinstance(job, Put):
                self._put(job, patience)
            elif isinstance(job, Get):
                self._get(job, patience)
            elif isinstance(job, Delete):
                self._delete(job, patience)
        except Stopped:
            return
        except (VertexkitError, OSError) as error:
            job.failed(error)

    def _put(self, job: Put, patience: Patience) -> None:
        patience.check()
        data = job.data()
        if data is None:
            return
        blob = self._bucket.blob(job.name)
        self._attempt(
            job.name,
            # The service refuses bytes that do not have the checksum sent with them.
            lambda: blob.upload_from_string(
                data, content_type=job.content_type, checksum="crc32c", retry=None, timeout=_TIMEOUT
            ),
            patience,
        )
        job.sent(blob.generation)

    def _get(self, job: Get, patience: Patience) -> None:
        patience.check()
        if not job.is_wanted():
            return
        blob = self._bucket.blob(job.name, generation=job.generation)
        data: bytes = self._attempt(
            job.name,
            # checksum=None: `job` compares with the checksum of the listing, once.
            lambda: blob.download_as_bytes(raw_download=True, checksum=None, retry=None, timeout=_TIMEOUT),
            patience,
        )
        job.received(data)

    def _delete(self, job: Delete, patience: Patience) -> None:
        patience.check()
        blob = self._bucket.blob(job.name)
        with contextlib.suppress(NotFound):
            self._attempt(
                job.name,
                lambda: blob.delete(if_generation_match=job.generation, retry=None, timeout=_TIMEOUT),
                patience,
            )
        job.deleted()

    def _attempt(self, name: str, call: Callable[[], Any], patience: Patience) -> Any:
        def attempt() -> Any:
            with translated(str(self._uri / name)):
                return call()

        try:
            result = attempt()
        except VertexkitError as error:
            if not is_passing(error):
                raise
            result = patience.again(attempt, error)
        patience.renew()
        return result
