"""Moments, kept as microseconds since 1970, as the JSON and the XML API write them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime


def now_us() -> int:
    """The present moment in microseconds since 1970."""
    return time.time_ns() // 1000


def rfc3339(moment_us: int) -> str:
    """``2026-01-31T12:00:00.123Z``."""
    moment = datetime.fromtimestamp(moment_us / 1e6, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment_us // 1000 % 1000:03d}Z"


def http_date(moment_us: int) -> str:
    """``Sat, 31 Jan 2026 12:00:00 GMT``."""
    return formatdate(moment_us // 1_000_000, usegmt=True)


def parse_http_date(text: str) -> int | None:
    """The seconds since 1970 of an HTTP date, or None if it is not one."""
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except (TypeError, ValueError):
        return None
