"""Logs as a client reads them: every line once and in order, whatever Cloud Logging does meanwhile."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
import requests
from doubles import PROJECT, TARGET, Clock
from written_logs import MS, T0, WrittenLogs

from vertexkit import job_logs
from vertexkit._core.context import Context
from vertexkit._core.printable import printable
from vertexkit._core.rpc import Clients
from vertexkit._core.target import Target
from vertexkit.cleanup import Created
from vertexkit.emulator.errors import ApiError
from vertexkit.emulator.projects import project_number
from vertexkit.emulator.services.logging import LoggingService
from vertexkit.errors import ConfigurationError, InvalidArgument, PermissionDenied
from vertexkit.job_logs import JobLogs, LogFollower, LogLine

JOB = "1234567890123456789"
LOCAL = dataclasses.replace(
    TARGET, logging_url="http://logging.test", log_poll_seconds=0.1, log_settle_seconds=0.0
)
CLOUD = TARGET


class CloudLogging:
    """Cloud Logging over the logs of one job, with failures, and lines that arrive late."""

    def __init__(self, logs: WrittenLogs) -> None:
        self.logs = logs
        self.service = LoggingService(lambda project, job: logs if (project, job) == OWNER else None)
        self.bodies: list[dict[str, Any]] = []
        self.given = 0
        """Entries, in all."""
        self.failures: list[int] = []
        """HTTP statuses to answer first."""
        self.always = 0
        self.hidden: Callable[[str], bool] = lambda text: False
        """Whether a line has not arrived yet."""

    def request(self, verb: str, url: str, **options: Any) -> requests.Response:
        assert (verb, url.partition("://")[2]) in {
            ("POST", "logging.test/v2/entries:list"),
            ("POST", "logging.googleapis.com/v2/entries:list"),
        }
        body = json.loads(options["data"])
        self.bodies.append(body)
        status = self.failures.pop(0) if self.failures else self.always
        reply = requests.Response()
        reply.status_code = status or 200
        if status:
            answer: Any = {"error": {"message": f"HTTP {status}"}}
        else:
            try:
                answer = self.service.list_entries(body)
            except ApiError as error:
                reply.status_code, answer = error.code.http_status, {"error": {"message": error.message}}
        entries = [entry for entry in answer.get("entries", []) if not self.hidden(str(entry))]
        self.given += len(entries)
        reply._content = json.dumps({**answer, "entries": entries} if entries else answer).encode()
        return reply


OWNER = (project_number(PROJECT), JOB)


@pytest.fixture
def logs(tmp_path: Path) -> WrittenLogs:
    return WrittenLogs(tmp_path / "logs")


@pytest.fixture
def cloud(logs: WrittenLogs) -> CloudLogging:
    return CloudLogging(logs)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setenv("VERTEXKIT_NO_BACKOFF", "1")
    passing = Clock()
    monkeypatch.setattr(job_logs, "time", passing)
    return passing


def at(target: Target, cloud: CloudLogging) -> JobLogs:
    clients = Clients(target)
    http = create_autospec(requests.Session, instance=True)
    http.request.side_effect = cloud.request
    clients._built["http"] = http
    return JobLogs(Context(target, clients, Created(), {}, "my-bucket"), JOB)


@pytest.fixture(params=[LOCAL, CLOUD], ids=["local", "cloud"])
def read(request: pytest.FixtureRequest, cloud: CloudLogging, clock: Clock) -> JobLogs:
    """The logs, local and in the cloud."""
    return at(request.param, cloud)


def texts(lines: Any) -> list[str]:
    return [line.text for line in lines]


def test_a_line_has_its_time_its_replica_and_its_severity(read: JobLogs, logs: WrittenLogs) -> None:
    logs.write("workerpool1-0", "boom", at=1 * MS, stream="E")
    [line] = read.read()
    assert line.time.isoformat() == "2023-11-14T22:13:20.001000+00:00"
    assert (line.replica, line.severity, line.text) == ("workerpool1-0", "ERROR", "boom")
    assert str(line) == "workerpool1-0  boom"


def test_reading_goes_through_every_page_in_order(
    read: JobLogs, logs: WrittenLogs, cloud: CloudLogging
) -> None:
    logs.write("workerpool0-0", *(f"a{n}" for n in range(2500)), step=2)
    logs.write("workerpool1-0", *(f"b{n}" for n in range(2500)), at=1, step=2)
    found = texts(read.read())
    assert found == [f"{name}{n}" for n in range(2500) for name in "ab"]
    assert len(cloud.bodies) == 6
    assert {body["pageSize"] for body in cloud.bodies} == {1000}


def test_a_page_is_asked_for_when_it_is_needed(read: JobLogs, logs: WrittenLogs, cloud: CloudLogging) -> None:
    logs.write("workerpool0-0", *map(str, range(2500)))
    reader = read.read()
    assert cloud.bodies == []
    for _ in range(1000):
        next(reader)
    assert len(cloud.bodies) == 1


def test_one_replica_alone(read: JobLogs, logs: WrittenLogs) -> None:
    logs.write("workerpool0-0", "chief")
    logs.write("workerpool1-0", "worker")
    assert texts(read.read("workerpool1-0")) == ["worker"]
    assert texts(read.tail(replica="workerpool0-0")) == ["chief"]


@pytest.mark.parametrize("replica", ["chief", 'workerpool0-0" OR "x', "", 0])
def test_what_names_no_replica_is_refused_before_anything_is_sent(
    read: JobLogs, cloud: CloudLogging, replica: Any
) -> None:
    for call in (read.read, lambda name: read.tail(5, name)):
        with pytest.raises(InvalidArgument, match="workerpool0-0"):
            call(replica)
    assert cloud.bodies == []


@pytest.mark.parametrize("count", [0, -1, True, 1.5, "5"])
def test_a_wrong_number_of_lines_is_refused(read: JobLogs, count: Any) -> None:
    with pytest.raises(InvalidArgument, match="count"):
        read.tail(count)


@pytest.mark.parametrize("count", [1, 20, 1500, 5000])
def test_the_tail_is_the_last_lines_the_oldest_first(read: JobLogs, logs: WrittenLogs, count: int) -> None:
    every = [str(n) for n in range(2500)]
    logs.write("workerpool0-0", *every)
    assert texts(read.tail(count)) == every[-count:]


def test_a_payload_of_several_lines_is_several_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"timestamp": "2023-11-14T22:13:20Z", "resource": {"labels": {"task_name": "workerpool0-0"}}}
    for payload, found in (
        ({"textPayload": "one\ntwo\n"}, ["one", "two"]),
        ({"textPayload": "one\n\ntwo"}, ["one", "", "two"]),
        ({"textPayload": ""}, [""]),
        ({"jsonPayload": {"message": "a\nb", "levelname": "INFO"}}, ["a", "b"]),
        ({"jsonPayload": {"loss": 0.5, "name": "é"}}, ['{"loss":0.5,"name":"é"}']),
        ({"protoPayload": {"@type": "x"}}, ['{"@type":"x"}']),
        ({}, ["{}"]),
    ):
        assert texts(job_logs._lines({**entry, **payload})) == found


def test_a_replica_without_a_label_is_known_by_its_log() -> None:
    [line] = job_logs._lines({"logName": "projects/p/logs/workerpool0-0", "textPayload": "x"})
    assert line.replica == "workerpool0-0"


def test_a_log_that_cannot_be_read_is_an_error_when_it_is_asked_for(
    read: JobLogs, cloud: CloudLogging
) -> None:
    cloud.always = 403
    with pytest.raises(PermissionDenied):
        list(read.read())
    with pytest.raises(PermissionDenied):
        read.tail()


def test_reading_waits_for_the_quota(read: JobLogs, logs: WrittenLogs, cloud: CloudLogging) -> None:
    logs.write("workerpool0-0", *map(str, range(1500)))
    cloud.failures = [429, 429, 503, 0, 429]
    assert texts(read.read()) == [str(n) for n in range(1500)]


# -- following ---------------------------------------------------------------------------------


def everything(follower: LogFollower, polls: int = 50) -> list[str]:
    return [line.text for _ in range(polls) for line in follower.poll()]


def test_a_poll_gives_what_is_new(read: JobLogs, logs: WrittenLogs) -> None:
    follower = read.follow()
    assert follower.poll() == []
    logs.write("workerpool0-0", "one", "two")
    assert texts(follower.poll()) == ["one", "two"]
    assert follower.poll() == []
    logs.write("workerpool1-0", "three", at=5 * MS)
    logs.write("workerpool0-0", "four", at=5 * MS)
    assert sorted(texts(follower.poll())) == ["four", "three"]
    assert follower.poll() == []
    assert list(follower.finish()) == []


def test_lines_of_one_moment_are_each_given_once(read: JobLogs, logs: WrittenLogs) -> None:
    follower = read.follow()
    found = []
    for number in range(5):
        logs.write("workerpool0-0", f"a{number}", f"b{number}", step=0)
        found += texts(follower.poll())
    assert found == [f"{name}{number}" for number in range(5) for name in "ab"]


def test_a_replica_whose_lines_come_later_than_they_are_dated_is_not_lost(
    read: JobLogs, logs: WrittenLogs
) -> None:
    follower = read.follow()
    logs.write("workerpool0-0", "new", at=500 * MS)
    assert texts(follower.poll()) == ["new"]
    logs.write("workerpool1-0", "older, of another replica", at=100 * MS)
    assert texts(follower.poll()) == ["older, of another replica"]
    logs.write("workerpool1-0", "older still than the first", at=200 * MS)
    assert texts(follower.poll()) == ["older still than the first"]


def test_a_flood_is_given_whole_and_is_not_read_again(
    logs: WrittenLogs, cloud: CloudLogging, clock: Clock
) -> None:
    follower = at(LOCAL, cloud).follow()
    found: list[str] = []
    for block in range(10):
        # In blocks that share a time, as they come out of a pipe.
        logs.write("workerpool0-0", *(str(block * 1200 + n) for n in range(1200)), at=block * MS, step=0)
        found += texts(follower.poll())
    found += texts(follower.finish())
    assert found == [str(n) for n in range(12_000)]
    # At most what shares a time with the last line comes again.
    assert cloud.given <= 2 * 12_000
    assert sum(map(len, follower._given.values())) <= 2 * 1200 + 1000


def test_one_poll_comes_back_though_the_flood_goes_on(
    logs: WrittenLogs, cloud: CloudLogging, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_logs, "_PAGES_A_POLL", 4)
    logs.write("workerpool0-0", *map(str, range(10_000)))
    follower = at(LOCAL, cloud).follow()
    assert [len(follower.poll()) for _ in range(4)] == [4_000, 4_000, 2_000, 0]


def test_lines_that_arrive_late_and_out_of_order_are_given_once(
    logs: WrittenLogs, cloud: CloudLogging, clock: Clock
) -> None:
    follower = at(CLOUD, cloud).follow()
    logs.write("workerpool0-0", "0", "1", "2", "3", "4", step=1000 * MS)
    late = {"1", "3"}
    cloud.hidden = lambda entry: any(f"'message': '{text}'" in entry for text in late)
    assert texts(follower.poll()) == ["0", "2", "4"]
    late.remove("3")
    assert texts(follower.poll()) == ["3"]
    late.remove("1")
    assert texts(follower.poll()) == ["1"]
    assert follower.poll() == []


def test_what_settled_long_ago_is_not_asked_for_again(
    logs: WrittenLogs, cloud: CloudLogging, clock: Clock
) -> None:
    follower = at(CLOUD, cloud).follow()
    logs.write("workerpool0-0", *map(str, range(8_000)), step=10 * MS)
    everything(follower, 12)
    assert follower.poll() == []
    # 15 s of 80 s.
    assert sum(map(len, follower._given.values())) < 2 * 1_501 + 2000
    assert 'timestamp>="2023-11-14T22:14:24.990000000Z"' in cloud.bodies[-1]["filter"]


def test_many_replicas_make_no_longer_a_query_than_is_allowed(
    logs: WrittenLogs, cloud: CloudLogging, clock: Clock
) -> None:
    follower = at(CLOUD, cloud).follow()
    for number in range(150):
        logs.write(f"workerpool1-{number}", "one", at=number)
    assert len(everything(follower, 2)) == 150
    logs.write("workerpool1-7", "two", at=1000 * MS)
    assert texts(follower.poll()) == ["two"]
    assert max(len(body["filter"]) for body in cloud.bodies) < 20_000


@pytest.mark.parametrize("status", [429, 503, 500, 504])
def test_a_passing_failure_loses_nothing_and_is_waited_out(
    read: JobLogs,
    logs: WrittenLogs,
    cloud: CloudLogging,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    follower = read.follow()
    logs.write("workerpool0-0", *map(str, range(2500)))
    monkeypatch.setattr(job_logs, "_POLL_SECONDS", 0.001)
    cloud.failures = [0, status]
    cloud.always = status
    assert texts(follower.poll()) == [str(n) for n in range(1000)]
    asked = len(cloud.bodies)
    cloud.always = 0
    assert follower.poll() == []
    assert len(cloud.bodies) == asked, "it asked again at once"
    clock.now += 60
    assert texts(follower.poll()) == [str(n) for n in range(1000, 2500)]


def test_a_log_that_may_not_be_read_ends_no_wait_and_is_told_of_once(
    read: JobLogs, logs: WrittenLogs, cloud: CloudLogging, clock: Clock
) -> None:
    follower = read.follow()
    cloud.always = 403
    first = follower.poll()
    assert {line.replica for line in first} == {"vertexkit"}
    assert first[0].severity == "WARNING"
    assert "cannot be read" in first[0].text
    assert "Remedy" in first[-1].text
    for _ in range(10):
        clock.now += 300
        assert follower.poll() == []
    assert list(follower.finish()) == []
    cloud.always = 0
    clock.now += 300
    logs.write("workerpool0-0", "granted meanwhile")
    assert texts(follower.poll()) == ["granted meanwhile"]


def test_a_page_token_that_is_refused_is_not_the_end(
    logs: WrittenLogs, cloud: CloudLogging, clock: Clock
) -> None:
    follower = at(LOCAL, cloud).follow()
    logs.write("workerpool0-0", *map(str, range(1500)))
    cloud.failures = [0, 400]
    assert len(follower.poll()) == 1000
    clock.now += 60
    assert texts(follower.poll()) == [str(n) for n in range(1000, 1500)]


def test_a_closed_session_is_an_error_at_once(read: JobLogs) -> None:
    follower = read.follow()
    read._context.clients.close()
    with pytest.raises(ConfigurationError):
        follower.poll()


def test_at_the_end_it_waits_for_what_comes_late(
    logs: WrittenLogs, cloud: CloudLogging, clock: Clock
) -> None:
    follower = at(CLOUD, cloud).follow()
    logs.write("workerpool0-0", "first", "last")
    cloud.hidden = lambda entry: clock.now < 12 and "last" in entry
    assert texts(follower.finish()) == ["first", "last"]
    assert CLOUD.log_settle_seconds <= clock.now <= CLOUD.log_settle_seconds + CLOUD.log_poll_seconds


def test_at_the_end_of_a_local_job_it_does_not_wait(
    logs: WrittenLogs, cloud: CloudLogging, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_logs, "_PAGES_A_POLL", 2)
    logs.write("workerpool0-0", *map(str, range(5_000)))
    follower = at(LOCAL, cloud).follow()
    assert len(list(follower.finish())) == 5_000
    assert clock.now == 0


def test_at_the_end_it_gives_up_a_log_that_stays_away_and_says_so(
    read: JobLogs, cloud: CloudLogging, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_logs, "_POLL_SECONDS", 0.001)
    cloud.always = 503
    said = list(read.follow().finish())
    assert said[0].replica == "vertexkit"
    assert "HTTP 503" in said[0].text
    assert 60 <= clock.now < 120


# -- showing -----------------------------------------------------------------------------------


def test_a_notebook_shows_the_last_lines(read: JobLogs, logs: WrittenLogs, cloud: CloudLogging) -> None:
    reader = read.read()
    assert "nothing has been printed yet" in reader._repr_html_()
    logs.write("workerpool0-0", *(f"<{n}>" for n in range(30)))
    shown = reader._repr_html_()
    assert "workerpool0-0  &lt;29&gt;" in shown
    assert "&lt;9&gt;" not in shown
    assert next(reader).text == "<0>"
    cloud.always = 403
    assert "HTTP 403" in reader._repr_html_()


def test_saying_what_it_is_asks_nobody(read: JobLogs, cloud: CloudLogging) -> None:
    assert JOB in repr(read)
    assert JOB in repr(read.read("workerpool0-0"))
    assert "workerpool0-0" in repr(read.read("workerpool0-0"))
    assert cloud.bodies == []


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("plain, with\ttabs, é and 漢字", "plain, with\ttabs, é and 漢字"),
        ("\x1b[1m10/10\x1b[0m \x1b[32m━━━\x1b[0m loss: 0.5", "10/10 ━━━ loss: 0.5"),
        ("\x1b[2J\x1b[Hgone", "gone"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://x.test\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred\x9c", "red"),
        ("a\x1bP+q544e\x1b\\b", "ab"),
        ("10%\r50%\r100%\r", "100%"),
        ("bell\x07, back\x08, null\x00, delete\x7f", "bell, back, null, delete"),
        ("cut short \x1b[3", "cut short "),
        ("cut short \x1b]0;never ended", "cut short "),
        ("\x1b", ""),
    ],
)
def test_nothing_printed_reaches_the_terminal_but_text(printed: str, shown: str) -> None:
    assert printable(printed) == shown
    line = LogLine(job_logs._EPOCH, "workerpool0-0", "INFO", printed)
    assert str(line) == f"workerpool0-0  {shown}"
    assert line.text == printed


@pytest.mark.parametrize(
    ("written", "nanoseconds"),
    [
        ("2023-11-14T22:13:20Z", T0),
        ("2023-11-14T22:13:20.5Z", T0 + 500 * MS),
        ("2023-11-14T22:13:20.123456789Z", T0 + 123_456_789),
        ("2023-11-14T23:13:20.000001+01:00", T0 + 1000),
        ("", 0),
        ("nonsense", 0),
    ],
)
def test_times_are_read_to_the_nanosecond(written: str, nanoseconds: int) -> None:
    assert job_logs._nanoseconds(written) == nanoseconds
    if written.endswith("9Z"):
        assert job_logs._written(nanoseconds) == written
