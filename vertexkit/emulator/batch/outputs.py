"""Results and errors as they are written to files.

Source: https://cloud.google.com/vertex-ai/docs/predictions/get-batch-predictions#retrieve_batch_prediction_results
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import orjson
from google.rpc import code_pb2

from vertexkit import json_text
from vertexkit.emulator.batch.csv_rows import row_values
from vertexkit.emulator.batch.inputs import InputFile
from vertexkit.emulator.batch.instances import INSTANCE, KEY, Instance, Together, raw_instance
from vertexkit.emulator.batch.records import Fault, Record
from vertexkit.emulator.batch.types import Failure, InputFormat, OutputFormat

_PREDICTION = "prediction"
_SHOWN_CHARACTERS = 200


class Outcome(NamedTuple):
    """What came of a record."""

    record: Record
    file: InputFile
    instance: Instance | None
    """None where none could be made of it."""
    answer: bytes | Fault
    """The prediction's JSON, or why there is none."""


class Rows(NamedTuple):
    """What is written of a lot all of whose instances have predictions."""

    content: bytes
    succeeded: int


class Results(Protocol):
    """Writes predictions in an output's format, in the order of the input."""

    @property
    def header(self) -> bytes:
        """What every file that is not empty begins with; known when a row has been written."""
        ...

    @property
    def settled(self) -> Any:
        """As JSON, what earlier rows have settled for all later ones."""
        ...

    def row(self, outcome: Outcome, instance: Instance, prediction: bytes) -> bytes | Fault:
        """A prediction's line, or why it cannot be written."""
        ...


def results_writer(output_format: OutputFormat, settled: Any) -> Results:
    """What writes results.

    Args:
        output_format: How.
        settled: Of an earlier run, where there was one.
    """
    return CsvResults(settled) if output_format is OutputFormat.CSV else JsonResults()


class JsonResults:
    """``{"instance": ..., "prediction": ...}``, or ``key`` in place of ``instance``."""

    header = b""
    settled = None

    def row(self, outcome: Outcome, instance: Instance, prediction: bytes) -> bytes:
        """A prediction's line."""
        return b'{"%b":%b,"prediction":%b}\n' % (instance.member, instance.shown, prediction)


class CsvResults:
    """The columns of the instance, or its key, then those of the prediction.

    Instances of CSV files have the columns that they came with, all others one, which holds JSON. Predictions
    with fields have a column for each, all others one. What lies below a cell is written as JSON.

    Args:
        settled: Of an earlier run, where there was one.
    """

    def __init__(self, settled: Any = None) -> None:
        self._settled = settled

    @property
    def settled(self) -> Any:
        """The names of the instance's columns, and of the prediction's fields; None for no fields."""
        return self._settled

    @property
    def header(self) -> bytes:
        """The header row."""
        names, fields = self._settled
        predicted = [_PREDICTION] if fields is None else fields
        # A name that is there already would have a reader take one column for the other.
        named = [f"{_PREDICTION}_{name}" if name in names else name for name in predicted]
        return b",".join(map(_quoted, names + named)) + b"\n"

    def row(self, outcome: Outcome, instance: Instance, prediction: bytes) -> bytes | Fault:
        """A prediction's row; a Fault where it has other columns than the first one."""
        header = outcome.file.header
        if header is not None and instance.member == INSTANCE:
            names, cells = list(header.names), _cells(outcome.record.payload, len(header.names))
        else:
            names, cells = [instance.member.decode()], _cell(instance.shown)
        fields, values = None, [prediction]
        if prediction.startswith(b"{"):
            document = json_text.loads(prediction)
            fields, values = list(document), [json_text.dumps(value) for value in document.values()]
        if self._settled is None:
            self._settled = [names, fields]
        settled_names, settled_fields = self._settled
        if names != settled_names:
            return _invalid("its file has another header row than the first, and results in CSV have one")
        if fields != settled_fields:
            return _invalid(
                "its prediction has other fields than the first, and results in CSV cannot show it"
            )
        return b"%b,%b\n" % (cells, b",".join(map(_cell, values)))


def json_rows(instances: Together, predictions: Sequence[bytes]) -> Rows:
    """What JsonResults writes of a lot, a line for each."""
    count = len(predictions)
    head, middle = b'{"%b":' % instances.member, b',"prediction":'
    # Every line is these two, an instance before and a prediction behind the second, and an end.
    parts = [head, b"", middle, b"", b"}\n"] * count
    parts[1::5], parts[3::5] = instances.shown, predictions
    return Rows(b"".join(parts), count)


def error_line(outcome: Outcome, fault: Fault, input_format: InputFormat) -> tuple[bytes, Failure]:
    """What stands in the errors, and what is told, of a record that has no prediction."""
    instance = outcome.instance
    shown = raw_instance(outcome.record, outcome.file) if instance is None else instance.shown
    message = f"{_place(outcome, input_format)}: {fault.message}" if outcome.record.number else fault.message
    failure = Failure(shown[:_SHOWN_CHARACTERS].decode(errors="replace"), fault.code, message)
    error = orjson.dumps({"code": fault.code, "message": message})
    member = KEY if instance is not None and instance.member == KEY else INSTANCE
    return b'{"%b":%b,"error":%b}\n' % (member, shown, error), failure


def joined(rows: Sequence[bytes], header: bytes, *, begins: bool) -> bytes:
    """What is appended to a file for these rows; the header goes before the first."""
    return b"".join(rows) if not rows or not begins else header + b"".join(rows)


def _place(outcome: Outcome, input_format: InputFormat) -> str:
    binary = input_format in (InputFormat.TF_RECORD, InputFormat.TF_RECORD_GZIP)
    return f"{outcome.file.uri}, {'record' if binary else 'line'} {outcome.record.number}"


def _cells(row: bytes, columns: int) -> bytes:
    """The cells of a row that was read, as it is written; but not with blanks outside of quotation marks."""
    return row if b'"' not in row else b",".join(map(_cell, row_values(row, columns)))


def _cell(value: bytes) -> bytes:
    """A JSON value as a cell: strings, lists and objects in quotation marks, numbers bare, null empty."""
    if value.startswith(b'"'):
        return _quoted(json_text.loads(value))
    if value.startswith((b"[", b"{")):
        return b'"%b"' % value.replace(b'"', b'""')
    return b"" if value == b"null" else value


def _quoted(text: str) -> bytes:
    return b'"%b"' % text.replace('"', '""').encode(errors="replace")


def _invalid(message: str) -> Fault:
    return Fault(code_pb2.INVALID_ARGUMENT, message)
