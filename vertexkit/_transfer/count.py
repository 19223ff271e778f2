"""Tells the progress of a transfer: bytes by the bar, files by its words."""

from __future__ import annotations

import threading

from vertexkit.progress import Tracker


class Count:
    """Counts the files of a transfer for its progress. Thread-safe."""

    def __init__(self, tracker: Tracker, description: str, files: int) -> None:
        self.tracker = tracker
        self._description = description
        self._files = files
        self._done = 0
        self._lock = threading.Lock()

    def file_done(self, by: int = 1) -> None:
        """One file has come to its end."""
        with self._lock:
            self._done += by
            done = self._done
        if self._files > 1:
            self.tracker.describe(f"{self._description} ({done:,} of {self._files:,} files)")
