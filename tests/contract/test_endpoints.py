"""Endpoints, through vertexkit, against a real local Vertex AI that really serves."""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vertexkit as vk

ROW = [[1.0, 2.0, 3.0]]


@pytest.fixture(scope="module")
def session(emulator: Any) -> Iterator[vk.Session]:
    with vk.connect("endpoint-nouns", emulator=emulator.rest, temporary=True) as session:
        yield session


@pytest.fixture(scope="module")
def doubling(session: vk.Session, scaling_models: dict[int, Path]) -> vk.Model:
    """Version 1 doubles its input, version 2 trebles it, version 3 cannot be served."""
    model = session.models.upload("scaling", scaling_models[2])
    model.upload_version(scaling_models[3], default=False)
    return model


@pytest.fixture
def endpoint(session: vk.Session) -> Iterator[vk.Endpoint]:
    with session.endpoints.create("scaling") as endpoint:
        yield endpoint


def test_who_deploys_is_told_what_the_service_has_to_say_of_it(
    endpoint: vk.Endpoint, doubling: vk.Model, caplog: pytest.LogCaptureFixture
) -> None:
    # Known locally as everywhere, and had by no machine any more.
    with pytest.warns(vk.PreflightWarning):
        endpoint.deploy(doubling, machine=vk.Machine("n1-standard-2", "NVIDIA_TESLA_K80"))
    assert "NVIDIA_TESLA_K80" in endpoint.deployed[0].status_message
    (told,) = [
        record for record in caplog.records if record.name == "vertexkit" and record.levelname == "WARNING"
    ]
    assert endpoint.deployed[0].status_message in told.getMessage()


def test_a_whole_rollout_canary_promote_rollback_undeploy(
    session: vk.Session, endpoint: vk.Endpoint, doubling: vk.Model
) -> None:
    first = endpoint.deploy(doubling)
    assert (first.version_id, first.traffic, first.machine.type) == ("1", 100, "n1-standard-2")
    assert endpoint.predict(ROW).tolist() == [[2.0, 4.0, 6.0]]

    second = endpoint.canary(doubling.version(2), 25)
    assert endpoint.traffic == {first.id: 75, second.id: 25}
    answered = collections.Counter(float(endpoint.predict(ROW)[0, 0]) for _ in range(200))
    assert answered == {2.0: 150, 3.0: 50}

    assert endpoint.promote() == {second.id: 100}
    assert {float(endpoint.predict(ROW)[0, 0]) for _ in range(20)} == {3.0}
    assert [one.traffic for one in endpoint.deployed] == [0, 100]

    # Another process finds the endpoint by its name, and the split before in it.
    with vk.connect(session.project, emulator=session.target.rest_url) as other:
        found = other.endpoints.get(endpoint.id)
        assert found.rollback() == {first.id: 75, second.id: 25}
        assert found.rollback() == {second.id: 100}

    with pytest.raises(vk.FailedPrecondition):
        endpoint.undeploy(second)
    assert endpoint.set_traffic({first.id: 100}) == {first.id: 100}
    endpoint.undeploy(second)
    assert [one.id for one in endpoint.deployed] == [first.id]
    assert endpoint.predict(ROW).tolist() == [[2.0, 4.0, 6.0]]
    with pytest.raises(vk.FailedPrecondition, match=second.id):
        endpoint.rollback()

    assert endpoint.resize(first, 2).replicas == (2, 2)
    with pytest.raises(vk.FailedPrecondition):
        endpoint.delete()
    endpoint.undeploy_all()
    assert (endpoint.deployed, endpoint.traffic) == ([], {})


def test_a_canary_that_is_deployed_already_only_gets_its_share(
    endpoint: vk.Endpoint, doubling: vk.Model
) -> None:
    first = endpoint.deploy(doubling)
    second = endpoint.deploy(doubling.version(2))
    assert second.traffic == 0
    assert endpoint.canary(doubling.version(2), 40).id == second.id
    assert endpoint.traffic == {first.id: 60, second.id: 40}
    assert len(endpoint.deployed) == 2


def test_many_changes_of_traffic_at_once_lose_none(
    session: vk.Session, endpoint: vk.Endpoint, doubling: vk.Model
) -> None:
    first = endpoint.deploy(doubling)
    second = endpoint.deploy(doubling.version(2))
    failures: list[BaseException] = []

    def shift(percent: int) -> None:
        try:
            session.endpoints.get(endpoint.id).canary(second, percent)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=shift, args=(percent,)) for percent in (10, 20, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    split = endpoint.refresh().traffic
    assert split.percent(second.id) in (10, 20, 30)
    # The split before is one that there was, and not the one after.
    before = endpoint.rollback()
    assert before != split
    assert before.percent(second.id) in (0, 10, 20, 30)
    assert before.percent(first.id) == 100 - before.percent(second.id)


def test_a_model_that_does_not_come_up_leaves_nothing(
    session: vk.Session, endpoint: vk.Endpoint, scaling_models: dict[int, Path], doubling: vk.Model
) -> None:
    first = endpoint.deploy(doubling)
    broken = session.models.upload("broken", scaling_models[2], prefix="broken")
    session.bucket.write("broken/variables/variables.index", b"torn")
    with pytest.raises(vk.DeployFailed, match="broken did not come up") as raised:
        endpoint.deploy(broken, traffic=50)
    assert raised.value.log_tail
    assert endpoint.refresh().traffic == {first.id: 100}
    assert [one.id for one in endpoint.deployed] == [first.id]
    assert endpoint._data["labels"] == session.labels
    assert endpoint.predict(ROW).tolist() == [[2.0, 4.0, 6.0]]

    with pytest.raises(vk.DeployFailed):
        broken.deploy()
    with pytest.raises(vk.InvalidArgument, match="traffic=10"):
        doubling.deploy(traffic=10)
    assert [found.display_name for found in session.endpoints.list()] == ["scaling"]


def test_ctrl_c_during_a_deployment_leaves_nothing(
    session: vk.Session, doubling: vk.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vertexkit._core import operations

    sleeps = []

    def interrupt(seconds: float) -> None:
        sleeps.append(seconds)
        if len(sleeps) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), session.endpoints.create("interrupted") as endpoint:
        monkeypatch.setattr(operations.time, "sleep", interrupt)
        try:
            endpoint.deploy(doubling)
        finally:
            monkeypatch.undo()
            assert endpoint.refresh().deployed == []
    with pytest.raises(vk.NotFound):
        endpoint.refresh()


def test_a_deployment_that_takes_too_long_is_undone(endpoint: vk.Endpoint, doubling: vk.Model) -> None:
    with pytest.raises(vk.DeadlineExceeded, match="it has been taken off again"):
        endpoint.deploy(doubling, timeout=0.01)
    assert endpoint.refresh().deployed == []


def test_without_waiting_there_is_a_handle_that_another_process_finds_by_name(
    session: vk.Session, endpoint: vk.Endpoint, doubling: vk.Model
) -> None:
    operation = endpoint.deploy(doubling, wait=False)
    assert operation.state == "RUNNING"
    with vk.connect(session.project, emulator=session.target.rest_url) as other:
        found = other.endpoints.operation(operation.name)
        deployed = found.wait(120).result()
        assert other.endpoints.get(endpoint.id).deployed == [deployed]
        with pytest.raises(vk.InvalidArgument):
            other.endpoints.operation(endpoint.resource_name)
    assert operation.state == "SUCCEEDED"
    assert operation.result() == deployed


def test_a_late_deployment_leaves_the_canary_that_somebody_else_set_meanwhile(
    session: vk.Session, endpoint: vk.Endpoint, doubling: vk.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vertexkit import deployment

    first, second = endpoint.deploy(doubling), endpoint.deploy(doubling.version(2))

    def interrupted(endpoint_: object, new: str) -> vk.DeployedModel:
        # It is up, and has its share: somebody else goes on from there.
        session.endpoints.get(endpoint.id).set_traffic({first.id: 45, second.id: 45, new: 10})
        raise KeyboardInterrupt

    monkeypatch.setattr(deployment, "_one", interrupted)
    with pytest.raises(KeyboardInterrupt):
        endpoint.deploy(doubling, traffic=20)
    assert endpoint.refresh().traffic == {first.id: 50, second.id: 50}
    assert endpoint.deployed == [one for one in endpoint.deployed if one.id in (first.id, second.id)]


def test_a_cancelled_deployment_leaves_nothing(endpoint: vk.Endpoint, doubling: vk.Model) -> None:
    operation = endpoint.deploy(doubling, wait=False)
    operation.cancel()
    with pytest.raises(vk.Cancelled):
        operation.result(120)
    assert operation.state == "CANCELLED"
    assert endpoint.refresh().deployed == []


def test_exist_ok_finds_the_one_there_is(session: vk.Session, endpoint: vk.Endpoint) -> None:
    assert session.endpoints.create("scaling", exist_ok=True).id == endpoint.id
    assert session.endpoints.create("scaling").id != endpoint.id
    with pytest.raises(vk.InvalidArgument, match=endpoint.id):
        session.endpoints.create("scaling", exist_ok=True)
    session.endpoints.delete(next(e.id for e in session.endpoints.list() if e.id != endpoint.id))


def test_a_dedicated_endpoint_predicts_at_its_own_address(session: vk.Session, doubling: vk.Model) -> None:
    with session.endpoints.create("dedicated", dedicated=True) as endpoint:
        endpoint.deploy(doubling)
        assert endpoint.refresh().predict(ROW).tolist() == [[2.0, 4.0, 6.0]]
        assert endpoint._predictor._url.startswith("https://localhost:")


def test_googles_client_predicts_on_the_same_endpoint(endpoint: vk.Endpoint, doubling: vk.Model) -> None:
    endpoint.deploy(doubling)
    theirs = endpoint.to_aiplatform()
    assert theirs.display_name == "scaling"
    assert theirs.predict(ROW).predictions == [[2.0, 4.0, 6.0]]
