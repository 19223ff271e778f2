"""VizierService on a real store: what it refuses, and whom it gives which trial."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from google.cloud.aiplatform_v1 import types
from local_services import PARENT, one_after_another

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.operations import Operations
from vertexkit.emulator.services.study_engines import StudyEngines
from vertexkit.emulator.services.study_trials import StudyTrials
from vertexkit.emulator.services.vizier import VizierService
from vertexkit.emulator.store import Store

State = types.Trial.State
X = {"parameter_id": "x", "double_value_spec": {"min_value": 0, "max_value": 1}}
SPEC: dict[str, Any] = {
    "metrics": [{"metric_id": "loss", "goal": 2}],
    "parameters": [X, {"parameter_id": "n", "integer_value_spec": {"min_value": 1, "max_value": 9}}],
}
GRID = {
    "metrics": SPEC["metrics"],
    "algorithm": 2,
    "parameters": [{"parameter_id": "k", "categorical_value_spec": {"values": ["a", "b", "c"]}}],
}
CONVEX = {
    **SPEC,
    "algorithm": 3,
    "convex_automated_stopping_spec": {
        "max_step_count": 10,
        "min_measurement_count": 2,
        "update_all_stopped_trials": True,
    },
}


def context(**values: float | str) -> dict[str, Any]:
    """A TrialContext with these values."""
    kinds = {
        name: "string_value" if isinstance(value, str) else "number_value" for name, value in values.items()
    }
    return {
        "parameters": [
            {"parameter_id": name, "value": {kinds[name]: value}} for name, value in values.items()
        ]
    }


class Studies:
    """VizierService, started on a data folder, as its callers see it."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "vertex.sqlite")
        self.operations = Operations(self.store)
        self.service = VizierService(self.store, self.operations)

    def close(self) -> None:
        self.operations.close()
        self.store.close()

    def call(self, rpc: str, **fields: Any) -> Any:
        request = getattr(types, f"{rpc}Request")
        return getattr(self.service, rpc)(request.pb(request(**fields)))

    def create(self, spec: dict[str, Any] = SPEC, display_name: str = "study") -> str:
        study = {"display_name": display_name, "study_spec": spec}
        return str(self.call("CreateStudy", parent=PARENT, study=study).name)

    def response(self, rpc: str, kind: Any, **fields: Any) -> Any:
        operation = self.call(rpc, **fields)
        # Quick work is done in the first answer.
        assert operation.done
        assert not operation.HasField("error"), operation.error
        response = kind.pb()()
        assert operation.response.Unpack(response)
        return response

    def suggest(self, study: str, client_id: str = "me", count: int = 1) -> list[Any]:
        return list(self.suggestion(study, client_id, count).trials)

    def suggestion(self, study: str, client_id: str = "me", count: int = 1) -> Any:
        asked = {"parent": study, "client_id": client_id, "suggestion_count": count}
        return self.response("SuggestTrials", types.SuggestTrialsResponse, **asked)

    def measure(self, trial: str, value: float = 0.5, step: int = 1, **fields: Any) -> Any:
        measurement = {"step_count": step, "metrics": [{"metric_id": "loss", "value": value}], **fields}
        return self.call("AddTrialMeasurement", trial_name=trial, measurement=measurement)

    def complete(self, trial: str, value: float | None = None, **fields: Any) -> Any:
        if value is not None:
            fields["final_measurement"] = {"metrics": [{"metric_id": "loss", "value": value}]}
        return self.call("CompleteTrial", name=trial, **fields)

    def should_stop(self, trial: str) -> bool:
        kind = types.CheckTrialEarlyStoppingStateResponse
        return bool(self.response("CheckTrialEarlyStoppingState", kind, trial_name=trial).should_stop)

    def trial(self, name: str) -> Any:
        return self.call("GetTrial", name=name)

    def trials(self, study: str) -> list[Any]:
        return list(self.call("ListTrials", parent=study).trials)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Studies]]:
    """Starts the service on the same data, again and again."""
    with one_after_another(lambda: Studies(tmp_path)) as begin:
        yield begin


@pytest.fixture
def studies(start: Callable[[], Studies]) -> Studies:
    return start()


def refused(code: Code, call: Callable[..., Any], *arguments: Any, **fields: Any) -> str:
    with pytest.raises(ApiError) as error:
        call(*arguments, **fields)
    assert error.value.code is code, error.value.message
    return error.value.message


def test_a_study_is_found_by_either_name_and_is_gone_with_its_trials(studies: Studies) -> None:
    name = studies.create()
    assert name.startswith("projects/") and "my-project" not in name and "/studies/" in name
    found = studies.call("LookupStudy", parent=PARENT, display_name="study")
    assert (found.name, found.state) == (name, types.Study.State.ACTIVE)
    assert found.create_time.seconds
    assert studies.call("GetStudy", name=f"{PARENT}/studies/{name.rpartition('/')[2]}") == found
    refused(Code.ALREADY_EXISTS, studies.create)
    trial = studies.suggest(name)[0].name
    other = studies.create(display_name="other")
    assert [one.name for one in studies.call("ListStudies", parent=PARENT).studies] == [other, name]
    studies.call("DeleteStudy", name=name)
    assert [one.name for one in studies.call("ListStudies", parent=PARENT).studies] == [other]
    for rpc, fields in (
        ("GetStudy", {"name": name}),
        ("DeleteStudy", {"name": name}),
        ("LookupStudy", {"parent": PARENT, "display_name": "study"}),
        ("ListTrials", {"parent": name}),
        ("ListOptimalTrials", {"parent": name}),
        ("SuggestTrials", {"parent": name, "client_id": "me", "suggestion_count": 1}),
        ("CreateTrial", {"parent": name}),
        ("GetTrial", {"name": trial}),
        ("StopTrial", {"name": trial}),
        ("DeleteTrial", {"name": trial}),
        ("CompleteTrial", {"name": trial}),
        ("CheckTrialEarlyStoppingState", {"trial_name": trial}),
        ("AddTrialMeasurement", {"trial_name": trial, "measurement": {"step_count": 1}}),
    ):
        assert (
            "does not exist" in refused(Code.NOT_FOUND, studies.call, rpc, **fields) or rpc == "LookupStudy"
        )
    assert studies.suggest(studies.create())[0].id == "1"


@pytest.mark.parametrize(
    ("code", "study", "says"),
    [
        (Code.INVALID_ARGUMENT, {"study_spec": SPEC}, "study.display_name"),
        (Code.INVALID_ARGUMENT, {"display_name": "s"}, "study.study_spec"),
        (Code.INVALID_ARGUMENT, {"display_name": "s", "study_spec": {}}, "study.study_spec.metrics"),
        (
            Code.INVALID_ARGUMENT,
            {"display_name": "s", "study_spec": {**SPEC, "algorithm": 2}},
            "study.study_spec.algorithm",
        ),
        (
            Code.UNIMPLEMENTED,
            {"display_name": "s", "study_spec": {**SPEC, "study_stopping_config": {"max_num_trials": 3}}},
            "study_stopping_config",
        ),
    ],
)
def test_a_study_that_cannot_be_is_refused_by_field(
    studies: Studies, code: Code, study: dict[str, Any], says: str
) -> None:
    assert says in refused(code, studies.call, "CreateStudy", parent=PARENT, study=study)
    assert not studies.call("ListStudies", parent=PARENT).studies


@pytest.mark.parametrize(
    ("code", "fields", "says"),
    [
        (Code.INVALID_ARGUMENT, {"suggestion_count": 0}, "suggestion_count"),
        (Code.INVALID_ARGUMENT, {"suggestion_count": -1}, "suggestion_count"),
        (Code.INVALID_ARGUMENT, {"suggestion_count": 2**31 - 1}, "suggestion_count"),
        (Code.INVALID_ARGUMENT, {"parent": PARENT}, "studies/{study}"),
        (Code.INVALID_ARGUMENT, {"contexts": [{}, {}]}, "contexts"),
        (Code.INVALID_ARGUMENT, {"contexts": [context(z=1)]}, "contexts[0].parameters"),
        (Code.INVALID_ARGUMENT, {"contexts": [context(n=1.5)]}, '"n" cannot be 1.5'),
        (Code.INVALID_ARGUMENT, {"contexts": [context(n=math.nan)]}, '"n" cannot be nan'),
        (
            Code.INVALID_ARGUMENT,
            {"contexts": [{"parameters": [{"parameter_id": "n"}]}]},
            "contexts[0].parameters[0].value",
        ),
    ],
)
def test_a_wrong_request_for_suggestions_makes_no_trial(
    studies: Studies, code: Code, fields: dict[str, Any], says: str
) -> None:
    study = studies.create()
    asked = {"parent": study, "client_id": "me", "suggestion_count": 1, **fields}
    assert says in refused(code, studies.call, "SuggestTrials", **asked)
    assert studies.trials(study) == []


@pytest.mark.parametrize("name", ["trials/1", f"{PARENT}/studies/1", f"{PARENT}/studies/1/trials/1/2", ""])
def test_a_name_that_is_no_trials_is_refused(studies: Studies, name: str) -> None:
    assert "trials/{trial}" in refused(Code.INVALID_ARGUMENT, studies.call, "GetTrial", name=name)


def test_a_client_without_a_name_is_one_too(studies: Studies) -> None:
    study = studies.create()
    (first,) = studies.suggest(study, "")
    (other,) = studies.suggest(study, "a")
    assert [trial.id for trial in studies.suggest(study, "")] == [first.id] != [other.id]


def test_a_client_is_given_its_trials_until_it_has_ended_them(studies: Studies) -> None:
    study = studies.create()
    first = studies.suggestion(study, "a", 2)
    assert [(trial.id, State(trial.state).name, trial.client_id) for trial in first.trials] == [
        ("1", "ACTIVE", "a"),
        ("2", "ACTIVE", "a"),
    ]
    assert first.study_state == types.Study.State.ACTIVE
    assert 0 < first.start_time.ToNanoseconds() <= first.end_time.ToNanoseconds()
    names = [[parameter.parameter_id for parameter in trial.parameters] for trial in first.trials]
    assert names == [["x", "n"]] * 2
    assert list(studies.suggestion(study, "a", 2).trials) == list(first.trials)
    assert [trial.id for trial in studies.suggest(study, "a")] == ["1"]
    assert [trial.id for trial in studies.suggest(study, "b")] == ["3"]
    studies.complete(first.trials[0].name, 0.5)
    assert [trial.id for trial in studies.suggest(study, "a", 2)] == ["2", "4"]
    studies.call("StopTrial", name=first.trials[1].name)
    assert [trial.id for trial in studies.suggest(study, "a", 2)] == ["4", "5"]


def test_each_suggestion_has_what_its_context_asks_for(studies: Studies) -> None:
    study = studies.create()
    made = studies.call("CreateTrial", parent=study, trial=context(x=0.5, n=7))
    active = studies.suggest(study, "me", 2)[1]
    assert active.id == "2"

    def asked(client_id: str, *contexts: Any) -> list[tuple[str, float]]:
        found = studies.response(
            "SuggestTrials",
            types.SuggestTrialsResponse,
            parent=study,
            client_id=client_id,
            suggestion_count=len(contexts),
            contexts=contexts,
        )
        return [(trial.id, trial.parameters[1].value.number_value) for trial in found.trials]

    again = asked("me", context(n=3), {}, context(n=7, x=0.5))
    assert again == [("3", 3.0), ("2", again[1][1]), (made.id, 7.0)]
    assert asked("you", context(n=7), context(n=3)) == [("4", 7.0), ("5", 3.0)]
    assert asked("you", context(n=3), context(n=8)) == [("5", 3.0), ("6", 8.0)]
    assert studies.call("GetStudy", name=study).state == types.Study.State.ACTIVE


def test_a_context_says_what_activates_the_conditional_values_in_it(studies: Studies) -> None:
    child = {"parent_categorical_values": {"values": ["b"]}, "parameter_spec": X}
    kinds = [{**GRID["parameters"][0], "conditional_parameter_specs": [child]}]
    study = studies.create({**GRID, "algorithm": 0, "parameters": kinds})
    asked = {"parent": study, "client_id": "me", "suggestion_count": 1}
    wrong = {**asked, "contexts": [context(x=0.5)]}
    assert "conditional" in refused(Code.INVALID_ARGUMENT, studies.call, "SuggestTrials", **wrong)
    right = {**asked, "contexts": [context(x=0.5, k="b")]}
    (trial,) = studies.response("SuggestTrials", types.SuggestTrialsResponse, **right).trials
    assert [one.parameter_id for one in trial.parameters] == ["k", "x"]
    assert trial.parameters[1].value.number_value == 0.5


def test_a_deleted_trial_leaves_its_number_behind(studies: Studies) -> None:
    study = studies.create()
    first = studies.suggest(study)[0]
    studies.call("DeleteTrial", name=first.name)
    assert [trial.id for trial in studies.suggest(study)] == ["2"]
    assert [trial.id for trial in studies.trials(study)] == ["2"]


def test_a_requested_trial_is_suggested_before_others(studies: Studies) -> None:
    study = studies.create()
    parameters = [
        {"parameter_id": "n", "value": {"number_value": 3}},
        {"parameter_id": "x", "value": {"number_value": 0.25}},
    ]
    # Who made a trial, and in which state, is not for the request to say.
    asked = {"parameters": parameters, "client_id": "z", "id": "9", "state": State.ACTIVE}
    made = studies.call("CreateTrial", parent=study, trial=asked)
    assert (made.name, made.id, made.client_id) == (f"{study}/trials/1", "1", "")
    assert made.state == State.REQUESTED and not made.HasField("start_time")
    assert [parameter.parameter_id for parameter in made.parameters] == ["x", "n"]
    message = refused(Code.FAILED_PRECONDITION, studies.measure, made.name)
    assert "REQUESTED" in message and "ACTIVE or STOPPING" in message
    refused(Code.FAILED_PRECONDITION, studies.complete, made.name, 1.0)
    given = studies.suggest(study, "a", 2)
    assert [(trial.id, trial.state, trial.client_id) for trial in given] == [
        ("1", State.ACTIVE, "a"),
        ("2", State.ACTIVE, "a"),
    ]
    assert given[0].HasField("start_time")
    assert studies.trial(made.name) == given[0]


@pytest.mark.parametrize(
    ("trial", "says"),
    [
        ({}, '"x" is not given'),
        ({"x": 0.5, "n": 10}, '"n" is 10'),
        ({"x": math.nan, "n": 1}, '"x" is nan'),
        ({"x": 0.5, "n": 1.5}, '"n" is 1.5'),
        ({"x": 0.5, "n": 1, "z": 1}, '"z" is none'),
    ],
)
def test_a_trial_outside_the_space_is_refused(studies: Studies, trial: dict[str, float], says: str) -> None:
    study = studies.create()
    asked = {**context(**trial), "state": State.INFEASIBLE}
    message = refused(Code.INVALID_ARGUMENT, studies.call, "CreateTrial", parent=study, trial=asked)
    assert says in message and "trial.parameters" in message
    if trial:
        message = refused(
            Code.INVALID_ARGUMENT, studies.call, "CreateTrial", parent=study, trial=context(**trial)
        )
        assert says.split(maxsplit=1)[0] in message and "trial.parameters" in message
    assert studies.trials(study) == []


def test_what_a_requested_trial_leaves_open_is_suggested(start: Callable[[], Studies]) -> None:
    studies = start()
    study = studies.create()
    made = studies.call("CreateTrial", parent=study, trial=context(n=7))
    assert [one.parameter_id for one in made.parameters] == ["n"]
    assert studies.trials(study) == [made]
    # It is on nobody's way: an engine that is made anew does without it as well.
    studies = start()
    other = {"parent": study, "client_id": "a", "suggestion_count": 1, "contexts": [context(n=2)]}
    (given,) = studies.response("SuggestTrials", types.SuggestTrialsResponse, **other).trials
    assert (given.id, given.parameters[1].value.number_value) == ("2", 2)
    # What a context says of it, and what it says itself.
    fitting = {**other, "client_id": "b", "contexts": [context(x=0.25)]}
    (begun,) = studies.response("SuggestTrials", types.SuggestTrialsResponse, **fitting).trials
    assert (begun.name, begun.state, begun.client_id) == (made.name, State.ACTIVE, "b")
    assert [one.value.number_value for one in begun.parameters] == [0.25, 7]
    assert begun.HasField("start_time") and studies.trial(made.name) == begun
    assert studies.suggest(study, "b") == [begun]
    assert studies.complete(begun.name, 1.0).state == State.SUCCEEDED
    studies.call("CreateTrial", parent=study, trial={})
    (third,) = studies.suggest(study, "c")
    assert third.id == "3" and [one.parameter_id for one in third.parameters] == ["x", "n"]


def test_a_requested_trial_that_can_only_repeat_others_is_left_for_what_has_not_been_tried(
    studies: Studies,
) -> None:
    pairs = {**GRID, "parameters": [*GRID["parameters"], {**GRID["parameters"][0], "parameter_id": "l"}]}
    study = studies.create(pairs)
    studies.suggest(study, "a", 3)
    made = studies.call("CreateTrial", parent=study, trial=context(k="a"))
    (given,) = studies.suggest(study, "b")
    assert [one.value.string_value for one in given.parameters] == ["b", "a"]
    assert studies.trial(made.name) == made


def test_a_trial_from_elsewhere_is_completed_as_it_is_made(studies: Studies) -> None:
    study = studies.create()
    parameters = [
        {"parameter_id": "x", "value": {"number_value": 0.5}},
        {"parameter_id": "n", "value": {"number_value": 2}},
    ]
    final = {"metrics": [{"metric_id": "loss", "value": 0.125}]}
    for state, fields, says in (
        (State.SUCCEEDED, {}, "trial.final_measurement"),
        (State.SUCCEEDED, {"final_measurement": {"metrics": [{"metric_id": "acc"}]}}, "acc"),
        (State.ACTIVE, {"final_measurement": final}, "SUCCEEDED or INFEASIBLE, and this one is REQUESTED"),
        (99, {"measurements": [final]}, "trial.measurements"),
        (State.SUCCEEDED, {"final_measurement": final, "infeasible_reason": "too hot"}, "infeasible_reason"),
        (State.REQUESTED, {"infeasible_reason": "too hot"}, "INFEASIBLE, and this one is REQUESTED"),
    ):
        wrong = {"parameters": parameters, "state": state, **fields}
        assert says in refused(Code.INVALID_ARGUMENT, studies.call, "CreateTrial", parent=study, trial=wrong)
    good = {"parameters": parameters, "state": State.SUCCEEDED, "final_measurement": final}
    made = studies.call("CreateTrial", parent=study, trial=good)
    assert made.HasField("end_time") and made.final_measurement.metrics[0].value == 0.125
    bad = {"parameters": parameters, "state": State.INFEASIBLE, "infeasible_reason": "too hot"}
    assert studies.call("CreateTrial", parent=study, trial=bad).infeasible_reason == "too hot"
    best = studies.call("ListOptimalTrials", parent=study).optimal_trials
    assert [trial.id for trial in best] == ["1"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"step": -1}, "measurement.step_count"),
        ({"elapsed_duration": {"seconds": -1}}, "measurement.elapsed_duration"),
        ({"metrics": []}, "measurement.metrics"),
        ({"metrics": [{"metric_id": "accuracy", "value": 1}]}, '"accuracy" is none of the metrics'),
        ({"value": math.nan}, "must be finite"),
        ({"value": -math.inf}, "must be finite"),
        ({"metrics": [{"metric_id": "loss"}, {"metric_id": "loss"}]}, "more than once"),
    ],
)
def test_a_measurement_that_cannot_be_is_refused_by_field(
    studies: Studies, fields: dict[str, Any], says: str
) -> None:
    trial = studies.suggest(studies.create())[0].name
    assert says in refused(Code.INVALID_ARGUMENT, studies.measure, trial, **fields)
    assert not studies.trial(trial).measurements


def test_measurements_are_in_order_and_one_that_is_sent_again_is_there_once(studies: Studies) -> None:
    trial = studies.suggest(studies.create())[0].name
    assert "measurement" in refused(
        Code.INVALID_ARGUMENT, studies.call, "AddTrialMeasurement", trial_name=trial
    )
    for step, value in ((3, 0.3), (1, 0.1), (2, 0.2), (1, 0.1)):
        studies.measure(trial, value, step)
    studies.measure(trial, 0.4, 1, elapsed_duration={"seconds": 5})
    kept = studies.trial(trial).measurements
    assert [(one.step_count, one.metrics[0].value) for one in kept] == [
        (1, 0.1),
        (1, 0.4),
        (2, 0.2),
        (3, 0.3),
    ]
    assert "another Measurement" in refused(Code.INVALID_ARGUMENT, studies.measure, trial, 0.9, 2)


@pytest.mark.parametrize(("selection", "value"), [(0, 0.3), (1, 0.3), (2, 0.1)])
def test_the_study_selects_the_result_that_is_not_given(
    studies: Studies, selection: int, value: float
) -> None:
    study = studies.create({**SPEC, "measurement_selection_type": selection})
    trial = studies.suggest(study)[0].name
    for step, measured in enumerate((0.4, 0.1, 0.3)):
        studies.measure(trial, measured, step)
    done = studies.complete(trial)
    assert State(done.state).name == "SUCCEEDED"
    assert done.final_measurement.metrics[0].value == value
    assert done.end_time.ToNanoseconds() >= done.start_time.ToNanoseconds() > 0


def test_a_trial_ends_once(studies: Studies) -> None:
    study = studies.create()
    silent, failed, good = (trial.name for trial in studies.suggest(study, "me", 3))
    done = studies.complete(silent)
    assert (State(done.state).name, done.HasField("final_measurement")) == ("INFEASIBLE", False)
    assert "loss" in done.infeasible_reason
    assert "infeasible_reason" in refused(
        Code.INVALID_ARGUMENT, studies.complete, good, 0.5, infeasible_reason="cold"
    )
    done = studies.complete(failed, 0.5, trial_infeasible=True, infeasible_reason="out of memory")
    assert (State(done.state).name, done.infeasible_reason) == ("INFEASIBLE", "out of memory")
    assert not done.HasField("final_measurement")
    assert "final_measurement" in refused(
        Code.INVALID_ARGUMENT, studies.complete, good, final_measurement={"step_count": 1}
    )
    assert State(studies.complete(good, 0.5).state).name == "SUCCEEDED"
    for name in (silent, failed, good):
        for call in (studies.complete, studies.measure, studies.should_stop):
            message = refused(Code.FAILED_PRECONDITION, call, name)
            assert name in message and ("SUCCEEDED" in message or "INFEASIBLE" in message)
        refused(Code.FAILED_PRECONDITION, studies.call, "StopTrial", name=name)


def test_a_trial_that_is_to_stop_says_so_until_it_is_completed(studies: Studies) -> None:
    study = studies.create()
    trial = studies.suggest(study)[0].name
    assert not studies.should_stop(trial)
    stopping = studies.call("StopTrial", name=trial)
    assert State(stopping.state).name == "STOPPING"
    assert studies.should_stop(trial)
    studies.measure(trial, 0.5)
    assert State(studies.complete(trial).state).name == "SUCCEEDED"


def test_the_median_rule_stops_a_trial_that_is_worse_than_half_of_them(studies: Studies) -> None:
    study = studies.create({**SPEC, "median_automated_stopping_spec": {}})
    for value in (0.1, 0.2, 0.3):
        trial = studies.suggest(study)[0].name
        studies.measure(trial, value)
        assert not studies.should_stop(trial) or value > 0.1
        studies.complete(trial)
    bad, good = (trial.name for trial in studies.suggest(study, "me", 2))
    studies.measure(bad, 0.9)
    studies.measure(good, 0.15)
    assert (studies.should_stop(bad), studies.should_stop(good)) == (True, False)
    assert [State(studies.trial(name).state).name for name in (bad, good)] == ["STOPPING", "ACTIVE"]
    assert studies.should_stop(bad)
    done = studies.complete(bad)
    assert (State(done.state).name, len(done.measurements)) == ("SUCCEEDED", 1)


def test_convex_stopping_adds_what_it_predicts_and_predicts_again(start: Callable[[], Studies]) -> None:
    studies = start()
    study = studies.create(CONVEX)
    asked = [trial.name for trial in studies.suggest(study, "me", 5)]
    for index, name in enumerate(asked[:3]):
        for step in range(1, 11):
            studies.measure(name, 0.5 / step + index / 100, step)
        studies.complete(name)
    bad, late = asked[3:]
    for step in range(1, 5):
        studies.measure(bad, 0.9 - step / 1000, step)
    assert studies.should_stop(bad)
    *measured, predicted = studies.trial(bad).measurements
    assert [one.step_count for one in measured] == [1, 2, 3, 4]
    assert predicted.step_count == 10 and predicted.metrics[0].value < 0.9
    assert studies.complete(bad).final_measurement == predicted
    # What comes of others is known after a restart too.
    studies = start()
    for step in range(1, 11):
        studies.measure(late, 0.9 - step / 1000 if step < 5 else 0.9 + step / 10, step)
    studies.complete(late)
    *still, again = studies.trial(bad).measurements
    assert still == measured and again.step_count == 10
    assert again.metrics[0].value != predicted.metrics[0].value
    assert studies.trial(bad).final_measurement == again


def test_a_grid_is_gone_through_once_and_the_study_is_then_completed(studies: Studies) -> None:
    study = studies.create(GRID)
    found = studies.suggestion(study, "me", 2)
    assert found.study_state == types.Study.State.ACTIVE
    rest = studies.suggestion(study, "you", 5)
    assert rest.study_state == types.Study.State.COMPLETED
    values = [trial.parameters[0].value.string_value for trial in (*found.trials, *rest.trials)]
    assert values == ["a", "b", "c"]
    assert studies.call("GetStudy", name=study).state == types.Study.State.COMPLETED
    assert studies.suggest(study, "third", 1) == []
    assert [trial.id for trial in studies.suggest(study, "me", 5)] == ["1", "2"]


def test_a_context_that_is_exhausted_does_not_complete_the_study(studies: Studies) -> None:
    study = studies.create(GRID)
    asked = {"parent": study, "client_id": "me", "suggestion_count": 2, "contexts": [context(k="b")] * 2}
    found = studies.response("SuggestTrials", types.SuggestTrialsResponse, **asked)
    assert [trial.parameters[0].value.string_value for trial in found.trials] == ["b"]
    assert found.study_state == types.Study.State.ACTIVE
    values = [trial.parameters[0].value.string_value for trial in studies.suggest(study, "you", 2)]
    assert values == ["a", "c"]


def test_several_objectives_have_several_best_trials(studies: Studies) -> None:
    study = studies.create(
        {**SPEC, "metrics": [{"metric_id": "loss", "goal": 2}, {"metric_id": "accuracy", "goal": 1}]}
    )
    asked = studies.suggest(study, "me", 4)
    for trial, (loss, accuracy) in zip(asked, ((1, 1), (2, 2), (3, 1), (0.5, 0)), strict=True):
        metrics = [{"metric_id": "loss", "value": loss}, {"metric_id": "accuracy", "value": accuracy}]
        studies.call("CompleteTrial", name=trial.name, final_measurement={"metrics": metrics})
    one = [{"metric_id": "loss", "value": 1}]
    last = studies.suggest(study)[0].name
    assert '"accuracy" is not measured' in refused(
        Code.INVALID_ARGUMENT, studies.call, "CompleteTrial", name=last, final_measurement={"metrics": one}
    )
    best = studies.call("ListOptimalTrials", parent=study).optimal_trials
    assert [trial.id for trial in best] == ["1", "2", "4"]


def test_trials_are_listed_by_number_in_pages(studies: Studies) -> None:
    study = studies.create({**SPEC, "algorithm": 3})
    studies.suggest(study, "me", 12)
    seen, token = [], ""
    while True:
        page = studies.call("ListTrials", parent=study, page_size=5, page_token=token)
        seen.append([int(trial.id) for trial in page.trials])
        token = page.next_page_token
        if not token:
            break
    assert seen == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11, 12]]
    refused(Code.INVALID_ARGUMENT, studies.call, "ListTrials", parent=study, page_size=-1)
    refused(Code.INVALID_ARGUMENT, studies.call, "ListTrials", parent=study, page_token="x")
    # Google's client reads one page of them only.
    studies.suggest(study, "you", 150)
    assert len(studies.trials(study)) == 162


def test_a_study_goes_on_after_a_restart(start: Callable[[], Studies]) -> None:
    studies = start()
    study = studies.create(GRID)
    done, open_trial = studies.suggest(study, "me", 2)
    studies.complete(done.name, 0.5)
    studies = start()
    assert studies.trial(open_trial.name) == open_trial
    assert [trial.id for trial in studies.suggest(study, "me", 2)] == ["2", "3"]
    values = [trial.parameters[0].value.string_value for trial in studies.trials(study)]
    assert values == ["a", "b", "c"]


def test_a_study_that_is_searched_anew_under_its_name_is_given_the_same(studies: Studies) -> None:
    found = []
    for display_name in ("a", "a", "b"):
        study = studies.create(display_name=display_name)
        found.append(
            [
                [one.value.number_value for one in trial.parameters]
                for trial in studies.suggest(study, "me", 3)
            ]
        )
        studies.call("DeleteStudy", name=study)
    assert found[0] == found[1] != found[2]


def test_many_clients_at_once_are_given_different_trials(studies: Studies) -> None:
    study = studies.create({**SPEC, "algorithm": 3})

    def work(client: int) -> list[str]:
        done = []
        for _ in range(5):
            for trial in studies.suggest(study, f"client-{client}", 2):
                studies.measure(trial.name, 0.5)
                studies.complete(trial.name)
                done.append(trial.id)
        return done

    with ThreadPoolExecutor(16) as pool:
        given = [number for numbers in pool.map(work, range(16)) for number in numbers]
    assert sorted(map(int, given)) == list(range(1, 161))
    assert {State(trial.state).name for trial in studies.trials(study)} == {"SUCCEEDED"}


def test_one_client_that_asks_from_many_threads_is_given_the_same_trials(studies: Studies) -> None:
    study = studies.create()
    with ThreadPoolExecutor(16) as pool:
        given = list(pool.map(lambda _: [one.id for one in studies.suggest(study, "me", 3)], range(16)))
    assert given == [["1", "2", "3"]] * 16


def test_engines_that_nobody_uses_are_let_go_and_made_again(tmp_path: Path) -> None:
    studies = Studies(tmp_path)
    names = [studies.create(display_name=f"{number}") for number in range(4)]
    for name in names:
        studies.suggest(name)
    engines = StudyEngines(studies.store, StudyTrials(studies.store), most=2)
    with engines.opened(names[0]) as first:
        for name in names[1:]:
            with engines.opened(name) as search:
                assert [trial.id for trial in search.of_client("me")] == ["1"]
        engines.changed(names[0], "1")
    with engines.opened(names[0]) as again:
        assert again is first
    for name in names[2:]:
        with engines.opened(name):
            pass
    with engines.opened(names[0]) as anew:
        assert anew is not first
    studies.close()


def test_an_engine_whose_suggestion_was_not_kept_is_made_again(tmp_path: Path) -> None:
    studies = Studies(tmp_path)
    study = studies.create(GRID)
    engines = StudyEngines(studies.store, StudyTrials(studies.store))
    with pytest.raises(OSError, match="disk"), engines.opened(study) as search:
        lost = search.engine.suggest(1)
        raise OSError("disk full")
    with engines.opened(study) as search:
        assert search.engine.suggest(1) == lost
    studies.close()
