"""Tuning jobs: what exactly is sent, what is refused before, and what is read of the trials."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import requests
from doubles import LABELS, PARENT, Doubles, in_turn_forever
from stored import Storage

from vertexkit import errors
from vertexkit.early_stopping import ConvexStopping, MedianStopping
from vertexkit.preflight import PreflightWarning
from vertexkit.spaces import Categorical, Discrete, Double, Integer
from vertexkit.trials import Objective, TrialState
from vertexkit.tuning import HyperparameterTuningJob, Tuning

pytestmark = pytest.mark.usefixtures("no_waiting")

JOBS = f"{PARENT}/hyperparameterTuningJobs"
NAME = f"{JOBS}/9"
CREATED = "2026-01-02T03:04:05Z"
PROGRAM = """\
import argparse
import hypertune
parser = argparse.ArgumentParser()
parser.add_argument("-l", "--lr", type=float, required=True)
parser.add_argument("--n", type=int, default=1)
parser.add_argument("--batch", type=int)
parser.add_argument("--optimizer", choices=["sgd", "adam"])
parser.add_argument("--momentum", type=float)
parser.add_argument("--epochs", type=int)
options = parser.parse_args()
METRIC = "accuracy"
reports = hypertune.HyperTune()
reports.report_hyperparameter_tuning_metric(METRIC, options.lr)
reports.report_hyperparameter_tuning_metric(hyperparameter_metric_tag="latency", metric_value=1)
"""
SPACE = {"lr": Double(1e-3, 1, scale="log"), "n": Integer(1, 10)}
ASKED: dict[str, Any] = {"metric": "accuracy", "space": SPACE, "trials": 6}


@pytest.fixture
def tuning(doubles: Doubles, storage: Storage) -> Tuning:
    doubles.rest.answers[f"POST {JOBS}"] = search()
    return Tuning(doubles.context)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "trial.py"
    path.write_text(PROGRAM)
    return path


def number(name: str, value: Any) -> dict[str, Any]:
    return {"parameterId": name, "value": value}


def measured(**metrics: Any) -> dict[str, Any]:
    return {"metrics": [{"metricId": name, "value": value} for name, value in metrics.items()]}


TRIALS = [
    {
        "id": "1",
        "state": "SUCCEEDED",
        "parameters": [number("lr", 0.1), number("n", 3.0), number("batch", 32.0), number("o", "sgd")],
        "finalMeasurement": measured(accuracy=0.5),
        "measurements": [{"stepCount": "2", "elapsedDuration": "1.500s", **measured(accuracy=0.4)}],
        "startTime": CREATED,
        "endTime": "2026-01-02T03:04:08.500Z",
        "customJob": f"{PARENT}/customJobs/21",
    },
    {
        "id": "2",
        "state": "INFEASIBLE",
        "parameters": [number("lr", 1), number("o", "sgd"), number("n", 4.0)],
        "infeasibleReason": "It reported nothing.",
        "customJob": f"{PARENT}/customJobs/22",
    },
    {
        "id": "3",
        "state": "ACTIVE",
        "parameters": [number("lr", 1), number("o", "sgd"), number("n", 5)],
        "startTime": CREATED,
    },
    {"id": "4", "state": "REQUESTED"},
]


def search(state: str = "RUNNING", **more: Any) -> dict[str, Any]:
    return {
        "name": NAME,
        "displayName": "mnist",
        "state": f"JOB_STATE_{state}",
        "createTime": CREATED,
        "maxTrialCount": 6,
        "parallelTrialCount": 2,
        "studySpec": {
            "metrics": [{"metricId": "accuracy", "goal": "MAXIMIZE"}],
            "parameters": [
                {"parameterId": "lr", "scaleType": "UNIT_LOG_SCALE", "doubleValueSpec": {"minValue": 0.1}},
                {
                    "parameterId": "o",
                    "categoricalValueSpec": {"values": ["sgd"]},
                    "conditionalParameterSpecs": [
                        {
                            "parentCategoricalValues": {"values": ["sgd"]},
                            "parameterSpec": {"parameterId": "n", "integerValueSpec": {"minValue": "1"}},
                        }
                    ],
                },
                {"parameterId": "batch", "discreteValueSpec": {"values": [16.0, 32.0]}},
            ],
        },
        "trialJobSpec": {
            "baseOutputDirectory": {"outputUriPrefix": "gs://my-bucket/out/"},
            "workerPoolSpecs": [
                {
                    "pythonPackageSpec": {
                        "executorImageUri": "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-12.py310:latest"
                    }
                }
            ],
        },
        "trials": TRIALS,
        **more,
    }


def job_of(doubles: Doubles, *answers: dict[str, Any]) -> HyperparameterTuningJob:
    doubles.rest.answers[f"GET {NAME}"] = in_turn_forever(*answers)
    return HyperparameterTuningJob(doubles.context, answers[0])


# -- what is sent -----------------------------------------------------------------------------


def test_a_search_is_sent_with_what_every_trial_runs(tuning: Tuning, doubles: Doubles, script: Path) -> None:
    made = tuning.run(
        script,
        **{**ASKED, "space": {**SPACE, "batch": Discrete([16, 32])}},
        name="mnist",
        parallel=3,
        max_failed=2,
        algorithm="random",
        early_stopping=MedianStopping(use_elapsed_duration=True),
        measurement_selection="best",
        args={"epochs": 2},
        workers=1,
        timeout=60,
        labels={"team": "ml"},
        wait=False,
    )
    assert made.resource_name == NAME
    (body,) = doubles.rest.bodies
    assert len(body["labels"].pop("vertexkit_run")) > 16
    spec = body.pop("trialJobSpec")
    double = {"minValue": 1e-3, "maxValue": 1.0}
    assert body == {
        "displayName": "mnist",
        "labels": {**LABELS, "team": "ml"},
        "maxTrialCount": 6,
        "parallelTrialCount": 3,
        "maxFailedTrialCount": 2,
        "studySpec": {
            "metrics": [{"metricId": "accuracy", "goal": "MAXIMIZE"}],
            "parameters": [
                {"parameterId": "lr", "scaleType": "UNIT_LOG_SCALE", "doubleValueSpec": double},
                {
                    "parameterId": "n",
                    "scaleType": "UNIT_LINEAR_SCALE",
                    "integerValueSpec": {"minValue": "1", "maxValue": "10"},
                },
                {
                    "parameterId": "batch",
                    "scaleType": "UNIT_LINEAR_SCALE",
                    "discreteValueSpec": {"values": [16.0, 32.0]},
                },
            ],
            "algorithm": "RANDOM_SEARCH",
            "medianAutomatedStoppingSpec": {"useElapsedDuration": True},
            "measurementSelectionType": "BEST_MEASUREMENT",
        },
    }
    assert spec["scheduling"] == {"timeout": "60s"}
    output = spec["baseOutputDirectory"]["outputUriPrefix"]
    assert output.startswith("gs://my-bucket/vertexkit/tuning/mnist/")
    assert [pool["replicaCount"] for pool in spec["workerPoolSpecs"]] == [1, 1]
    assert spec["workerPoolSpecs"][0]["pythonPackageSpec"]["args"] == ["--epochs=2"]
    assert doubles.context.created.names[0] == NAME


def test_what_is_left_out_is_left_to_vertex_ai(tuning: Tuning, doubles: Doubles, script: Path) -> None:
    tuning.run(script, **{**ASKED, "metric": {"accuracy": "maximize", "latency": "minimize"}}, wait=False)
    tuning.run(script, **{**ASKED, "maximize": False, "trials": 1}, wait=False)
    first, second = doubles.rest.bodies
    assert set(first["studySpec"]) == {"metrics", "parameters", "measurementSelectionType"}
    assert first["studySpec"]["metrics"] == [
        {"metricId": "accuracy", "goal": "MAXIMIZE"},
        {"metricId": "latency", "goal": "MINIMIZE"},
    ]
    assert "maxFailedTrialCount" not in first
    assert (first["parallelTrialCount"], second["parallelTrialCount"]) == (2, 1)
    assert second["studySpec"]["metrics"] == [{"metricId": "accuracy", "goal": "MINIMIZE"}]


def test_a_search_whose_creation_was_not_answered_is_found_and_not_made_twice(
    tuning: Tuning, doubles: Doubles, script: Path
) -> None:
    def lost() -> Any:
        doubles.rest.answers[f"GET {JOBS}"] = {"hyperparameterTuningJobs": [search()]}
        raise requests.ConnectionError("Connection reset by peer")

    doubles.rest.answers[f"POST {JOBS}"] = lost
    assert tuning.run(script, **ASKED, wait=False).resource_name == NAME
    assert doubles.rest.posts == [JOBS]


def test_a_refused_search_leaves_nothing(
    tuning: Tuning, doubles: Doubles, storage: Storage, script: Path
) -> None:
    doubles.rest.answers[f"POST {JOBS}"] = 400
    doubles.rest.answers[f"GET {JOBS}"] = {}
    with pytest.raises(errors.BadRequest):
        tuning.run(script, **ASKED)
    assert storage.objects["my-bucket"] == {}
    assert doubles.context.created.names == ()


# -- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "argument"),
    [
        ({"metric": ""}, "metric"),
        ({"metric": "my metric"}, "metric"),
        ({"metric": ["accuracy"]}, "metric"),
        ({"metric": {"accuracy": "max"}}, "metric['accuracy']"),
        ({"metric": {"accuracy": ["maximize"]}}, "metric['accuracy']"),
        ({"metric": {"accuracy": "minimize"}, "maximize": False}, "maximize"),
        ({"metric": "acuracy"}, "metric"),
        ({"maximize": "yes"}, "maximize"),
        ({"trials": 0}, "trials"),
        ({"trials": 2.5}, "trials"),
        ({"trials": 10**12}, "trials"),
        ({"parallel": 7}, "parallel"),
        ({"parallel": 0}, "parallel"),
        ({"max_failed": 0}, "max_failed"),
        ({"max_failed": 7}, "max_failed"),
        ({"space": {}}, "space"),
        ({"space": [Double(1, 2)]}, "space"),
        ({"space": {"lr": 0.1}}, "space['lr']"),
        ({"space": {"--lr": Double(1, 2)}}, "space"),
        ({"space": {"learning rate": Double(1, 2)}}, "space"),
        ({"space": {**SPACE, "layers": Integer(1, 2)}}, "space['layers']"),
        ({"space": {**SPACE, "n": Double(1, 2)}}, "space['n']"),
        ({"space": {**SPACE, "optimizer": Categorical(["sgd", "rmsprop"])}}, "space['optimizer']"),
        ({"space": {"lr": Categorical(["small", "large"])}}, "space['lr']"),
        (
            {
                "space": {
                    "lr": Integer(1, 2, children={1: {"momentum": Double(0, 1)}}),
                    "n": Integer(1, 2, children={1: {"momentum": Double(0, 1)}}),
                }
            },
            "space",
        ),
        ({"space": {"n": Integer(1, 2)}}, "args"),
        ({"args": {"lr": 0.1}}, "args"),
        ({"args": ["--n", "3"]}, "args"),
        ({"args": {"epocks": 3}}, "args"),
        ({"algorithm": "bayes"}, "algorithm"),
        ({"algorithm": "grid"}, "algorithm"),
        ({"early_stopping": "soon"}, "early_stopping"),
        (
            {"early_stopping": "median", "metric": {"accuracy": "maximize", "latency": "minimize"}},
            "early_stopping",
        ),
        ({"early_stopping": ConvexStopping(learning_rate="rate")}, "early_stopping"),
        ({"measurement_selection": "first"}, "measurement_selection"),
        ({"workers": -1}, "workers"),
        ({"labels": {"A": "b"}}, "labels['A']"),
        ({"timeout": 0}, "timeout"),
        ({"program": "nothing.py"}, "program"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_sent(
    asked: dict[str, Any],
    argument: str,
    tuning: Tuning,
    doubles: Doubles,
    storage: Storage,
    script: Path,
) -> None:
    request = {"program": script, **ASKED, **asked}
    with pytest.raises(errors.PreflightFailed) as raised:
        tuning.run(**request, wait=False)
    assert argument in [found.argument for found in raised.value.findings]
    assert tuning.check(**request) == list(raised.value.findings)
    assert (doubles.rest.posts, storage.writes, doubles.context.created.names) == ([], 0, ())


@pytest.mark.parametrize("asked", [{"logs": "both"}, {"wait": "no"}])
def test_how_to_wait_is_refused_before_anything_is_sent(
    asked: dict[str, Any], tuning: Tuning, doubles: Doubles, script: Path
) -> None:
    with pytest.raises(errors.InvalidArgument, match=f"^{next(iter(asked))}="):
        tuning.run(script, **ASKED, **asked)
    assert not doubles.rest.asked


def test_a_count_that_is_none_is_told_from_one_that_is_too_great(tuning: Tuning, script: Path) -> None:
    (found,) = tuning.check(script, **{**ASKED, "trials": 10**12})
    assert "is above 2,147,483,647" in found.problem
    (found,) = tuning.check(script, **{**ASKED, "trials": -1})
    assert "is no whole number from 1 up" in found.problem


def test_more_trials_than_a_grid_has_points_are_warned_of(tuning: Tuning, script: Path) -> None:
    below: Any = {"adam": {"batch": Discrete([16, 32])}}
    space = {"n": Integer(1, 3), "optimizer": Categorical(["sgd", "adam"], children=below)}
    asked: dict[str, Any] = {"metric": "accuracy", "space": space, "algorithm": "grid", "args": {"lr": 0.1}}
    assert tuning.check(script, **asked, trials=9) == []
    (found,) = tuning.check(script, **asked, trials=10)
    assert (found.argument, found.warning) == ("trials", True)
    assert "over after 9" in found.problem


def test_what_would_do_is_said_once(tuning: Tuning, script: Path) -> None:
    (found,) = tuning.check(script, **{**ASKED, "space": {**SPACE, "n": Double(1, 2)}})
    assert found.value == Double(1, 2)
    assert "Integer" in str(found.remedy)
    (found,) = tuning.check(script, **{**ASKED, "metric": "acuracy"})
    assert found.remedy == "name 'accuracy'"
    (found,) = tuning.check(script, **{**ASKED, "algorithm": "grid"})
    assert "'lr'" in found.problem


def test_an_option_without_a_value_cannot_be_searched_as_it_is(tuning: Tuning, script: Path) -> None:
    script.write_text(
        PROGRAM.replace("options =", 'parser.add_argument("--wide", action="store_true")\noptions =')
    )
    (found,) = tuning.check(script, **{**ASKED, "space": {**SPACE, "wide": Categorical(["yes", "no"])}})
    assert found.argument == "space['wide']"
    assert found.remedy is not None
    assert "let it take a value in the program, by choices=['yes', 'no']" in found.remedy


def test_a_parameter_below_another_is_an_argument_too(tuning: Tuning, script: Path) -> None:
    def space(name: str) -> Any:
        child = {"sgd": {name: Double(0, 1)}}
        return {**SPACE, "optimizer": Categorical(["sgd", "adam"], children=child)}

    assert tuning.check(script, **{**ASKED, "space": space("momentum")}) == []
    (found,) = tuning.check(script, **{**ASKED, "space": space("momentun")})
    assert (found.argument, found.remedy) == ("space['momentun']", "use --momentum")


def test_an_argument_that_only_some_trials_get_is_missed_in_the_others(tuning: Tuning, script: Path) -> None:
    script.write_text(PROGRAM.replace('"--momentum", type=float', '"--momentum", type=float, required=True'))

    def found(with_momentum: Any, **others: Any) -> list[errors.Finding]:
        optimizer = Categorical(["sgd", "adam"], children={with_momentum: {"momentum": Double(0, 1)}})
        return tuning.check(script, **{**ASKED, "space": {**SPACE, **others, "optimizer": optimizer}})

    for key, other in (("sgd", "adam"), ("adam", "sgd")):
        (one,) = found(key)
        assert one.argument == "space['optimizer']"
        assert f"leaves out --momentum, which the program requires, with optimizer='{other}'" in str(one)
        assert "have it there with every value" in str(one.remedy)
    assert (
        found(("sgd", "adam"), batch=Integer(1, 9, children={range(2, 5): {"epochs": Integer(1, 2)}})) == []
    )
    (one,) = tuning.check(script, **ASKED)
    assert str(one).startswith("args=[]: leaves out --momentum, which the program requires.")


def test_an_argument_is_missed_however_far_below_it_is(tuning: Tuning, script: Path) -> None:
    optimizer = Categorical(["sgd", "adam"], children={"adam": {"lr": Double(0.1, 1)}})
    space = {"n": Integer(1, 9, children={range(2, 9): {"optimizer": optimizer}}), "batch": Discrete([1, 2])}
    (one,) = tuning.check(script, **{**ASKED, "space": space})
    assert one.argument == "space['n']"
    assert one.problem.endswith("with n=1, or with n=2 and optimizer='sgd'")


def test_the_labels_of_a_job_are_counted_with_vertexkits_own(tuning: Tuning, script: Path) -> None:
    (found,) = tuning.check(script, **ASKED, labels={f"l{n}": "" for n in range(63)})
    assert (found.argument, found.value) == ("labels", 65)


def test_what_cannot_be_read_is_not_checked(tuning: Tuning, script: Path) -> None:
    script.write_text("import sys\nimport hypertune\nreport(sys.argv[1])\n")
    assert tuning.check(script, **{**ASKED, "metric": "whatever"}) == []
    script.write_text(
        "import hypertune, sys\nhypertune.HyperTune().report_hyperparameter_tuning_metric(sys.argv[0], 1)\n"
    )
    assert tuning.check(script, **{**ASKED, "metric": "whatever"}) == []


def test_a_program_that_reports_nothing_is_warned_of(tuning: Tuning, script: Path) -> None:
    script.write_text("print('training')\n")
    (found,) = tuning.check(script, **ASKED)
    assert (found.argument, found.warning) == ("program", True)
    with pytest.warns(PreflightWarning, match="hypertune"):
        tuning.run(script, **ASKED, wait=False)


def test_a_default_is_refused_as_the_service_does(tuning: Tuning, doubles: Doubles, script: Path) -> None:
    with pytest.raises(errors.PreflightFailed, match=r"space\['n'\].*Vizier only.*leave default out"):
        tuning.run(script, **{**ASKED, "space": {**SPACE, "n": Integer(1, 9, default=2)}}, wait=False)
    assert doubles.rest.bodies == []


@pytest.mark.parametrize("space", [{}, {"lr": (0, 1)}])
def test_what_no_space_leaves_out_is_not_missed(tuning: Tuning, script: Path, space: Any) -> None:
    found = tuning.check(script, **{**ASKED, "space": space})
    assert [one.argument.partition("[")[0] for one in found] == ["space"]


def test_the_packaged_trial_is_taken(tuning: Tuning) -> None:
    space = {
        "learning_rate": Double(1e-3, 10, scale="log"),
        "n_neurons": Integer(1, 300),
        "n_hidden": Integer(1, 10),
        "optimizer": Categorical(["sgd", "adam"]),
    }
    asked: dict[str, Any] = {"metric": "accuracy", "space": space, "trials": 2}
    found = tuning.check("trainer_scripts.mnist_trial", **asked, args={"epochs": 1})
    assert [one for one in found if one.argument != "requirements" or not one.warning] == []


# -- the job ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parent", "condition", "value"),
    [
        ({"categoricalValueSpec": {"values": ["a", "b"]}}, "parentCategoricalValues", ["a", "b"]),
        ({"integerValueSpec": {"minValue": "1", "maxValue": "2"}}, "parentIntValues", [1.0, 2.0]),
        ({"discreteValueSpec": {"values": [0.5, 1.5]}}, "parentDiscreteValues", [0.5, 1.5]),
    ],
)
def test_an_integer_of_one_branch_stays_one_though_its_namesake_in_another_is_none(
    doubles: Doubles, parent: dict[str, Any], condition: str, value: list[Any]
) -> None:
    kinds = ("integerValueSpec", "doubleValueSpec")
    written = [str(int(one)) for one in value] if condition == "parentIntValues" else value
    below = [
        {condition: {"values": [one]}, "parameterSpec": {"parameterId": "n", kind: {}}}
        for one, kind in zip(written, kinds, strict=True)
    ]
    trials = [
        {"id": str(index), "state": "ACTIVE", "parameters": [number("p", one), number("n", 3.0)]}
        for index, one in enumerate(value)
    ]
    study = {
        "metrics": [{"metricId": "accuracy"}],
        "parameters": [{"parameterId": "p", **parent, "conditionalParameterSpecs": below}],
    }
    job = HyperparameterTuningJob(doubles.context, search(studySpec=study, trials=trials))
    assert [type(trial.parameters["n"]) for trial in job.trials_as_read] == [int, float]


def test_a_trial_has_the_types_that_were_searched(doubles: Doubles) -> None:
    trials = job_of(doubles, search()).trials
    first, second, third, fourth = trials
    assert trials.objectives == (Objective("accuracy"),)
    assert first.parameters == {"lr": 0.1, "n": 3, "batch": 32, "o": "sgd"}
    assert [type(value) for value in first.parameters.values()] == [float, int, int, str]
    assert type(second.parameters["lr"]) is float
    assert type(third.parameters["n"]) is int
    assert (first.metrics, first.seconds) == ({"accuracy": 0.5}, 3.5)
    (reported,) = first.measurements
    assert (reported.step, reported.metrics, reported.elapsed) == (2, {"accuracy": 0.4}, 1.5)
    assert first.model_dir == "gs://my-bucket/out/1/model"
    assert (second.state, second.infeasible_reason) == (TrialState.INFEASIBLE, "It reported nothing.")
    assert (third.state.ended, third.end, fourth.parameters) == (False, None, {})


def test_the_best_is_as_of_now_until_it_has_ended(doubles: Doubles) -> None:
    empty = search("PENDING", trials=[])
    made = job_of(doubles, empty, empty, search("SUCCEEDED"))
    assert (made.best, len(made.trials_as_read)) == (None, 0)
    best = made.best
    assert best is None or best.id == "1"
    assert made.state == "SUCCEEDED"
    before = len(doubles.rest.asked)
    assert made.best == made.trial(1) == made.best_of("accuracy") == made.optimal[0]
    assert len(doubles.rest.asked) == before
    with pytest.raises(errors.NotFound, match="no trial 7"):
        made.trial(7)


def test_there_is_no_wait_for_the_best_by_several_metrics(doubles: Doubles) -> None:
    spec = {**search()["studySpec"], "metrics": [{"metricId": "accuracy"}, {"metricId": "size"}]}
    made = HyperparameterTuningJob(doubles.context, search("RUNNING", studySpec=spec))
    with pytest.raises(errors.InvalidArgument, match="metric"):
        made.result()
    assert doubles.rest.asked == []


def test_nothing_raises_because_it_has_not_begun(doubles: Doubles) -> None:
    made = job_of(doubles, search("QUEUED", trials=[]))
    assert (made.best, made.error, made.start_time, len(made.to_frame())) == (None, None, None, 0)
    assert "QUEUED" in repr(made)
    assert "0 of 6 are over" in made._repr_html_()


def test_a_search_that_failed_names_the_trials_and_the_last_lines_of_the_first(
    doubles: Doubles, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = search("FAILED", error={"code": 3, "message": "Too many trials have failed."})
    url = f"{doubles.context.target.logging_url}/v2/entries:list"
    entry = {"textPayload": "ValueError: no", "resource": {"labels": {"task_name": "workerpool0-0"}}}
    doubles.rest.answers[url] = {"entries": [entry]}
    with pytest.raises(errors.TuningFailed, match="Too many trials have failed") as raised:
        job_of(doubles, failed).wait()
    error = raised.value
    assert (error.job, error.failures) == (NAME, {"2": "It reported nothing."})
    assert error.last_lines == ("ValueError: no",)
    assert "trial 2: It reported nothing." in str(error)
    (asked,) = [body for body in doubles.rest.bodies if "resourceNames" in body]
    assert 'resource.labels.job_id="22"' in asked["filter"]
    doubles.rest.answers[url] = 403
    with pytest.raises(errors.TuningFailed) as raised:
        job_of(doubles, failed).wait()
    assert raised.value.last_lines == ()


def test_a_search_that_failed_begins_with_the_trial_that_failed_first(doubles: Doubles) -> None:
    failed = search("FAILED", error={"code": 3, "message": "Too many trials have failed."})
    failed["trials"] = [
        {**TRIALS[1], "id": "1", "endTime": "2026-01-02T03:04:09Z", "infeasibleReason": "It was ended."},
        {**TRIALS[1], "id": "2", "endTime": "2026-01-02T03:04:08Z", "customJob": f"{PARENT}/customJobs/23"},
    ]
    doubles.rest.answers[f"{doubles.context.target.logging_url}/v2/entries:list"] = {}
    with pytest.raises(errors.TuningFailed) as raised:
        job_of(doubles, failed).wait()
    assert list(raised.value.failures) == ["2", "1"]
    (asked,) = [body for body in doubles.rest.bodies if "resourceNames" in body]
    assert 'resource.labels.job_id="23"' in asked["filter"]


def test_a_cancelled_search_raises_that(doubles: Doubles) -> None:
    with pytest.raises(errors.Cancelled):
        job_of(doubles, search("CANCELLED", error={"code": 1, "message": "CANCELED"})).wait()


def test_a_search_of_which_no_trial_succeeded_says_so(
    doubles: Doubles, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="vertexkit"):
        made = job_of(doubles, search("SUCCEEDED", trials=TRIALS[1:2]))
        assert made.result() is None
    assert caplog.messages == ["No trial of mnist has succeeded: It reported nothing."]


def test_only_what_is_over_is_deleted(doubles: Doubles) -> None:
    with pytest.raises(errors.FailedPrecondition, match="RUNNING"):
        job_of(doubles, search()).delete()
    doubles.rest.answers[f"DELETE {NAME}"] = {"name": "operations/1", "done": True}
    job_of(doubles, search("SUCCEEDED")).delete()
    assert [path for verb, path, _ in doubles.rest.asked if verb == "DELETE"] == [NAME]


def test_cleaning_up_cancels_deletes_and_removes_what_the_trials_left(
    tuning: Tuning, doubles: Doubles, storage: Storage, script: Path
) -> None:
    tuning.run(script, **ASKED, wait=False)
    output = doubles.rest.bodies[0]["trialJobSpec"]["baseOutputDirectory"]["outputUriPrefix"]
    storage.objects["my-bucket"][f"{output.removeprefix('gs://my-bucket/')}/1/model/x"] = b""
    doubles.rest.answers[f"GET {NAME}"] = in_turn_forever(search(), search("CANCELLED"))
    doubles.rest.answers[f"POST {NAME}:cancel"] = {}
    doubles.rest.answers[f"DELETE {NAME}"] = {"name": "operations/1", "done": True}
    report = doubles.context.created.delete_all()
    assert report.deleted[0] == NAME
    assert storage.objects["my-bucket"] == {}


def test_a_state_is_asked_for_as_it_is_shown(tuning: Tuning, doubles: Doubles) -> None:
    doubles.rest.answers[f"GET {PARENT}/hyperparameterTuningJobs"] = {}
    tuning.list(filter='state="RUNNING" AND display_name="STATE"')
    (asked,) = doubles.rest.asked
    assert asked[2]["filter"] == 'state="JOB_STATE_RUNNING" AND display_name="STATE"'


def test_a_search_is_found_by_every_name(tuning: Tuning, doubles: Doubles) -> None:
    doubles.rest.answers[f"GET {NAME}"] = search()
    doubles.rest.answers[f"GET {JOBS}"] = {"hyperparameterTuningJobs": [search()]}
    for name in (NAME, "9", "mnist"):
        assert tuning.get(name).resource_name == NAME
    assert [made.resource_name for made in tuning.list()] == [NAME]
    doubles.rest.answers[f"GET {JOBS}"] = {}
    with pytest.raises(errors.NotFound, match=r"session\.tuning\.list"):
        tuning.get("other")
    with pytest.raises(errors.InvalidArgument, match="order_by"):
        tuning.list(order_by="colour")
