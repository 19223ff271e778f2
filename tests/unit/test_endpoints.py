"""Endpoints: what exactly is sent, and what is left when something fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from doubles import LABELS, PARENT, Clock, Doubles, done, failed, in_turn, running
from google.api_core import exceptions as api
from google.cloud import aiplatform_v1 as v1

from vertexkit import deployment, errors
from vertexkit._core import operations
from vertexkit.deployed_model import DeployedModel
from vertexkit.endpoint import Endpoint
from vertexkit.endpoints import Endpoints
from vertexkit.model import Model
from vertexkit.types import Machine

pytestmark = [
    pytest.mark.usefixtures("no_waiting"),
    # A CPU image on a machine with a GPU is warned of, which is tested elsewhere.
    pytest.mark.filterwarnings("ignore::vertexkit.preflight.PreflightWarning"),
]

NAME = f"{PARENT}/endpoints/77"
MODEL = f"{PARENT}/models/m1"
IMAGE = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (operations, deployment):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def endpoints(doubles: Doubles) -> Endpoints:
    return Endpoints(doubles.context)


def _deployed(
    key: str, version: str = "1", *, day: int = 1, machine: str = "n1-standard-4"
) -> dict[str, Any]:
    return {
        "id": key,
        "displayName": "mnist",
        "model": MODEL,
        "modelVersionId": version,
        "createTime": f"2026-01-{day:02}T00:00:00.123456789Z",
        "dedicatedResources": {
            "machineSpec": {
                "machineType": machine,
                "acceleratorType": "NVIDIA_TESLA_T4",
                "acceleratorCount": 1,
            },
            "minReplicaCount": 1,
            "maxReplicaCount": 5,
        },
    }


def _data(split: dict[str, int] | None = None, *deployed: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": NAME,
        "displayName": "mnist",
        "etag": "e1",
        "createTime": "2026-01-01T00:00:00Z",
        "labels": dict(LABELS),
        "trafficSplit": split or {},
        "deployedModels": list(deployed),
        **more,
    }


def _endpoint(doubles: Doubles, data: dict[str, Any]) -> Endpoint:
    doubles.rest.answers[NAME] = lambda: data
    return Endpoint(doubles.context, data)


def _model(doubles: Doubles, version: str = "1") -> Model:
    data = {
        "name": MODEL,
        "displayName": "mnist",
        "versionId": version,
        "containerSpec": {"imageUri": IMAGE},
    }
    return Model(doubles.context, data)


def _updates(doubles: Doubles, data: dict[str, Any]) -> None:
    """Let updates of the endpoint happen."""

    def update(*, request: v1.UpdateEndpointRequest, **_: Any) -> v1.Endpoint:
        if "traffic_split" in request.update_mask.paths:
            data["trafficSplit"] = dict(request.endpoint.traffic_split)
        data["labels"] = dict(request.endpoint.labels)
        return v1.Endpoint(
            name=NAME,
            traffic_split=data["trafficSplit"],
            labels=data["labels"],
            deployed_models=[v1.DeployedModel(id=one["id"]) for one in data["deployedModels"]],
        )

    doubles.endpoints.update_endpoint.side_effect = update


def _deploys(doubles: Doubles, data: dict[str, Any], answer: Callable[[], Any] = done) -> None:
    """Let deploying put the model on the endpoint, and undeploying take it off."""

    def deploy(*, request: v1.DeployModelRequest, **_: Any) -> Any:
        new = request.deployed_model.id
        data["deployedModels"].append(_deployed(new, request.deployed_model.model.rpartition("@")[2], day=9))
        if request.traffic_split:
            data["trafficSplit"] = {
                (new if key == "0" else key): share for key, share in request.traffic_split.items()
            }
        return answer()

    doubles.endpoints.deploy_model.side_effect = deploy
    doubles.endpoints.undeploy_model.side_effect = _undeploys(data)


def _loses_an_answer(doubles: Doubles, data: dict[str, Any]) -> None:
    """Let the first update happen and its answer be lost; sent again, its etag is an old one."""
    _updates(doubles, data)
    update = doubles.endpoints.update_endpoint.side_effect

    def lost(**given: Any) -> Any:
        call = doubles.endpoints.update_endpoint.call_count
        if call == 1:
            update(**given)
            raise api.ServiceUnavailable("connection reset by peer")
        if call == 2:
            raise api.Aborted("the etag does not match")
        return update(**given)

    doubles.endpoints.update_endpoint.side_effect = lost


def _undeploys(data: dict[str, Any]) -> Callable[..., Any]:
    """As the service does it: a model that gets requests is not taken off from under them."""

    def undeploy(*, request: v1.UndeployModelRequest, **_: Any) -> Any:
        gone = request.deployed_model_id
        rest = [one for one in data["deployedModels"] if one["id"] != gone]
        split = dict(request.traffic_split or data["trafficSplit"])
        if not rest:
            split = {}
        if split.pop(gone, 0) or not {one["id"] for one in rest} >= set(split):
            raise api.FailedPrecondition("the split must be over what stays")
        data["deployedModels"], data["trafficSplit"] = rest, split
        return done()

    return undeploy


class TestCreating:
    def test_it_is_created_under_an_id_of_ours_with_the_sessions_labels(
        self, doubles: Doubles, endpoints: Endpoints
    ) -> None:
        def create(*, request: v1.CreateEndpointRequest, **_: Any) -> Any:
            doubles.rest.answers[f"{PARENT}/endpoints/{request.endpoint_id}"] = _data()
            return done(v1.Endpoint(name=NAME))

        doubles.endpoints.create_endpoint.side_effect = create
        labels = {"team": "vision", "vertexkit_session": "mine"}
        endpoint = endpoints.create("mnist", labels=labels, description="d", dedicated=True)
        assert endpoint.resource_name == NAME
        [request] = doubles.sent("endpoints", "create_endpoint")
        assert request.parent == PARENT
        assert len(request.endpoint_id) == 9
        assert request.endpoint_id[0] != "0"
        assert request.endpoint == v1.Endpoint(
            display_name="mnist",
            description="d",
            labels={**LABELS, "team": "vision"},
            dedicated_endpoint_enabled=True,
        )
        assert doubles.context.created.names == (NAME,)

    def test_an_answer_lost_on_the_way_makes_no_second_endpoint(
        self, doubles: Doubles, endpoints: Endpoints
    ) -> None:
        ids = []

        def create(*, request: v1.CreateEndpointRequest, **_: Any) -> Any:
            ids.append(request.endpoint_id)
            if len(ids) == 1:
                doubles.rest.answers[f"{PARENT}/endpoints/{ids[0]}"] = _data()
                raise api.ServiceUnavailable("connection reset")
            raise api.AlreadyExists("there is one")

        doubles.endpoints.create_endpoint.side_effect = create
        assert endpoints.create("mnist").resource_name == NAME
        assert len(set(ids)) == 1

    def test_ctrl_c_while_it_is_created_leaves_none(self, doubles: Doubles, endpoints: Endpoints) -> None:
        doubles.endpoints.create_endpoint.side_effect = KeyboardInterrupt
        doubles.endpoints.delete_endpoint.return_value = done()
        with pytest.raises(KeyboardInterrupt):
            endpoints.create("mnist")
        [request] = doubles.sent("endpoints", "create_endpoint")
        [deleted] = doubles.sent("endpoints", "delete_endpoint")
        assert deleted == {"name": f"{PARENT}/endpoints/{request.endpoint_id}"}
        assert doubles.context.created.names == ()

    @pytest.mark.parametrize(
        "arguments",
        [
            {"name": ""},
            {"name": "x" * 129},
            {"name": "m", "labels": {"Team": "x"}},
            {"name": "m", "labels": ["team"]},
            {"name": "m", "description": 3},
            {"name": 3},
        ],
    )
    def test_a_wrong_argument_is_refused_before_anything_is_sent(
        self, doubles: Doubles, endpoints: Endpoints, arguments: dict[str, Any]
    ) -> None:
        with pytest.raises(errors.InvalidArgument):
            endpoints.create(**arguments)
        assert doubles.endpoints.create_endpoint.call_count == 0
        assert doubles.rest.asked == []

    def test_exist_ok_gives_the_one_there_is_and_does_not_own_it(
        self, doubles: Doubles, endpoints: Endpoints
    ) -> None:
        doubles.rest.answers[f"{PARENT}/endpoints"] = {"endpoints": [_data()]}
        assert endpoints.create("mnist", exist_ok=True).resource_name == NAME
        assert doubles.rest.asked[0][2]["filter"] == 'display_name="mnist"'
        assert doubles.endpoints.create_endpoint.call_count == 0
        assert doubles.context.created.names == ()


class TestFinding:
    def test_by_display_name_takes_one_request(self, doubles: Doubles, endpoints: Endpoints) -> None:
        doubles.rest.answers[f"{PARENT}/endpoints"] = {"endpoints": [_data()]}
        assert endpoints.get('mn"ist').resource_name == NAME
        assert [(path, options["filter"]) for _, path, options in doubles.rest.asked] == [
            (f"{PARENT}/endpoints", 'display_name="mn\\"ist"')
        ]

    def test_by_id_and_by_resource_name(self, doubles: Doubles, endpoints: Endpoints) -> None:
        doubles.rest.answers[NAME] = _data()
        assert endpoints.get("77").id == "77"
        assert endpoints.get(NAME).id == "77"
        assert [path for _, path, _ in doubles.rest.asked] == [NAME, NAME]

    def test_by_an_id_of_letters_when_no_display_name_is_it(
        self, doubles: Doubles, endpoints: Endpoints
    ) -> None:
        doubles.rest.answers[f"{PARENT}/endpoints"] = {}
        doubles.rest.answers[f"{PARENT}/endpoints/my-endpoint"] = _data()
        assert endpoints.get("my-endpoint").resource_name == NAME

    def test_a_display_name_of_digits_is_found_too(self, doubles: Doubles, endpoints: Endpoints) -> None:
        doubles.rest.answers[f"{PARENT}/endpoints"] = {"endpoints": [_data()]}
        assert endpoints.get("2026").resource_name == NAME

    def test_an_ambiguous_name_lists_the_candidates(self, doubles: Doubles, endpoints: Endpoints) -> None:
        other = {**_data(), "name": f"{PARENT}/endpoints/78"}
        doubles.rest.answers[f"{PARENT}/endpoints"] = {"endpoints": [_data(), other]}
        with pytest.raises(errors.InvalidArgument, match=r"endpoints/77[\s\S]*endpoints/78"):
            endpoints.get("mnist")

    def test_what_is_not_there_says_how_to_see_what_is(self, doubles: Doubles, endpoints: Endpoints) -> None:
        doubles.rest.answers[f"{PARENT}/endpoints"] = {}
        with pytest.raises(errors.NotFound, match=r"session\.endpoints\.list"):
            endpoints.get("no such")

    @pytest.mark.parametrize("name", ["", None, f"{PARENT}/models/1", "projects/p/oops"])
    def test_a_name_of_something_else_is_refused(
        self, doubles: Doubles, endpoints: Endpoints, name: str
    ) -> None:
        with pytest.raises(errors.InvalidArgument):
            endpoints.get(name)
        assert doubles.rest.asked == []

    def test_a_list_goes_through_all_pages(self, doubles: Doubles, endpoints: Endpoints) -> None:
        doubles.rest.answers[f"{PARENT}/endpoints"] = in_turn(
            {"endpoints": [_data()], "nextPageToken": "t"}, {"endpoints": [_data()]}
        )
        assert len(endpoints.list(filter="labels.team=x", order_by="create_time desc")) == 2
        first, second = (options for _, _, options in doubles.rest.asked)
        assert first["filter"] == second["filter"] == "labels.team=x"
        assert first["orderBy"] == "create_time desc"
        assert second["pageToken"] == "t"


class TestReading:
    def test_it_shows_what_is_deployed(self, doubles: Doubles) -> None:
        data = _data({"1": 90, "2": 10}, _deployed("2", "2", day=2), _deployed("1"))
        endpoint = _endpoint(doubles, data)
        assert endpoint.traffic == {"1": 90, "2": 10}
        assert endpoint.deployed[0] == DeployedModel(
            id="1",
            display_name="mnist",
            model=MODEL,
            version_id="1",
            machine=Machine("n1-standard-4", "NVIDIA_TESLA_T4", 1),
            replicas=(1, 5),
            traffic=90,
            created=datetime(2026, 1, 1, 0, 0, 0, 123456, UTC),
        )
        assert [one.id for one in endpoint.deployed] == ["1", "2"]
        assert "mnist@2 (id 2): 10 %, 1 to 5 x n1-standard-4 + 1 x NVIDIA_TESLA_T4" in repr(endpoint)
        assert "<td>90 %</td>" in endpoint._repr_html_()

    def test_a_new_one_has_everything_and_raises_nowhere(self, doubles: Doubles) -> None:
        endpoint = Endpoint(doubles.context, {"name": NAME})
        assert (endpoint.id, endpoint.display_name, endpoint.description, endpoint.labels) == (
            "77",
            "",
            "",
            {},
        )
        assert endpoint.traffic == {}
        assert endpoint.deployed == []
        assert endpoint.created.year == 1970
        assert NAME in repr(endpoint)

    def test_two_objects_for_one_endpoint_are_equal(self, doubles: Doubles) -> None:
        first = Endpoint(doubles.context, _data())
        second = Endpoint(doubles.context, _data({"1": 100}, _deployed("1")))
        assert first == second
        assert len({first, second}) == 1
        assert first != Endpoint(doubles.context, {**_data(), "name": f"{PARENT}/endpoints/78"})
        assert first != NAME

    def test_the_manager_says_what_it_manages(self, endpoints: Endpoints) -> None:
        assert repr(endpoints) == f"<Endpoints of {PARENT}>"

    def test_names_from_others_cannot_inject_html(self, doubles: Doubles) -> None:
        endpoint = Endpoint(doubles.context, {"name": NAME, "displayName": "<script>"})
        assert "<script>" not in endpoint._repr_html_()

    def test_labels_leave_out_where_the_previous_split_is_kept(self, doubles: Doubles) -> None:
        endpoint = Endpoint(doubles.context, _data(labels={"a": "b", "vertexkit_previous_1": "100"}))
        assert endpoint.labels == {"a": "b"}


class TestDeploying:
    def test_the_first_model_gets_all_requests(self, doubles: Doubles) -> None:
        data = _data()
        endpoint = _endpoint(doubles, data)
        _deploys(doubles, data)
        deployed = endpoint.deploy(
            _model(doubles, "3"),
            machine=Machine("n1-standard-4", "NVIDIA_TESLA_T4"),
            replicas=(1, 5),
            service_account="a@p.iam.gserviceaccount.com",
        )
        [request] = doubles.sent("endpoints", "deploy_model")
        assert request.endpoint == NAME
        assert dict(request.traffic_split) == {"0": 100}
        sent = request.deployed_model
        assert sent.model == f"{MODEL}@3"
        assert sent.display_name == "mnist"
        assert sent.service_account == "a@p.iam.gserviceaccount.com"
        resources = sent.dedicated_resources
        assert resources.machine_spec == v1.MachineSpec(
            machine_type="n1-standard-4",
            accelerator_type=v1.AcceleratorType.NVIDIA_TESLA_T4,
            accelerator_count=1,
        )
        assert (resources.min_replica_count, resources.max_replica_count) == (1, 5)
        assert sent.id.isdecimal()
        assert len(sent.id) == 10
        assert deployed.id == sent.id
        assert endpoint.traffic == {sent.id: 100}
        assert doubles.endpoints.update_endpoint.call_count == 0

    def test_a_further_model_gets_none_unless_asked(self, doubles: Doubles) -> None:
        data = _data({"1": 100}, _deployed("1"))
        endpoint = _endpoint(doubles, data)
        _deploys(doubles, data)
        assert endpoint.deploy(_model(doubles, "2")).traffic == 0
        [request] = doubles.sent("endpoints", "deploy_model")
        assert dict(request.traffic_split) == {}
        assert doubles.endpoints.update_endpoint.call_count == 0

    def test_traffic_is_taken_from_the_others_and_the_split_before_is_kept(self, doubles: Doubles) -> None:
        data = _data({"1": 60, "2": 40}, _deployed("1"), _deployed("2", "2"))
        endpoint = _endpoint(doubles, data)
        _updates(doubles, data)
        _deploys(doubles, data)
        endpoint.deploy(_model(doubles, "3"), traffic=50)
        [kept] = doubles.sent("endpoints", "update_endpoint")
        assert kept.update_mask.paths == ["labels"]
        [request] = doubles.sent("endpoints", "deploy_model")
        assert dict(kept.endpoint.labels) == {
            **LABELS,
            "vertexkit_deploying": request.deployed_model.id,
            "vertexkit_pending_1": "60",
            "vertexkit_pending_2": "40",
        }
        assert dict(request.traffic_split) == {"0": 50, "1": 30, "2": 20}
        assert endpoint.labels == LABELS
        assert endpoint.rollback() == {"1": 60, "2": 40}

    @pytest.mark.parametrize(
        "arguments",
        [
            {"machine": "no-such-machine"},
            {"machine": Machine("e2-standard-4", "NVIDIA_TESLA_T4")},
            {"replicas": 0},
            {"replicas": (3, 1)},
            {"traffic": 101},
            {"traffic": 50},
            {"name": ""},
            {"machine": 5},
            {"replicas": None},
            {"replicas": "12"},
            {"replicas": (1, 2, 3)},
            {"replicas": 1.0},
            {"traffic": "10"},
            {"timeout": 0},
            {"timeout": float("nan")},
            {"timeout": None},
            {"timeout": "60"},
            {"service_account": 5},
            {"name": 5},
            {"model": None},
            {"model": 5},
            {"model": ["mnist"]},
        ],
        ids=str,
    )
    def test_a_wrong_argument_is_refused_before_anything_is_created(
        self, doubles: Doubles, arguments: dict[str, Any]
    ) -> None:
        endpoint = _endpoint(doubles, _data())
        with pytest.raises(errors.InvalidArgument):
            endpoint.deploy(**{"model": _model(doubles), **arguments})
        assert doubles.endpoints.mock_calls == []

    def test_an_endpoint_is_no_model(self, doubles: Doubles) -> None:
        endpoint = _endpoint(doubles, _data())
        with pytest.raises(errors.InvalidArgument, match="is no model"):
            endpoint.deploy(endpoint)  # type: ignore[call-overload]  # what a caller may do

    def test_a_refusal_leaves_nothing_and_says_it_in_the_services_words(self, doubles: Doubles) -> None:
        endpoint = _endpoint(doubles, _data())
        doubles.endpoints.deploy_model.side_effect = api.InvalidArgument('Machine type "x" is not supported.')
        with pytest.raises(errors.BadRequest, match="is not supported"):
            endpoint.deploy(_model(doubles))
        assert doubles.endpoints.undeploy_model.call_count == 0

    def test_a_failure_shows_the_servers_last_words_and_restores_the_labels(self, doubles: Doubles) -> None:
        data = _data({"1": 100}, _deployed("1"))
        endpoint = _endpoint(doubles, data)
        _updates(doubles, data)
        words = "The replica did not start.\nLast lines of the model server:\nfirst\nOut of memory"
        doubles.endpoints.deploy_model.return_value = failed(9, words)
        with pytest.raises(
            errors.DeployFailed, match="mnist did not come up: The replica did not start"
        ) as raised:
            endpoint.deploy(_model(doubles, "2"), traffic=10)
        assert raised.value.log_tail == ("first", "Out of memory")
        assert isinstance(raised.value.__cause__, errors.FailedPrecondition)
        assert data["labels"] == LABELS
        assert doubles.endpoints.undeploy_model.call_count == 0

    def test_a_used_up_quota_stays_a_quota_error(self, doubles: Doubles) -> None:
        endpoint = _endpoint(doubles, _data())
        doubles.endpoints.deploy_model.return_value = failed(8, "The following quotas are exceeded: T4GPUs")
        with pytest.raises(errors.QuotaExceeded, match="T4GPUs"):
            endpoint.deploy(_model(doubles))

    def test_ctrl_c_cancels_it_and_takes_off_what_came_up(self, doubles: Doubles) -> None:
        data = _data({"1": 100}, _deployed("1"))
        endpoint = _endpoint(doubles, data)
        _updates(doubles, data)
        _deploys(doubles, data, running)
        doubles.endpoints.get_operation.side_effect = in_turn(
            KeyboardInterrupt(), running().operation, done().operation
        )
        with pytest.raises(KeyboardInterrupt):
            endpoint.deploy(_model(doubles, "2"), traffic=10)
        assert doubles.sent("endpoints", "cancel_operation") == [{"name": "operations/1"}]
        [deployed], [undeployed] = (
            doubles.sent("endpoints", "deploy_model"),
            doubles.sent("endpoints", "undeploy_model"),
        )
        assert undeployed.deployed_model_id == deployed.deployed_model.id
        assert [one["id"] for one in data["deployedModels"]] == ["1"]
        assert data["trafficSplit"] == {"1": 100}
        assert data["labels"] == LABELS

    def test_one_that_takes_too_long_is_taken_off(self, doubles: Doubles) -> None:
        data = _data()
        endpoint = _endpoint(doubles, data)
        _deploys(doubles, data, running)
        doubles.endpoints.get_operation.side_effect = in_turn(
            running().operation, running().operation, done().operation
        )
        with pytest.raises(errors.DeadlineExceeded) as raised:
            endpoint.deploy(_model(doubles), timeout=1e-9)
        assert data["deployedModels"] == []
        assert "mnist did not come up in 1e-09 s; it has been taken off again" in str(raised.value)
        assert "timeout=" in str(raised.value)
        assert "goes on" not in str(raised.value)

    def test_one_that_takes_too_long_and_cannot_be_taken_off_is_not_said_to_be(
        self, doubles: Doubles
    ) -> None:
        data = _data()
        endpoint = _endpoint(doubles, data)
        _deploys(doubles, data, running)
        doubles.endpoints.get_operation.side_effect = in_turn(
            running().operation, running().operation, done().operation
        )
        doubles.endpoints.undeploy_model.side_effect = api.PermissionDenied("no")
        with pytest.raises(errors.DeadlineExceeded) as raised:
            endpoint.deploy(_model(doubles), timeout=1e-9)
        assert "taken off" not in str(raised.value)
        assert "may still come up, and be paid for" in raised.value.__notes__[0]

    @pytest.mark.parametrize(("wait", "error"), [(True, errors.DeadlineExceeded), (False, errors.Conflict)])
    def test_a_request_that_is_always_in_somebodys_way_ends_at_the_deadline(
        self, doubles: Doubles, clock: Clock, wait: bool, error: type[Exception]
    ) -> None:
        endpoint = _endpoint(doubles, _data())
        doubles.endpoints.deploy_model.side_effect = api.Aborted("in progress")
        with pytest.raises(error) as raised:
            endpoint.deploy(_model(doubles), timeout=30, wait=wait)  # type: ignore[call-overload]  # not literal
        assert clock.now <= 30
        # It may be our own request that is in the way, its answer lost.
        assert "may still come up" in raised.value.__notes__[0]

    def test_without_waiting_an_hours_timeout_is_not_spent_on_starting(
        self, doubles: Doubles, clock: Clock
    ) -> None:
        endpoint = _endpoint(doubles, _data())
        doubles.endpoints.deploy_model.side_effect = api.Aborted("in progress")
        with pytest.raises(errors.Conflict):
            endpoint.deploy(_model(doubles), wait=False)
        assert clock.now <= 60

    def test_the_time_that_starting_takes_is_not_there_for_waiting(
        self, doubles: Doubles, clock: Clock
    ) -> None:
        data = _data()
        endpoint = _endpoint(doubles, data)

        def slowly() -> Any:
            clock.now += 20
            return running()

        _deploys(doubles, data, slowly)
        asked: list[float] = []

        def look(*, timeout: float, **_: Any) -> Any:
            asked.append(timeout)
            clock.now += max(timeout, 1.0)  # the network is away
            return (done() if doubles.endpoints.cancel_operation.called else running()).operation

        doubles.endpoints.get_operation.side_effect = look
        with pytest.raises(errors.DeadlineExceeded, match="in 30 s; it has been taken off"):
            endpoint.deploy(_model(doubles), timeout=30)
        assert asked[0] <= 10

    @pytest.mark.parametrize("ending", [failed(9, "no"), failed(1, "cancelled")])
    def test_a_failure_that_nobody_looks_at_takes_no_split_to_roll_back_to_away(
        self, doubles: Doubles, ending: Any
    ) -> None:
        data = _data({"1": 100}, _deployed("1"), _deployed("2", "2"))
        data["labels"]["vertexkit_previous_2"] = "100"
        endpoint = _endpoint(doubles, data)
        _updates(doubles, data)
        doubles.endpoints.deploy_model.return_value = running()
        operation = endpoint.deploy(_model(doubles, "3"), traffic=10, wait=False)
        assert _endpoint(doubles, data).rollback() == {"2": 100}
        assert _endpoint(doubles, data).rollback() == {"1": 100}
        # Who does look sees the labels as they were.
        doubles.endpoints.get_operation.return_value = ending.operation
        with pytest.raises(errors.VertexkitError):
            operation.result()
        assert data["labels"] == {**LABELS, "vertexkit_previous_2": "100"}

    def test_a_deployment_that_nobody_waits_for_can_be_rolled_back_once_it_is_up(
        self, doubles: Doubles
    ) -> None:
        data = _data({"1": 100}, _deployed("1"), _deployed("2", "2"))
        data["labels"]["vertexkit_previous_2"] = "100"
        endpoint = _endpoint(doubles, data)
        _updates(doubles, data)
        _deploys(doubles, data, running)
        endpoint.deploy(_model(doubles, "3"), traffic=10, wait=False)
        assert _endpoint(doubles, data).rollback() == {"1": 100}

    def test_undoing_it_leaves_somebody_elses_canary_alone(self, doubles: Doubles) -> None:
        data = _data({"1": 100}, _deployed("1"), _deployed("2", "2"))
        endpoint = _endpoint(doubles, data)
        _updates(doubles, data)
        _deploys(doubles, data, running)

        def meanwhile() -> Any:
            new = data["deployedModels"][-1]["id"]
            data["trafficSplit"] = {"1": 45, "2": 45, new: 10}
            raise KeyboardInterrupt

        doubles.endpoints.get_operation.side_effect = lambda **_: (
            done().operation if doubles.endpoints.get_operation.call_count > 1 else meanwhile()
        )
        with pytest.raises(KeyboardInterrupt):
            endpoint.deploy(_model(doubles, "3"), traffic=10)
        assert data["trafficSplit"] == {"1": 50, "2": 50}
        assert [one["id"] for one in data["deployedModels"]] == ["1", "2"]

    @pytest.mark.parametrize(("gone", "left"), [("1", {"2": 100}), ("2", {"1": 100})])
    def test_undoing_it_when_a_model_that_had_requests_is_gone_gives_them_to_the_rest(
        self, doubles: Doubles, gone: str, left: dict[str, int]
    ) -> None:
        data = _data({"1": 50, "2": 50}, _deployed("1"), _deployed("2", "2"))
        endpoint = _endpoint(doubles, data)
        _updates(doubles, data)
        _deploys(doubles, data, running)

        def meanwhile() -> Any:
            data["deployedModels"] = [one for one in data["deployedModels"] if one["id"] != gone]
            raise KeyboardInterrupt

        doubles.endpoints.get_operation.side_effect = lambda **_: (
            done().operation if doubles.endpoints.get_operation.call_count > 1 else meanwhile()
        )
        with pytest.raises(KeyboardInterrupt) as raised:
            endpoint.deploy(_model(doubles, "3"), traffic=100)
        assert not hasattr(raised.value, "__notes__")
        assert data["trafficSplit"] == left
        assert [{one["id"]: 100} for one in data["deployedModels"]] == [left]

    def test_a_second_ctrl_c_says_what_may_still_be_paid_for(self, doubles: Doubles) -> None:
        data = _data()
        endpoint = _endpoint(doubles, data)
        _deploys(doubles, data, running)
        second = KeyboardInterrupt()
        doubles.endpoints.get_operation.side_effect = in_turn(KeyboardInterrupt(), second)
        with pytest.raises(KeyboardInterrupt) as raised:
            endpoint.deploy(_model(doubles))
        assert raised.value is second
        [request] = doubles.sent("endpoints", "deploy_model")
        assert (
            f"may still come up, and be paid for, as deployed model {request.deployed_model.id}"
            in (second.__notes__[0])
        )

    def test_an_answer_lost_on_the_way_neither_fails_nor_deploys_twice(self, doubles: Doubles) -> None:
        data = _data()
        endpoint = _endpoint(doubles, data)
        # The first request is taken and its answer lost; the model comes up while the second is refused.
        answers = in_turn(
            api.ServiceUnavailable("reset"), api.Aborted("in progress"), api.AlreadyExists("up")
        )

        def deploy(*, request: v1.DeployModelRequest, **_: Any) -> Any:
            if not data["deployedModels"]:
                data["deployedModels"] = [_deployed(request.deployed_model.id)]
            return answers()

        doubles.endpoints.deploy_model.side_effect = deploy
        deployed = endpoint.deploy(_model(doubles))
        requests = doubles.sent("endpoints", "deploy_model")
        assert {request.deployed_model.id for request in requests} == {deployed.id}
        assert len(requests) == 3
        assert doubles.endpoints.undeploy_model.call_count == 0

    def test_a_connection_that_stays_broken_ends_in_an_error_and_what_came_up_is_taken_off(
        self, doubles: Doubles, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(deployment, "_CALL_SECONDS", 0.0)
        data = _data()
        endpoint = _endpoint(doubles, data)

        def broken() -> Any:
            raise api.ServiceUnavailable("connection reset by peer")

        _deploys(doubles, data, broken)
        with pytest.raises(errors.Unavailable):
            endpoint.deploy(_model(doubles))
        assert doubles.endpoints.undeploy_model.call_count == 1
        assert data["deployedModels"] == []

    def test_a_broken_connection_that_left_no_trace_is_warned_of(
        self, doubles: Doubles, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(deployment, "_CALL_SECONDS", 0.0)
        endpoint = _endpoint(doubles, _data())
        doubles.endpoints.deploy_model.side_effect = api.ServiceUnavailable("connection reset by peer")
        with pytest.raises(errors.Unavailable) as raised:
            endpoint.deploy(_model(doubles))
        assert "may still come up" in raised.value.__notes__[0]

    def test_ctrl_c_while_the_request_is_on_its_way_leaves_nothing_without_waiting_either(
        self, doubles: Doubles
    ) -> None:
        data = _data({"1": 100}, _deployed("1"))
        endpoint = _endpoint(doubles, data)
        _updates(doubles, data)

        def interrupted() -> Any:
            raise KeyboardInterrupt

        _deploys(doubles, data, interrupted)
        with pytest.raises(KeyboardInterrupt):
            endpoint.deploy(_model(doubles, "2"), traffic=10, wait=False)
        assert [one["id"] for one in data["deployedModels"]] == ["1"]
        assert data["trafficSplit"] == {"1": 100}
        assert data["labels"] == LABELS

    def test_a_deployment_is_taken_up_again_by_its_name(self, doubles: Doubles, endpoints: Endpoints) -> None:
        doubles.rest.answers[NAME] = _data({"1": 100}, _deployed("1"))
        name = f"{NAME}/operations/5"
        response = v1.DeployModelResponse(deployed_model=v1.DeployedModel(id="1"))
        operation = done(response, name=name).operation
        operation.metadata.Pack(v1.DeployModelOperationMetadata.pb()())
        doubles.endpoints.get_operation.return_value = operation
        assert endpoints.operation(name).result().id == "1"
        operation.metadata.Pack(v1.UndeployModelOperationMetadata.pb()())
        for other in (name, NAME, "operations/5"):
            with pytest.raises(errors.InvalidArgument):
                endpoints.operation(other)
        with pytest.raises(errors.InvalidArgument):
            endpoints.operation(5)  # type: ignore[arg-type]  # what a caller may do

    def test_what_cannot_be_undone_is_said(self, doubles: Doubles) -> None:
        data = _data()
        endpoint = _endpoint(doubles, data)
        _deploys(doubles, data, running)
        doubles.endpoints.get_operation.side_effect = in_turn(KeyboardInterrupt(), done().operation)
        doubles.endpoints.undeploy_model.side_effect = api.PermissionDenied("no")
        with pytest.raises(KeyboardInterrupt) as raised:
            endpoint.deploy(_model(doubles))
        assert "may still come up, and be paid for" in raised.value.__notes__[0]

    def test_without_waiting_it_gives_a_handle(self, doubles: Doubles) -> None:
        data = _data()
        endpoint = _endpoint(doubles, data)
        _deploys(doubles, data, running)
        operation = endpoint.deploy(_model(doubles), wait=False)
        doubles.endpoints.get_operation.return_value = running().operation
        assert operation.state == "RUNNING"
        doubles.endpoints.get_operation.return_value = done().operation
        assert operation.result().display_name == "mnist"


class TestTraffic:
    def test_a_change_is_sent_with_the_etag_and_keeps_the_split_before(self, doubles: Doubles) -> None:
        data = _data({"1": 100}, _deployed("1"), _deployed("2", "2"))
        endpoint = _endpoint(doubles, data)
        _updates(doubles, data)
        assert endpoint.set_traffic({"1": 70, "2": 30}) == {"1": 70, "2": 30}
        [request] = doubles.sent("endpoints", "update_endpoint")
        assert request.endpoint.etag == "e1"
        assert request.update_mask.paths == ["labels", "traffic_split"]
        assert dict(request.endpoint.traffic_split) == {"1": 70, "2": 30}
        assert dict(request.endpoint.labels) == {**LABELS, "vertexkit_previous_1": "100"}

    def test_somebody_elses_change_in_between_is_not_overwritten(self, doubles: Doubles) -> None:
        data = _data({"1": 100}, _deployed("1"), _deployed("2", "2"), _deployed("3", "3"))
        endpoint = _endpoint(doubles, data)
        _updates(doubles, data)
        update = doubles.endpoints.update_endpoint.side_effect

        def first_conflicts(**given: Any) -> Any:
            if doubles.endpoints.update_endpoint.call_count == 1:
                data["trafficSplit"] = {"1": 50, "3": 50}
                raise api.Aborted("the etag does not match")
            return update(**given)

        doubles.endpoints.update_endpoint.side_effect = first_conflicts
        endpoint.canary("2", 10)
        assert data["trafficSplit"] == {"1": 45, "2": 10, "3": 45}

    @pytest.mark.parametrize("change", ["rollback", "promote", "canary", "set_traffic"])
    def test_an_answer_lost_on_the_way_does_not_change_it_twice(self, doubles: Doubles, change: str) -> None:
        data = _data({"1": 90, "2": 10}, _deployed("1"), _deployed("2", "2"))
        data["labels"]["vertexkit_previous_1"] = "100"
        endpoint = _endpoint(doubles, data)
        _loses_an_answer(doubles, data)
        act: Callable[[], Any] = {
            "rollback": endpoint.rollback,
            "promote": lambda: endpoint.promote("2"),
            "canary": lambda: endpoint.canary("2", 40),
            "set_traffic": lambda: endpoint.set_traffic({"1": 30, "2": 70}),
        }[change]
        wanted = {
            "rollback": {"1": 100},
            "promote": {"2": 100},
            "canary": {"1": 60, "2": 40},
            "set_traffic": {"1": 30, "2": 70},
        }[change]
        act()
        assert endpoint.traffic == data["trafficSplit"] == wanted
        assert endpoint.rollback() == {"1": 90, "2": 10}

    def test_a_deployment_after_a_lost_answer_remembers_the_split_that_it_replaced(
        self, doubles: Doubles
    ) -> None:
        data = _data({"1": 100}, _deployed("1"), _deployed("2", "2"))
        data["labels"]["vertexkit_previous_2"] = "100"
        before = dict(data["labels"])
        endpoint = _endpoint(doubles, data)
        _loses_an_answer(doubles, data)
        doubles.endpoints.deploy_model.return_value = failed(9, "no")
        with pytest.raises(errors.DeployFailed):
            endpoint.deploy(_model(doubles, "3"), traffic=10)
        assert data["labels"] == before

    def test_a_rollback_that_meets_another_change_is_not_done_to_that(self, doubles: Doubles) -> None:
        data = _data({"1": 90, "2": 10}, _deployed("1"), _deployed("2", "2"))
        data["labels"]["vertexkit_previous_1"] = "100"
        _updates(doubles, data)
        update = doubles.endpoints.update_endpoint.side_effect

        def late(**given: Any) -> Any:
            doubles.endpoints.update_endpoint.side_effect = update
            _endpoint(doubles, data).promote("2")
            raise api.Aborted("the etag does not match")

        doubles.endpoints.update_endpoint.side_effect = late
        with pytest.raises(errors.Conflict, match="it is now 2: 100 %"):
            _endpoint(doubles, data).rollback()
        assert data["trafficSplit"] == {"2": 100}

    def test_undeploying_what_was_deployed_last_keeps_the_split_before_that(self, doubles: Doubles) -> None:
        data = _data({"1": 100}, _deployed("1"), _deployed("2", "2"))
        data["labels"]["vertexkit_previous_2"] = "100"
        endpoint = _endpoint(doubles, data)
        _updates(doubles, data)
        _deploys(doubles, data)
        third = endpoint.deploy(_model(doubles, "3"), traffic=10)
        endpoint.undeploy(third)
        assert data["labels"] == {**LABELS, "vertexkit_previous_1": "100"}

    def test_a_change_while_a_model_is_on_its_way_is_what_that_replaces(self, doubles: Doubles) -> None:
        data = _data({"1": 100}, _deployed("1"), _deployed("2", "2"))
        endpoint = _endpoint(doubles, data)
        _updates(doubles, data)
        doubles.endpoints.deploy_model.return_value = running()
        endpoint.deploy(_model(doubles, "3"), traffic=10, wait=False)
        endpoint.set_traffic({"1": 50, "2": 50})
        [request] = doubles.sent("endpoints", "deploy_model")
        data["deployedModels"].append(_deployed(request.deployed_model.id, "3"))
        data["trafficSplit"] = {"1": 90, request.deployed_model.id: 10}
        assert endpoint.rollback() == {"1": 50, "2": 50}

    def test_a_change_that_changes_nothing_keeps_what_rollback_needs(self, doubles: Doubles) -> None:
        labels = {**LABELS, "vertexkit_previous_2": "100"}
        endpoint = _endpoint(doubles, _data({"1": 100}, _deployed("1"), _deployed("2", "2"), labels=labels))
        assert endpoint.promote("1") == {"1": 100}
        assert doubles.endpoints.update_endpoint.call_count == 0

    def test_a_canary_that_is_not_deployed_runs_as_the_one_with_most_traffic(self, doubles: Doubles) -> None:
        data = _data({"1": 20, "2": 80}, _deployed("1"), _deployed("2", "2", machine="n1-standard-8"))
        endpoint = _endpoint(doubles, data)
        _updates(doubles, data)
        _deploys(doubles, data)
        canary = endpoint.canary(_model(doubles, "3"))
        assert canary.traffic == 10
        [request] = doubles.sent("endpoints", "deploy_model")
        resources = request.deployed_model.dedicated_resources
        assert resources.machine_spec.machine_type == "n1-standard-8"
        assert resources.machine_spec.accelerator_type == v1.AcceleratorType.NVIDIA_TESLA_T4
        assert (resources.min_replica_count, resources.max_replica_count) == (1, 5)
        assert dict(request.traffic_split) == {"0": 10, "1": 18, "2": 72}

    def test_a_canary_on_an_empty_endpoint_is_refused(self, doubles: Doubles) -> None:
        with pytest.raises(errors.InvalidArgument, match="has nothing deployed"):
            _endpoint(doubles, _data()).canary(_model(doubles))

    def test_promoting_sends_everything_to_the_latest_and_leaves_the_old_deployed(
        self, doubles: Doubles
    ) -> None:
        data = _data({"1": 90, "2": 10}, _deployed("2", "2", day=2), _deployed("1", day=1))
        endpoint = _endpoint(doubles, data)
        _updates(doubles, data)
        assert endpoint.promote() == {"2": 100}
        assert doubles.endpoints.undeploy_model.call_count == 0

    def test_another_process_rolls_back_and_back_again(self, doubles: Doubles) -> None:
        data = _data({"1": 90, "2": 10}, _deployed("1"), _deployed("2", "2"))
        _updates(doubles, data)
        _endpoint(doubles, data).promote("2")
        assert _endpoint(doubles, data).rollback() == {"1": 90, "2": 10}
        assert _endpoint(doubles, data).rollback() == {"2": 100}

    def test_there_may_be_nothing_to_roll_back_to(self, doubles: Doubles) -> None:
        with pytest.raises(errors.FailedPrecondition, match="no earlier traffic split"):
            _endpoint(doubles, _data({"1": 100}, _deployed("1"))).rollback()

    def test_rolling_back_to_what_is_gone_is_refused_by_its_id(self, doubles: Doubles) -> None:
        labels = {**LABELS, "vertexkit_previous_1": "100"}
        endpoint = _endpoint(doubles, _data({"2": 100}, _deployed("2", "2"), labels=labels))
        with pytest.raises(errors.FailedPrecondition, match="undeployed: 1"):
            endpoint.rollback()

    @pytest.mark.parametrize("split", [{"1": 50}, {"1": 50, "9": 50}, {}, [("1", 100)], None, {1: 100}])
    def test_an_impossible_split_is_refused(self, doubles: Doubles, split: Any) -> None:
        with pytest.raises(errors.InvalidArgument):
            _endpoint(doubles, _data({"1": 100}, _deployed("1"))).set_traffic(split)
        assert doubles.endpoints.mock_calls == []

    def test_a_version_is_known_by_model_id_or_display_name(self, doubles: Doubles) -> None:
        data = _data({"1": 100}, _deployed("1"), _deployed("2", "2"))
        _updates(doubles, data)
        # Answers carry the project's number where requests may carry its id.
        numbered = Model(doubles.context, {"name": MODEL.replace("my-project", "123"), "versionId": "2"})
        for version in (numbered, f"{MODEL}@2", "2", "mnist"):
            data["trafficSplit"] = {"1": 100}
            assert _endpoint(doubles, data).promote(version) == {"2": 100}
        with pytest.raises(errors.InvalidArgument, match="not deployed here"):
            _endpoint(doubles, data).promote(f"{MODEL}@7")
        with pytest.raises(errors.InvalidArgument, match="give a model"):
            _endpoint(doubles, data).promote(7)  # type: ignore[arg-type] # what a caller may do


class TestUndeploying:
    def test_its_share_goes_to_the_others_in_the_same_request(self, doubles: Doubles) -> None:
        data = _data({"1": 50, "2": 30, "3": 20}, _deployed("1"), _deployed("2", "2"), _deployed("3", "3"))
        endpoint = _endpoint(doubles, data)
        _deploys(doubles, data)
        endpoint.undeploy("1")
        [request] = doubles.sent("endpoints", "undeploy_model")
        assert (request.deployed_model_id, dict(request.traffic_split)) == ("1", {"2": 60, "3": 40})

    def test_one_without_traffic_leaves_the_split_alone(self, doubles: Doubles) -> None:
        data = _data({"1": 100}, _deployed("1"), _deployed("2", "2"))
        endpoint = _endpoint(doubles, data)
        doubles.endpoints.undeploy_model.return_value = done()
        endpoint.undeploy("2")
        [request] = doubles.sent("endpoints", "undeploy_model")
        assert dict(request.traffic_split) == {}

    def test_one_with_all_the_traffic_is_not_taken_off_from_under_the_users(self, doubles: Doubles) -> None:
        endpoint = _endpoint(doubles, _data({"1": 100}, _deployed("1"), _deployed("2", "2")))
        with pytest.raises(errors.FailedPrecondition, match="promote"):
            endpoint.undeploy("1")
        assert doubles.endpoints.mock_calls == []

    def test_everything_goes_those_without_traffic_first(self, doubles: Doubles) -> None:
        data = _data({"1": 60, "3": 40}, _deployed("1"), _deployed("2", "2"), _deployed("3", "3"))
        endpoint = _endpoint(doubles, data)
        _deploys(doubles, data)
        endpoint.undeploy_all()
        assert [
            (request.deployed_model_id, dict(request.traffic_split))
            for request in doubles.sent("endpoints", "undeploy_model")
        ] == [("2", {}), ("3", {"1": 100}), ("1", {})]
        assert endpoint.deployed == []

    def test_deleting_asks_once_and_force_undeploys_before(self, doubles: Doubles) -> None:
        data = _data({"1": 100}, _deployed("1"))
        endpoint = _endpoint(doubles, data)
        _deploys(doubles, data)
        doubles.context.created.add(NAME, pytest.fail, order=0)
        doubles.endpoints.delete_endpoint.side_effect = api.FailedPrecondition("has deployed models")
        with pytest.raises(errors.FailedPrecondition, match="has deployed models"):
            endpoint.delete()
        assert doubles.context.created.names == (NAME,)
        doubles.endpoints.delete_endpoint.side_effect = None
        doubles.endpoints.delete_endpoint.return_value = done()
        endpoint.delete(force=True)
        assert doubles.endpoints.undeploy_model.call_count == 1
        assert doubles.context.created.names == ()

    def test_deleting_what_is_gone_is_no_error(self, doubles: Doubles) -> None:
        endpoint = Endpoint(doubles.context, _data())
        doubles.endpoints.delete_endpoint.side_effect = api.NotFound("gone")
        endpoint.delete()
        endpoint.delete(force=True)

    @pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()])
    def test_the_with_block_deletes_it_whatever_happens_inside(
        self, doubles: Doubles, error: BaseException
    ) -> None:
        endpoint = _endpoint(doubles, _data())
        doubles.endpoints.delete_endpoint.return_value = done()
        with pytest.raises(type(error)), endpoint:
            raise error
        assert doubles.sent("endpoints", "delete_endpoint") == [{"name": NAME}]

    def test_the_with_block_shows_what_failed_first(self, doubles: Doubles) -> None:
        endpoint = _endpoint(doubles, _data())
        doubles.endpoints.delete_endpoint.side_effect = api.PermissionDenied("no")
        with pytest.raises(ZeroDivisionError) as raised, endpoint:
            raise ZeroDivisionError
        assert "Cleaning up failed too" in raised.value.__notes__[0]

    def test_ctrl_c_while_the_with_block_deletes_it_says_what_is_left(self, doubles: Doubles) -> None:
        endpoint = _endpoint(doubles, _data())
        doubles.endpoints.delete_endpoint.side_effect = KeyboardInterrupt
        with pytest.raises(KeyboardInterrupt) as raised, endpoint:
            raise ZeroDivisionError
        assert f"the endpoint {NAME}" in raised.value.__notes__[0]


def test_labels_of_ones_own_go_before_the_sessions_but_not_before_its_name(doubles: Doubles) -> None:
    context = replace(doubles.context, labels={"team": "a", "cost": "b", "vertexkit_session": "s1"})
    assert context.labelled({"team": "c", "vertexkit_session": "mine"}) == {
        "team": "c",
        "cost": "b",
        "vertexkit_session": "s1",
    }
    assert context.labelled(None) == context.labels
    with pytest.raises(errors.InvalidArgument):
        context.labelled([("team", "c")])  # type: ignore[arg-type] # what a caller may do


def test_undeploying_waits_for_other_work_on_the_same_model(doubles: Doubles) -> None:
    data = _data({"1": 100}, _deployed("1"))
    endpoint = _endpoint(doubles, data)
    doubles.endpoints.undeploy_model.side_effect = in_turn(
        api.Aborted("in progress"), failed(10, "in progress"), api.NotFound("it is gone")
    )
    endpoint.undeploy("1")
    assert doubles.endpoints.undeploy_model.call_count == 3


@pytest.mark.parametrize("replicas", [None, "2", 0, (2, 1), 2.0])
def test_resizing_to_what_is_no_number_of_replicas_is_refused(doubles: Doubles, replicas: Any) -> None:
    with pytest.raises(errors.InvalidArgument):
        _endpoint(doubles, _data({"1": 100}, _deployed("1"))).resize("1", replicas)
    assert doubles.endpoints.mock_calls == []


def test_whatever_takes_long_shows_that_it_goes_on(
    doubles: Doubles, capsys: pytest.CaptureFixture[str]
) -> None:
    data = _data({"1": 100}, _deployed("1"), _deployed("2", "2"))
    doubles.context = replace(doubles.context, progress=True)
    endpoint = _endpoint(doubles, data)
    _deploys(doubles, data)
    doubles.endpoints.delete_endpoint.return_value = done()

    def create(*, request: v1.CreateEndpointRequest, **_: Any) -> Any:
        doubles.rest.answers[f"{PARENT}/endpoints/{request.endpoint_id}"] = _data()
        return done()

    doubles.endpoints.create_endpoint.side_effect = create
    for work, words in (
        (lambda: Endpoints(doubles.context).create("mnist"), "Creating the endpoint mnist"),
        (lambda: endpoint.undeploy("2"), "Undeploying mnist"),
        (endpoint.undeploy_all, "Undeploying mnist"),
        (endpoint.delete, "Deleting the endpoint mnist"),
    ):
        work()
        assert f"{words}: done" in capsys.readouterr().err


def test_resizing_changes_the_replicas_only(doubles: Doubles) -> None:
    endpoint = _endpoint(doubles, _data({"1": 100}, _deployed("1")))
    doubles.endpoints.mutate_deployed_model.return_value = done()
    endpoint.resize("1", (2, 3))
    [request] = doubles.sent("endpoints", "mutate_deployed_model")
    assert request.deployed_model.id == "1"
    resources = request.deployed_model.dedicated_resources
    assert (resources.min_replica_count, resources.max_replica_count) == (2, 3)
    assert request.update_mask.paths == [
        "dedicated_resources.min_replica_count",
        "dedicated_resources.max_replica_count",
    ]
