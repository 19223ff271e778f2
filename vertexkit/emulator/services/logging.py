"""Cloud Logging, as far as one reads the log of a training job there: ``POST /v2/entries:list``.

Source: https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list, and the entries that
Vertex AI writes for custom jobs: a payload with the line as its ``message`` for what a replica prints.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import heapq
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import orjson

from vertexkit.emulator.asgi import Receive, Scope, Send, read_body, reply, reply_error
from vertexkit.emulator.dispatch import not_implemented, unexpected
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.jobs.logs import SERVICE, JobLogs, LogLine
from vertexkit.emulator.projects import project_number
from vertexkit.emulator.services.log_filters import (
    LABELS,
    Filter,
    Reduced,
    Stream,
    parse_log_filter,
)
from vertexkit.emulator.validation import invalid

_NAME: Final = "google.logging.v2.LoggingServiceV2.ListLogEntries"
_MAX_BODY_BYTES: Final = 1024 * 1024
_DEFAULT_PAGE: Final = 50
_MAX_PAGE: Final = 1000
_MAX_CHARACTERS: Final = 2 * 1024 * 1024
"""Of a page's lines together: a page of long lines holds fewer of them."""
_MAX_SCANNED: Final = 50_000
"""Lines that are looked at for one page. As in Cloud Logging, a page may come short, or empty, with a
token to go on with."""

_FIELDS: Final = {
    "resourceNames": list, "projectIds": list, "filter": str, "orderBy": str,
    "pageSize": int, "pageToken": str,
}  # fmt: skip
_PROJECT = re.compile(r"projects/([a-z0-9][a-z0-9.:_-]{0,62})")
_NO_PROJECT = re.compile(r"projects/[^/]+/locations/|organizations/|folders/|billingAccounts/")
_ORDERS: Final = {"": False, "timestamp": False, "timestamp asc": False, "timestamp desc": True}


class LoggingService:
    """ASGI application that answers ``entries:list``.

    Args:
        find: The log of a job, by its project's number and its id; None where there is no such job.
    """

    def __init__(self, find: Callable[[str, str], JobLogs | None]) -> None:
        self._find = find

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            if scope["method"] != "POST":
                raise ApiError(Code.NOT_FOUND, f"Method not found: {scope['method']} {scope['path']}")
            body = await read_body(scope, receive, _MAX_BODY_BYTES)
            answer = await asyncio.to_thread(self._answer, body)
        except ApiError as error:
            await reply_error(send, error)
            return
        await reply(send, 200, answer)

    def list_entries(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The page of entries that a request asks for.

        Raises:
            ApiError: INVALID_ARGUMENT, the request is wrong; UNIMPLEMENTED, it asks for other logs than
                those of jobs that it names.
        """
        asked = _understood(request)
        entries: list[dict[str, Any]] = []
        position = dict(asked.position)
        characters = 0
        lines = _merged(self._sources(asked), asked.newest_first)
        for scanned, (line, source) in enumerate(lines, start=1):
            position[source.key] = (line.time_ns, line.position)
            if source.left.test is True or (source.left.test and source.left.test(line)):
                entries.append(_entry(line, source.stream))
                characters += len(line.text)
            if len(entries) >= asked.size or characters >= _MAX_CHARACTERS or scanned >= _MAX_SCANNED:
                break
        else:
            return {"entries": entries} if entries else {}
        return {"entries": entries, "nextPageToken": _token(asked.fingerprint, position)}

    def _answer(self, body: bytes) -> bytes:
        try:
            request = orjson.loads(body or b"{}")
        except orjson.JSONDecodeError as error:
            raise invalid(f"Invalid JSON payload received. {error}") from error
        if not isinstance(request, dict):
            raise invalid("Invalid JSON payload received. It is no object.")
        try:
            return orjson.dumps(self.list_entries(request))
        except ApiError:
            raise
        except Exception as error:
            raise unexpected(_NAME, error) from error

    def _sources(self, asked: _Asked) -> Iterator[_Source]:
        """What can hold entries, each from where it is to be read on."""
        for project in asked.projects:
            for job_id in sorted(asked.job_ids):
                logs = self._find(project_number(project), job_id)
                for replica in [] if logs is None else logs.replicas():
                    stream = Stream(job_id, replica, project)
                    left = asked.filter.reduced(stream)
                    if left.test is not False and left.span[0] <= left.span[1]:
                        assert logs is not None
                        key = f"{project}/{job_id}/{replica}"
                        yield _Source(key, stream, left, logs, asked.position.get(key))


@dataclass(frozen=True)
class _Asked:
    """A request, understood."""

    projects: tuple[str, ...]
    filter: Filter
    job_ids: frozenset[str]
    newest_first: bool
    size: int
    fingerprint: str
    """Of what a token only continues."""
    position: Mapping[str, tuple[int, int]]
    """Time and position of the last line looked at, by source."""


@dataclass(frozen=True)
class _Source:
    """The log of one replica, and what is asked of it."""

    key: str
    stream: Stream
    left: Reduced
    logs: JobLogs
    after: tuple[int, int] | None

    def oldest_first(self) -> Iterator[LogLine]:
        """The lines that are left, for as long as one can pass."""
        first, last = self.left.span
        since, position = (first, -1) if self.after is None else self.after
        for line in self.logs.forward(since_ns=max(since, first), replicas=[self.stream.replica]):
            if line.time_ns > last:
                return
            if line.position > position:
                yield line

    def newest_first(self) -> Iterator[LogLine]:
        """The same, from the end."""
        first, last = self.left.span
        until, position = (last, None) if self.after is None else self.after
        for line in self.logs.backward(until_ns=min(until, last), replicas=[self.stream.replica]):
            if line.time_ns < first:
                return
            if position is None or line.position < position:
                yield line


def _merged(sources: Iterator[_Source], newest_first: bool) -> Iterator[tuple[LogLine, _Source]]:
    """The lines of all sources in the order of their times."""

    def of(source: _Source) -> Iterator[tuple[LogLine, _Source]]:
        return ((line, source) for line in (source.newest_first() if newest_first else source.oldest_first()))

    streams = [of(source) for source in sources]
    if len(streams) == 1:
        return streams[0]
    return heapq.merge(
        *streams,
        key=lambda found: (found[0].time_ns, found[1].key, found[0].position),
        reverse=newest_first,
    )


def _entry(line: LogLine, stream: Stream) -> dict[str, Any]:
    """A line as the LogEntry that Vertex AI would write."""
    moment = _written(line.time_ns)
    payload: dict[str, Any] = {"textPayload": line.text}
    if stream.replica != SERVICE:
        attrs = {"tag": stream.replica}
        payload = {"jsonPayload": {"attrs": attrs, "levelname": line.severity, "message": line.text}}
    return {
        "insertId": stream.insert_id(line),
        **payload,
        "resource": {
            "type": "ml_job",
            "labels": {
                "job_id": stream.job_id,
                "project_id": stream.project,
                "task_name": stream.replica,
            },
        },
        "timestamp": moment,
        "severity": line.severity,
        "labels": LABELS,
        "logName": stream.log_name,
        "receiveTimestamp": moment,
    }


def _written(nanoseconds: int) -> str:
    seconds, fraction = divmod(nanoseconds, 10**9)
    return f"{_second(seconds)}.{fraction:09d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def _understood(request: Mapping[str, Any]) -> _Asked:
    for name, value in request.items():
        if name not in _FIELDS:
            raise invalid(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
        if not isinstance(value, _FIELDS[name]) or isinstance(value, bool):
            raise invalid(f"Invalid value at '{name}': {value!r}.")
    names = [*request.get("resourceNames", ()), *(f"projects/{i}" for i in request.get("projectIds", ()))]
    if not names:
        raise invalid("resource_names is required: it names the projects whose logs are asked for.")
    order = " ".join(request.get("orderBy", "").split())
    if order not in _ORDERS:
        raise invalid(f'Invalid order_by "{order}": it can be "timestamp asc" and "timestamp desc".')
    size = request.get("pageSize", 0)
    if size < 0:
        raise invalid(f"page_size must not be negative: {size}.")
    text = request.get("filter", "")
    parsed = parse_log_filter(text)
    job_ids = parsed.job_ids()
    if job_ids is None:
        raise not_implemented(
            'Reading other logs than those of the jobs that the filter names (resource.labels.job_id="...")'
        )
    projects = tuple(dict.fromkeys(map(_project, names)))
    fingerprint = hashlib.sha256(repr((projects, text, _ORDERS[order])).encode()).hexdigest()[:16]
    return _Asked(
        projects,
        parsed,
        job_ids,
        _ORDERS[order],
        min(size or _DEFAULT_PAGE, _MAX_PAGE),
        fingerprint,
        _position(request.get("pageToken", ""), fingerprint),
    )


def _project(name: object) -> str:
    found = _PROJECT.fullmatch(name) if isinstance(name, str) else None
    if found is None:
        if isinstance(name, str) and re.match(
            r"(projects/[^/]+/locations|organizations|folders|billingAccounts)/", name
        ):
            raise not_implemented(f'Reading the logs of "{name}", which is no project,')
        raise invalid(f'Invalid resource name "{name}": expected projects/{{project}}.')
    return found[1]


def _token(fingerprint: str, position: Mapping[str, tuple[int, int]]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([fingerprint, position])).decode().rstrip("=")


def _position(token: str, fingerprint: str) -> dict[str, tuple[int, int]]:
    if not token:
        return {}
    try:
        whose, position = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        found = {str(key): (int(moment), int(place)) for key, (moment, place) in position.items()}
    except (ValueError, TypeError, AttributeError, binascii.Error):
        raise invalid("page_token is invalid.") from None
    if whose != fingerprint:
        raise invalid(
            "page_token does not match the request: filter, order and resources have to be the same."
        )
    return found
