"""The Logging query language, as far as one asks for the log of a job with it.

Source: https://cloud.google.com/logging/docs/view/logging-query-language. What it has beyond that
(functions, regular expressions, fields that no entry of a job has) is refused by name.

A filter is reduced before it is applied: of one replica of one job, most of it is known to be true or
false, and what is left is a test of a line, and the times between which lines can pass it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from vertexkit.emulator.errors import ApiError
from vertexkit.emulator.jobs.logs import SERVICE, LogLine
from vertexkit.emulator.validation import invalid

_MAX_LENGTH: Final = 20_000
_MAX_DEPTH: Final = 40
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EVER: Final = (0, 2**63 - 1)
_NEVER: Final = (1, 0)

_SPACE = re.compile(r"(?:\s+|--[^\n]*)*")
_NAME = re.compile(r"""[^\s()=!<>:"'.~-][^\s()=!<>:"'.~]*""")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"' + r"|'(?:[^'\\]|\\.)*'", re.DOTALL)
_OPERATOR = re.compile(r"!=|=~|!~|<=|>=|[=<>:]")
_VALUE = re.compile(r"""[^\s()"']+""")

_SEVERITIES: Final = {
    "DEFAULT": 0, "DEBUG": 100, "INFO": 200, "NOTICE": 300, "WARNING": 400, "ERROR": 500,
    "CRITICAL": 600, "ALERT": 700, "EMERGENCY": 800,
}  # fmt: skip
_ORDERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq, ":": operator.eq, "!=": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip

Test: TypeAlias = Callable[[LogLine], bool]
Span: TypeAlias = tuple[int, int]
"""The first and the last moment, in nanoseconds since the epoch; of nothing, the last is the lesser."""


@dataclass(frozen=True)
class Stream:
    """The lines of one replica of a job, and what all their entries say."""

    job_id: str
    replica: str
    project: str
    """As the request names it."""

    @property
    def log_name(self) -> str:
        """``projects/P/logs/workerpool0-0``."""
        return f"projects/{self.project}/logs/{self.replica}"

    def insert_id(self, line: LogLine) -> str:
        """The id of a line's entry; those of a replica sort as its lines do."""
        return f"{self.replica}-{line.position:016x}"


@dataclass(frozen=True)
class Reduced:
    """What is left of a filter for the lines of one stream."""

    test: Test | bool
    """For a line; True where all pass, False where none does."""
    span: Span
    """When lines can pass, at the earliest and at the latest."""


@dataclass(frozen=True)
class Filter:
    """A filter that was understood."""

    root: _Node

    def job_ids(self) -> frozenset[str] | None:
        """The jobs that it asks for; None where it names none, and so asks for all."""
        return self.root.job_ids()

    def reduced(self, stream: Stream) -> Reduced:
        """What is left of it for one stream."""
        return self.root.reduced(stream)


def parse_log_filter(text: str) -> Filter:
    """Understand a filter.

    Raises:
        ApiError: INVALID_ARGUMENT, it is none, or holds what is not understood here.
    """
    if len(text) > _MAX_LENGTH:
        raise invalid(f"The filter is {len(text)} characters long, and can be up to {_MAX_LENGTH}.")
    return Filter(_Parser(text).parse())


class _Node:
    """A part of a filter."""

    def job_ids(self) -> frozenset[str] | None:
        return None

    def reduced(self, stream: Stream) -> Reduced:
        raise NotImplementedError


@dataclass(frozen=True)
class _All(_Node):
    parts: tuple[_Node, ...]

    def job_ids(self) -> frozenset[str] | None:
        found: frozenset[str] | None = None
        for ids in (part.job_ids() for part in self.parts):
            if ids is not None:
                found = ids if found is None else found & ids
        return found

    def reduced(self, stream: Stream) -> Reduced:
        tests: list[Test] = []
        first, last = _EVER
        for part in self.parts:
            left = part.reduced(stream)
            if left.test is False:
                return Reduced(False, _NEVER)
            first, last = max(first, left.span[0]), min(last, left.span[1])
            if left.test is not True:
                tests.append(left.test)
        if not tests:
            return Reduced(True, (first, last))
        one = tests[0]
        return Reduced(one if len(tests) == 1 else lambda line: all(t(line) for t in tests), (first, last))


@dataclass(frozen=True)
class _Any(_Node):
    parts: tuple[_Node, ...]

    def job_ids(self) -> frozenset[str] | None:
        found: frozenset[str] = frozenset()
        for part in self.parts:
            ids = part.job_ids()
            if ids is None:
                return None
            found |= ids
        return found

    def reduced(self, stream: Stream) -> Reduced:
        tests: list[Test] = []
        spans: list[Span] = []
        for part in self.parts:
            left = part.reduced(stream)
            if left.test is True and left.span == _EVER:
                return left
            if left.test is not False:
                tests.append(_always if left.test is True else left.test)
                spans.append(left.span)
        if not tests:
            return Reduced(False, _NEVER)
        span = min(first for first, _ in spans), max(last for _, last in spans)
        one = tests[0]
        return Reduced(one if len(tests) == 1 else lambda line: any(t(line) for t in tests), span)


@dataclass(frozen=True)
class _Not(_Node):
    part: _Node

    def reduced(self, stream: Stream) -> Reduced:
        test = self.part.reduced(stream).test
        if isinstance(test, bool):
            return Reduced(not test, _NEVER if test else _EVER)
        return Reduced(lambda line: not test(line), _EVER)


@dataclass(frozen=True)
class _Comparison(_Node):
    """``resource.labels.job_id = "1"``; without a field, any that holds the text."""

    path: tuple[str, ...]
    comparator: str
    value: str

    def job_ids(self) -> frozenset[str] | None:
        if self.path == ("resource", "labels", "job_id") and self.comparator == "=":
            return frozenset({self.value})
        return None

    def reduced(self, stream: Stream) -> Reduced:
        if not self.path:
            return self._anywhere(stream)
        known = _known(self.path, stream)
        if known is not None:
            passes = self._text()(known)
            return Reduced(passes, _EVER if passes else _NEVER)
        name = ".".join(self.path)
        if name in {"timestamp", "receiveTimestamp"}:
            return self._moment()
        if name == "severity":
            return self._severity()
        return self._printed(name, stream)

    def _printed(self, name: str, stream: Stream) -> Reduced:
        """Compared with what differs from line to line."""
        if name == "insertId":
            compare = self._text()
            return Reduced(lambda line: compare(stream.insert_id(line)), _EVER)
        # What Vertex AI itself says is plain text, what replicas print is the message of a payload.
        is_json = name.startswith("jsonPayload.")
        if not self.path[0].endswith("Payload") or is_json == (stream.replica == SERVICE):
            return Reduced(False, _NEVER)
        compare = self._text()
        if name == "jsonPayload.levelname":
            return Reduced(lambda line: compare(line.severity), _EVER)
        return Reduced(lambda line: compare(line.text), _EVER)

    def checked(self) -> _Comparison:
        """This, if it can be made.

        Raises:
            ValueError: It cannot; the words say why.
        """
        if self.comparator in {"=~", "!~"}:
            raise ValueError(f'regular expressions ("{self.comparator}") are not supported')
        name = ".".join(self.path)
        if self.path and not _is_field(self.path):
            raise ValueError(f'"{name}" is no field to filter by; there are {", ".join(_FIELDS)}')
        if name in {"timestamp", "receiveTimestamp"}:
            self._moment()
        elif name == "severity":
            self._severity()
        return self

    def _anywhere(self, stream: Stream) -> Reduced:
        wanted = self.value.lower()
        held = (stream.job_id, stream.replica, stream.log_name, stream.project, "ml_job")
        if any(wanted in text.lower() for text in held):
            return Reduced(True, _EVER)
        return Reduced(lambda line: wanted in line.text.lower(), _EVER)

    def _text(self) -> Callable[[str], bool]:
        """Compares as the language does, without regard to case."""
        wanted = self.value.lower()
        if self.comparator == ":":
            if wanted == "*":
                return lambda text: True
            return lambda text: wanted in text.lower()
        compare = _ORDERS[self.comparator]
        return lambda text: compare(text.lower(), wanted)

    def _moment(self) -> Reduced:
        moment = _nanoseconds(self.value)
        compare = _ORDERS[self.comparator]
        spans: dict[str, Span] = {
            "=": (moment, moment), ":": (moment, moment), "!=": _EVER,
            "<": (0, moment - 1), "<=": (0, moment), ">": (moment + 1, _EVER[1]), ">=": (moment, _EVER[1]),
        }  # fmt: skip
        return Reduced(lambda line: compare(line.time_ns, moment), spans[self.comparator])

    def _severity(self) -> Reduced:
        level = _SEVERITIES.get(self.value.upper())
        if level is None:
            if not self.value.isdigit():
                raise ValueError(f'"{self.value}" is no severity; there are {", ".join(_SEVERITIES)}')
            level = int(self.value)
        compare, wanted = _ORDERS[self.comparator], level
        return Reduced(lambda line: compare(_SEVERITIES[line.severity], wanted), _EVER)


_FIELDS: Final = (
    "resource.type", "resource.labels.job_id", "resource.labels.task_name", "resource.labels.project_id",
    "labels.NAME", "logName", "timestamp", "receiveTimestamp", "severity", "insertId", "textPayload",
    "jsonPayload.message", "jsonPayload.levelname",
)  # fmt: skip


def _is_field(path: tuple[str, ...]) -> bool:
    # A name of a label may hold dots.
    return ".".join(path) in _FIELDS or (path[0] == "labels" and len(path) > 1)


def _known(path: tuple[str, ...], stream: Stream) -> str | None:
    """What every entry of a stream has in a field; None if that differs, or is what was printed."""
    if path[0] == "labels":
        return LABELS.get(".".join(path[1:]))
    return {
        "resource.type": "ml_job",
        "resource.labels.job_id": stream.job_id,
        "resource.labels.task_name": stream.replica,
        "resource.labels.project_id": stream.project,
        "logName": stream.log_name,
    }.get(".".join(path))


LABELS: Final = {"ml.googleapis.com/job_id/log_area": "root", "ml.googleapis.com/trial_id": ""}
"""The labels of every entry, as far as they mean anything without a virtual machine."""


def _always(_line: LogLine) -> bool:
    return True


def _nanoseconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f'"{text}" is not an RFC 3339 time') from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    microseconds = (moment - _EPOCH) // timedelta(microseconds=1)
    # What a datetime cuts off.
    rest = re.search(r"\.\d{6}(\d{1,3})", text)
    return microseconds * 1000 + (int(rest[1].ljust(3, "0")) if rest else 0)


class _Parser:
    """Recursive descent, straight from the text: what may stand for a value depends on where one is."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0

    def parse(self) -> _Node:
        self.space()
        if self.at == len(self.text):
            return _All(())
        found = self.expression(self.comparison)
        if self.at < len(self.text):
            raise self.error(f'unexpected "{self.text[self.at]}"')
        return found

    def expression(self, leaf: Callable[[], _Node]) -> _Node:
        """Terms joined by AND, or by nothing."""
        parts = [self.alternatives(leaf)]
        while not self.is_over():
            self.keyword("AND")
            parts.append(self.alternatives(leaf))
        return parts[0] if len(parts) == 1 else _All(tuple(parts))

    def alternatives(self, leaf: Callable[[], _Node]) -> _Node:
        """Terms joined by OR, which binds tighter."""
        parts = [self.term(leaf)]
        while self.keyword("OR"):
            parts.append(self.term(leaf))
        return parts[0] if len(parts) == 1 else _Any(tuple(parts))

    def term(self, leaf: Callable[[], _Node]) -> _Node:
        if self.is_over():
            raise self.error("it ends too early")
        if self.keyword("NOT") or self.taken("-"):
            return _Not(self.primary(leaf))
        return self.primary(leaf)

    def primary(self, leaf: Callable[[], _Node]) -> _Node:
        if not self.taken("("):
            return leaf()
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self.error(f"more than {_MAX_DEPTH} nested parentheses")
        inner = self.expression(leaf)
        if not self.taken(")"):
            raise self.error('a ")" is missing')
        self.depth -= 1
        return inner

    def comparison(self) -> _Node:
        start = self.at
        first = self.match(_QUOTED) or self.match(_NAME)
        if first is None:
            raise self.error(f'unexpected "{self.text[self.at : self.at + 1]}"')
        path = [_plain(first)]
        while self.text.startswith(".", self.at):
            self.at += 1
            part = self.match(_QUOTED) or self.match(_NAME)
            if part is None:
                raise self.error('the name of a field is missing after "."')
            path.append(_plain(part))
        is_text = self.at - start == len(first) and first[0] in "\"'"
        self.space()
        if self.text.startswith("(", self.at) and not is_text:
            raise self.error(f'functions, such as "{".".join(path)}", are not supported')
        comparator = self.match(_OPERATOR)
        self.space()
        if comparator is None:
            return _Comparison((), ":", ".".join(path))

        def value() -> _Node:
            found = self.match(_QUOTED) or self.match(_VALUE)
            if found is None:
                raise self.error("the value to compare with is missing")
            self.space()
            try:
                return _Comparison(tuple(path), comparator, _plain(found)).checked()
            except ValueError as error:
                raise self.error(str(error)) from None

        return self.primary(value)

    def is_over(self) -> bool:
        """Whether the expression ends here, or the one in parentheses."""
        return self.at == len(self.text) or self.text[self.at] == ")"

    def match(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        return found[0]

    def taken(self, character: str) -> bool:
        if not self.text.startswith(character, self.at):
            return False
        self.at += len(character)
        self.space()
        return True

    def keyword(self, word: str) -> bool:
        after = self.at + len(word)
        if not self.text.startswith(word, self.at) or self.text[after : after + 1] not in {
            "", " ", "\t", "\n", "\r", "(", ")", '"', "'", "-",
        }:  # fmt: skip
            return False
        self.at = after
        self.space()
        return True

    def space(self) -> None:
        found = _SPACE.match(self.text, self.at)
        assert found is not None
        self.at = found.end()

    def error(self, problem: str) -> ApiError:
        shown = self.text if len(self.text) <= 200 else f"{self.text[:200]}..."
        return invalid(f'Invalid filter "{shown}": {problem}.')


def _plain(token: str) -> str:
    if token[0] not in "\"'":
        return token
    return re.sub(r"\\(.)", r"\1", token[1:-1], flags=re.DOTALL)
