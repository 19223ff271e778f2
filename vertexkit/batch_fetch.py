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
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from vertexkit._core.names import parse_gcs_uri
from vertexkit.batch_about import refused
from vertexkit.batch_csv import cell_values
from vertexkit.batch_input import InstanceConfig, is_own_key
from vertexkit.batch_records import (
    Record,
    by_position,
    csv_cells,
    csv_columns,
    read_records,
    unsent,
)
from vertexkit.batch_spool import Spool, lines_of
from vertexkit.batch_uris import expanded
from vertexkit.errors import BatchPredictionFailed
from vertexkit.json_text import dumps, loads
from vertexkit.progress import tracked
from vertexkit.storage import Bucket

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit._transfer.values import ObjectInfo
    from vertexkit.batch_files import Refused
    from vertexkit.types import Signature

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
    signature: Signature | None,
    kind: str,
    keyed: bool,
    uris: tuple[str, ...],
) -> Spool:
    """Every line that a job has written.

    Args:
        context: The session's parts.
        directory: ``gs://`` URI of the folder that it made for them.
        positions: Whether its keys are positions in the input.
        written: Whether vertexkit has written the input.
        signature: What the model gives, which tells results in CSV; None where that is not known.
        kind: The format of the input,
        keyed: whether its instances have keys, and
        uris: where it is, which tells the columns of results in CSV.

    Raises:
        BatchPredictionFailed: Results in CSV are none, or do not begin with the columns of the input.
        VertexkitError: They cannot be read, or are not there any more.
    """
    uri = parse_gcs_uri(directory.rstrip("/"))
    found = Bucket(context, uri.bucket).list(f"{uri.name}/")
    wanted = {info.uri: info for info in found if _base(info.uri).startswith((*_RESULTS, *_ERRORS))}
    spool = Spool(positions=positions, written=uris if written else ())
    size = sum(info.size for info in wanted.values())
    with (
        tracked("Fetching the results", size, "bytes", context.progress) as shown,
        closing(_downloaded(context, wanted.values())) as files,
    ):
        table = _Table(context, signature, kind, keyed, uris)
        for source, path in files:
            is_error = _base(source).startswith(_ERRORS)
            if _base(source).endswith(".csv") and not is_error:
                lines: Iterable[bytes] = table.lines(source, path)
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
    return dumps({"key": str(one.index), "error": {"code": 3, "message": one.reason}})


def _base(uri: str) -> str:
    return uri.rpartition("/")[2]


@dataclass
class _Table:
    """Results in CSV."""

    context: Context
    signature: Signature | None
    kind: str
    keyed: bool
    uris: tuple[str, ...]

    def lines(self, source: str, path: Path) -> Iterator[bytes]:
        """The rows of a file as the lines that it would have as JSON."""
        with path.open("rb") as file:
            rows = _rows(source, file)
            header = next(rows, None)
            if header is None:
                return
            names = [text for text, _ in header]
            width = self._columns(source, names) if self.kind == "csv" and not self.keyed else 0
            outputs = self._outputs(names[: width or 1], names[width or 1 :])
            for cells in rows:
                row = cell_values(cells)
                answers = {
                    name: cell[0] if is_text else _answer(*cell)
                    for (name, is_text), cell in zip(outputs, cells[width or 1 :], strict=False)
                }
                prediction = answers["prediction"] if answers.keys() == {"prediction"} else answers
                about: Any = row[:width] if width else row[0] if self.keyed else _parsed(row[0])
                yield dumps({"key" if self.keyed else "instance": about, "prediction": prediction})

    def _columns(self, source: str, names: list[str]) -> int:
        """How many columns are those of the instances; 0 for one that holds them as JSON."""
        # Of a file without a header that can be read, nothing is among the results.
        for info in expanded(self.context, self.uris):
            with closing(_downloaded(self.context, [info])) as files:
                columns = next((csv_columns(path) for _, path in files), [])
            if columns and names[: len(columns)] == columns:
                return len(columns)
        if names[0] == "instance":
            return 0
        raise BatchPredictionFailed(
            f"{source} does not begin with the columns of the input, and so tells no instance",
            remedy="see whether the input has changed since, or read the file itself",
        )

    def _outputs(self, about: list[str], names: list[str]) -> list[tuple[str, bool]]:
        """What is called how in a prediction, and whether it is a text of which nothing is to be parsed."""
        outputs = {} if self.signature is None else self.signature.outputs
        texts = {
            name for name, spec in outputs.items() if spec.dtype == "string" and len(spec.shape or ()) == 1
        }
        if len(outputs) == 1 and texts:
            texts.add("prediction")
        # An output that is called like a column of the instance is written as "prediction_" and its name.
        own = [
            bare if (bare := name.removeprefix("prediction_")) in about and name not in outputs else name
            for name in names
        ]
        return [(name, name in texts) for name in own]


def _rows(source: str, file: BinaryIO) -> Iterator[list[tuple[str, bool]]]:
    try:
        yield from csv_cells(file)
    except ValueError as error:
        remedy = "see whether something else has written it"
        raise BatchPredictionFailed(f"{source} is no CSV: {error}", remedy=remedy) from None


def _answer(text: str, quoted: bool) -> Any:
    """The value of a prediction's cell: texts are in quotation marks, and so is what is no single value."""
    if quoted:
        return _parsed(text) if text.startswith(("[", "{")) else text
    return _parsed(text) if text else None


def _parsed(cell: str | float) -> Any:
    """The value of a cell that holds JSON; of another, what it is."""
    if isinstance(cell, str):
        try:
            return loads(cell.encode())
        except ValueError:
            pass
    return cell
