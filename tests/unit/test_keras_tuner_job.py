"""Where a search by Keras Tuner is looked for."""

from __future__ import annotations

import re
from typing import Any
from unittest.mock import create_autospec

import pytest
from doubles import PARENT, Doubles

from vertexkit._core.names import parse_gcs_uri
from vertexkit.errors import NotFound, PermissionDenied
from vertexkit.keras_tuner_job import KerasTunerJob
from vertexkit.keras_tuner_trials import SearchFolder
from vertexkit.trials import Objective, Trial, Trials, TrialState

NAME = f"{PARENT}/customJobs/1"
CHECKPOINTS = "gs://bucket/job/checkpoints"


def job_with(trials: list[Trial], state: str = "SUCCEEDED") -> KerasTunerJob:
    """A search in whose folder these trials are."""
    data = {"name": NAME, "displayName": "digits", "state": f"JOB_STATE_{state}"}
    doubles = Doubles()
    doubles.rest.answers[NAME] = data
    job = KerasTunerJob(doubles.context, data)
    folder = create_autospec(SearchFolder, instance=True)
    folder.places = (parse_gcs_uri("gs://bucket/search"),)
    folder.trials.return_value = Trials(trials, [Objective("accuracy")])
    vars(job)["_folder"] = folder
    return job


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("RUNNING", "the search is running.*wait\\(\\) for the search"),
        ("FAILED", "no place to write to, and has saved no model"),
    ],
)
def test_a_model_that_is_not_there_yet_is_to_be_waited_for(state: str, said: str) -> None:
    best = Trial("0", TrialState.SUCCEEDED, {}, {"accuracy": 0.9})
    job = job_with([best], state)
    with pytest.raises(NotFound) as raised:
        job._model_of(best, None)
    assert re.search(said, " ".join(str(raised.value).split()))


@pytest.mark.parametrize(
    ("args", "places"),
    [
        ([], [CHECKPOINTS]),
        (["--directory=gs://mine/search", "--seed=1"], ["gs://mine/search", CHECKPOINTS]),
        (["--directory=/gcs/mine/search"], ["gs://mine/search", CHECKPOINTS]),
        (["--seed", "1", "--directory", "/gcs/mine/search"], ["gs://mine/search", CHECKPOINTS]),
        (["--directory=digits"], [CHECKPOINTS]),
    ],
)
def test_a_search_is_read_where_its_program_is_told_to_keep_it(args: list[str], places: list[str]) -> None:
    job = KerasTunerJob(
        Doubles().context,
        {
            "name": f"{PARENT}/trainingPipelines/1",
            "trainingTaskInputs": {
                "baseOutputDirectory": {"outputUriPrefix": "gs://bucket/job"},
                "workerPoolSpecs": [{"pythonPackageSpec": {"args": args}}],
            },
        },
    )
    assert [str(place) for place in job._folder.places] == places


@pytest.mark.parametrize(
    ("state", "interrupted"),
    [
        ("RUNNING", None),
        ("CANCELLED", "it was interrupted: the job is cancelled"),
        ("FAILED", "it was interrupted: the job is failed"),
    ],
)
def test_no_trial_runs_once_the_job_is_over(state: str, interrupted: str | None) -> None:
    doubles = Doubles()
    name = f"{PARENT}/customJobs/1"
    doubles.rest.answers[f"GET {name}"] = {"name": name, "state": f"JOB_STATE_{state}"}
    job = KerasTunerJob(doubles.context, {"name": name, "state": "JOB_STATE_RUNNING"})
    folder = create_autospec(SearchFolder, instance=True)
    folder.trials.return_value = Trials([], [])
    vars(job)["_folder"] = folder
    assert len(job.trials) == 0
    assert folder.trials.call_args.kwargs == {"interrupted": interrupted}


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        (
            [],
            "No trial of digits was found in gs://bucket/search/: has its program called",
        ),
        ([Trial("0", TrialState.INFEASIBLE, {}, infeasible_reason="no layer")], "has succeeded: no layer"),
        ([Trial("0", TrialState.SUCCEEDED, {})], ""),
    ],
)
def test_a_search_that_succeeded_without_a_trial_says_so_once(
    caplog: pytest.LogCaptureFixture, trials: list[Trial], said: str
) -> None:
    job = job_with(trials)
    job.wait()
    assert said in caplog.text
    assert bool(caplog.text) == bool(said)
    assert ("none in gs://bucket/search/" in job._repr_html_()) == (not trials)
    caplog.clear()
    job.wait()
    assert caplog.text == ""


def test_a_search_has_succeeded_also_where_its_trials_cannot_be_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    job = job_with([])
    folder: Any = job._folder
    folder.trials.side_effect = PermissionDenied("no", resource="gs://bucket")
    job.wait()
    assert caplog.text == ""
    # What could not be said then is said the next time.
    folder.trials.side_effect = None
    job.wait()
    assert "No trial of digits was found" in caplog.text
