"""Predictions of a batch prediction job as arrays and frames, in the order of its input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vertexkit.batch_results import BatchResults
from vertexkit.casting import Array
from vertexkit.errors import BatchPredictionFailed, ConfigurationError, InvalidArgument
from vertexkit.replies import Predictions, arrays_of, joined
from vertexkit.types import Signature

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OnFailure", "check_on_failure", "to_frame", "to_numpy"]

OnFailure = Literal["raise", "nan", "drop"]
_NAMED = 5


def check_on_failure(value: object) -> None:
    """Refuse what says nothing of failures.

    Raises:
        InvalidArgument: It does not.
    """
    if value not in ("raise", "nan", "drop"):
        raise InvalidArgument("on_failure", value, "is none of 'raise', 'nan' and 'drop'")


def to_numpy(
    results: BatchResults, signature: Signature | None, *, on_failure: OnFailure, job: str
) -> Predictions:
    """One array of all predictions, or one for each output by its name.

    Args:
        results: What the job has answered.
        signature: What the model gives; None for numbers as float64.
        on_failure: What to do about instances without a prediction.
        job: Resource name of the job, for errors.

    Raises:
        BatchPredictionFailed: There are such instances, or nothing else.
        PredictionFailed: The predictions are not what the signature promises.
    """
    failed = results.failed
    count = len(results) - len(failed)
    if len(failed) and (on_failure == "raise" or not count):
        remedy = "take the others with on_failure='nan' or 'drop' (--on-failure); failures lists all of these"
        raise BatchPredictionFailed(
            f"{len(failed):,} of {len(results):,} instances have no prediction",
            job=job,
            failures=results.reasons(_NAMED),
            remedy=remedy if count else None,
        )
    parts = (arrays_of(chunk, signature) for chunk in results.predictions())
    whole = _whole(parts, count, signature)
    if not len(failed) or on_failure == "drop":
        return whole
    if isinstance(whole, dict):
        return {name: _with_gaps(values, failed, len(results)) for name, values in whole.items()}
    return _with_gaps(whole, failed, len(results))


def to_frame(results: BatchResults, signature: Signature | None) -> pd.DataFrame:
    """Inputs and predictions side by side; see `BatchPredictionJob.to_frame`.

    Raises:
        ConfigurationError: pandas is not installed.
        PredictionFailed: The predictions are not what the signature promises.
    """
    try:
        import pandas as pd
    except ImportError:
        raise ConfigurationError(
            "results come as a frame of pandas, which is not installed",
            remedy="pip install 'vertexkit[pandas]'",
        ) from None
    instances, keys, errors = [], [], {}
    for row in results.rows():
        instances.append(row.instance)
        keys.append(row.key)
        if row.error is not None:
            errors[row.index] = row.error
    columns = {} if results.key_field is None else {results.key_field: keys}
    columns |= _instance_columns(instances)
    count = len(instances) - len(errors)
    if count:
        whole = _whole((arrays_of(chunk, signature) for chunk in results.predictions()), count, signature)
        named = whole if isinstance(whole, Mapping) else {"prediction": whole}
        there = np.ones(len(instances), dtype=np.bool_)
        there[list(errors)] = False
        for name, values in named.items():
            columns[_free(name, columns)] = _column(values, there)
    if errors:
        columns[_free("error", columns)] = [errors.get(index) for index in range(len(instances))]
    return pd.DataFrame(columns, index=pd.RangeIndex(len(instances)))


def _whole(parts: Iterable[Predictions], count: int, signature: Signature | None) -> Predictions:
    """All parts behind one another, without holding them twice."""
    held: list[Predictions] = []
    array: Array | None = None
    at = 0
    for part in parts:
        if not held and not isinstance(part, dict) and part.dtype.kind != "O":
            if array is None:
                array = np.empty((count, *part.shape[1:]), part.dtype)
            if part.dtype == array.dtype and part.shape[1:] == array.shape[1:]:
                array[at : at + len(part)] = part
                at += len(part)
                continue
        if array is not None:
            held, array = [array[:at]], None
        held.append(part)
    if array is not None:
        return array
    return joined(held) if held else arrays_of([], signature)


def _with_gaps(values: Array, failed: Array, count: int) -> Array:
    """Values with NaN where there are none; None where NaN cannot be."""
    kind = values.dtype.kind
    dtype = values.dtype if kind in "fcO" else np.dtype(np.float64 if kind in "iub" else object)
    spread = np.full((count, *values.shape[1:]), None if dtype.kind == "O" else np.nan, dtype)
    there = np.ones(count, dtype=np.bool_)
    there[failed] = False
    spread[there] = values
    return spread


def _instance_columns(instances: list[Any]) -> dict[str, Any]:
    """A column for each field where instances are objects, else one of all of them."""
    rows = [one for one in instances if isinstance(one, Mapping) and one.keys() != {"b64"}]
    if len(rows) * 2 < len(instances) or not rows:
        return {"instance": [_cell(one) for one in instances]}
    names = dict.fromkeys(name for row in rows for name in row)
    columns: dict[str, Any] = {
        name: [_cell(one.get(name)) if isinstance(one, Mapping) else None for one in instances]
        for name in names
    }
    if len(rows) < len(instances):
        # What could not be read as an object is text, and one wants to see it.
        columns[_free("instance", columns)] = [None if isinstance(one, Mapping) else one for one in instances]
    return columns


def _cell(value: Any) -> Any:
    """A value as a frame holds it: a list of numbers as an array."""
    if isinstance(value, list):
        try:
            array = np.asarray(value)
        except ValueError:
            return value
        return array if array.dtype.kind in "iufb" else value
    return value


def _column(values: Array, there: Array) -> Any:
    """Predictions as a column, with gaps where there are none."""
    if values.ndim == 1:
        return values if there.all() else _with_gaps(values, np.flatnonzero(~there), len(there))
    column = np.empty(len(there), dtype=object)
    column[:] = None
    for place, value in zip(np.flatnonzero(there).tolist(), values, strict=True):
        column[place] = value
    return column


def _free(name: str, columns: Mapping[str, Any]) -> str:
    """A column's name, with ``_`` behind it where another column has it."""
    while name in columns:
        name += "_"
    return name
