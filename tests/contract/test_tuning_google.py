"""Hyperparameter tuning through Google's own high-level client, unmodified, over each transport."""

from __future__ import annotations

import itertools
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from local_bucket import Bucket

TRAINING_IMAGE = "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-12.py310:latest"

# What every program here begins with; nothing of TensorFlow, so that a trial takes no longer than Python.
PROGRAM = """
import argparse, json, os, sys, time
import hypertune
parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float, default=0.0)
parser.add_argument("--n", type=int, default=1)
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--kind", default="none")
parser.add_argument("--momentum", type=float, default=None)
args = parser.parse_args()
reporter = hypertune.HyperTune()
def report(value, step=None, tag="score"):
    reporter.report_hyperparameter_tuning_metric(tag, value, step)
"""

pytestmark = pytest.mark.usefixtures("quick")

# What depends on the work rather than on how it is asked for is shown over one transport.
over_grpc = pytest.mark.parametrize("transport", ["grpc"])
over_rest = pytest.mark.parametrize("transport", ["rest"])


@pytest.fixture
def bucket(emulator: Any, aiplatform: Any, project: str) -> str:
    """A bucket to stage and to train in, which Google's client knows of."""
    return Bucket(emulator.storage, project, f"tune-{project}").bucket


@pytest.fixture
def hpt() -> Any:
    """Google's module of parameter specs."""
    from google.cloud.aiplatform import hyperparameter_tuning

    return hyperparameter_tuning


@pytest.fixture
def tuning_job(aiplatform: Any, bucket: str, tmp_path: Path, hpt: Any) -> Callable[..., Any]:
    """Makes a HyperparameterTuningJob of a program's text."""

    def make(content: str, *, as_script: bool = False, **options: Any) -> Any:
        program = PROGRAM + textwrap.dedent(content)
        common = {
            "display_name": "trial",
            "staging_bucket": f"gs://{bucket}",
            "base_output_dir": f"gs://{bucket}/out",
        }
        if as_script:
            path = tmp_path / "trial.py"
            path.write_text(program)
            custom_job = aiplatform.CustomJob.from_local_script(
                script_path=str(path), container_uri=TRAINING_IMAGE, **common
            )
        else:
            pool = {
                "machine_spec": {"machine_type": "n1-standard-4"},
                "replica_count": 1,
                "container_spec": {"image_uri": TRAINING_IMAGE, "command": ["python3", "-c", program]},
            }
            custom_job = aiplatform.CustomJob(worker_pool_specs=[pool], **common)
        return aiplatform.HyperparameterTuningJob(
            **{
                "display_name": "search",
                "custom_job": custom_job,
                "metric_spec": {"score": "maximize"},
                "parameter_spec": {"x": hpt.DoubleParameterSpec(min=-1, max=1, scale="linear")},
                "max_trial_count": 4,
                "parallel_trial_count": 2,
                **options,
            }
        )

    return make


def ended(job: Any, *, fails: str = "") -> Any:
    """Run a job to its end."""
    if fails:
        with pytest.raises(RuntimeError, match=fails):
            job.run()
        return job
    job.run()
    assert job.state.name == "JOB_STATE_SUCCEEDED"
    return job


def values(trial: Any) -> dict[str, Any]:
    """The parameters of a trial by name."""
    return {parameter.parameter_id: parameter.value for parameter in trial.parameters}


def score(trial: Any) -> float:
    """What a trial came to."""
    (metric,) = trial.final_measurement.metrics
    assert metric.metric_id == "score"
    return float(metric.value)


def states(job: Any) -> list[str]:
    return [trial.state.name for trial in job.trials]


def test_a_search_gives_its_trials(
    aiplatform: Any, tuning_job: Callable[..., Any], hpt: Any, bucket: str, emulator: Any
) -> None:
    job = tuning_job(
        f"""
        import glob
        with open(f"/gcs/{bucket}/{{os.environ['CLOUD_ML_TRIAL_ID']}}.json", "w") as file:
            json.dump({{"args": sys.argv[1:], "model": os.environ["AIP_MODEL_DIR"]}}, file)
        report(1 - args.x ** 2 - (args.n - 3) ** 2, step=7)
        """,
        parameter_spec={
            "x": hpt.DoubleParameterSpec(min=1e-3, max=1, scale="log"),
            "n": hpt.IntegerParameterSpec(min=1, max=5, scale="linear"),
            "batch": hpt.DiscreteParameterSpec(values=[16, 32, 64], scale="linear"),
            "kind": hpt.CategoricalParameterSpec(values=["sgd", "adam"]),
        },
        as_script=True,
        labels={"team": "vision"},
        max_trial_count=5,
    )
    ended(job)
    assert [trial.id for trial in job.trials] == ["1", "2", "3", "4", "5"]
    assert states(job) == ["SUCCEEDED"] * 5
    for trial in job.trials:
        given = values(trial)
        assert list(given) == ["x", "n", "batch", "kind"]
        assert 1e-3 <= given["x"] <= 1 and given["n"] in range(1, 6)
        assert given["batch"] in (16, 32, 64) and given["kind"] in ("sgd", "adam")
        assert score(trial) == pytest.approx(1 - given["x"] ** 2 - (given["n"] - 3) ** 2)
        assert trial.final_measurement.step_count == 7
        assert [one.step_count for one in trial.measurements] == [7]
        assert job.create_time <= trial.start_time <= trial.end_time <= job.end_time
        assert not trial.infeasible_reason and not trial.web_access_uris
        told = requests.get(f"{emulator.storage}/storage/v1/b/{bucket}/o/{trial.id}.json?alt=media").json()
        assert told["model"] == f"gs://{bucket}/out/{trial.id}/model/"
        assert told["args"] == [
            f"--x={given['x']}", f"--n={int(given['n'])}", f"--batch={int(given['batch'])}",
            f"--kind={given['kind']}",
        ]  # fmt: skip
        custom = aiplatform.CustomJob.get(trial.custom_job)
        assert custom.state.name == "JOB_STATE_SUCCEEDED"
    assert job.start_time == min(trial.start_time for trial in job.trials)
    assert len({trial.custom_job for trial in job.trials}) == 5
    assert job.labels == {"team": "vision"}


def test_a_search_is_found_listed_and_deleted(aiplatform: Any, tuning_job: Callable[..., Any]) -> None:
    from google.api_core import exceptions

    job = ended(tuning_job("report(args.x)", labels={"team": "vision"}, max_trial_count=2))
    kind = aiplatform.HyperparameterTuningJob
    found = kind.get(job.resource_name)
    assert (found.display_name, found.state.name) == ("search", "JOB_STATE_SUCCEEDED")
    assert [score(trial) for trial in found.trials] == [values(trial)["x"] for trial in job.trials]
    for text, names in {
        'state="JOB_STATE_SUCCEEDED" AND labels.team=vision': [job.resource_name],
        'state="JOB_STATE_FAILED"': [],
        'display_name="search"': [job.resource_name],
    }.items():
        assert [one.resource_name for one in kind.list(filter=text)] == names
    found.delete()
    with pytest.raises(exceptions.NotFound):
        kind.get(job.resource_name)
    with pytest.raises(exceptions.NotFound):
        aiplatform.CustomJob.get(job.trials[0].custom_job)


@over_grpc
@pytest.mark.parametrize("algorithm", [None, "random", "grid"])
def test_each_algorithm_searches(tuning_job: Callable[..., Any], hpt: Any, algorithm: str | None) -> None:
    job = ended(
        tuning_job(
            "report(args.n * args.batch)",
            parameter_spec={
                "n": hpt.IntegerParameterSpec(min=1, max=3, scale="linear"),
                "batch": hpt.DiscreteParameterSpec(values=[1, 10], scale=None),
            },
            search_algorithm=algorithm,
            max_trial_count=8,
            parallel_trial_count=4,
        )
    )
    tried = [(values(trial)["n"], values(trial)["batch"]) for trial in job.trials]
    if algorithm == "grid":
        # There are no more combinations than that.
        assert sorted(tried) == sorted(itertools.product([1, 2, 3], [1, 10]))
    else:
        assert len(tried) == 8 and set(tried) <= set(itertools.product([1, 2, 3], [1, 10]))


@over_rest
def test_a_conditional_parameter_is_given_where_its_parent_has_the_value(
    tuning_job: Callable[..., Any], hpt: Any
) -> None:
    job = ended(
        tuning_job(
            "report(0.0 if args.momentum is None else 1.0)",
            parameter_spec={
                "kind": hpt.CategoricalParameterSpec(
                    values=["sgd", "adam"],
                    conditional_parameter_spec={
                        "momentum": hpt.DoubleParameterSpec(
                            min=0.1, max=0.9, scale="linear", parent_values=["sgd"]
                        )
                    },
                )
            },
            search_algorithm="random",
            max_trial_count=8,
            parallel_trial_count=4,
        )
    )
    for trial in job.trials:
        given = values(trial)
        assert ("momentum" in given) == (given["kind"] == "sgd") == (score(trial) == 1.0)
    assert {values(trial)["kind"] for trial in job.trials} == {"sgd", "adam"}


@over_grpc
@pytest.mark.parametrize(("selection", "step"), [("best", 2), ("last", 3)])
def test_the_final_measurement_is_the_selected_one(
    tuning_job: Callable[..., Any], selection: str, step: int
) -> None:
    job = ended(
        tuning_job(
            "for step, value in enumerate([3, 1, 2], 1): report(value, step)",
            metric_spec={"score": "minimize"},
            measurement_selection=selection,
            max_trial_count=1,
            parallel_trial_count=1,
        )
    )
    (trial,) = job.trials
    assert trial.final_measurement.step_count == step
    assert [(one.step_count, one.metrics[0].value) for one in trial.measurements] == [(1, 3), (2, 1), (3, 2)]


@over_rest
def test_several_metrics_are_measured_together(tuning_job: Callable[..., Any]) -> None:
    job = ended(
        tuning_job(
            """
            for step in (1, 2):
                report(args.x, step)
                report(-args.x, step, tag="cost")
            """,
            metric_spec={"score": "maximize", "cost": "minimize"},
            max_trial_count=2,
        )
    )
    for trial in job.trials:
        x = values(trial)["x"]
        assert {one.metric_id: one.value for one in trial.final_measurement.metrics} == {
            "score": x,
            "cost": -x,
        }
        assert [one.step_count for one in trial.measurements] == [1, 2]


@over_grpc
def test_measurements_are_seen_while_a_trial_runs(
    tuning_job: Callable[..., Any], emulator: Any, bucket: str
) -> None:
    job = tuning_job(
        f"""
        report(1, 1)
        report(2, 2)
        while not os.path.exists("/gcs/{bucket}/proceed"):
            time.sleep(0.05)
        report(3, 3)
        """,
        max_trial_count=1,
        parallel_trial_count=1,
    )
    job.run(sync=False)
    job.wait_for_resource_creation()
    seen: list[int] = []
    deadline = time.monotonic() + 20
    while seen != [1, 2]:
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)
        found = job.__class__.get(job.resource_name)
        seen = [one.step_count for trial in found.trials for one in trial.measurements]
        assert found.state.name in ("JOB_STATE_PENDING", "JOB_STATE_RUNNING")
    assert found.state.name == "JOB_STATE_RUNNING" and states(found) == ["ACTIVE"]
    requests.post(
        f"{emulator.storage}/upload/storage/v1/b/{bucket}/o",
        params={"uploadType": "media", "name": "proceed"},
        data=b"1",
    ).raise_for_status()
    job.wait()
    assert [one.step_count for one in job.trials[0].measurements] == [1, 2, 3]


@over_grpc
@pytest.mark.parametrize(
    "rule",
    [
        {"median_automated_stopping_spec": {}},
        {"decay_curve_stopping_spec": {"use_elapsed_duration": False}},
        {"convex_automated_stopping_spec": {"max_step_count": 8, "min_measurement_count": 2}},
    ],
    ids=["median", "decay curve", "convex"],
)
def test_a_trial_that_promises_nothing_is_stopped_and_its_measurements_are_kept(
    aiplatform: Any, tuning_job: Callable[..., Any], rule: dict[str, Any]
) -> None:
    from google.cloud.aiplatform_v1.types import StudySpec

    job = tuning_job(
        """
        # The first are good ones, and end; the last would run for a minute.
        good = int(os.environ["CLOUD_ML_TRIAL_ID"]) <= 5
        for step in range(1, 9):
            report((1.0 if good else 0.1) * (1 - 0.5 ** step), step)
            time.sleep(0.01 if good else 0.3 if step < 7 else 60)
        """,
        max_trial_count=6,
        parallel_trial_count=1,
    )
    # The high-level client has no argument for it.
    spec = StudySpec.pb(job._gca_resource.study_spec)
    spec.MergeFrom(StudySpec.pb(StudySpec(rule)))
    ended(job)
    assert states(job) == ["SUCCEEDED"] * 6
    last = job.trials[-1]
    assert 0 < score(last) < 0.5
    reported = [one.metrics[0].value for one in last.measurements if one.step_count < 8]
    assert reported == [pytest.approx(0.1 * (1 - 0.5**step)) for step in range(1, len(reported) + 1)]
    assert 1 <= len(reported) < 8
    # Of a curve that was cut off, the convex rule says where it would have ended.
    assert [one.step_count for one in last.measurements[len(reported) :]] == (
        [8] if "convex" in str(rule) else []
    )
    assert aiplatform.CustomJob.get(last.custom_job).state.name == "JOB_STATE_CANCELLED"


WITHOUT_A_RESULT = {
    "": 'ended without reporting the metric "score"',
    "report(1, tag='accuracy')": '"score" that the job asks for, but "accuracy"',
    "report(float('nan'), 4)": 'reported nan for the metric "score" at step 4',
    "report(1, 1); report(float('inf'), 2)": 'reported inf for the metric "score" at step 2',
    "open(os.environ['CLOUD_ML_HP_METRIC_FILE'], 'w').write('{\"score\": \"good\"}')": (
        'reported "good" for the metric "score"'
    ),
    "raise SystemExit(3)": "workerpool0-0 exited with a non-zero status of 3",
    "report(1); raise SystemExit(3)": "workerpool0-0 exited with a non-zero status of 3",
}


@over_rest
def test_a_trial_without_a_result_is_infeasible_and_says_why(tuning_job: Callable[..., Any]) -> None:
    job = tuning_job(
        f"exec({list(WITHOUT_A_RESULT)!r}[int(os.environ['CLOUD_ML_TRIAL_ID']) - 1])",
        measurement_selection="last",
        max_trial_count=len(WITHOUT_A_RESULT),
        parallel_trial_count=2,
    )
    fails = "(?s)code: 3.*Failed before any other successful trials were completed .7 trials have failed"
    ended(job, fails=fails)
    for trial, says in zip(job.trials, WITHOUT_A_RESULT.values(), strict=True):
        assert trial.state.name == "INFEASIBLE"
        assert says in trial.infeasible_reason
        assert not trial.final_measurement.metrics


@over_grpc
def test_a_failed_trial_among_others_does_not_fail_the_job(tuning_job: Callable[..., Any]) -> None:
    job = ended(
        tuning_job(
            """
            if os.environ["CLOUD_ML_TRIAL_ID"] == "2":
                raise SystemExit(1)
            report(args.x)
            """
        )
    )
    assert states(job) == ["SUCCEEDED", "INFEASIBLE", "SUCCEEDED", "SUCCEEDED"]


@over_grpc
def test_as_many_failed_trials_as_are_too_many_fail_the_job(
    aiplatform: Any, tuning_job: Callable[..., Any]
) -> None:
    job = tuning_job(
        """
        if os.environ["CLOUD_ML_TRIAL_ID"] in "24":
            raise SystemExit(1)
        if os.environ["CLOUD_ML_TRIAL_ID"] != "1":
            time.sleep(60)
        report(args.x)
        """,
        max_failed_trial_count=2,
        max_trial_count=20,
        parallel_trial_count=2,
    )
    ended(job, fails=r"2 of the job.+s trials have failed.*trial 4, with the parameters x=")
    assert states(job) == ["SUCCEEDED", "INFEASIBLE", "INFEASIBLE", "INFEASIBLE"]
    assert job.trials[2].infeasible_reason == "The trial was ended with its HyperparameterTuningJob."
    assert aiplatform.CustomJob.get(job.trials[2].custom_job).state.name == "JOB_STATE_CANCELLED"


def test_a_search_is_cancelled_with_its_trials(aiplatform: Any, tuning_job: Callable[..., Any]) -> None:
    from google.api_core import exceptions

    job = tuning_job("report(1, 1); time.sleep(600)")
    job.run(sync=False)
    job.wait_for_resource_creation()
    kind, deadline = job.__class__, time.monotonic() + 20
    while not any(trial.measurements for trial in kind.get(job.resource_name).trials):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    with pytest.raises((exceptions.FailedPrecondition, exceptions.BadRequest), match="has ended"):
        kind.get(job.resource_name).delete()
    kind.get(job.resource_name).cancel()
    with pytest.raises(RuntimeError, match="code: 1\n"):
        job.wait()
    assert job.state.name == "JOB_STATE_CANCELLED"
    assert set(states(job)) == {"INFEASIBLE"} and len(job.trials) == 2
    for trial in job.trials:
        assert trial.infeasible_reason == "The trial was ended with its HyperparameterTuningJob."
        assert aiplatform.CustomJob.get(trial.custom_job).state.name == "JOB_STATE_CANCELLED"


@over_rest
def test_trials_run_in_parallel_and_no_more_than_asked_for(
    tuning_job: Callable[..., Any], bucket: str
) -> None:
    job = ended(
        tuning_job(
            f"""
            trial = int(os.environ["CLOUD_ML_TRIAL_ID"])
            mark = f"/gcs/{bucket}/{{trial}}.running"
            open(mark, "w").close()
            # The first three wait for each other; whoever comes next finds no more than that.
            most, deadline = 0, time.monotonic() + (30 if trial <= 3 else 0.3)
            while most < 3 and time.monotonic() < deadline:
                time.sleep(0.05)
                most = max(most, sum(name.endswith(".running") for name in os.listdir("/gcs/{bucket}")))
            time.sleep(0.3)
            report(max(most, sum(name.endswith(".running") for name in os.listdir("/gcs/{bucket}"))))
            os.remove(mark)
            """,
            max_trial_count=6,
            parallel_trial_count=3,
        )
    )
    assert [score(trial) for trial in job.trials][:3] == [3, 3, 3]
    assert max(score(trial) for trial in job.trials) == 3


@over_grpc
def test_a_program_that_knows_the_default_file_only_is_heard(tuning_job: Callable[..., Any]) -> None:
    job = ended(
        tuning_job(
            """
            del os.environ["CLOUD_ML_HP_METRIC_FILE"]
            reporter = hypertune.HyperTune()
            for step in range(1, 11):
                report(args.x + step, step)
                time.sleep(0.02)
            """
        )
    )
    for trial in job.trials:
        assert score(trial) == pytest.approx(values(trial)["x"] + 10)


def test_what_cannot_be_searched_is_refused_before_it_begins(
    aiplatform: Any, tuning_job: Callable[..., Any], hpt: Any
) -> None:
    from google.api_core import exceptions

    wrong = (exceptions.InvalidArgument, exceptions.BadRequest)
    log_over_zero = {"x": hpt.DoubleParameterSpec(min=0, max=1, scale="log")}
    for options, says in [
        ({"parallel_trial_count": 5}, r"parallel_trial_count; Message: It is 5, .* which is 4"),
        ({"max_trial_count": 0}, "max_trial_count; Message: It is 0"),
        ({"max_failed_trial_count": -1}, "max_failed_trial_count; Message: It is -1"),
        ({"metric_spec": {}}, "study_spec.metrics; Message: Required field is not set"),
        ({"parameter_spec": {}}, "study_spec.parameters"),
        ({"parameter_spec": log_over_zero}, r"study_spec.parameters\[0\]"),
        ({"search_algorithm": "grid"}, "GRID_SEARCH"),
    ]:
        with pytest.raises(wrong, match=says):
            tuning_job("", **options).run()
    job = tuning_job("")
    job._gca_resource.study_spec.observation_noise = 1
    with pytest.raises(wrong, match="observation_noise; Message: It is supported by Vertex AI Vizier only"):
        job.run()
    job = tuning_job("")
    job._gca_resource.study_spec.parameters[0].double_value_spec.default_value = 0.5
    with pytest.raises(
        wrong, match='default_value of the parameter "x": It is supported by Vertex AI Vizier'
    ):
        job.run()
    job = tuning_job("")
    job._gca_resource.trial_job_spec.worker_pool_specs[0].machine_spec.accelerator_count = 1
    with pytest.raises(wrong, match=r"trial_job_spec.worker_pool_specs\[0\].machine_spec.accelerator_type"):
        job.run()
    job = tuning_job("")
    job._gca_resource.study_spec.study_stopping_config.max_num_trials = 3
    with pytest.raises(
        (exceptions.MethodNotImplemented, exceptions.GoogleAPICallError), match="study_stopping"
    ):
        job.run()
    assert not aiplatform.HyperparameterTuningJob.list()
    assert not aiplatform.CustomJob.list()
