"""The logs of a search: no line of a trial is lost, however many there are."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest.mock import create_autospec

import pytest
from doubles import Doubles

from vertexkit import trial_logs
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
        follower = create_autospec(LogFollower, instance=True)
        follower.poll.side_effect = lambda: [line(text) for text in (polls.pop(0) if polls else [])]
        follower.finish.side_effect = lambda: [line(text) for poll in polls for text in poll]
        found = create_autospec(JobLogs, instance=True)
        found.follow.return_value = follower
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
