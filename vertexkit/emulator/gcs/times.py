"""Moments, kept as microseconds since 1970, as the JSON and the XML API write them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache


def now_us() -> int:
    """The present moment in microseconds since 1970."""
    return time.time_ns() // 1000


def rfc3339(moment_us: int) -> str:
    """``2026-01-31T12:00:00.123Z``."""
    return f"{_to_the_second(moment_us // 1_000_000)}.{moment_us // 1000 % 1000:03d}Z"


@lru_cache(maxsize=64)
def _to_the_second(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def http_date(moment_us: int) -> str:
    """``Sat, 31 Jan 2026 12:00:00 GMT``."""
    return _http_date(moment_us // 1_000_000)


@lru_cache(maxsize=64)
def _http_date(moment: int) -> str:
    return formatdate(moment, usegmt=True)


def parse_http_date(text: str) -> int | None:
    """The seconds since 1970 of an HTTP date, or None if it is not one."""
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except (TypeError, ValueError):
        return None
