"""What vertexkit writes beside the instances of a batch prediction job, for whoever reads its results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from vertexkit._core.names import GcsUri, parse_gcs_uri
from vertexkit._transfer.jobs import attempted
from vertexkit._transfer.objects_api import ObjectsApi
from vertexkit._transfer.patience import Patience
from vertexkit.batch_files import Origin, Refused

if TYPE_CHECKING:
    from vertexkit._core.context import Context

__all__ = [
    "INSTANCES",
    "ORIGINS",
    "REFUSED",
    "origin_line",
    "origins",
    "refused",
    "refused_line",
]

INSTANCES: Final = "instances"
"""What the names of the objects that hold instances start with."""
REFUSED: Final = "_refused"
"""What the names of the objects start with that hold what was not sent, since it is no instance. No data."""
ORIGINS: Final = "_origins"
"""What the names of the objects start with that say where instances were before they were sent. No data."""


def refused(context: Context, uris: Sequence[str]) -> Iterator[Refused]:
    """What was not sent of a job's input, since it is no instance, by its position."""
    for read in _read(context, uris, REFUSED):
        yield Refused(int(read["index"]), str(read["text"]), str(read["reason"]))


def origins(context: Context, uris: Sequence[str]) -> Iterator[Origin]:
    """Where a job's instances were on the machine that sent them, by position; nothing if in no files."""
    for read in _read(context, uris, ORIGINS):
        number = read["number"]
        yield Origin(int(read["index"]), str(read["file"]), None if number is None else int(number))


def refused_line(one: Refused) -> bytes:
    """As it is written."""
    return orjson.dumps(
        {"index": one.index, "text": one.text, "reason": one.reason}, option=orjson.OPT_APPEND_NEWLINE
    )


def origin_line(one: Origin) -> bytes:
    """As it is written."""
    return orjson.dumps(
        {"index": one.index, "file": one.file, "number": one.number}, option=orjson.OPT_APPEND_NEWLINE
    )


def _read(context: Context, uris: Sequence[str], stem: str) -> Iterator[dict[str, Any]]:
    folder = _folder(uris)
    if folder is None:
        return
    api = ObjectsApi(context, folder.bucket)
    for found in api.list((folder / f"{stem}-").name):
        content = attempted(lambda name=found.name: api.read(name), Patience())  # type: ignore[misc]
        for line in content.splitlines():
            yield orjson.loads(line)


def _folder(uris: Sequence[str]) -> GcsUri | None:
    """The folder of instances that vertexkit wrote."""
    if len(uris) != 1:
        return None
    uri = parse_gcs_uri(uris[0])
    folder, _, name = uri.name.rpartition("/")
    return GcsUri(uri.bucket, folder) if name.startswith(f"{INSTANCES}-") and folder else None
