"""Deletes many objects at once."""

from __future__ import annotations

import contextlib

from vertexkit._transfer.engine import Engine, Place, choose_engine
from vertexkit._transfer.jobs import Job, attempted, run_all, words
from vertexkit._transfer.objects_api import ObjectsApi
from vertexkit._transfer.patience import Patience
from vertexkit._transfer.values import ObjectInfo
from vertexkit.errors import CleanupIncomplete, NotFound, VertexkitError

_THREADS = 16


class _Removal(Job):
    """One object to delete, whatever its generation: it is to be gone."""

    def __init__(self, found: ObjectInfo, engine: Engine) -> None:
        self.found = found
        self.is_done = False
        self.failure = "it was not tried"
        self._engine = engine

    def run(self, patience: Patience) -> None:
        """See `Job.run`."""
        with contextlib.suppress(NotFound):
            attempted(lambda: self._engine.delete(self.found.name), patience)
        self.is_done = True

    def failed(self, error: VertexkitError | OSError) -> None:
        """See `Job.failed`."""
        self.failure = words(error)


def remove(place: Place, name: str) -> int:
    """Delete an object and everything in the "folder" of its name; with no name, everything.

    Args:
        place: The bucket.
        name: The name, with or without a ``/`` at its end.

    Returns:
        How many objects were deleted.

    Raises:
        CleanupIncomplete: Some could not be deleted; it names every one.
    """
    api = ObjectsApi(place.context, place.bucket)
    folder = name if not name or name.endswith("/") else f"{name}/"
    found = [api.find(name)] if folder != name else []
    found += api.list(folder)
    engine = choose_engine(place, None)
    removals = [_Removal(item, engine) for item in found if item is not None]
    run_all(removals, _THREADS * engine.per_thread, Patience())
    failures = {each.found.uri: each.failure for each in removals if not each.is_done}
    if failures:
        raise CleanupIncomplete(failures)
    return len(removals)
