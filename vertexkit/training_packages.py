"""The packages that a session's training jobs install, in its bucket.

They lie below the session's id, by their content: many jobs of a session share one, and no other session
can use what `Session.cleanup` deletes.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vertexkit._core.context import SESSION_LABEL
from vertexkit._core.names import parse_gcs_uri
from vertexkit.cleanup import Order
from vertexkit.errors import NotFound
from vertexkit.storage import Bucket, Buckets

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit.packaging import Program

__all__ = ["Packages"]


class Packages:
    """What a session has sent, and how many of its jobs use it. Thread-safe."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._users: Counter[str] = Counter()

    def put(self, program: Program) -> tuple[list[str], list[str]]:
        """Send a program's wheel, unless it is there.

        Returns:
            The URIs of all that the job is to install, and of those that `take_back` may delete again.

        Raises:
            InvalidArgument: A file of the program cannot be read any more.
        """
        given = [] if program.uri is None else [program.uri]
        with tempfile.TemporaryDirectory(prefix="vertexkit-") as folder:
            wheel = program.wheel(Path(folder))
            if wheel is None:
                return given, []
            uri = self._put(wheel)
        return [*given, uri], [uri]

    def take_back(self, uris: Sequence[str]) -> None:
        """Delete what no job came to use."""
        with self._lock:
            for uri in uris:
                self._users[uri] -= 1
                if self._users[uri] <= 0:
                    self._delete(uri)

    def _put(self, wheel: Path) -> str:
        content = wheel.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:16]
        session = self._context.labels.get(SESSION_LABEL, "shared")
        name = f"vertexkit/training/packages/{session}/{digest}/{wheel.name}"
        bucket = Buckets(self._context).default()
        uri = f"{bucket.uri}/{name}"
        with self._lock:
            # Somebody may have emptied the bucket since.
            if not (self._users[uri] and bucket.exists(name)):
                bucket.write(name, content)
                self._context.created.add(uri, partial(self._delete, uri), order=Order.OBJECTS)
            self._users[uri] += 1
        return uri

    def _delete(self, uri: str) -> None:
        parsed = parse_gcs_uri(uri)
        with suppress(NotFound):
            Bucket(self._context, parsed.bucket).delete(parsed.name)
        self._users.pop(uri, None)
        self._context.created.forget(uri)
