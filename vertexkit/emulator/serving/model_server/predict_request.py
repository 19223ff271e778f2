"""A PredictRequest as REST carries it, read as the API does before any model sees it.

Over gRPC there is no text to be wrong in; over REST, what the API refuses must be refused in its own
words rather than the model server's, and must not reach a model that would make something of it.

Source: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/predict
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import orjson

from vertexkit.emulator.serving.model_server.errors import RequestError

NOT_A_PREDICT_REQUEST = 422
"""The status that says so; the model's own refusals are 400."""
# The endpoint is in the path, and may be in the body too.
_FIELDS = frozenset({"endpoint", "instances", "labels", "parameters"})
_PAYLOAD = "Invalid JSON payload received."
_SHOWN_CHARACTERS = 30


def parse_predict_request(body: bytes) -> dict[str, Any]:
    """The fields of a PredictRequest, whose instances are there.

    Args:
        body: JSON text.

    Raises:
        RequestError: It is no JSON, or no PredictRequest; with ``NOT_A_PREDICT_REQUEST``.
    """
    document = _parse(body) if body else {}
    if not isinstance(document, dict):
        raise _refused(f'{_PAYLOAD} Unknown name "": Root element must be a message.')
    unknown = [name for name in document if name not in _FIELDS]
    if unknown:
        raise _refused("\n".join(f'{_PAYLOAD} Unknown name "{name}": Cannot find field.' for name in unknown))
    if document.get("instances") in (None, []):
        raise _refused("List of found errors:\t1.Field: instances; Message: Required field is not set.\t")
    return document


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        # Some JSON is too much for orjson, such as lists nested deeper than 1024.
        return json.loads(body, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        shown = error.doc[error.pos :][:_SHOWN_CHARACTERS]
        raise _refused(f"{_PAYLOAD} Unexpected token.\n{shown}\n^") from None
    except ValueError as error:
        raise _refused(f"{_PAYLOAD} {error}") from None


def _refuse_constant(name: str) -> NoReturn:
    """Refuse ``NaN`` and its like, which Python reads and JSON has not."""
    raise _refused(f"{_PAYLOAD} Unexpected token.\n{name}\n^")


def _refused(message: str) -> RequestError:
    return RequestError(message, NOT_A_PREDICT_REQUEST)
