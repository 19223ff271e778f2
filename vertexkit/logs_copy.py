"""Keeps a folder in step with a "folder" of a bucket whose files grow, as those that a job logs to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vertexkit._core.names import GcsUri
from vertexkit._transfer.object_names import file_below
from vertexkit._transfer.objects_api import ObjectsApi
from vertexkit.errors import NotFound

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit._transfer.values import ObjectInfo

__all__ = ["LogsCopy"]


class LogsCopy:
    """A local copy of what a job logs.

    Args:
        context: The session's parts.
        source: The "folder" in the bucket; its name is empty, or ends in ``/``.
        folder: The local one, which is there.
    """

    def __init__(self, context: Context, source: GcsUri, folder: Path) -> None:
        self._api = ObjectsApi(context, source.bucket)
        self._prefix = source.name
        self._folder = folder.resolve()
        self._copied: dict[str, int] = {}

    def update(self) -> int:
        """Fetch what has been written since the last time.

        A file that has grown gets only what is new, at its end: TensorBoard goes on from where it was. What
        has been deleted in the bucket stays.

        Returns:
            How many files were written to.

        Raises:
            VertexkitError: The bucket cannot be listed, or an object not be read.
            OSError: A file cannot be written.
        """
        changed = 0
        for item in self._api.list(self._prefix):
            relative = item.name[len(self._prefix) :]
            if not relative or relative.endswith("/") or self._copied.get(relative) == item.generation:
                continue
            try:
                self._fetch(item, file_below(self._folder, relative))
            except (NotFound, ValueError):
                # Written anew since it was listed, and for the next time; or no name for a file here.
                continue
            self._copied[relative] = item.generation
            changed += 1
        return changed

    def _fetch(self, item: ObjectInfo, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        there = path.stat().st_size if path.is_file() else 0
        grows = "tfevents" in path.name and there <= item.size
        start = there if grows else 0
        with path.open("ab" if grows else "wb") as file:
            if start < item.size:
                for block in self._api.stream(
                    item.name, start=start, stop=item.size, generation=item.generation
                ):
                    file.write(block)
