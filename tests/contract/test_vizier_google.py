"""Vizier through Google's own clients, unmodified, over each transport."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from google.api_core import exceptions

SPEC: dict[str, Any] = {
    "metrics": [{"metric_id": "loss", "goal": "MINIMIZE"}],
    "parameters": [
        {
            "parameter_id": "rate",
            "double_value_spec": {"min_value": 1e-4, "max_value": 1.0},
            "scale_type": "UNIT_LOG_SCALE",
        },
        {
            "parameter_id": "optimizer",
            "categorical_value_spec": {"values": ["sgd", "adam"]},
            "conditional_parameter_specs": [
                {
                    "parent_categorical_values": {"values": ["sgd"]},
                    "parameter_spec": {
                        "parameter_id": "momentum",
                        "discrete_value_spec": {"values": [0.0, 0.5, 0.9]},
                    },
                }
            ],
        },
    ],
}

# What depends on the work rather than on how it is asked for is shown over one transport.
over_grpc = pytest.mark.parametrize("transport", ["grpc"])


@pytest.fixture
def vizier(generated: Callable[[str], Any]) -> Any:
    """The generated client of VizierService."""
    return generated("VizierServiceClient")


@pytest.fixture
def study(vizier: Any, parent: str) -> Callable[..., str]:
    """Creates a study; its name."""

    def create(display_name: str = "study", **spec: Any) -> str:
        made = vizier.create_study(
            parent=parent, study={"display_name": display_name, "study_spec": {**SPEC, **spec}}
        )
        return str(made.name)

    return create


def suggested(vizier: Any, study: str, client_id: str = "me", count: int = 1) -> list[Any]:
    request = {"parent": study, "client_id": client_id, "suggestion_count": count}
    return list(vizier.suggest_trials(request=request).result(timeout=60).trials)


def loss(value: float, step: int = 0) -> dict[str, Any]:
    return {"step_count": step, "metrics": [{"metric_id": "loss", "value": value}]}


def test_a_study_is_searched_to_its_best_trial(vizier: Any, parent: str, study: Callable[..., str]) -> None:
    name = study()
    assert vizier.lookup_study(request={"parent": parent, "display_name": "study"}).name == name
    assert [one.name for one in vizier.list_studies(parent=parent)] == [name]
    values = (0.5, 0.125, 0.25)
    for value in values:
        (trial,) = suggested(vizier, name)
        assert trial.state.name == "ACTIVE"
        parameters = {parameter.parameter_id: parameter.value for parameter in trial.parameters}
        assert 1e-4 <= parameters["rate"] <= 1
        assert parameters["optimizer"] in {"sgd", "adam"}
        # A conditional parameter is there only when its condition holds.
        assert ("momentum" in parameters) == (parameters["optimizer"] == "sgd")
        assert parameters.get("momentum", 0.9) in {0.0, 0.5, 0.9}
        vizier.add_trial_measurement(request={"trial_name": trial.name, "measurement": loss(1.0, 1)})
        measured = vizier.add_trial_measurement(
            request={"trial_name": trial.name, "measurement": loss(value, 2)}
        )
        assert [one.step_count for one in measured.measurements] == [1, 2]
        stopping = vizier.check_trial_early_stopping_state(request={"trial_name": trial.name})
        assert not stopping.result(timeout=60).should_stop
        assert stopping.metadata.trial == trial.name
        done = vizier.complete_trial(request={"name": trial.name})
        assert (done.state.name, done.final_measurement.metrics[0].value) == ("SUCCEEDED", value)
        assert done.end_time >= done.start_time
    trials = list(vizier.list_trials(parent=name))
    assert [trial.id for trial in trials] == ["1", "2", "3"]
    assert [trial.name for trial in trials] == [f"{name}/trials/{number}" for number in (1, 2, 3)]
    best = vizier.list_optimal_trials(request={"parent": name}).optimal_trials
    assert [trial.id for trial in best] == ["2"]
    vizier.delete_trial(name=trials[1].name)
    best = vizier.list_optimal_trials(request={"parent": name}).optimal_trials
    assert [trial.id for trial in best] == ["3"]
    vizier.delete_study(name=name)
    with pytest.raises(exceptions.NotFound, match="does not exist"):
        vizier.get_study(name=name)


def test_an_operation_can_be_asked_for_again(vizier: Any, emulator: Any, study: Callable[..., str]) -> None:
    name = study()
    operation = vizier.suggest_trials(request={"parent": name, "client_id": "me", "suggestion_count": 2})
    assert operation.metadata.client_id == "me"
    trials = list(operation.result(timeout=60).trials)
    again = requests.get(f"{emulator.rest}/v1/{operation.operation.name}").json()
    assert operation.operation.name.startswith(f"{name}/operations/")
    assert [trial["id"] for trial in again["response"]["trials"]] == [trial.id for trial in trials]
    assert again["response"]["studyState"] == "ACTIVE"
    assert again["metadata"]["@type"].endswith("SuggestTrialsMetadata")
    assert again["metadata"]["clientId"] == "me"


def test_a_client_whose_answer_was_lost_asks_again(
    vizier: Any, study: Callable[..., str], inject: Callable[..., Callable[[], list[int]]]
) -> None:
    name = study()
    struck = inject({"method": "*.SuggestTrials", "reset": True, "after_work": True, "times": 1})
    with pytest.raises((exceptions.GoogleAPICallError, requests.ConnectionError)):
        suggested(vizier, name, "a", 2)
    assert struck() == [1]
    trials = suggested(vizier, name, "a", 2)
    assert [trial.id for trial in trials] == ["1", "2"]
    assert [trial.id for trial in suggested(vizier, name, "b")] == ["3"]
    assert [trial.id for trial in vizier.list_trials(parent=name)] == ["1", "2", "3"]


def test_what_cannot_be_done_is_refused_as_google_cloud_does(
    vizier: Any, parent: str, study: Callable[..., str]
) -> None:
    name = study()
    # Over REST, Google's client knows a 400 and a 409 by their number only.
    with pytest.raises(exceptions.Conflict, match="already has the display name"):
        study()
    with pytest.raises(exceptions.BadRequest, match="max_value"):
        study("other", parameters=[{"parameter_id": "x", "double_value_spec": {"min_value": 2}}])
    with pytest.raises(exceptions.BadRequest, match="suggestion_count"):
        suggested(vizier, name, count=0)
    context = {"parameters": [{"parameter_id": "rate", "value": 2.0}]}
    with pytest.raises(exceptions.BadRequest, match="contexts"):
        vizier.suggest_trials(
            request={"parent": name, "client_id": "me", "suggestion_count": 1, "contexts": [context]}
        )
    with pytest.raises(exceptions.MethodNotImplemented, match="study_stopping_config"):
        study("stopped", study_stopping_config={"max_num_trials": 3})
    (trial,) = suggested(vizier, name)
    with pytest.raises(exceptions.BadRequest, match='"accuracy" is none of the metrics of the study: loss'):
        vizier.add_trial_measurement(
            request={"trial_name": trial.name, "measurement": {"metrics": [{"metric_id": "accuracy"}]}}
        )
    with pytest.raises(exceptions.BadRequest, match="must be finite"):
        vizier.complete_trial(request={"name": trial.name, "final_measurement": loss(float("nan"))})
    vizier.complete_trial(request={"name": trial.name, "trial_infeasible": True, "infeasible_reason": "hot"})
    with pytest.raises(exceptions.BadRequest, match="INFEASIBLE"):
        vizier.complete_trial(request={"name": trial.name, "final_measurement": loss(0.5)})
    with pytest.raises(exceptions.NotFound, match="trials/7 does not exist"):
        vizier.get_trial(name=f"{name}/trials/7")
    assert [one.infeasible_reason for one in vizier.list_trials(parent=name)] == ["hot"]


@over_grpc
def test_a_trial_that_falls_behind_is_stopped(vizier: Any, study: Callable[..., str]) -> None:
    name = study(median_automated_stopping_spec={})
    for value in (0.1, 0.2, 0.3):
        (trial,) = suggested(vizier, name)
        for step in (1, 2, 3):
            vizier.add_trial_measurement(
                request={"trial_name": trial.name, "measurement": loss(value / step, step)}
            )
        vizier.complete_trial(request={"name": trial.name})
    (trial,) = suggested(vizier, name)
    vizier.add_trial_measurement(request={"trial_name": trial.name, "measurement": loss(0.9, 2)})
    asked = vizier.check_trial_early_stopping_state(request={"trial_name": trial.name})
    assert asked.result(timeout=60).should_stop
    assert vizier.get_trial(name=trial.name).state.name == "STOPPING"
    done = vizier.complete_trial(request={"name": trial.name})
    assert (done.state.name, len(done.measurements)) == ("SUCCEEDED", 1)


@over_grpc
def test_trials_of_ones_own_are_suggested_first(vizier: Any, study: Callable[..., str]) -> None:
    name = study()
    parameters = [
        {"parameter_id": "rate", "value": 0.1},
        {"parameter_id": "optimizer", "value": "sgd"},
        {"parameter_id": "momentum", "value": 0.9},
    ]
    made = vizier.create_trial(parent=name, trial={"parameters": parameters})
    assert made.state.name == "REQUESTED"
    first, second = suggested(vizier, name, count=2)
    assert (first.name, first.state.name) == (made.name, "ACTIVE")
    assert {one.parameter_id: one.value for one in first.parameters} == {
        "rate": 0.1,
        "optimizer": "sgd",
        "momentum": 0.9,
    }
    assert vizier.stop_trial(request={"name": second.name}).state.name == "STOPPING"
    # What one leaves open is suggested.
    made = vizier.create_trial(parent=name, trial={"parameters": parameters[1:2]})
    assert [one.parameter_id for one in made.parameters] == ["optimizer"]
    (third,) = suggested(vizier, name, "somebody")
    assert third.name == made.name
    assert {"rate", "momentum"} == {one.parameter_id for one in third.parameters} - {"optimizer"}
    assert [one.value for one in third.parameters if one.parameter_id == "optimizer"] == ["sgd"]


@over_grpc
def test_a_suggestion_has_what_its_context_asks_for(vizier: Any, study: Callable[..., str]) -> None:
    name = study()
    contexts = [{"parameters": [{"parameter_id": "optimizer", "value": value}]} for value in ("sgd", "adam")]
    request = {"parent": name, "client_id": "me", "suggestion_count": 2, "contexts": contexts}
    for _ in range(2):
        trials = vizier.suggest_trials(request=request).result(timeout=60).trials
        chosen = [{one.parameter_id: one.value for one in trial.parameters}["optimizer"] for trial in trials]
        assert (chosen, [trial.id for trial in trials]) == (["sgd", "adam"], ["1", "2"])


@over_grpc
def test_many_workers_at_once_get_trials_of_their_own(vizier: Any, study: Callable[..., str]) -> None:
    name = study()

    def work(worker: int) -> list[str]:
        done = []
        for _ in range(3):
            for trial in suggested(vizier, name, f"worker-{worker}", 2):
                vizier.complete_trial(request={"name": trial.name, "final_measurement": loss(0.5)})
                done.append(trial.id)
        return done

    with ThreadPoolExecutor(16) as pool:
        given = [number for numbers in pool.map(work, range(16)) for number in numbers]
    assert sorted(map(int, given)) == list(range(1, 97))
    assert {trial.state.name for trial in vizier.list_trials(parent=name)} == {"SUCCEEDED"}


def config(pyvizier: Any, **options: Any) -> Any:
    """A problem as Google's documentation states one."""
    problem = pyvizier.StudyConfig(**options)
    problem.metric_information.append(
        pyvizier.MetricInformation(name="pr-auc", goal=pyvizier.ObjectiveMetricGoal.MAXIMIZE)
    )
    root = problem.search_space.select_root()
    root.add_float_param("rate", 0.00001, 1.0, scale_type=pyvizier.ScaleType.LINEAR)
    root.add_int_param("layers", 1, 5)
    root.add_discrete_param("batch", [16, 32, 64])
    root.add_categorical_param("optimizer", ["adagrad", "adam", "experimental"])
    return problem


def test_googles_study_searches(aiplatform: Any, transport: str) -> None:
    from google.cloud.aiplatform.vizier import Study, pyvizier

    problem = config(
        pyvizier,
        algorithm=pyvizier.Algorithm.RANDOM_SEARCH,
        automated_stopping_config=pyvizier.AutomatedStoppingConfig.decay_curve_stopping_config(
            use_steps=True
        ),
    )
    study = Study.create_or_load(display_name="tuning", problem=problem)
    if transport == "grpc":
        # Over REST Google's client does not know the refusal of a second one, which it relies on here.
        assert Study.create_or_load(display_name="tuning", problem=problem).name == study.name
    assert [one.name for one in Study.list()] == [study.name]
    assert Study.from_uid(study.name).resource_name == study.resource_name
    for value in (0.25, 0.75):
        for trial in study.suggest(count=2, worker="worker"):
            assert trial.status.name == "ACTIVE"
            parameters = {name: found.value for name, found in trial.parameters.items()}
            assert set(parameters) == {"rate", "layers", "batch", "optimizer"}
            assert parameters["layers"] in {1, 2, 3, 4, 5} and parameters["batch"] in {16, 32, 64}
            measurement = pyvizier.Measurement(metrics={"pr-auc": value - trial.uid / 100}, steps=1)
            trial.add_measurement(measurement)
            assert not trial.should_stop()
            assert trial.complete(measurement).metrics["pr-auc"].value == value - trial.uid / 100
            assert trial.status.name == "COMPLETED"
    (failed,) = study.suggest(count=1, worker="worker")
    assert failed.complete(infeasible_reason="diverged") is None
    assert failed.materialize().infeasibility_reason == "diverged"
    (best,) = study.optimal_trials()
    assert best.uid == 3
    done = best.materialize()
    assert (done.assigned_worker, len(done.measurements)) == ("worker", 1)
    assert done.completion_time >= done.creation_time
    assert [trial.uid for trial in study.trials()] == [1, 2, 3, 4, 5]
    study.get_trial(4).delete()
    assert [trial.uid for trial in study.trials()] == [1, 2, 3, 5]
    study.delete()
    assert Study.list() == []


def test_a_program_for_google_cloud_searches_as_it_is(emulator: Any, project: str) -> None:
    program = """
        import json
        from google.cloud import aiplatform
        from google.cloud.aiplatform.vizier import Study, pyvizier
        aiplatform.init(location="europe-west4")
        problem = pyvizier.StudyConfig()
        problem.metric_information.append(
            pyvizier.MetricInformation(name="y", goal=pyvizier.ObjectiveMetricGoal.MINIMIZE)
        )
        problem.search_space.select_root().add_float_param("x", -2.0, 2.0)
        study = Study.create_or_load(display_name="parabola", problem=problem)
        tried = []
        for _ in range(3):
            (trial,) = study.suggest(count=1)
            tried.append(trial.parameters["x"].value)
            trial.complete(pyvizier.Measurement(metrics={"y": (tried[-1] - 1) ** 2}))
        (best,) = study.optimal_trials()
        print(json.dumps([study.resource_name, tried, best.parameters["x"].value]))
    """
    told = requests.get(f"{emulator.rest}/emulator/environment", params={"project": project}).json()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        env={**os.environ, **told},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    name, tried, best = json.loads(done.stdout.splitlines()[-1])
    assert "/locations/europe-west4/studies/" in name
    assert len(set(tried)) == 3
    assert best == min(tried, key=lambda x: abs(x - 1))
