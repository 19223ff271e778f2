"""The files of a batch prediction job, brought from the bucket: results to order, inputs to read again.

One file after another is on this machine, and the next is on its way; what is kept of the results is in a
`Spool`.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from vertexkit._core.names import parse_gcs_uri
from vertexkit.batch_about import refused
from vertexkit.batch_input import InstanceConfig, is_own_key
from vertexkit.batch_matching import loads
from vertexkit.batch_records import Record, by_position, csv_columns, csv_rows, read_records, unsent
from vertexkit.batch_spool import Spool, lines_of
from vertexkit.batch_uris import expanded
from vertexkit.progress import tracked
from vertexkit.storage import Bucket

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit._transfer.values import ObjectInfo
    from vertexkit.batch_files import Refused

__all__ = ["fetch_results", "input_records"]

_AHEAD: Final = 2
_RESULTS: Final = ("prediction.results", "predictions_")
_ERRORS: Final = ("prediction.errors", "errors_")


def fetch_results(
    context: Context,
    directory: str,
    *,
    positions: bool,
    written: bool,
    texts: frozenset[str],
    kind: str,
    uris: tuple[str, ...],
) -> Spool:
    """Every line that a job has written.

    Args:
        context: The session's parts.
        directory: ``gs://`` URI of the folder that it made for them.
        positions: Whether its keys are positions in the input.
        written: Whether vertexkit has written the input.
        texts: In results in CSV, the columns of predictions that hold texts.
        kind: The format of the input, and
        uris: where that is, which names the columns of results in CSV.

    Raises:
        VertexkitError: They cannot be read, or are not there any more.
    """
    uri = parse_gcs_uri(directory.rstrip("/"))
    found = Bucket(context, uri.bucket).list(f"{uri.name}/")
    wanted = {info.uri: info for info in found if _base(info.uri).startswith((*_RESULTS, *_ERRORS))}
    spool = Spool(positions=positions, written=written)
    size = sum(info.size for info in wanted.values())
    with (
        tracked("Fetching the results", size, "bytes", context.progress) as shown,
        closing(_downloaded(context, wanted.values())) as files,
    ):
        names: list[str] | None = None
        for source, path in files:
            is_error = _base(source).startswith(_ERRORS)
            if _base(source).endswith(".csv") and not is_error:
                if names is None:
                    names = _input_columns(context, uris) if kind == "csv" else []
                lines: Iterable[bytes] = _lines_of_csv(path, names, texts)
            else:
                lines = lines_of(path)
            spool.add(lines, errors=is_error)
            shown.advance(wanted[source].size)
    if positions:
        # What vertexkit has not sent, since the service would fail of it, has failed too.
        spool.add(map(_refused_line, refused(context, uris)), errors=True)
    return spool


def input_records(
    context: Context, kind: str, uris: tuple[str, ...], config: InstanceConfig
) -> Iterator[Record]:
    """The instances of a job, read again; a little of them is on this machine at a time.

    Args:
        context: The session's parts.
        kind: The format, by the service's name.
        uris: Where they are; patterns as well.
        config: How the job makes instances of them.

    Raises:
        NotFound: They are not there any more.
    """
    with closing(_downloaded(context, expanded(context, uris))) as files:
        records = read_records(kind, config, files)
        if config.key_field is not None and is_own_key(config.key_field):
            records = by_position(records, (unsent(one.index, one.text) for one in refused(context, uris)))
        yield from records


def _downloaded(context: Context, objects: Iterable[ObjectInfo]) -> Generator[tuple[str, Path], None, None]:
    """Each object as a file, which is gone when the next is asked for."""
    waiting: deque[tuple[str, Future[Path]]] = deque()
    source = iter(objects)
    with (
        tempfile.TemporaryDirectory(prefix="vertexkit-") as folder,
        ThreadPoolExecutor(_AHEAD, thread_name_prefix="vertexkit-fetch") as pool,
    ):
        try:
            number = 0
            while True:
                for info in islice(source, 1 + _AHEAD - len(waiting)):
                    path = Path(folder, str(number))
                    number += 1
                    waiting.append((info.uri, pool.submit(_download, context, info, path)))
                if not waiting:
                    return
                uri, coming = waiting.popleft()
                path = coming.result()
                yield uri, path
                path.unlink()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _download(context: Context, info: ObjectInfo, path: Path) -> Path:
    return Bucket(context, parse_gcs_uri(info.uri).bucket).download_file(info.name, path)


def _refused_line(one: Refused) -> bytes:
    return orjson.dumps({"key": str(one.index), "error": {"code": 3, "message": one.reason}})


def _base(uri: str) -> str:
    return uri.rpartition("/")[2]


def _input_columns(context: Context, uris: tuple[str, ...]) -> list[str]:
    with closing(_downloaded(context, islice(expanded(context, uris), 1))) as files:
        return next((csv_columns(path) for _, path in files), [])


def _lines_of_csv(path: Path, columns: list[str], texts: frozenset[str]) -> Iterator[bytes]:
    """The rows of a results file as the lines that it would have as JSON."""
    with path.open("rb") as file:
        rows = csv_rows(file)
        names = [str(name) for name in next(rows, [])]
        named = names[:1] in (["key"], ["instance"])
        width = 1 if named else len(columns)
        for row in rows:
            answers = {
                name: cell if name in texts else _parsed(cell, "[{")
                for name, cell in zip(names[width:], row[width:], strict=False)
            }
            prediction = answers["prediction"] if answers.keys() == {"prediction"} else answers
            about: Any = row[:width]
            if named:
                about = row[0] if names[0] == "key" else _parsed(row[0], None)
            yield orjson.dumps({names[0] if named else "instance": about, "prediction": prediction})


def _parsed(cell: str | float, begins: str | None) -> Any:
    """A cell that holds JSON, if it begins like what is meant: what is no single value; None for anything."""
    if isinstance(cell, str) and cell and (begins is None or cell[0] in begins):
        try:
            return loads(cell.encode())
        except ValueError:
            pass
    return cell
