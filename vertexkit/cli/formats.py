"""Reads instances from files and writes predictions to them: json, jsonl, npy, npz and csv."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from vertexkit.errors import InvalidArgument

if TYPE_CHECKING:
    import numpy as np

FORMATS: Final = ("json", "jsonl", "npy", "npz", "csv")

Predictions = Any
"""What ``Endpoint.predict`` gives: an array, or arrays by the output's name."""


def format_of(path: str, argument: str) -> str:
    """The format that a file's name says.

    Raises:
        InvalidArgument: It says none of those that are understood.
    """
    suffix = Path(path).suffix.lstrip(".").lower()
    if suffix not in FORMATS:
        otherwise = ", or say which with --format" if argument == "FILE" else ""
        raise InvalidArgument(
            argument,
            path,
            "has a name that does not end in a format that is understood",
            remedy=f"use .{', .'.join(FORMATS)}{otherwise}",
        )
    return suffix


def check_writable(path: str, argument: str) -> None:
    """See that a file can be made there or replaced, and leave what is there as it is.

    Raises:
        InvalidArgument: It cannot.
    """
    try:
        # The file too is written beside its place first, and renamed.
        with tempfile.TemporaryFile(dir=Path(path).absolute().parent):
            pass
    except OSError as error:
        raise InvalidArgument(argument, path, f"cannot be written: {error.strerror}") from error


def read_instances(source: IO[bytes], kind: str, name: str) -> Any:
    """Read instances.

    Args:
        source: What to read.
        kind: One of :data:`FORMATS`. json is a list of instances, or the API's ``{"instances": [...]}``;
            jsonl one instance a line; npz one array, or one for each of the model's inputs; csv one
            instance a row, with the inputs' names in the first row unless that is made of numbers.
        name: What to call the source in errors.

    Returns:
        A list, an array or a dict of arrays, as ``Endpoint.predict`` takes them.

    Raises:
        InvalidArgument: It is not of that format, or holds no instance.
    """
    data = source.read()
    try:
        instances = _READERS[kind](data)
    except (ValueError, OSError, EOFError) as error:
        raise InvalidArgument("FILE", name, f"is not {kind}: {error}") from error
    if len(instances) == 0:
        raise InvalidArgument("FILE", name, "holds no instance")
    return instances


def write_predictions(predictions: Predictions, target: IO[bytes], kind: str, name: str) -> None:
    """Write predictions.

    Args:
        predictions: An array, or arrays by the output's name.
        target: Where to write.
        kind: One of :data:`FORMATS`.
        name: What to call the target in errors.

    Raises:
        InvalidArgument: The format cannot hold these predictions.
    """
    if kind == "npy":
        import numpy as np

        if isinstance(predictions, dict):
            raise InvalidArgument(
                "--out",
                name,
                "is npy, which holds one array, and the model has several outputs",
                remedy="use npz",
            )
        np.save(target, predictions, allow_pickle=False)
    elif kind == "npz":
        import numpy as np

        named = predictions if isinstance(predictions, dict) else {"predictions": predictions}
        np.savez_compressed(target, allow_pickle=False, **named)
    elif kind == "csv":
        target.write(_csv(predictions, name).encode())
    elif kind == "jsonl":
        target.writelines(json.dumps(row, default=plain).encode() + b"\n" for row in rows(predictions))
    else:
        target.write(json.dumps({"predictions": rows(predictions)}, default=plain).encode() + b"\n")


def rows(predictions: Predictions) -> list[Any]:
    """The predictions one by one: values, or objects with a value for each output."""
    if isinstance(predictions, dict):
        columns = [predictions[key].tolist() for key in predictions]
        return [dict(zip(predictions, values, strict=True)) for values in zip(*columns, strict=True)]
    listed: list[Any] = predictions.tolist()
    return listed


def _read_json(data: bytes) -> list[Any]:
    parsed = json.loads(data)
    if isinstance(parsed, dict) and isinstance(parsed.get("instances"), list):
        parsed = parsed["instances"]
    if not isinstance(parsed, list):
        raise ValueError('expected a list of instances, or {"instances": [...]}')
    return parsed


def _read_jsonl(data: bytes) -> list[Any]:
    instances = []
    for number, line in enumerate(data.splitlines(), start=1):
        if line.strip():
            try:
                instances.append(json.loads(line))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
    return instances


def _read_npy(data: bytes) -> np.ndarray[Any, Any]:
    import numpy as np

    # A pickled object would run whatever it holds.
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError("it holds several arrays, which is npz")
    if array.ndim == 0:
        raise ValueError("it holds a single value, and no axis of instances")
    return array


def _read_npz(data: bytes) -> Any:
    import zipfile

    import numpy as np

    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive}
    except (zipfile.BadZipFile, AttributeError) as error:
        raise ValueError(str(error)) from error
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def _read_csv(data: bytes) -> Any:
    import csv

    import numpy as np

    table = [row for row in csv.reader(io.StringIO(data.decode("utf-8-sig"))) if row]
    if not table:
        return []
    for number, row in enumerate(table, start=1):
        if len(row) != len(table[0]):
            raise ValueError(f"row {number} has {len(row)} cells, and the first has {len(table[0])}")
    if all(_number(cell) is not None for cell in table[0]):
        return np.array([[_needed_number(cell) for cell in row] for row in table])
    names, body = table[0], table[1:]
    if not body:
        return []
    return {name: _column([row[index] for row in body]) for index, name in enumerate(names)}


def _column(cells: list[str]) -> np.ndarray[Any, Any]:
    """Whole numbers if all are, else numbers if all are, else text."""
    import numpy as np

    numbers = [_number(cell) for cell in cells]
    if any(number is None for number in numbers):
        return np.array(cells, dtype=object)
    if all(cell.strip().lstrip("+-").isdigit() for cell in cells):
        return np.array([int(cell) for cell in cells])
    return np.array(numbers)


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _needed_number(cell: str) -> float:
    number = _number(cell)
    if number is None:
        raise ValueError(f"{cell!r} is not a number, and the first row has numbers only")
    return number


def _csv(predictions: Predictions, name: str) -> str:
    import csv

    columns: dict[str, list[Any]] = {}
    named = predictions if isinstance(predictions, dict) else {"prediction": predictions}
    for key, array in named.items():
        if array.ndim == 1:
            columns[key] = array.tolist()
        elif array.ndim == 2:
            columns |= {f"{key}_{index}": array[:, index].tolist() for index in range(array.shape[1])}
        else:
            raise InvalidArgument(
                "--out",
                name,
                f"is csv, which has rows of values, and {key} has {array.ndim} axes",
                remedy="use jsonl or npz",
            )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def plain(value: object) -> object:
    """Bytes as the API writes them."""
    if isinstance(value, bytes):
        import base64

        return {"b64": base64.b64encode(value).decode("ascii")}
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


_READERS = {
    "json": _read_json,
    "jsonl": _read_jsonl,
    "npy": _read_npy,
    "npz": _read_npz,
    "csv": _read_csv,
}
