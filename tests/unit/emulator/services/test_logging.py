"""The local Cloud Logging: what a filter matches, what an entry looks like, pages that lose nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from written_logs import MS, T0, WrittenLogs

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.projects import project_number
from vertexkit.emulator.services import logging as service_module
from vertexkit.emulator.services.logging import LoggingService

PROJECT, JOB = "my-project", "1234567890123456789"
OF_JOB = f'resource.type="ml_job" AND resource.labels.job_id="{JOB}"'


@pytest.fixture
def logs(tmp_path: Path) -> WrittenLogs:
    """Two replicas and the service: six lines in all, in turn."""
    written = WrittenLogs(tmp_path / "logs")
    written.write("service", "Job is running.")
    written.write("workerpool0-0", "Epoch 1", "loss: 0.5", at=1 * MS, step=2 * MS)
    written.write("workerpool1-0", "Traceback (most recent call last):", at=2 * MS, stream="E")
    written.write("workerpool1-0", "saved", at=4 * MS)
    written.write("workerpool0-0", "Killed", at=5 * MS, stream="E")
    return written


@pytest.fixture
def service(logs: WrittenLogs) -> LoggingService:
    jobs = {(project_number(PROJECT), JOB): logs}
    return LoggingService(lambda project, job_id: jobs.get((project, job_id)))


def listed(service: LoggingService, filter: str = OF_JOB, **fields: Any) -> dict[str, Any]:
    return service.list_entries({"resourceNames": [f"projects/{PROJECT}"], "filter": filter, **fields})


def text(entry: dict[str, Any]) -> str:
    found = entry.get("textPayload") or entry["jsonPayload"]["message"]
    return str(found)


def texts(service: LoggingService, filter: str) -> list[str]:
    return [text(entry) for entry in listed(service, filter).get("entries", [])]


def pages(service: LoggingService, size: int, **fields: Any) -> Iterator[list[dict[str, Any]]]:
    token = ""
    while True:
        page = listed(service, pageSize=size, pageToken=token, **fields)
        yield page.get("entries", [])
        token = page.get("nextPageToken", "")
        if not token:
            return


ALL = ["Job is running.", "Epoch 1", "Traceback (most recent call last):", "loss: 0.5", "saved", "Killed"]


def test_an_entry_looks_as_vertex_ai_writes_it(service: LoggingService) -> None:
    entry = listed(service, f'{OF_JOB} resource.labels.task_name="workerpool1-0"')["entries"][0]
    moment = "2023-11-14T22:13:20.002000000Z"
    assert entry.pop("insertId").startswith("workerpool1-0-")
    assert entry.pop("labels")["ml.googleapis.com/job_id/log_area"] == "root"
    assert entry == {
        "jsonPayload": {
            "attrs": {"tag": "workerpool1-0"},
            "levelname": "ERROR",
            "message": "Traceback (most recent call last):",
        },
        "resource": {
            "type": "ml_job",
            "labels": {"job_id": JOB, "project_id": PROJECT, "task_name": "workerpool1-0"},
        },
        "timestamp": moment,
        "receiveTimestamp": moment,
        "severity": "ERROR",
        "logName": f"projects/{PROJECT}/logs/workerpool1-0",
    }


def test_what_the_service_says_is_plain_text(service: LoggingService) -> None:
    entry = listed(service, f"{OF_JOB} resource.labels.task_name=service")["entries"][0]
    assert entry["textPayload"] == "Job is running."
    assert "jsonPayload" not in entry


@pytest.mark.parametrize(
    ("filter", "found"),
    [
        ("", ALL),
        ('resource.labels.task_name="workerpool0-0"', ["Epoch 1", "loss: 0.5", "Killed"]),
        ('resource.labels.task_name=("workerpool1-0" OR "service")', [ALL[0], ALL[2], ALL[4]]),
        ('NOT resource.labels.task_name=("workerpool1-0" OR "service")', ["Epoch 1", "loss: 0.5", "Killed"]),
        ('-resource.labels.task_name:"WORKER"', ["Job is running."]),
        (f'logName="projects/{PROJECT}/logs/workerpool1-0"', [ALL[2], "saved"]),
        ("severity>=ERROR", [ALL[2], "Killed"]),
        ("severity>=warning AND severity<400", []),
        ("severity=200", ["Job is running.", "Epoch 1", "loss: 0.5", "saved"]),
        ("severity!=ERROR", ["Job is running.", "Epoch 1", "loss: 0.5", "saved"]),
        ('timestamp>="2023-11-14T22:13:20.003Z"', ["loss: 0.5", "saved", "Killed"]),
        ('timestamp>"2023-11-14T23:13:20.003+01:00"', ["saved", "Killed"]),
        ('timestamp<"2023-11-14T22:13:20.001000001Z"', ["Job is running.", "Epoch 1"]),
        ('timestamp="2023-11-14T22:13:20.004Z"', ["saved"]),
        ('receiveTimestamp<="2023-11-14"', []),
        ('NOT timestamp>="2023-11-14T22:13:20.003Z"', ALL[:3]),
        ('jsonPayload.message:"loss"', ["loss: 0.5"]),
        ('jsonPayload.message="EPOCH 1"', ["Epoch 1"]),
        ("jsonPayload.levelname=ERROR", [ALL[2], "Killed"]),
        ("textPayload:running", ["Job is running."]),
        ("textPayload:loss", []),
        ("textPayload:*", ["Job is running."]),
        ("Traceback", [ALL[2]]),
        ('"epoch 1"', ["Epoch 1"]),
        ("-- a comment: severity=INFO\nseverity=ERROR -- and another\n", [ALL[2], "Killed"]),
        # OR binds tighter than AND: https://google.aip.dev/160
        ("severity=ERROR AND saved OR Killed", ["Killed"]),
        ("(severity=ERROR AND Traceback) OR saved", [ALL[2], "saved"]),
        ("NOT (saved OR Killed OR severity=ERROR) AND workerpool", ["Epoch 1", "loss: 0.5"]),
        ('labels."ml.googleapis.com/job_id/log_area"=root saved', ["saved"]),
        ("labels.nonsense=root", []),
        ('resource.type="gce_instance"', []),
        (
            '((resource.labels.task_name="workerpool0-0" AND timestamp>"2023-11-14T22:13:20.003Z") OR '
            '(resource.labels.task_name="workerpool1-0" AND timestamp>"2023-11-14T22:13:20.002Z") OR '
            'NOT resource.labels.task_name=("workerpool0-0" OR "workerpool1-0"))',
            ["Job is running.", "saved", "Killed"],
        ),
    ],
)
@pytest.mark.parametrize("joint", [" AND ", " ", "\n"])
def test_a_filter_finds(service: LoggingService, filter: str, found: list[str], joint: str) -> None:
    assert texts(service, f"{OF_JOB}{joint}{filter}" if filter else OF_JOB) == found


def test_a_line_is_told_from_one_of_the_same_time_by_its_id(service: LoggingService) -> None:
    # As the command line of Google Cloud goes on after the last entry that it has shown.
    first = listed(service)["entries"][1]
    when, which = first["timestamp"], first["insertId"]
    later = f'((timestamp="{when}" AND insertId>"{which}") OR timestamp>"{when}")'
    assert texts(service, f"{OF_JOB} {later}") == ALL[2:]


@pytest.mark.parametrize(
    ("filter", "named"),
    [
        ("httpRequest.status=500", "httpRequest.status"),
        ("resource.labels.zone=a", "resource.labels.zone"),
        ('textPayload=~"a+"', "=~"),
        ('SEARCH("loss")', "SEARCH"),
        ('log_id("workerpool0-0")', "log_id"),
        ("severity>=LOUD", "LOUD"),
        ('timestamp>"yesterday"', "yesterday"),
        ("severity>=", "missing"),
        ("(severity=ERROR", '")" is missing'),
        ("severity=ERROR)", 'unexpected ")"'),
        ("severity=ERROR AND", "ends too early"),
        ("=ERROR", 'unexpected "="'),
        ('textPayload="open', "missing"),
        ("(" * 50 + "a" + ")" * 50, "nested"),
        ("a " * 15_000, "20000"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(service: LoggingService, filter: str, named: str) -> None:
    with pytest.raises(ApiError) as refused:
        listed(service, f"{OF_JOB} {filter}")
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert named in refused.value.message


@pytest.mark.parametrize(
    "filter", ["", 'resource.type="ml_job"', f"{OF_JOB} OR severity=ERROR", f"NOT ({OF_JOB})"]
)
def test_other_logs_than_those_of_named_jobs_are_not_implemented(
    service: LoggingService, filter: str
) -> None:
    with pytest.raises(ApiError, match="job_id") as refused:
        listed(service, filter)
    assert refused.value.code is Code.UNIMPLEMENTED


def test_several_jobs_can_be_named(tmp_path: Path) -> None:
    logs = {str(number): WrittenLogs(tmp_path / str(number)) for number in (1, 2, 3)}
    for number, written in logs.items():
        written.write("workerpool0-0", f"of {number}", at=int(number))
    service = LoggingService(lambda _, job_id: logs.get(job_id))
    assert texts(service, 'resource.labels.job_id=("1" OR "3" OR "4")') == ["of 1", "of 3"]
    assert texts(service, "resource.labels.job_id=2") == ["of 2"]
    assert texts(service, "resource.labels.job_id=1 resource.labels.job_id=2") == []


def test_a_job_of_another_project_has_no_entries(service: LoggingService) -> None:
    other = {"resourceNames": ["projects/other-project"], "filter": OF_JOB}
    assert service.list_entries(other) == {}
    by_number = {"resourceNames": [f"projects/{project_number(PROJECT)}"], "filter": OF_JOB}
    assert len(service.list_entries(by_number)["entries"]) == 6


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"resourceNames": []}, "resource_names"),
        ({"resourceNames": ["project/x"]}, "project/x"),
        ({"resourceNames": "projects/p"}, "resourceNames"),
        ({"orderBy": "severity desc"}, "severity desc"),
        ({"pageSize": -1}, "-1"),
        ({"pageSize": True}, "pageSize"),
        ({"pageToken": "nonsense"}, "page_token"),
        ({"pageToken": "WzEsMl0"}, "page_token"),
        ({"view": "FULL"}, '"view"'),
    ],
)
def test_a_wrong_request_is_refused_by_name(
    service: LoggingService, fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(ApiError) as refused:
        listed(service, **fields)
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert named in refused.value.message


def test_logs_of_an_organization_are_not_implemented(service: LoggingService) -> None:
    with pytest.raises(ApiError, match="organizations/1") as refused:
        service.list_entries({"resourceNames": ["organizations/1"], "filter": OF_JOB})
    assert refused.value.code is Code.UNIMPLEMENTED


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 7])
@pytest.mark.parametrize("order", ["timestamp asc", "timestamp desc"])
def test_pages_hold_every_line_once_and_in_order(service: LoggingService, size: int, order: str) -> None:
    found = [text(entry) for page in pages(service, size, orderBy=order) for entry in page]
    assert found == (ALL if order == "timestamp asc" else ALL[::-1])


def test_a_page_holds_fifty_lines_unless_asked_and_never_more_than_a_thousand(
    service: LoggingService, logs: WrittenLogs
) -> None:
    logs.write("workerpool0-0", *map(str, range(3000)), at=9 * MS)
    assert len(listed(service)["entries"]) == 50
    assert len(listed(service, pageSize=5000)["entries"]) == 1000


def test_lines_of_one_moment_are_told_apart_across_pages(service: LoggingService, logs: WrittenLogs) -> None:
    # A flood comes in blocks that share a time.
    logs.write("workerpool0-0", *map(str, range(200)), at=9 * MS, step=0)
    logs.write("workerpool1-0", *map(str, range(200, 400)), at=9 * MS, step=0)
    for order in ("timestamp asc", "timestamp desc"):
        found = [text(entry) for page in pages(service, 7, orderBy=order) for entry in page]
        assert sorted(found) == sorted([*ALL, *map(str, range(400))])


def test_a_token_goes_on_where_it_left_off_however_late_a_line_comes(
    service: LoggingService, logs: WrittenLogs
) -> None:
    page = listed(service, pageSize=4)
    # Older than what was given, but of a replica whose log had not been written that far.
    logs.write("workerpool2-0", "late", at=1 * MS)
    rest = listed(service, pageToken=page["nextPageToken"])
    assert [text(entry) for entry in rest["entries"]] == ["late", "saved", "Killed"]


def test_a_token_is_good_for_its_own_query_only(service: LoggingService) -> None:
    token = listed(service, pageSize=1)["nextPageToken"]
    with pytest.raises(ApiError, match="page_token does not match"):
        listed(service, f"{OF_JOB} severity=ERROR", pageToken=token)


def test_long_lines_make_a_short_page(
    service: LoggingService, logs: WrittenLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "_MAX_CHARACTERS", 1000)
    logs.write("workerpool0-0", *("x" * 400 for _ in range(10)), at=9 * MS)
    sizes = [len(page) for page in pages(service, 1000)]
    assert max(sizes[1:]) <= 3
    assert sum(sizes) == 16


def test_a_rare_line_is_found_page_by_page_without_going_back(
    service: LoggingService, logs: WrittenLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "_MAX_SCANNED", 100)
    logs.write("workerpool0-0", *("dull" for _ in range(1000)), at=9 * MS)
    logs.write("workerpool0-0", "rare", at=2000 * MS)
    found = list(pages(service, 50, filter=f"{OF_JOB} jsonPayload.message=rare"))
    assert [text(entry) for page in found for entry in page] == ["rare"]
    assert len(found) == 11


def test_the_time_asked_for_is_found_without_reading_what_is_before_it(
    service: LoggingService, logs: WrittenLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.write("workerpool0-0", *map(str, range(5000)), at=9 * MS)
    read: list[int] = []
    forward = logs.forward

    def counted(**options: Any) -> Iterator[Any]:
        for line in forward(**options):
            read.append(line.time_ns)
            yield line

    monkeypatch.setattr(logs, "forward", counted)
    since = f'timestamp>="{"2023-11-14T22:13:25Z"}"'
    assert texts(service, f"{OF_JOB} ({since} OR severity=ERROR {since})")[0] == "4991"
    assert min(read) >= T0 + 5000 * MS
    assert len(read) <= 51


async def _asked(service: LoggingService, body: bytes, method: str = "POST") -> tuple[int, Any]:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    await service({"method": method, "path": "/v2/entries:list", "headers": []}, receive, send)
    return sent[0]["status"], orjson.loads(sent[1]["body"])


@pytest.mark.parametrize(
    ("method", "body", "status"),
    [("POST", b"{", 400), ("POST", b"[]", 400), ("GET", b"", 404), ("POST", b"{}", 400)],
)
def test_nonsense_over_http_is_answered_as_google_does(
    service: LoggingService, method: str, body: bytes, status: int
) -> None:
    answered, error = asyncio.run(_asked(service, body, method))
    assert (answered, error["error"]["code"]) == (status, status)


def test_a_page_over_http(service: LoggingService) -> None:
    body = orjson.dumps({"resourceNames": [f"projects/{PROJECT}"], "filter": OF_JOB})
    status, page = asyncio.run(_asked(service, body))
    assert status == 200
    assert list(map(text, page["entries"])) == ALL


def test_what_breaks_is_an_internal_error() -> None:
    def broken(_project: str, _job: str) -> WrittenLogs:
        raise OSError("the disk is gone")

    body = orjson.dumps({"resourceNames": [f"projects/{PROJECT}"], "filter": OF_JOB})
    status, error = asyncio.run(_asked(LoggingService(broken), body))
    assert status == 500
    assert "the disk is gone" in error["error"]["message"]
