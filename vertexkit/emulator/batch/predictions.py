"""A reply's predictions, told apart, and not written anew where that is sure."""

from __future__ import annotations

from typing import Any

import simdjson

from vertexkit import json_text

_HEAD, _TAIL = b'{"predictions":[', b"]}"


class NoPredictions(ValueError):
    """A reply does not hold a prediction for every instance; the message says why."""


def split_predictions(body: bytes, count: int, parser: simdjson.Parser) -> list[bytes]:
    """The JSON of every prediction, on one line.

    ``NaN`` and ``Infinity`` stay what model servers write, though they are no JSON.

    Args:
        body: The reply.
        count: How many there must be.
        parser: Of this thread.

    Raises:
        NoPredictions: There are more or fewer, or none at all.
    """
    quickly = _split_numbers(body, count, parser)
    if quickly is not None:
        return quickly
    document = _loads(body)
    predictions = document.get("predictions") if isinstance(document, dict) else None
    if not isinstance(predictions, list):
        raise NoPredictions("The model's reply holds no list of predictions.")
    if len(predictions) != count:
        raise NoPredictions(f"The model answered {count} instances with {len(predictions)} predictions.")
    try:
        return [json_text.dumps(prediction) for prediction in predictions]
    except RecursionError:
        raise NoPredictions("The model's predictions are nested too deeply.") from None


def _split_numbers(body: bytes, count: int, parser: simdjson.Parser) -> list[bytes] | None:
    """Split a list of numbers, or of lists of them that are all alike; None where it may be something else.

    It is split at the commas between as many brackets as the first prediction begins with. Where every
    part then has as many opening as closing ones, these commas are outside of all predictions; and where
    there are as many parts as predictions, there are no others.
    """
    if not (body.startswith(_HEAD) and body.endswith(_TAIL)):
        return None
    if b"\n" in body or body.find(b'"', len(_HEAD)) >= 0:
        return None
    try:
        parser.parse(body)
    except (ValueError, RuntimeError):
        # There may be a NaN in it, which the slow way takes.
        _loads(body)
    inner = body[len(_HEAD) : -len(_TAIL)]
    depth = len(inner) - len(inner.lstrip(b"["))
    opening, closing = b"[" * depth, b"]" * depth
    if not inner.endswith(closing):
        return None
    parts = inner[depth : len(inner) - depth].split(closing + b"," + opening)
    if len(parts) != count or any(part.count(b"[") != part.count(b"]") for part in parts):
        return None
    return [b"%b%b%b" % (opening, part, closing) for part in parts] if depth else parts


def _loads(body: bytes) -> Any:
    try:
        return json_text.loads(body)
    except (ValueError, RecursionError):
        raise NoPredictions("The model's reply is not JSON.") from None
