"""Searches by Keras Tuner, through vertexkit, against a real local Vertex AI: trials that train nothing."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import vertexkit as vk
from vertexkit._core.context import Context
from vertexkit.keras_tuner_trials import SearchFolder
from vertexkit.trials import Objective

PROGRAM = """\
import argparse

from trainer_scripts import keras_tuner_cluster

parser = argparse.ArgumentParser()
parser.add_argument("--trials", type=int)
options = parser.parse_args()
cluster = keras_tuner_cluster.join()

import keras_tuner


class Parabola(keras_tuner.RandomSearch):
    def run_trial(self, trial):
        x = trial.hyperparameters.Float("x", 1, 10, sampling="log")
        n = trial.hyperparameters.Int("n", 1, 3)
        if n == 3:
            raise keras_tuner.errors.FailedTrialError("three is too many")
        return {"distance": abs(x - 3), "n_again": n}


objective = keras_tuner.Objective("distance", "min")
tuner = Parabola(objective=objective, max_trials=options.trials, seed=3, project_name="parabola")
tuner.search()
print("this was", cluster.tuner_id)
"""


@pytest.mark.slow
def test_a_search_on_two_machines_gives_its_trials_and_the_best(
    session: vk.Session, emulator: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "search.py"
    script.write_text(PROGRAM)
    assert session.keras_tuner.check(script, args={"trials": 8}, workers=1) == []
    refused = session.keras_tuner.check(script, args={"trials": 8}, tensorboard="123", model="")
    assert {finding.argument for finding in refused} == {"service_account", "model"}
    assert "--trails" in str(session.keras_tuner.check(script, args={"trails": 8}))

    job = session.keras_tuner.run(script, workers=1, args={"trials": 8}, model=False, name="parabola")

    assert job.state == "SUCCEEDED"
    trials = job.trials
    assert len(trials) == 8
    assert trials.objectives[0].metric == "distance"
    assert not trials.objectives[0].maximize
    good = [trial for trial in trials if trial.state == "SUCCEEDED"]
    assert 0 < len(good) < 8, "the seed was to give some trials that fail"
    for trial in good:
        assert trial.metrics["distance"] == pytest.approx(abs(float(trial.parameters["x"]) - 3))
        assert type(trial.parameters["n"]) is int
    assert {trial.infeasible_reason for trial in trials if trial.state == "INFEASIBLE"} != {None}
    best = job.best
    assert best is not None
    assert best.metrics["distance"] == min(trial.metrics["distance"] for trial in good)
    assert f"best distance {best.metrics['distance']:.4g}" in capsys.readouterr().err
    frame = job.to_frame()
    assert list(frame.index) == [trial.id for trial in trials]
    assert frame["n"].dtype == "int64"
    assert (frame["seconds"] >= 0).all()
    assert job.start_time is not None
    assert job.end_time is not None
    assert job.start_time < frame["start"].min() <= frame["end"].max() < job.end_time
    assert f"Search by Keras Tuner {job.display_name}" in job._repr_html_()
    assert "8 of 8 so far are over" in job._repr_html_()
    assert len(job.plot().axes) >= 3
    assert {line.replica for line in job.logs()} >= {"workerpool0-0", "workerpool1-0"}
    with pytest.raises(vk.NotFound, match="AIP_MODEL_DIR"):
        best.model()
    other = next(trial for trial in trials if trial.id != best.id)
    with pytest.raises(vk.NotFound, match="only the best"):
        other.model()

    with vk.connect(session.project, emulator=emulator.rest) as elsewhere:
        again = elsewhere.keras_tuner.get("parabola")
        assert again.trials == trials
        assert [found.id for found in elsewhere.keras_tuner.list()] == [job.id]
    where = ["--emulator", emulator.rest, "--project", session.project]
    shown = subprocess.run(
        [sys.executable, "-m", "vertexkit", "jobs", "trials", "parabola", "--json", *where],
        capture_output=True,
        text=True,
    )
    assert len(json.loads(shown.stdout)) == 8, shown.stderr


def test_a_training_job_is_no_search(session: vk.Session, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("print('no search')")
    job = session.training.run(script, model=False, wait=False)
    with pytest.raises(vk.InvalidArgument, match="does not search"):
        session.keras_tuner.get(job.resource_name)
    with pytest.raises(vk.NotFound, match=r"session\.keras_tuner\.list"):
        session.keras_tuner.get("no such search")
    assert session.keras_tuner.list() == []
    job.wait()


@pytest.fixture
def context(session: vk.Session) -> Context:
    return session._context


def trial(name: str, status: str, **facts: Any) -> dict[str, Any]:
    values = facts.pop("values", {"units": 16})
    accuracy = facts.pop("accuracy", None)
    metrics: dict[str, Any] = {}
    if accuracy is not None:
        for metric, direction, value in (("val_accuracy", "max", accuracy), ("loss", "min", 1 - accuracy)):
            metrics[metric] = {"direction": direction, "observations": [{"value": [value], "step": 2}]}
        facts |= {"score": accuracy, "best_step": 2}
    return {
        "trial_id": name,
        "hyperparameters": {"space": [], "values": values},
        "metrics": {"metrics": metrics},
        "status": status,
        **facts,
    }


def test_the_folder_of_a_search_is_read_while_it_is_written(session: vk.Session, context: Context) -> None:
    bucket = session.buckets.create(f"b-{uuid.uuid4().hex[:12]}")
    folder = SearchFolder(context, [f"{bucket.uri}/checkpoints"])
    assert len(folder.trials()) == 0

    def write(name: str, document: object) -> None:
        bucket.write(f"checkpoints/keras_tuner/search/{name}", json.dumps(document).encode())

    oracle = {
        "start_order": ["1", "0", "2"],
        "retry_queue": ["2"],
        "hyperparameters": {"space": [{"class_name": "Int", "config": {"name": "units", "sampling": "log"}}]},
    }
    write("oracle.json", oracle)
    write(
        "trial_0/trial.json", trial("0", "COMPLETED", accuracy=0.9, values={"units": 32, "tuner/epochs": 3})
    )
    write("trial_1/trial.json", trial("1", "FAILED", message="Traceback ...\nValueError: no such layer\n"))
    write("trial_2/trial.json", trial("2", "RUNNING"))
    bucket.write("checkpoints/keras_tuner/search/trial_3/trial.json", b'{"trial_id": "3", ')

    found = folder.trials()
    assert [one.id for one in found] == ["1", "0", "2"]
    assert [one.state.value for one in found] == ["INFEASIBLE", "SUCCEEDED", "REQUESTED"]
    assert found[0].infeasible_reason == "ValueError: no such layer"
    assert dict(found[1].parameters) == {"units": 32}
    assert dict(found[1].metrics) == {"val_accuracy": 0.9, "loss": pytest.approx(0.1)}
    assert found.objectives[0].metric == "val_accuracy"
    assert found.objectives[0].maximize
    assert found._log == {"units"}
    # What has not joined its cluster does not say when its trials began.
    assert [(one.start, one.end is not None, one.seconds) for one in found] == [
        (None, True, None),
        (None, True, None),
        (None, False, None),
    ]

    # The processes of a search that has failed write no more.
    cut_short = folder.trials(interrupted="it was interrupted")
    assert [one.state.value for one in cut_short] == ["INFEASIBLE", "SUCCEEDED", "INFEASIBLE"]
    assert cut_short[2].infeasible_reason == "it was interrupted"

    began = time.time() - 60
    write("trial_2/trial.json", trial("2", "COMPLETED", accuracy=0.95, began=began))
    write("oracle.json", {**oracle, "retry_queue": []})
    best = folder.trials().best()
    assert best is not None
    assert best.id == "2"
    assert best.start == datetime.fromtimestamp(began, UTC)
    assert best.seconds == pytest.approx(60, abs=10)

    # As Keras Tuner ends one whose objective was NaN at every step: it says nothing of it.
    write("trial_1/trial.json", {**trial("1", "FAILED", accuracy=math.nan), "best_step": None})
    found = folder.trials()
    assert found.objectives == (Objective("val_accuracy"),)
    assert found.best() == best
    assert found[0].infeasible_reason == "its score is NaN, by which no trial can be compared"
