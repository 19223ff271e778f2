"""What a job's replicas have printed, read from Cloud Logging.

Entries arrive there late and out of order; how late at most, the target says. So whoever follows a
log asks again from a little before the last line of each replica, and leaves out what it has given.

See https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from typing import TYPE_CHECKING, Any, Final

from vertexkit._core.lookup import quoted
from vertexkit._core.printable import printable
from vertexkit.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidArgument,
    QuotaExceeded,
    ServiceError,
    Unavailable,
)

if TYPE_CHECKING:
    from vertexkit._core.context import Context

__all__ = ["JobLogs", "LogFollower", "LogLine", "LogReader", "check_replica"]

_PAGE_SIZE: Final = 1000
"""The most that Cloud Logging gives at a time."""
_PAGES_A_POLL: Final = 10
"""So that a flood does not keep whoever polls from looking at anything else."""
_READ_SECONDS: Final = 180.0
"""For one page, with room for the quota of a minute to come back."""
_POLL_SECONDS: Final = 30.0
_LONGEST_WAIT: Final = 30.0
_UNREADABLE_WAIT: Final = 60.0
_MOST_CLAUSES: Final = 100
"""Of replicas that a query can tell apart: it may be 20,000 characters long."""
_SHOWN: Final = 20

_REPLICA = re.compile(r"workerpool\d+-\d+|service")
_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")
_EPOCH = datetime.fromtimestamp(0, UTC)
_PASSING = (QuotaExceeded, Unavailable, DeadlineExceeded, InternalError)

_log = logging.getLogger("vertexkit")


@dataclass(frozen=True)
class LogLine:
    """A line that a replica printed."""

    time: datetime
    """When, in UTC."""
    replica: str
    """``workerpool0-0``; ``service`` for what Vertex AI itself says; ``vertexkit`` for what vertexkit says
    of the log."""
    severity: str
    """``INFO`` for standard output, ``ERROR`` for standard error, as Vertex AI has it."""
    text: str
    """The line as it was printed, without its end."""

    def __str__(self) -> str:
        """``workerpool0-0  text``, safe to print."""
        return f"{self.replica}  {printable(self.text)}"


class JobLogs:
    """The logs of a job.

    Args:
        context: The session's parts.
        job_id: The numeric id of the CustomJob.
    """

    def __init__(self, context: Context, job_id: str) -> None:
        self._context = context
        self.job_id = job_id

    def read(self, replica: str | None = None) -> LogReader:
        """Every line so far, the oldest first. One page at a time is in memory.

        Args:
            replica: Whose lines alone, such as ``"workerpool1-0"``.

        Raises:
            InvalidArgument: ``replica`` is no replica's name.
        """
        check_replica(replica)
        return LogReader(self, replica)

    def tail(self, count: int = 20, replica: str | None = None) -> list[LogLine]:
        """The last lines, the oldest of them first.

        Args:
            count: How many at most.
            replica: Whose lines alone.

        Raises:
            InvalidArgument: ``count`` is no number above 0, or ``replica`` is no replica's name.
            ServiceError: The log cannot be read.
        """
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InvalidArgument("count", count, "is no whole number above 0")
        check_replica(replica)
        newest_first: list[LogLine] = []
        page_size = min(count, _PAGE_SIZE)
        for entry in self._entries(replica, order="timestamp desc", page_size=page_size):
            newest_first += reversed(_lines(entry))
            if len(newest_first) >= count:
                break
        return newest_first[:count][::-1]

    def follow(self) -> LogFollower:
        """What gives every line once, as it comes, from the first on."""
        return LogFollower(self._context, self.job_id)

    def __repr__(self) -> str:
        return f"<JobLogs of job {self.job_id}: read(), tail(), follow()>"

    def _entries(
        self, replica: str | None, *, order: str, page_size: int = _PAGE_SIZE
    ) -> Iterator[dict[str, Any]]:
        query = _query(self.job_id, replica)
        token = ""
        while True:
            page = _page(self._context, query, token, order=order, page_size=page_size, timeout=_READ_SECONDS)
            yield from page.get("entries", [])
            token = page.get("nextPageToken", "")
            if not token:
                return


class LogReader(Iterator[LogLine]):
    """Goes through the lines of a log; a notebook shows the last ones."""

    def __init__(self, logs: JobLogs, replica: str | None) -> None:
        self._logs = logs
        self._replica = replica
        self._entries: Iterator[dict[str, Any]] | None = None
        self._pending: deque[LogLine] = deque()

    def __next__(self) -> LogLine:
        """The next line.

        Raises:
            ServiceError: The log cannot be read.
        """
        if self._entries is None:
            self._entries = self._logs._entries(self._replica, order="timestamp asc")
        while not self._pending:
            self._pending.extend(_lines(next(self._entries)))
        return self._pending.popleft()

    def __repr__(self) -> str:
        of = f"{self._replica} of job" if self._replica else "job"
        return f"<lines of {of} {self._logs.job_id}, to be gone through: for line in ...: print(line)>"

    def _repr_html_(self) -> str:
        try:
            lines = self._logs.tail(_SHOWN, self._replica)
        except ServiceError as error:
            # To show a thing must not fail.
            return f"<pre>{escape(str(error))}</pre>"
        if not lines:
            return "<pre>(nothing has been printed yet)</pre>"
        return f"<pre>{escape(chr(10).join(map(str, lines)))}</pre>"


class LogFollower:
    """Gives every line of a job once, as it comes.

    A log that cannot be read must not end a wait for the training: what is the matter is said in a line
    of the replica ``vertexkit``, once.
    """

    def __init__(self, context: Context, job_id: str) -> None:
        self._context = context
        self._job_id = job_id
        self._settle = round(context.target.log_settle_seconds * 1e9)
        self._last: dict[str, int] = {}
        """By replica, the time of its newest line that was given."""
        self._given: dict[str, dict[str, int]] = {}
        """By replica, the time of each entry that was given and may come again, by its id."""
        self._kept = 0
        self._query = ""
        self._token = ""
        self._trouble: ServiceError | None = None
        self._unreadable = False
        self._wait = 0.0
        self._not_before = 0.0

    def poll(self) -> list[LogLine]:
        """The lines that are new since the last poll, at once; some thousands at most, the rest next time.

        Never raises because of the log: after a failure it gives none until it is time to ask again.
        """
        lines: list[LogLine] = []
        if time.monotonic() < self._not_before:
            return lines
        try:
            for _ in range(_PAGES_A_POLL):
                if not self._token:
                    self._query = self._next_query()
                page = _page(self._context, self._query, self._token, timeout=_POLL_SECONDS)
                for entry in page.get("entries", []):
                    lines += self._new(entry)
                self._token = page.get("nextPageToken", "")
                self._forget()
                if not self._token:
                    break
        except ServiceError as error:
            return lines + self._failed(error)
        self._trouble, self._unreadable, self._wait = None, False, 0.0
        return lines

    @property
    def is_behind(self) -> bool:
        """Whether the last poll did not give all that there was: it failed, or there is more."""
        return self._trouble is not None or bool(self._token)

    def finish(self, settled: float | None = None) -> Iterator[LogLine]:
        """The rest, once the job has ended: waits until what arrives late has come too.

        A log that could not be read all this time is given up, and that is said.

        Args:
            settled: When that is, by ``time.monotonic()``; by default as long from now as the log service may
                take.
        """
        if settled is None:
            settled = time.monotonic() + self._context.target.log_settle_seconds
        while True:
            is_settled = time.monotonic() >= settled
            yield from self.poll()
            if self._trouble is not None:
                if self._unreadable:
                    return
                if time.monotonic() >= settled + _UNREADABLE_WAIT:
                    yield from _said(f"the rest of the log could not be read: {self._trouble}")
                    return
                time.sleep(max(self._not_before - time.monotonic(), 0.0))
            elif not self._token:
                if is_settled:
                    return
                time.sleep(max(min(self._context.target.log_poll_seconds, settled - time.monotonic()), 0.0))

    def _next_query(self) -> str:
        query = _query(self._job_id, None)
        if not self._last:
            return query
        if len(self._last) > _MOST_CLAUSES:
            return f'{query}\ntimestamp>="{_written(max(self._last.values()) - self._settle)}"'
        # Each replica from its own last line: the clocks of two are not one.
        parts = [
            f'(resource.labels.task_name={quoted(replica)} AND timestamp>="{_written(last - self._settle)}")'
            for replica, last in self._last.items()
        ]
        others = " OR ".join(quoted(replica) for replica in self._last)
        return f"{query}\n({' OR '.join(parts)} OR NOT resource.labels.task_name=({others}))"

    def _new(self, entry: Mapping[str, Any]) -> list[LogLine]:
        """The lines of an entry that was not given before."""
        replica, moment = _replica(entry), _nanoseconds(str(entry.get("timestamp", "")))
        given = self._given.setdefault(replica, {})
        key = str(entry.get("insertId", entry))
        if key in given:
            return []
        given[key] = moment
        self._last[replica] = max(moment, self._last.get(replica, moment))
        return _lines(entry)

    def _forget(self) -> None:
        """Keep the ids of no more entries than may come again; now and then, for it takes a while."""
        if sum(map(len, self._given.values())) <= 2 * self._kept + _PAGE_SIZE:
            return
        for replica, given in self._given.items():
            since = self._last[replica] - self._settle
            self._given[replica] = {key: moment for key, moment in given.items() if moment >= since}
        self._kept = sum(map(len, self._given.values()))

    def _failed(self, error: ServiceError) -> list[LogLine]:
        # A page's token may be what was refused, for it does not last; the query is asked anew.
        had_token, self._token = bool(self._token), ""
        self._trouble = error
        _log.info("the log of job %s could not be read: %s", self._job_id, error)
        passing = isinstance(error, _PASSING) or had_token
        first = self._context.target.log_poll_seconds
        self._wait = min(max(self._wait * 2, first), _LONGEST_WAIT) if passing else _UNREADABLE_WAIT
        self._not_before = time.monotonic() + self._wait
        if passing or self._unreadable:
            return []
        self._unreadable = True
        return _said(f"the log cannot be read; the training goes on all the same: {error}")


def _page(
    context: Context,
    query: str,
    token: str,
    *,
    order: str = "timestamp asc",
    page_size: int = _PAGE_SIZE,
    timeout: float,
) -> dict[str, Any]:
    """One page of entries."""
    body = {
        "resourceNames": [f"projects/{context.target.project}"],
        "filter": query,
        "orderBy": order,
        "pageSize": page_size,
        **({"pageToken": token} if token else {}),
    }
    return context.clients.http_json(
        "POST",
        f"{context.target.logging_url}/v2/entries:list",
        body=body,
        timeout=timeout,
        resource=f"the log of {context.target.project}",
        # Nothing but a read, whatever its verb.
        retry=True,
    )


def _query(job_id: str, replica: str | None) -> str:
    lines = ['resource.type="ml_job"', f"resource.labels.job_id={quoted(job_id)}"]
    if replica is not None:
        lines.append(f"resource.labels.task_name={quoted(replica)}")
    return "\n".join(lines)


def _lines(entry: Mapping[str, Any]) -> list[LogLine]:
    """The lines of an entry, whose payload may hold several."""
    moment = _moment(str(entry.get("timestamp", "")))
    replica, severity = _replica(entry), str(entry.get("severity", "DEFAULT"))
    text = _text(entry)
    if "\n" not in text:
        return [LogLine(moment, replica, severity, text)]
    return [LogLine(moment, replica, severity, line) for line in text.removesuffix("\n").split("\n")]


def _text(entry: Mapping[str, Any]) -> str:
    payload = entry.get("textPayload")
    if isinstance(payload, str):
        return payload
    payload = entry.get("jsonPayload") or entry.get("protoPayload") or {}
    message = payload.get("message")
    if isinstance(message, str):
        return message
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False)


def _replica(entry: Mapping[str, Any]) -> str:
    labels = entry.get("resource", {}).get("labels", {})
    return str(labels.get("task_name") or str(entry.get("logName", "")).rpartition("/")[2])


def _moment(written: str) -> datetime:
    try:
        return datetime.fromisoformat(written)
    except ValueError:
        return _EPOCH


def _nanoseconds(written: str) -> int:
    """Nanoseconds since the epoch of an RFC 3339 time, which a ``datetime`` would cut to microseconds."""
    found = _TIMESTAMP.fullmatch(written)
    if found is None:
        return (_moment(written) - _EPOCH) // timedelta(microseconds=1) * 1000
    seconds = int(datetime.fromisoformat(found[1]).replace(tzinfo=UTC).timestamp())
    return seconds * 10**9 + int((found[2] or "").ljust(9, "0"))


def _written(nanoseconds: int) -> str:
    """The time as RFC 3339 has it."""
    seconds, fraction = divmod(max(nanoseconds, 0), 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def _said(text: str) -> list[LogLine]:
    """What vertexkit has to say, as lines among the others."""
    now = datetime.now(UTC)
    return [LogLine(now, "vertexkit", "WARNING", line.strip()) for line in text.split("\n")]


def check_replica(replica: object) -> None:
    """Refuse what cannot be the name of a replica, but for None.

    Raises:
        InvalidArgument: It cannot.
    """
    if replica is not None and (not isinstance(replica, str) or _REPLICA.fullmatch(replica) is None):
        raise InvalidArgument(
            "replica",
            replica,
            "is no name of a replica",
            remedy='name its worker pool and its number there, such as "workerpool0-0" for the chief',
        )
