"""A session of autospecced doubles that knows one training job."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import MagicMock, create_autospec

import pytest

from vertexkit.job_logs import LogLine
from vertexkit.job_state import JobState
from vertexkit.model import Model
from vertexkit.session import Session
from vertexkit.training import CustomTrainingJob, Training

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAME = "projects/1/locations/us-central1/trainingPipelines/7"


def training_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """What ``connect()`` gives from now on."""
    monkeypatch.chdir(tmp_path)
    for variable in list(os.environ):
        if variable.startswith(("VERTEXKIT_", "GOOGLE_CLOUD_")):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("VERTEXKIT_EMULATOR", "http://127.0.0.1:1")
    made = create_autospec(Session, instance=True, project="my-project", location="us-central1")
    made.__enter__.return_value = made
    made.training = create_autospec(Training, instance=True)
    for method in (made.training.get, made.training.run):
        method.return_value = training_job()
    made.training.list.return_value = [training_job()]
    made.training.check.return_value = []
    monkeypatch.setattr("vertexkit.session.connect", MagicMock(return_value=made))
    return made


def training_job(state: JobState = JobState.SUCCEEDED) -> MagicMock:
    """A job with a model and two lines."""
    model = create_autospec(Model, instance=True, versioned_name="projects/1/locations/l/models/m@1")
    made = create_autospec(
        CustomTrainingJob,
        instance=True,
        id="7",
        display_name="mnist",
        resource_name=NAME,
        state=state,
        state_as_read=state,
        created=CREATED,
        start_time=CREATED,
        end_time=None,
        error=None,
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
    return made  # type: ignore[no-any-return]
