"""Tuning jobs, through vertexkit, against a real local Vertex AI: programs that need no TensorFlow."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import vertexkit as vk
from vertexkit.preflight import PreflightWarning

PROGRAM = """\
import argparse, os, sys
import hypertune
parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float, required=True)
parser.add_argument("--n", type=int, required=True)
parser.add_argument("--batch", type=int, default=0)
parser.add_argument("--kind", choices=["plain", "bent"], default="plain")
parser.add_argument("--bend", type=float, default=0.0)
options = parser.parse_args()
print("options", sorted(vars(options).items()), flush=True)
if options.n == 7:
    sys.exit("seven is too many")
reports = hypertune.HyperTune()
score = -(options.x - 3) ** 2 - options.n
for step, value in enumerate([score - 1, score + 1, score], start=1):
    reports.report_hyperparameter_tuning_metric("score", value, global_step=step)
"""
SPACE: dict[str, Any] = {"x": vk.Double(0, 10), "n": vk.Integer(1, 3)}


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "trial.py"
    path.write_text(PROGRAM)
    return path


def test_a_search_gives_its_trials_and_the_best(
    session: vk.Session, script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = {
        **SPACE,
        "batch": vk.Discrete([16, 32]),
        "kind": vk.Categorical(["plain", "bent"], children={"bent": {"bend": vk.Double(1, 2)}}),
    }
    job = session.tuning.run(script, metric="score", space=space, trials=5, parallel=2, name="search")
    assert job.state == "SUCCEEDED"
    assert [trial.id for trial in job.trials] == ["1", "2", "3", "4", "5"]
    for trial in job.trials:
        assert trial.state == "SUCCEEDED"
        assert [type(trial.parameters[name]) for name in ("x", "n", "batch")] == [float, int, int]
        assert ("bend" in trial.parameters) == (trial.parameters["kind"] == "bent")
        score = -((float(trial.parameters["x"]) - 3) ** 2) - float(trial.parameters["n"])
        assert trial.metrics["score"] == pytest.approx(score)
        assert trial.start is not None
        assert trial.end is not None
    best = job.best
    assert best is not None
    assert best.metrics["score"] == max(trial.metrics["score"] for trial in job.trials)
    shown = capsys.readouterr().err
    assert len(re.findall(r"trial \d started: x=", shown)) == 5
    assert len(re.findall(r"trial \d ended after .*; best score .* \(\d of 5\)", shown)) == 5
    frame = job.to_frame()
    assert (len(frame), str(frame.dtypes["n"])) == (5, "int64")
    # What the program got is what the trial says, as it was searched.
    (line,) = [line.text for line in job.logs(best.id, "workerpool0-0") if line.text.startswith("options")]
    assert f"('batch', {best.parameters['batch']})" in line
    assert len([line for line in job.logs() if line.text.startswith("options")]) == 5
    again = session.tuning.get("search")
    assert (again, again.best, again.trials) == (job, best, job.trials)
    assert session.tuning.list() == [job]
    assert session.training.list() == []


def test_the_best_report_counts_where_that_is_asked_for(session: vk.Session, script: Path) -> None:
    job = session.tuning.run(
        script,
        metric="score",
        space=SPACE,
        trials=1,
        measurement_selection="best",
    )
    (trial,) = job.trials
    score = -((float(trial.parameters["x"]) - 3) ** 2) - float(trial.parameters["n"])
    assert trial.metrics["score"] == pytest.approx(score + 1)


def test_a_grid_is_gone_through_once(session: vk.Session, script: Path) -> None:
    space = {"x": vk.Discrete([1.5, 3]), "n": vk.Integer(1, 2)}
    with pytest.warns(PreflightWarning, match="over after 4"):
        job = session.tuning.run(script, metric="score", space=space, trials=8, parallel=2, algorithm="grid")
    points = sorted((trial.parameters["x"], trial.parameters["n"]) for trial in job.trials)
    assert points == [(1.5, 1), (1.5, 2), (3.0, 1), (3.0, 2)]


def test_of_several_metrics_the_pareto_set_is_given(session: vk.Session, script: Path) -> None:
    cost = 'reports.report_hyperparameter_tuning_metric("cost", options.n, global_step=3)'
    script.write_text(f"{PROGRAM}{cost}\n")
    goals: Any = {"score": "maximize", "cost": "minimize"}
    job = session.tuning.run(script, metric=goals, space=SPACE, trials=4, parallel=2)
    with pytest.raises(vk.InvalidArgument, match="optimal"):
        _ = job.best
    cheapest = job.best_of("cost")
    assert cheapest is not None
    assert cheapest.metrics["cost"] == min(trial.metrics["cost"] for trial in job.trials)
    assert 1 <= len(job.optimal) <= 4


def test_a_search_that_fails_says_why_and_shows_the_last_lines(session: vk.Session, script: Path) -> None:
    with pytest.raises(vk.TuningFailed) as raised:
        session.tuning.run(
            script,
            metric="score",
            space={"x": vk.Double(0, 1), "n": vk.Integer(7, 7)},
            trials=4,
            parallel=1,
            max_failed=2,
        )
    error = raised.value
    assert "1" in error.failures
    assert "exited with a non-zero status of 1" in error.failures["1"]
    assert error.last_lines[-1] == "seven is too many"
    assert error.job is not None
    job = session.tuning.get(error.job)
    assert (job.state, job.best) == ("FAILED", None)
    assert {trial.state for trial in job.trials} == {"INFEASIBLE"}


def test_a_trial_that_failed_does_not_end_the_search(session: vk.Session, script: Path) -> None:
    space = {"x": vk.Discrete([1, 2]), "n": vk.Discrete([1, 7])}
    job = session.tuning.run(
        script, metric="score", space=space, trials=4, parallel=1, algorithm="grid", max_failed=3
    )
    failed = [trial for trial in job.trials if trial.state == "INFEASIBLE"]
    assert {trial.parameters["n"] for trial in failed} == {7}
    assert len(failed) == 2
    best = job.best
    assert best is not None
    assert best.parameters == {"x": 2, "n": 1}


def test_the_model_of_a_trial_is_uploaded(session: vk.Session, script: Path) -> None:
    writes = [
        "from google.cloud import storage",
        "bucket, _, name = os.environ['AIP_MODEL_DIR'].removeprefix('gs://').partition('/')",
        "if options.n == 1:",
        "    blob = storage.Client().bucket(bucket).blob(name + 'saved_model.pb')",
        "    blob.upload_from_filename(os.environ['SAVED_MODEL'])",
    ]
    script.write_text(PROGRAM + "\n".join(writes) + "\n")
    model = script.with_name("saved_model.pb")
    model.write_bytes(b"")
    job = session.tuning.run(
        script,
        metric="score",
        space={"x": vk.Discrete([1]), "n": vk.Discrete([1, 2])},
        trials=2,
        algorithm="grid",
        env={"SAVED_MODEL": str(model)},
        framework_version="2.12",
        name="search",
    )
    for trial in job.trials:
        if trial.parameters["n"] == 1:
            made = trial.model(serving_image="gcr.io/mine/server:1")
            assert made.display_name == f"search-trial-{trial.id}"
            assert made.artifact_uri == trial.model_dir
        else:
            with pytest.raises(vk.NotFound, match="has written no model"):
                trial.model()


def test_a_search_is_followed_cancelled_and_deleted_from_elsewhere(session: vk.Session, script: Path) -> None:
    script.write_text(PROGRAM + "import time\ntime.sleep(600)\n")
    job = session.tuning.run(script, metric="score", space=SPACE, trials=4, parallel=2, wait=False)
    lines = job.logs(follow=True)
    assert next(line.replica for line in lines if line.text.startswith("options")) in (
        "1/workerpool0-0",
        "2/workerpool0-0",
    )
    again = session.tuning.get(job.resource_name)
    with pytest.raises(vk.DeadlineExceeded, match=r"session\.tuning\.get"):
        again.wait(0.2)
    with pytest.raises(vk.FailedPrecondition):
        again.delete()
    again.cancel()
    with pytest.raises(vk.Cancelled):
        job.wait(60)
    assert [trial for trial in job.trials if not trial.state.ended] == []
    job.delete()
    job.delete()  # gone already
    assert session.tuning.list() == []
    assert session.training.list() == []


def test_checking_does_nothing(session: vk.Session, script: Path) -> None:
    asked: dict[str, Any] = {"metric": "score", "space": SPACE, "trials": 2}
    assert session.tuning.check(script, **asked) == []
    with pytest.raises(vk.PreflightFailed, match="is not what the program reports"):
        session.tuning.run(script, **{**asked, "metric": "scores"})
    assert session.buckets.list() == []
    assert session.tuning.list() == []


def test_the_command_line_tunes_shows_and_deletes(session: vk.Session, emulator: Any, script: Path) -> None:
    where = (f"--project={session.project}", f"--emulator={emulator.rest}")

    def vertexkit(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "vertexkit", *arguments], capture_output=True, text=True, timeout=60
        )

    asked = ("--metric=score", "--space=x=0.0..10", "--trials=2", "--name=cli", str(script))
    tuned = vertexkit("tune", *where, "--json", *asked, "--", "--n=1")
    assert tuned.returncode == 0, tuned.stderr
    shown = json.loads(tuned.stdout)
    assert (shown["state"], shown["kind"], shown["trials"]) == ("SUCCEEDED", "tuning", 2)
    assert set(shown["best_parameters"]) == {"x"}
    assert "trial 1 started: x=" in tuned.stderr
    trials = json.loads(vertexkit("jobs", "trials", *where, "cli", "--json").stdout)
    assert [row["trial"] for row in trials] == ["1", "2"]
    assert [row["trial"] for row in trials if row["best"]] == [shown["best_trial"]]
    logs = vertexkit("jobs", "logs", *where, "cli", "--trial=1", "--replica=workerpool0-0")
    assert logs.stdout.startswith("workerpool0-0  options [('batch', 0)")
    (listed,) = json.loads(vertexkit("jobs", "list", *where, "--json").stdout)
    assert (listed["kind"], listed["name"]) == ("tuning", "cli")
    assert vertexkit("jobs", "delete", *where, "cli", "--yes").returncode == 0
    assert vertexkit("jobs", "show", *where, "cli").returncode == 1
    refused = vertexkit("tune", *where, "--check", "--metric=scor", *asked[1:])
    assert (refused.returncode, "program reports" in refused.stdout) == (1, True)
