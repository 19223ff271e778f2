"""A session of autospecced doubles: one training job, what a search gives, and a batch prediction."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from typing import Any
from unittest.mock import MagicMock, create_autospec

import pytest

from vertexkit.batch import BatchPrediction, BatchPredictionJob
from vertexkit.batch_progress import BatchProgress
from vertexkit.batch_results import BatchRow
from vertexkit.errors import NotFound
from vertexkit.job_logs import LogLine
from vertexkit.job_state import JobState
from vertexkit.model import Model
from vertexkit.session import Session
from vertexkit.training import CustomTrainingJob, Training
from vertexkit.trials import Objective, Trial, Trials, TrialState
from vertexkit.tuning import HyperparameterTuningJob, Tuning

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAME = "projects/1/locations/us-central1/trainingPipelines/7"
TUNING_NAME = "projects/1/locations/us-central1/hyperparameterTuningJobs/9"
BATCH_NAME = "projects/1/locations/us-central1/batchPredictionJobs/5"


def training_session(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """What ``connect()`` gives from now on."""
    monkeypatch.setenv("VERTEXKIT_EMULATOR", "http://127.0.0.1:1")
    made: MagicMock = create_autospec(Session, instance=True, project="my-project", location="us-central1")
    made.__enter__.return_value = made
    made.training = create_autospec(Training, instance=True)
    for method in (made.training.get, made.training.run):
        method.return_value = training_job()
    made.training.list.return_value = [training_job()]
    made.training.check.return_value = []
    made.tuning = create_autospec(Tuning, instance=True)
    made.tuning.get.side_effect = NotFound("there is none")
    made.tuning.list.return_value = []
    made.tuning.run.return_value = tuning_job()
    made.tuning.check.return_value = []
    made.batch = create_autospec(BatchPrediction, instance=True)
    made.batch.get.side_effect = NotFound("there is none")
    made.batch.list.return_value = []
    made.batch.run.return_value = batch_job()
    made.batch.check.return_value = []
    monkeypatch.setattr("vertexkit.session.connect", MagicMock(return_value=made))
    return made


def asked(method: MagicMock) -> dict[str, Any]:
    """What the double of a method was given beside its defaults."""
    parameters = inspect.signature(method).parameters
    given = method.call_args.kwargs
    return {name: value for name, value in given.items() if value != parameters[name].default}


def _job(of: type[Any], state: JobState, **fields: Any) -> MagicMock:
    """What every job has."""
    made: MagicMock = create_autospec(
        of,
        instance=True,
        state=state,
        state_as_read=state,
        created=CREATED,
        start_time=CREATED,
        end_time=None,
        error=None,
        **fields,
    )
    return made


def training_job(state: JobState = JobState.SUCCEEDED) -> MagicMock:
    """A job with a model and two lines."""
    model = create_autospec(Model, instance=True, versioned_name="projects/1/locations/l/models/m@1")
    made = _job(
        CustomTrainingJob,
        state,
        id="7",
        display_name="mnist",
        resource_name=NAME,
        model=model,
        base_output_dir="gs://b/out",
        custom_job="projects/1/locations/us-central1/customJobs/8",
        labels={"team": "ml"},
    )
    made.logs.return_value = iter(
        [
            LogLine(CREATED, "workerpool0-0", "INFO", "epoch 1"),
            LogLine(CREATED, "workerpool1-0", "ERROR", "warning"),
        ]
    )
    return made


def tuning_job(state: JobState = JobState.SUCCEEDED) -> MagicMock:
    """A search of two trials, of which the second came to nothing."""
    trials = Trials(
        [
            Trial(
                "1", TrialState.SUCCEEDED, {"lr": 0.1, "n": 3}, {"accuracy": 0.9}, start=CREATED, end=CREATED
            ),
            Trial("2", TrialState.INFEASIBLE, {"lr": 1.0, "n": 4}, infeasible_reason="It reported nothing."),
        ],
        [Objective("accuracy")],
    )
    made = _job(
        HyperparameterTuningJob,
        state,
        id="9",
        display_name="search",
        resource_name=TUNING_NAME,
        objectives=trials.objectives,
        trials=trials,
        trials_as_read=trials,
        trial_count=2,
        base_output_dir="gs://b/out",
        labels={},
    )
    made.logs.return_value = iter([LogLine(CREATED, "1/workerpool0-0", "INFO", "epoch 1")])
    return made


def batch_job(state: JobState = JobState.SUCCEEDED) -> MagicMock:
    """A batch prediction of three instances, of which the second failed."""
    made = _job(
        BatchPredictionJob,
        state,
        id="5",
        display_name="images",
        resource_name=BATCH_NAME,
        model_name="projects/1/locations/l/models/m@1",
        input_uris=("gs://b/in.jsonl",),
        input_format="jsonl",
        output_format="jsonl",
        output_uri="gs://b/out/prediction-m-1",
        progress_as_read=BatchProgress(2, 1, 3),
        partial_failures=("it has the wrong shape",),
        labels={},
    )
    rows = [
        BatchRow(0, {"x": [1, 2]}, [0.5, 0.5], None),
        BatchRow(1, "[1", None, "is no JSON"),
        BatchRow(2, {"x": [3, 4]}, [0.25, 0.75], None),
    ]
    made.rows.side_effect = lambda: iter(rows)
    made.logs.return_value = iter([LogLine(CREATED, "service", "INFO", "served by 1 replica")])
    return made
