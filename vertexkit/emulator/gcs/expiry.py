"""Uploads that nobody goes on with: after a week they end, as the service's do."""

from __future__ import annotations

from vertexkit.emulator.gcs import times
from vertexkit.emulator.gcs.store import ObjectStore

_KEPT_US = 7 * 24 * 3600 * 1_000_000
_LOOK_EVERY_US = 3600 * 1_000_000


class Expiry:
    """Tells which uploads of a kind have come to their end. It looks seldom enough to be asked often."""

    def __init__(self, store: ObjectStore, kind: str) -> None:
        self._store = store
        self._kind = kind
        self._looked_us = 0

    def due(self) -> list[str]:
        """The ids of uploads in which nothing has happened for a week."""
        now = times.now_us()
        if now - self._looked_us < _LOOK_EVERY_US:
            return []
        self._looked_us = now
        with self._store.lock:
            return self._store.index.uploads_before(self._kind, now - _KEPT_US)
