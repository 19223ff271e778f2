"""Instances to the JSON of ``:predict`` requests, and the JSON of their replies to arrays.

Requests are written by orjson straight from the arrays' memory, and split so that none is larger
than a shared endpoint takes.

API: https://cloud.google.com/vertex-ai/docs/predictions/get-online-predictions
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from vertexkit import json_text
from vertexkit.casting import Array
from vertexkit.errors import InvalidArgument, PredictionFailed
from vertexkit.instances import Batch, as_batch, json_value
from vertexkit.prediction import DEDICATED_LIMIT, SHARED_LIMIT
from vertexkit.replies import Predictions, arrays_of, joined
from vertexkit.types import Signature, TensorSpec

__all__ = ["EncodedRequest", "Predictions", "Reply", "decode_replies", "encode", "numbers_of", "read_reply"]

_SAMPLE_ROWS = 32
_BYTES_PER_REPLIED_NUMBER = 26
"""At most: sign, 17 digits, point, exponent, comma and white space."""


@dataclass(frozen=True)
class EncodedRequest:
    """The body of one request, and which instances it carries."""

    body: bytes
    start: int
    stop: int
    """One past the last instance."""


@dataclass(frozen=True)
class Reply:
    """One reply of ``:predict``, read but not yet made into arrays."""

    predictions: list[Any]
    deployed_model_id: str = ""
    model: str = ""
    """Resource name of the model that answered."""
    model_version_id: str = ""


def encode(
    instances: Any,
    signature: Signature | None = None,
    *,
    limit: int = SHARED_LIMIT,
    parameters: Any = None,
) -> list[EncodedRequest]:
    """Check instances and write them as the bodies of as few requests as the limit allows.

    Args:
        instances: An array of shape (instances, ...), a list of instances, a DataFrame, or a mapping
            from input names to arrays of equal length.
        signature: What the model takes; None leaves everything but JSON's own demands unchecked.
        limit: Most bytes in a body. The reply is kept under it too, where the signature tells its size.
        parameters: Sent along with every request, for models that take any.

    Returns:
        The requests, in the order of the instances; together they hold each instance once.

    Raises:
        InvalidArgument: The model or JSON cannot take the instances, or one alone is above the limit.
    """
    batch = as_batch(instances, signature)
    envelope = {} if parameters is None else {"parameters": json_value("parameters", parameters)}
    step = batch.batch_size or 1
    most = max(_rows_by_reply(signature, limit) // step, 1) * step
    requests: list[EncodedRequest] = []
    start = 0
    room = limit - len(_body(batch, 0, 0, envelope)) + 1
    per_row = _bytes_per_row(batch, start, room)
    while start < batch.count:
        left = batch.count - start
        fitting = min(max(int(room / per_row) // step, 1) * step, most)
        wanted = -(-left // fitting)
        # Requests of equal size, for the slowest decides how long the call takes.
        rows = min(-(-left // (wanted * step)) * step, left, most)
        body = _body(batch, start, start + rows, envelope)
        if len(body) > limit:
            rows = _rows_that_fit(batch, range(start, start + rows), limit, step, envelope)
            body = _body(batch, start, start + rows, envelope)
            if start + rows < batch.count:
                per_row = _bytes_per_row(batch, start + rows, room)
        requests.append(EncodedRequest(body, start, start + rows))
        start += rows
    return requests


def encode_for_all(
    instances: Any, signatures: Mapping[str, Signature | None], *, limit: int, parameters: Any
) -> list[EncodedRequest]:
    """As :func:`encode`, for an endpoint whose traffic goes to several deployed models.

    Args:
        instances: As in :func:`encode`.
        signatures: By deployed-model id; every model must be able to take the instances.
        limit: As in :func:`encode`.
        parameters: As in :func:`encode`.
    """
    different: list[tuple[str, Signature]] = []
    for deployed_model_id, signature in signatures.items():
        if signature is not None and all(signature.inputs != known.inputs for _, known in different):
            different.append((deployed_model_id, signature))
    for deployed_model_id, signature in different[1:]:
        try:
            as_batch(instances, signature)
        except InvalidArgument as error:
            error.add_note(f"The deployed model {deployed_model_id} gets traffic and takes {signature}.")
            raise
    return encode(instances, different[0][1] if different else None, limit=limit, parameters=parameters)


def decode_replies(replies: Sequence[Reply], signatures: Sequence[Signature | None]) -> Predictions:
    """Make arrays of replies, each by the signature of the model that gave it.

    Raises:
        PredictionFailed: A reply is not what its signature promises.
    """
    if all(signature is None for signature in signatures):
        # Whether rows that nothing is known of fit one array shows when all are together.
        return arrays_of([row for reply in replies for row in reply.predictions], None)
    pairs = zip(replies, signatures, strict=True)
    return joined([arrays_of(reply.predictions, signature) for reply, signature in pairs])


def raw_body(body: bytes | str | Mapping[str, Any], *, limit: int) -> bytes:
    """The bytes of a body for ``:rawPredict``.

    Raises:
        InvalidArgument: It is above the limit, or JSON cannot carry it.
    """
    if isinstance(body, Mapping):
        data = orjson.dumps(json_value("body", body), option=orjson.OPT_SERIALIZE_NUMPY)
    elif isinstance(body, str):
        data = body.encode()
    elif isinstance(body, (bytes, bytearray, memoryview)):
        data = bytes(body)
    else:
        raise InvalidArgument("body", type(body).__name__, "is neither bytes, nor a str, nor a mapping")
    if len(data) > limit:
        raise InvalidArgument("body", f"{len(data)} bytes", f"is more than the {limit} bytes of a request")
    return data


def read_reply(body: bytes, *, resource: str | None = None, instances: range | None = None) -> Reply:
    """Read the JSON of one reply of ``:predict``.

    Raises:
        PredictionFailed: It is not JSON, or has no list of predictions.
    """
    reply = load_json(body, resource=resource, instances=instances)
    predictions = reply.get("predictions") if isinstance(reply, Mapping) else None
    if not isinstance(predictions, list):
        raise PredictionFailed(
            f"the reply has no list of predictions: {_excerpt(body)}", resource=resource, instances=instances
        )
    return Reply(
        predictions,
        deployed_model_id=str(reply.get("deployedModelId", "")),
        model=str(reply.get("model", "")),
        model_version_id=str(reply.get("modelVersionId", "")),
    )


def check_count(reply: Reply, instances: range, *, resource: str | None = None) -> None:
    """See that there is one prediction for each instance.

    Raises:
        PredictionFailed: There are more, or fewer.
    """
    if len(reply.predictions) != len(instances):
        raise PredictionFailed(
            f"the model gave {len(reply.predictions)} predictions for {len(instances)} instances",
            resource=resource,
            remedy="export it with outputs of the same first axis as its inputs",
            instances=instances,
        )


def load_json(body: bytes, *, resource: str | None = None, instances: range | None = None) -> Any:
    """Read JSON as model servers write it, which may hold NaN and Infinity.

    Raises:
        PredictionFailed: It is not JSON.
    """
    try:
        return json_text.loads(body)
    except ValueError as error:
        raise PredictionFailed(
            f"the reply is not JSON: {_excerpt(body)}", resource=resource, instances=instances
        ) from error


def numbers_of(tensors: Mapping[str, TensorSpec]) -> int | None:
    """How many numbers one instance has in these tensors; None where that is not known, or some are texts."""
    numbers = 0
    for spec in tensors.values():
        if spec.shape is None or spec.dtype == "string" or None in spec.shape[1:]:
            return None
        numbers += math.prod(axis for axis in spec.shape[1:] if axis is not None)
    return numbers


def _body(batch: Batch, start: int, stop: int, envelope: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(
            {"instances": batch.rows(start, stop), **envelope}, option=orjson.OPT_SERIALIZE_NUMPY
        )
    except orjson.JSONEncodeError as error:
        raise InvalidArgument(
            "instances", f"{start}:{stop}", f"cannot be written as JSON: {error}"
        ) from error


def _bytes_per_row(batch: Batch, start: int, room: int) -> float:
    """Estimate for the rows from ``start`` on, each with its comma, from a sample spread over them."""
    left = batch.count - start
    first = _rows_bytes(batch, start, start + 1)
    if first * left * 2 <= room:
        return first
    sampled = min(max(room // first, 1), _SAMPLE_ROWS, left)
    rows = [start + index * left // sampled for index in range(sampled)]
    columns = {name: _picked(column, rows) for name, column in batch.columns.items()}
    return _rows_bytes(Batch(columns, sampled), 0, sampled) / sampled


def _rows_bytes(batch: Batch, start: int, stop: int) -> int:
    """Bytes of the rows, with a comma behind each."""
    return len(_body(batch, start, stop, {})) - len(b'{"instances":[]}') + 1


def _picked(column: Array | list[Any], rows: list[int]) -> Array | list[Any]:
    return column[rows] if isinstance(column, np.ndarray) else [column[row] for row in rows]


def _rows_that_fit(batch: Batch, rows: range, limit: int, step: int, envelope: Mapping[str, Any]) -> int:
    """How many of the rows fit a request, by the size of each: the estimate was too low."""
    size = len(_body(batch, rows.start, rows.start, envelope)) - 1
    for taken, row in enumerate(rows):
        size += _rows_bytes(batch, row, row + 1)
        if size > limit:
            fitting = taken - taken % step
            if fitting == 0:
                raise _too_large(rows.start, step, size, limit)
            return fitting
    return len(rows)


def _rows_by_reply(signature: Signature | None, limit: int) -> int:
    """Rows whose predictions fit a reply for certain; no bound where the signature does not tell."""
    numbers = None if signature is None else numbers_of(signature.outputs)
    return 2**62 if numbers is None else max(limit // max(numbers * _BYTES_PER_REPLIED_NUMBER, 1), 1)


def _too_large(start: int, rows: int, size: int, limit: int) -> InvalidArgument:
    dedicated = f", use a dedicated endpoint, which takes {DEDICATED_LIMIT / 1e6:g} MB"
    remedy = (
        "send smaller instances (fewer digits, an encoded image as bytes)"
        f"{dedicated if limit < size <= DEDICATED_LIMIT else ''}, or use batch prediction"
    )
    return InvalidArgument(
        f"instances[{start}]" if rows == 1 else f"instances[{start}:{start + rows}]",
        f"{size} bytes" if rows == 1 else f"{size} bytes or more",
        f"is more than the {limit} bytes of a request, and cannot be split further",
        remedy=remedy,
    )


def _excerpt(body: bytes) -> str:
    text = body[:200].decode("utf-8", "replace")
    return repr(text if len(body) <= 200 else text + "...")
