"""The objects that the URIs of a batch prediction job's input stand for.

A URI may be a pattern, as Cloud Storage's own tools have them: ``*`` and ``?`` match within one name,
``[ab]`` one character, ``**`` any number of folders.

Source: https://cloud.google.com/storage/docs/wildcards
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from vertexkit._core.names import GcsUri, parse_gcs_uri
from vertexkit._transfer.glob import matches
from vertexkit._transfer.gzipped import NotGzip
from vertexkit._transfer.jobs import attempted
from vertexkit._transfer.objects_api import ObjectsApi
from vertexkit._transfer.patience import Patience
from vertexkit.errors import NotFound

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit._transfer.values import ObjectInfo

__all__ = ["below", "expanded", "head", "is_pattern"]

_WILD: Final = re.compile(r"[*?\[]")


def is_pattern(text: str) -> bool:
    """Whether a path or URI is a pattern."""
    return _WILD.search(text) is not None


def expanded(context: Context, uris: Iterable[str]) -> Iterator[ObjectInfo]:
    """The objects that the URIs stand for, in the order of the URIs and, of a pattern, of their names.

    Args:
        context: The session's parts.
        uris: ``gs://`` URIs of objects, or patterns of them.

    Raises:
        NotFound: There is no such object or bucket, or nothing matches a pattern.
        ValueError: One is no ``gs://`` URI.
    """
    for text in uris:
        uri = parse_gcs_uri(text)
        api = ObjectsApi(context, uri.bucket)
        if is_pattern(uri.name):
            found = None
            for found in _matching(api, uri.name):
                yield found
        else:
            found = api.find(uri.name) if uri.name else None
            if found is not None:
                yield found
        if found is None:
            raise NotFound("there is no such object", resource=text)


def below(context: Context, uri: GcsUri) -> list[ObjectInfo]:
    """The objects in a "folder", by name.

    Raises:
        NotFound: There is no such bucket.
    """
    prefix = f"{uri.name.rstrip('/')}/" if uri.name else ""
    return list(ObjectsApi(context, uri.bucket).list(prefix))


def head(context: Context, found: ObjectInfo, most: int) -> tuple[bytes, bool]:
    """The first bytes of an object, expanded if it is stored compressed, and whether they are all.

    Args:
        context: The session's parts.
        found: The object.
        most: How many bytes of it to read and to give: a few that are compressed may expand to any number.

    Raises:
        NotGzip: It is said to be compressed, and is not.
    """
    api = ObjectsApi(context, parse_gcs_uri(found.uri).bucket)
    stop = min(found.size, most)

    def attempt() -> bytes:
        return b"".join(api.stream(found.name, start=0, stop=stop, generation=found.generation, block=65536))

    content = attempted(attempt, Patience()) if stop else b""
    is_whole = stop == found.size
    if found.content_encoding != "gzip":
        return content, is_whole
    inflate = zlib.decompressobj(wbits=31)
    try:
        expanded = inflate.decompress(content, most)
    except zlib.error as error:
        raise NotGzip(f"it is said to be gzip, and is not: {error}") from None
    return expanded, is_whole and inflate.eof and not inflate.unused_data


def _matching(api: ObjectsApi, pattern: str) -> Iterator[ObjectInfo]:
    wild = _WILD.search(pattern)
    literal = pattern if wild is None else pattern[: wild.start()]
    return (found for found in api.list(literal) if matches(pattern, found.name))
