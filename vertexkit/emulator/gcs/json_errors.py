"""Answers and refusals as the JSON API writes them.

Source: https://cloud.google.com/storage/docs/json_api/v1/status-codes
"""

from __future__ import annotations

from typing import Any

import orjson

from vertexkit.emulator.gcs.errors import StorageError
from vertexkit.emulator.gcs.fields import parse_fields, select
from vertexkit.emulator.gcs.http import Request, Response

_JSON = (b"content-type", b"application/json; charset=UTF-8")
_TEXT = (b"content-type", b"text/html; charset=UTF-8")


def json_response(value: dict[str, Any], request: Request, status: int = 200) -> Response:
    """A resource, or of it the fields that the request asks for."""
    fields = request.query.get("fields")
    if fields:
        value = select(value, parse_fields(fields))
    return Response(status, [_JSON], orjson.dumps(value))


def json_error(request: Request, error: StorageError) -> Response:
    """A refusal."""
    if error.status == 304:
        return Response(304)
    if request.query.get("alt") == "media":
        return media_error(request, error)
    detail = {"message": error.message, "domain": "global", "reason": error.reason}
    if error.location is not None:
        location_type = "header" if error.location.startswith("If-") else "parameter"
        detail.update(locationType=location_type, location=error.location)
    body = {"error": {"code": error.status, "message": error.message, "errors": [detail]}}
    return Response(error.status, [_JSON], orjson.dumps(body))


def media_error(_request: Request, error: StorageError) -> Response:
    """A refusal of a request for content, which the service writes as plain words."""
    if error.status == 304:
        return Response(304)
    return Response(error.status, [_TEXT], error.message.encode())
