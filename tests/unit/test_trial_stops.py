"""Which trials were stopped early: learned from their jobs, each asked for once."""

from __future__ import annotations

from typing import Any

import pytest
from doubles import PARENT, Doubles

from vertexkit.tuning import HyperparameterTuningJob

NAME = f"{PARENT}/hyperparameterTuningJobs/9"
CREATED = "2026-01-02T03:04:05Z"
JOBS = f"{PARENT}/customJobs"


def search(*states: str, state: str = "RUNNING", stopping: bool = True) -> dict[str, Any]:
    study: dict[str, Any] = {"metrics": [{"metricId": "accuracy"}]}
    if stopping:
        study["medianAutomatedStoppingSpec"] = {}
    trials = [
        {
            "id": str(index),
            "state": trial,
            "customJob": f"{JOBS}/{index}",
            "finalMeasurement": {"metrics": [{"metricId": "accuracy", "value": index / 10}]},
        }
        for index, trial in enumerate(states, start=1)
    ]
    return {
        "name": NAME,
        "displayName": "mnist",
        "state": f"JOB_STATE_{state}",
        "createTime": CREATED,
        "studySpec": study,
        "trials": trials,
    }


def job_of(doubles: Doubles, data: dict[str, Any], jobs: dict[str, str] | int) -> HyperparameterTuningJob:
    """The search, where these are the CustomJobs that have not succeeded, or that is the HTTP status."""
    doubles.rest.answers[NAME] = lambda: data
    doubles.rest.answers[JOBS] = jobs if isinstance(jobs, int) else lambda: listing(jobs)
    return HyperparameterTuningJob(doubles.context, data)


def listing(jobs: dict[str, str]) -> dict[str, Any]:
    # Names have the project's number, as the service gives them.
    where = "projects/12345/locations/us-central1/customJobs"
    return {
        "customJobs": [
            {"name": f"{where}/{name}", "state": f"JOB_STATE_{state}"} for name, state in jobs.items()
        ]
    }


def asked(doubles: Doubles) -> int:
    """How often CustomJobs were asked for since the last time."""
    count = sum("customJobs" in path for _, path, _ in doubles.rest.asked)
    doubles.rest.asked.clear()
    return count


@pytest.fixture
def doubles(monkeypatch: pytest.MonkeyPatch) -> Doubles:
    monkeypatch.setenv("VERTEXKIT_NO_BACKOFF", "1")
    return Doubles()


def test_a_trial_whose_job_did_not_come_to_its_end_was_stopped_early(doubles: Doubles) -> None:
    data, jobs = search("SUCCEEDED", "SUCCEEDED", "ACTIVE", "INFEASIBLE"), {"2": "CANCELLED", "4": "FAILED"}
    job = job_of(doubles, data, jobs)
    assert [trial.stopped_early for trial in job.trials] == [False, True, False, False]
    assert [trial.state.value for trial in job.trials][:2] == ["SUCCEEDED", "SUCCEEDED"]
    assert asked(doubles) == 1
    data["trials"][2]["state"] = "SUCCEEDED"
    jobs["3"] = "CANCELLED"
    best = job.best
    assert best is not None
    assert (best.id, best.stopped_early) == ("3", True)
    assert asked(doubles) == 1
    assert repr(job.trials) == "<4 trials, 3 succeeded, 2 of them stopped early>"
    assert asked(doubles) == 0


def test_nothing_is_asked_where_no_trial_is_stopped_early(doubles: Doubles) -> None:
    job = job_of(doubles, search("SUCCEEDED", stopping=False), {"1": "CANCELLED"})
    assert not job.trials[0].stopped_early
    assert asked(doubles) == 0


def test_all_are_asked_for_at_once_until_they_are_over(doubles: Doubles) -> None:
    jobs = {"7": "CANCELLED", "8": "FAILED", "9": "RUNNING"}
    job = job_of(doubles, search(*["SUCCEEDED"] * 30, state="SUCCEEDED"), jobs)
    assert [trial.id for trial in job.trials if trial.stopped_early] == ["7", "8"]
    ((_, path, params),) = [one for one in doubles.rest.asked if "customJobs" in one[1]]
    assert path == JOBS
    assert params["filter"] == f'state!="JOB_STATE_SUCCEEDED" AND create_time>="{CREATED}"'
    assert params["readMask"] == "name,state"
    jobs["9"] = "CANCELLED"
    assert job.trial(9).stopped_early
    assert "stopped early" in job._repr_html_()
    assert asked(doubles) == 2


def test_where_the_jobs_are_hidden_nothing_is_said_and_nothing_asked_again(doubles: Doubles) -> None:
    job = job_of(doubles, search("SUCCEEDED"), 403)
    assert not job.trials[0].stopped_early
    assert asked(doubles) == 1
    assert not job.trials[0].stopped_early
    assert asked(doubles) == 0


def test_jobs_that_cannot_be_read_now_are_asked_for_the_next_time(doubles: Doubles) -> None:
    job = job_of(doubles, search("SUCCEEDED"), 400)
    assert not job.trials[0].stopped_early
    doubles.rest.answers[JOBS] = listing({"1": "CANCELLED"})
    assert job.trials[0].stopped_early


def test_one_that_was_stopped_early_is_shown_so(doubles: Doubles) -> None:
    job = job_of(doubles, search("SUCCEEDED", "SUCCEEDED"), {"1": "CANCELLED"})
    assert list(job.to_frame()["stopped_early"]) == [True, False]
    assert str(job.trial(1)) == "trial 1: SUCCEEDED, stopped early, accuracy=0.1"
    assert job._repr_html_().count("stopped early") == 1
