"""Deletes many objects at once."""

from __future__ import annotations

from vertexkit._transfer.engine import Delete, Place, choose_engine
from vertexkit._transfer.file_upload import words
from vertexkit._transfer.objects_api import ObjectsApi
from vertexkit._transfer.patience import Patience
from vertexkit._transfer.values import ObjectInfo
from vertexkit.errors import CleanupIncomplete, VertexkitError

_THREADS = 16


class _Removal(Delete):
    """One object to delete, whatever its generation: it is to be gone."""

    generation = None

    def __init__(self, found: ObjectInfo) -> None:
        self.name = found.name
        self.found = found
        self.is_done = False
        self.failure = "it was not tried"

    def deleted(self) -> None:
        self.is_done = True

    def failed(self, error: VertexkitError | OSError) -> None:
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
    removals = [_Removal(item) for item in found if item is not None]
    if removals:
        choose_engine(place, None).run(removals, width=_THREADS, patience=Patience())
    failures = {each.found.uri: each.failure for each in removals if not each.is_done}
    if failures:
        raise CleanupIncomplete(failures)
    return len(removals)
