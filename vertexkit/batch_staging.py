"""How instances get to where a batch prediction job reads them, and away again when that fails."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain, repeat
from typing import TYPE_CHECKING, Final

from vertexkit._transfer.engine import Place, choose_engine
from vertexkit._transfer.local_tree import LocalFile, LocalTree, reason, shown
from vertexkit._transfer.objects_api import ObjectsApi
from vertexkit._transfer.shards import Shards
from vertexkit._transfer.upload import FolderUpload
from vertexkit.batch_about import (
    INSTANCES,
    ORIGINS,
    REFUSED,
    origin_line,
    refused_line,
)
from vertexkit.batch_files import (
    Block,
    LocalFiles,
    Origin,
    blocks,
    columns,
    header,
    keyed_blocks,
    record_blocks,
)
from vertexkit.batch_format import IMAGE
from vertexkit.batch_input import BatchInput, InstanceConfig
from vertexkit.batch_rows import Rows
from vertexkit.cleanup import Order, noting
from vertexkit.errors import InvalidArgument, NotFound, TransferFailed
from vertexkit.preflight import require
from vertexkit.progress import Tracker, tracked
from vertexkit.regions import check_bucket_location
from vertexkit.storage import Buckets

if TYPE_CHECKING:
    from vertexkit._core.context import Context

__all__ = ["Send", "Staging", "staged"]

_THREADS: Final = 16
_TYPES: Final = {
    ".jsonl": "application/jsonl",
    ".csv": "text/csv",
    ".txt": "text/plain",
    ".tfrecord": "application/octet-stream",
}


class Staging:
    """A place of its own in the session's bucket, for the instances of one job.

    Args:
        context: The session's parts.
        bucket: Name of the bucket.
        prefix: Where in it.
    """

    def __init__(self, context: Context, bucket: str, prefix: str) -> None:
        self._context = context
        self._api = ObjectsApi(context, bucket)
        self._prefix = prefix

    def rows(self, rows: Rows, config: InstanceConfig) -> BatchInput:
        """Write what a program passes, as lines of JSON.

        Raises:
            InvalidArgument: The model or JSON cannot take an instance.
        """
        if rows.key_field is not None:
            config = config.with_key(rows.key_field)
        found = (Block(data, count) for count, data in rows.lines())
        return self._lines("jsonl", ".jsonl", config, found, total=None)

    def keyed(self, files: LocalFiles, config: InstanceConfig, key_field: str, name: str) -> BatchInput:
        """Write the lines of JSON files, each with its position."""
        found = _read(keyed_blocks(files.files, key_field, name))
        return self._lines("jsonl", ".jsonl", config.with_key(key_field), found, total=_bytes_of(files))

    def parts(self, files: LocalFiles, config: InstanceConfig) -> BatchInput:
        """Write the lines or records of files as they are, those of a large one as several objects."""
        suffix = {"jsonl": ".jsonl", "csv": ".csv", "tf-record": ".tfrecord"}.get(files.kind, ".txt")

        def found(shards: Shards) -> Iterator[Block]:
            names: list[str] = []
            for file in files.files:
                first, start, number = header(file) if files.kind == "csv" else (b"", 0, 1)
                names = names or columns(first)
                if columns(first) not in ([], names):
                    problem = f"has the columns {columns(first)}, and those before it {names}"
                    raise InvalidArgument("source", shown(file.path), problem)
                shards.begin(first)
                yield from record_blocks(file) if files.kind == "tf-record" else blocks(file, start, number)

        def read(shards: Shards) -> Iterator[Block]:
            return _read(found(shards))

        return self._lines(files.kind, suffix, config, read, total=_bytes_of(files))

    def uris(self, uris: Iterable[str], config: InstanceConfig, names: Iterable[str] = ()) -> BatchInput:
        """Write a list of files that are instances themselves, and what they are called here."""
        found = (
            Block(f"{uri}\n".encode(), 1, origins=[] if name is None else [Origin(0, name)])
            for uri, name in zip(uris, chain(names, repeat(None)), strict=False)
        )
        return self._lines("file-list", ".txt", config, found, total=None)

    def files(self, files: LocalFiles, config: InstanceConfig) -> BatchInput:
        """Upload files as they are; of those that are instances themselves, write a list too."""
        place = Place(self._context, self._api.bucket)
        folder = f"{self._prefix}/files/"
        if files.kind != IMAGE:
            files = replace(files, files=tuple(_without_wildcards(files.files)))
        tree = LocalTree(list(files.files))
        FolderUpload(place, files.root, folder, "**/*", choose_engine(place, None), tree=tree).run(_THREADS)
        uris = tuple(self._api.uri(folder + file.relative) for file in files.files)
        if files.kind == IMAGE:
            return self.uris(uris, config, (shown(file.path) for file in files.files))
        return BatchInput(files.kind, uris, config=config)

    def _lines(
        self,
        kind: str,
        suffix: str,
        config: InstanceConfig,
        found: Iterable[Block] | Callable[[Shards], Iterable[Block]],
        *,
        total: int | None,
    ) -> BatchInput:
        """Write shards of lines, and beside them what is known of them."""
        count = refused = 0
        with (
            tracked("Sending instances", total, "bytes", self._context.progress) as tracker,
            self._shards(INSTANCES, suffix, tracker) as shards,
            self._shards(REFUSED, ".jsonl", None) as others,
            self._shards(ORIGINS, ".jsonl", None) as origins,
        ):
            for block in found(shards) if callable(found) else found:
                if block.data:
                    shards.write(block.data)
                for one in block.refused:
                    others.write(refused_line(one))
                for origin in block.origins:
                    origins.write(origin_line(replace(origin, index=count + origin.index)))
                count += block.count
                refused += len(block.refused)
            shards.finish()
            others.finish()
            origins.finish()
        if count == refused:
            raise InvalidArgument(
                "source",
                f"{count:,} lines",
                "holds no instances",
                remedy="write one instance a line, as JSON",
            )
        name = f"{INSTANCES}-{'*' if shards.count > 1 else '000000'}{suffix}"
        return BatchInput(kind, (self._api.uri(f"{self._prefix}/{name}"),), config=config, count=count)

    def _shards(self, stem: str, suffix: str, tracker: Tracker | None) -> Shards:
        advance = (lambda _: None) if tracker is None else tracker.advance
        where = f"{self._prefix}/{stem}"
        return Shards(self._api, where, suffix, content_type=_TYPES[suffix], advance=advance)


Send = Callable[[Staging], BatchInput]
"""Sends the instances of one source."""


def staged(context: Context, prefix: str, send: Send) -> BatchInput:
    """Send instances to a place of their own in the session's bucket.

    Args:
        context: The session's parts.
        prefix: Where in the bucket; there must be nothing yet.
        send: Sends them.

    Raises:
        InvalidArgument: An instance is not what the model takes; what was sent is deleted again.
        TransferFailed: Something did not arrive; what did is deleted again.
        PreflightFailed: The session's bucket is in another region.
    """
    bucket = Buckets(context).default()
    require(check_bucket_location(bucket.location, context.target.location))
    where = f"{bucket.uri}/{prefix}"

    def undo() -> None:
        with suppress(NotFound):
            bucket.delete(prefix)
        context.created.forget(where)

    try:
        found = send(Staging(context, bucket.name, prefix))
    except BaseException as error:  # Ctrl-C too
        noting(error, undo, f"the instances in {where}")
        if isinstance(error, InvalidArgument):
            error.add_note("There is no job; what was sent before is deleted again.")
        raise
    context.created.add(where, undo, order=Order.OBJECTS)
    return found.sent_to(where, undo)


def _bytes_of(files: LocalFiles) -> int:
    return sum(file.size for file in files.files)


def _without_wildcards(files: Sequence[LocalFile]) -> Iterator[LocalFile]:
    """The files under names that a job does not take for patterns."""
    for number, file in enumerate(files):
        plain = re.sub(r"[*?\[\]]", "_", file.relative)
        yield file if plain == file.relative else replace(file, relative=f"{number:06d}-{plain}")


def _read(found: Iterator[Block]) -> Iterator[Block]:
    """The same, where a file that cannot be read is a failure of the transfer."""
    try:
        yield from found
    except OSError as error:
        where = shown(error.filename) if error.filename else "the source"
        raise TransferFailed("A file could not be sent:", {where: reason(error)}) from error
