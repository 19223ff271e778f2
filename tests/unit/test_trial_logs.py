"""The logs of a search: no line of a trial is lost, however many there are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from unittest.mock import create_autospec

import pytest
from doubles import Clock, Doubles

from vertexkit import job_logs, trial_logs
from vertexkit.errors import Unavailable
from vertexkit.job_logs import JobLogs, LogFollower, LogLine
from vertexkit.trial_logs import TrialsFollower
from vertexkit.trials import Objective, Trial, Trials, TrialState

JOB = "projects/1/locations/us-central1/customJobs"


def line(text: str) -> LogLine:
    return LogLine(datetime(2026, 1, 2, tzinfo=UTC), "workerpool0-0", "INFO", text)


def test_the_end_of_a_search_gives_all_that_its_trials_have_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    # By id of the job; each list is what one poll gives.
    printed = {"9": [["s"]], "21": [["a"], ["b"], ["c"]], "22": [["d"], ["e"], ["f"]]}

    def logs(_: object, job_id: str) -> JobLogs:
        polls = printed[job_id]
        follower = create_autospec(LogFollower, instance=True, is_behind=False)
        follower.poll.side_effect = lambda: [line(text) for text in (polls.pop(0) if polls else [])]
        follower.finish.side_effect = lambda settled: [line(text) for poll in polls for text in poll]
        found: JobLogs = create_autospec(JobLogs, instance=True)
        monkeypatch.setattr(found, "follow", lambda: follower)
        return found

    monkeypatch.setattr(trial_logs, "JobLogs", logs)
    trials = Trials(
        [Trial(name, TrialState.SUCCEEDED, {}, custom_job=f"{JOB}/2{name}") for name in ("1", "2")],
        [Objective("accuracy")],
    )
    follower = TrialsFollower(Doubles().context, "9", lambda: trials)
    given = [*follower.poll(), *follower.finish()]
    assert sorted(one.text for one in given) == ["a", "b", "c", "d", "e", "f", "s"]
    assert {one.text: one.replica for one in given}["f"] == "2/workerpool0-0"


class Service:
    """A log service that has one line of each job, and fails as often as it is told."""

    def __init__(self) -> None:
        self.failures = 0

    def page(self, _: object, query: str, token: str, **options: Any) -> dict[str, Any]:
        if self.failures:
            self.failures -= 1
            raise Unavailable("HTTP 503", resource="the log")
        job = query.partition('job_id="')[2].partition('"')[0]
        entry = {"insertId": job, "timestamp": "2026-01-02T00:00:00Z", "textPayload": f"the end of {job}"}
        return {"entries": [entry]}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    found = Service()
    monkeypatch.setattr(job_logs, "_page", found.page)
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    passing = Clock()
    monkeypatch.setattr(job_logs, "time", passing)
    monkeypatch.setattr(trial_logs, "time", passing)
    return passing


ONE = Trials([Trial("1", TrialState.SUCCEEDED, {}, custom_job=f"{JOB}/21")], [Objective("accuracy")])


def test_what_a_trial_printed_last_is_given_though_its_log_could_not_be_read_at_first(
    service: Service, clock: Clock
) -> None:
    follower = TrialsFollower(Doubles().context, "9", lambda: ONE)
    given = follower.poll()
    service.failures = 1
    for _ in range(10):
        clock.now += 100
        given += follower.poll()
    assert sorted(one.text for one in given) == ["the end of 21", "the end of 9"]


def test_what_trials_printed_last_is_given_though_no_log_could_be_read_at_the_end(
    service: Service, clock: Clock
) -> None:
    follower = TrialsFollower(Doubles().context, "9", lambda: ONE)
    service.failures = 3
    assert sorted(one.text for one in follower.finish()) == ["the end of 21", "the end of 9"]


def test_logs_that_cannot_be_read_are_given_up_together(service: Service, clock: Clock) -> None:
    trials = Trials(
        [Trial(f"{n}", TrialState.SUCCEEDED, {}, custom_job=f"{JOB}/2{n}") for n in range(50)],
        [Objective("accuracy")],
    )
    follower = TrialsFollower(Doubles().context, "9", lambda: trials)
    service.failures = 10_000
    told = [one.text for one in follower.finish()]
    assert len(told) == 51
    assert all("could not be read" in text for text in told)
    assert clock.now < 200
