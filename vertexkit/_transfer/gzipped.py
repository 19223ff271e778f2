"""Expands objects that are stored compressed, which readers get as what they were before."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import BinaryIO

_BLOCK = 1024 * 1024


class NotGzip(OSError):
    """What is said to be gzip is something else, or ends too early."""


def expanded(source: BinaryIO) -> Iterator[bytes]:
    """The bytes that a gzip file holds, block by block.

    A gzip file may have several members behind one another, as ``cat a.gz b.gz`` makes it; all are read.

    Args:
        source: The compressed file.

    Raises:
        NotGzip: It is something else, or not all of it is there.
    """
    try:
        with gzip.GzipFile(fileobj=source) as file:
            while block := file.read(_BLOCK):
                yield block
    except (gzip.BadGzipFile, zlib.error) as error:
        raise NotGzip(f"it is said to be gzip, and is not: {error}") from None
    except EOFError:
        raise NotGzip("it is gzip that ends too early") from None
