"""Answers and refusals as the XML API writes them.

Source: https://cloud.google.com/storage/docs/xml-api/reference-status
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.sax.saxutils import escape

from vertexkit.emulator.gcs.errors import StorageError
from vertexkit.emulator.gcs.http import Request, Response

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
"""The namespace of answers; that of Amazon S3, as in the service's own answers."""
_XML = (b"content-type", b"application/xml; charset=UTF-8")
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")

Node = tuple[str, "str | int | Iterable[Node]"]
"""An element: its name, and its text or its children."""


def xml_response(node: Node, *, namespace: str = NAMESPACE) -> Response:
    """An answer with one element."""
    name, _ = node
    text = _written(node).replace(f"<{name}>", f"<{name} xmlns='{namespace}'>", 1)
    return Response(200, [_XML], f"<?xml version='1.0' encoding='UTF-8'?>{text}".encode())


def xml_error(_request: Request, error: StorageError) -> Response:
    """A refusal."""
    if error.status == 304:
        return Response(304)
    children: list[Node] = [("Code", error.xml_code), ("Message", error.message), ("Details", error.message)]
    body = f"<?xml version='1.0' encoding='UTF-8'?>{_written(('Error', children))}"
    return Response(error.status, [_XML], body.encode())


def _written(node: Node) -> str:
    name, value = node
    if isinstance(value, str | int):
        # XML has no way at all to write some control characters.
        text = _NOT_IN_XML.sub("\ufffd", escape(str(value)))
        return f"<{name}>{text}</{name}>"
    return f"<{name}>{''.join(_written(child) for child in value)}</{name}>"
