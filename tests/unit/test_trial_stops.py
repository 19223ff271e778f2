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


def job_of(doubles: Doubles, data: dict[str, Any], jobs: dict[str, str | int]) -> HyperparameterTuningJob:
    """The search, when the CustomJobs of its trials have these states, or answer with an HTTP status."""
    doubles.rest.answers[NAME] = lambda: data
    for name, state in jobs.items():
        answer: Any = state if isinstance(state, int) else {"name": name, "state": f"JOB_STATE_{state}"}
        doubles.rest.answers[f"{JOBS}/{name}"] = answer
    return HyperparameterTuningJob(doubles.context, data)


def asked(doubles: Doubles) -> list[str]:
    """What was asked of CustomJobs since the last time."""
    paths = [path.removeprefix(f"{PARENT}/") for _, path, _ in doubles.rest.asked]
    doubles.rest.asked.clear()
    return [path for path in paths if path.startswith("customJobs")]


@pytest.fixture
def doubles(monkeypatch: pytest.MonkeyPatch) -> Doubles:
    monkeypatch.setenv("VERTEXKIT_NO_BACKOFF", "1")
    return Doubles()


def test_a_trial_whose_job_did_not_come_to_its_end_was_stopped_early(doubles: Doubles) -> None:
    data = search("SUCCEEDED", "SUCCEEDED", "ACTIVE", "INFEASIBLE")
    job = job_of(doubles, data, {"1": "SUCCEEDED", "2": "CANCELLED"})
    assert [trial.stopped_early for trial in job.trials] == [False, True, False, False]
    assert [trial.state.value for trial in job.trials][:2] == ["SUCCEEDED", "SUCCEEDED"]
    assert asked(doubles) == ["customJobs/1", "customJobs/2"]
    data["trials"][2]["state"] = "SUCCEEDED"
    doubles.rest.answers[f"{JOBS}/3"] = {"state": "JOB_STATE_CANCELLED"}
    best = job.best
    assert best is not None
    assert (best.id, best.stopped_early) == ("3", True)
    assert asked(doubles) == ["customJobs/3"]
    assert repr(job.trials) == "<4 trials, 3 succeeded, 2 of them stopped early>"


def test_nothing_is_asked_where_no_trial_is_stopped_early(doubles: Doubles) -> None:
    job = job_of(doubles, search("SUCCEEDED", stopping=False), {"1": "CANCELLED"})
    assert not job.trials[0].stopped_early
    assert asked(doubles) == []


def test_many_are_asked_for_at_once(doubles: Doubles) -> None:
    # The trials say who owns the project by its number, as the service does.
    job = job_of(doubles, search(*["SUCCEEDED"] * 30, state="SUCCEEDED"), {})
    not_whole = [{"name": f"projects/12345/locations/us-central1/customJobs/{index}"} for index in (7, 8, 9)]
    for one, state in zip(not_whole, ("CANCELLED", "FAILED", "RUNNING"), strict=True):
        one["state"] = f"JOB_STATE_{state}"
    doubles.rest.answers[JOBS] = {"customJobs": not_whole}
    assert [trial.id for trial in job.trials if trial.stopped_early] == ["7", "8"]
    ((_, path, params),) = [one for one in doubles.rest.asked if "customJobs" in one[1]]
    assert path == JOBS
    assert params["filter"] == f'state!="JOB_STATE_SUCCEEDED" AND create_time>="{CREATED}"'
    assert params["readMask"] == "name,state"
    asked(doubles)
    # Only the one that was not over is asked for again.
    doubles.rest.answers[f"{JOBS}/9"] = {"state": "JOB_STATE_CANCELLED"}
    assert job.trial(9).stopped_early
    assert "stopped early" in job._repr_html_()
    assert asked(doubles) == ["customJobs/9"]


@pytest.mark.parametrize("status", [403, 404])
def test_where_the_job_is_gone_or_hidden_nothing_is_said_and_nothing_asked_again(
    doubles: Doubles, status: int
) -> None:
    job = job_of(doubles, search("SUCCEEDED"), {"1": status})
    assert not job.trials[0].stopped_early
    assert asked(doubles) == ["customJobs/1"]
    assert not job.trials[0].stopped_early
    assert asked(doubles) == []


def test_a_job_that_cannot_be_read_now_is_asked_for_the_next_time(doubles: Doubles) -> None:
    job = job_of(doubles, search("SUCCEEDED"), {"1": 400})
    assert not job.trials[0].stopped_early
    doubles.rest.answers[f"{JOBS}/1"] = {"state": "JOB_STATE_CANCELLED"}
    assert job.trials[0].stopped_early


def test_one_that_was_stopped_early_is_shown_so(doubles: Doubles) -> None:
    job = job_of(doubles, search("SUCCEEDED", "SUCCEEDED"), {"1": "CANCELLED", "2": "SUCCEEDED"})
    assert list(job.to_frame()["stopped_early"]) == [True, False]
    assert str(job.trial(1)) == "trial 1: SUCCEEDED, stopped early, accuracy=0.1"
    assert job._repr_html_().count("stopped early") == 1
