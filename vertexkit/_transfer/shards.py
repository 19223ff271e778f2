"""Writes a stream of records as objects of moderate size, several on their way while the next fills up.

What is written is in memory until it has arrived, so a failure that passes costs nothing but time, and the
memory that all of it takes is that of a few shards however long the stream is.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final

from vertexkit._transfer.checksums import crc32c, encoded
from vertexkit._transfer.jobs import attempted
from vertexkit._transfer.objects_api import ObjectsApi
from vertexkit._transfer.patience import Patience, Stopped
from vertexkit.errors import ChecksumMismatch

SHARD_BYTES: Final = 4 * 1024 * 1024
"""From this size on, a shard is sent."""
_WIDTH: Final = 4


class Shards:
    """Objects ``stem-000000.suffix``, ``stem-000001.suffix``, ..., whose names sort as they were written.

    A context manager: left by an error, it stops what is on its way and waits for that.

    Args:
        api: The bucket.
        stem: What their names start with.
        suffix: What their names end with, ``".jsonl"``.
        content_type: Media type.
        advance: Told how many bytes have arrived, from any thread.
    """

    def __init__(
        self,
        api: ObjectsApi,
        stem: str,
        suffix: str,
        *,
        content_type: str = "application/octet-stream",
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.count = 0
        """Objects begun."""
        self._api = api
        self._stem = stem
        self._suffix = suffix
        self._content_type = content_type
        self._advance = advance
        self._header = b""
        self._parts: list[bytes] = []
        self._held = 0
        self._patience = Patience()
        self._pool = ThreadPoolExecutor(_WIDTH, thread_name_prefix="vertexkit-shard")
        self._free = threading.BoundedSemaphore(_WIDTH)
        self._sent: deque[Future[None]] = deque()

    def write(self, records: bytes) -> None:
        """Add whole records.

        Raises:
            VertexkitError: A shard did not arrive.
        """
        self._parts.append(records)
        self._held += len(records)
        if self._held >= SHARD_BYTES:
            self._send()

    def begin(self, header: bytes = b"") -> None:
        """What is written from now on goes into other shards, each of which starts with ``header``."""
        self._send()
        self._header = header

    def finish(self) -> None:
        """Send what is left, and wait until all has arrived.

        Raises:
            VertexkitError: A shard did not arrive.
        """
        self._send()
        while self._sent:
            self._sent.popleft().result()

    def __enter__(self) -> Shards:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._patience.stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _send(self) -> None:
        if not self._parts:
            return
        while self._sent and self._sent[0].done():
            self._sent.popleft().result()
        data = b"".join([self._header, *self._parts])
        self._parts, self._held = [], 0
        name = f"{self._stem}-{self.count:06d}{self._suffix}"
        self.count += 1
        self._free.acquire()
        self._sent.append(self._pool.submit(self._put, name, data))

    def _put(self, name: str, data: bytes) -> None:
        try:
            stored = attempted(lambda: self._api.insert(name, data, self._content_type), self._patience)
            # The service has compared already; this is for one that ignores what it was asked to compare.
            if (stored.size, stored.crc32c) != (len(data), has := encoded(crc32c(data))):
                why = f"it arrived with the crc32c {stored.crc32c}, and has {has}"
                raise ChecksumMismatch("An object arrived damaged:", {self._api.uri(name): why})
            self._advance(len(data))
        except Stopped:
            pass  # another failure is told
        finally:
            self._free.release()
