"""vertexkit while every call of the service fails once: refused, overloaded, or cut off."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import vertexkit as vk

Inject = Callable[..., Callable[[], list[int]]]

ONCE = {
    "refused_503": {"status": 503, "times": 1},
    "overloaded_429": {"status": 429, "times": 1},
    "cut_off_before": {"reset": True, "times": 1},
    "answer_lost": {"reset": True, "after_work": True, "times": 1},
}
ROW = [[1.0, 2.0, 3.0]]


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERTEXKIT_NO_BACKOFF", "1")


@pytest.fixture
def session(emulator: Any, project: str) -> Iterator[vk.Session]:
    with vk.connect(project, emulator=emulator.rest) as session:
        yield session


@dataclass
class World:
    """A session, a model of two versions, and an endpoint that serves both."""

    session: vk.Session
    model: vk.Model
    endpoint: vk.Endpoint
    first: vk.DeployedModel
    second: vk.DeployedModel
    artifact: Path

    def share(self, first: int, *, before: int) -> None:
        """Let the first version have this share of the requests, and have had that one before."""
        for percent in (before, first):
            self.endpoint.set_traffic({self.first.id: percent, self.second.id: 100 - percent})

    def split(self, first: int) -> dict[str, int]:
        """The split in which the first version has this share."""
        shares = {self.first.id: first, self.second.id: 100 - first}
        return {key: share for key, share in shares.items() if share}


@pytest.fixture(scope="module")
def world(emulator: Any, scaling_models: Mapping[int, Path]) -> Iterator[World]:
    with vk.connect("client-faults", emulator=emulator.rest, temporary=True) as session:
        model = session.models.upload("scaling", scaling_models[2])
        model.upload_version(scaling_models[3], default=False)
        endpoint = session.endpoints.create("scaling")
        first, second = endpoint.deploy(model.version(1)), endpoint.deploy(model.version(2))
        yield World(session, model, endpoint, first, second, scaling_models[2])


# Each of these prepares something, yields the call that is to fail once from there on, and does what
# makes that call.


def creating_and_deleting_an_endpoint(world: World) -> Iterator[str]:
    there = {found.id for found in world.session.endpoints.list()}
    yield "EndpointService.CreateEndpoint"
    endpoint = world.session.endpoints.create("another")
    assert {found.id for found in world.session.endpoints.list()} == {*there, endpoint.id}
    yield "EndpointService.DeleteEndpoint"
    endpoint.delete()
    assert {found.id for found in world.session.endpoints.list()} == there


def finding_endpoints(world: World) -> Iterator[str]:
    yield "EndpointService.ListEndpoints"
    assert world.session.endpoints.get("scaling") == world.endpoint
    yield "EndpointService.GetEndpoint"
    assert world.session.endpoints.get(world.endpoint.id) == world.endpoint


def uploading_and_deleting_a_model(world: World) -> Iterator[str]:
    yield "ModelService.UploadModel"
    model = world.session.models.upload("another", world.artifact)
    assert {found.id for found in world.session.models.list()} == {world.model.id, model.id}
    yield "ModelService.DeleteModel"
    model.delete()
    assert world.session.models.list() == [world.session.models.get("scaling")]


def deleting_a_version(world: World) -> Iterator[str]:
    version = world.model.upload_version(world.artifact, default=False)
    yield "ModelService.DeleteModelVersion"
    version.delete()
    assert [found.version_id for found in world.model.versions()] == ["1", "2"]


def finding_models(world: World) -> Iterator[str]:
    yield "ModelService.ListModels"
    assert world.session.models.get("scaling").id == world.model.id
    yield "ModelService.GetModel"
    assert world.session.models.get(world.model.id).id == world.model.id
    yield "ModelService.ListModelVersions"
    assert len(world.model.versions()) == 2


def naming_a_version(world: World) -> Iterator[str]:
    version = world.model.version(2)
    yield "ModelService.MergeVersionAliases"
    version.add_aliases("candidate")
    assert version.version_aliases == ("candidate",)
    yield "ModelService.MergeVersionAliases"
    version.remove_aliases("candidate")
    assert version.version_aliases == ()


def setting_traffic(world: World) -> Iterator[str]:
    world.share(100, before=50)
    yield "EndpointService.UpdateEndpoint"
    assert world.endpoint.set_traffic({world.first.id: 30, world.second.id: 70}) == world.split(30)
    assert world.endpoint.rollback() == world.split(100)


def trying_a_canary(world: World) -> Iterator[str]:
    world.share(100, before=50)
    yield "EndpointService.UpdateEndpoint"
    assert world.endpoint.canary(world.second, 20).traffic == 20
    assert world.endpoint.rollback() == world.split(100)


def promoting(world: World) -> Iterator[str]:
    world.share(80, before=50)
    yield "EndpointService.UpdateEndpoint"
    assert world.endpoint.promote(world.second) == world.split(0)
    assert world.endpoint.rollback() == world.split(80)


def rolling_back(world: World) -> Iterator[str]:
    world.share(80, before=50)
    yield "EndpointService.UpdateEndpoint"
    assert world.endpoint.rollback() == world.split(50)
    yield "EndpointService.UpdateEndpoint"
    assert world.endpoint.rollback() == world.split(80)


def deploying_and_undeploying(world: World) -> Iterator[str]:
    world.share(100, before=50)
    yield "EndpointService.DeployModel"
    third = world.endpoint.deploy(world.model, traffic=10)
    assert world.endpoint.deployed == world.endpoint.refresh().deployed
    assert [one.id for one in world.endpoint.deployed] == [world.first.id, world.second.id, third.id]
    assert world.endpoint.traffic == {world.first.id: 90, third.id: 10}
    assert world.endpoint.rollback() == world.split(100)
    yield "EndpointService.UndeployModel"
    world.endpoint.undeploy(third)
    assert [one.id for one in world.endpoint.deployed] == [world.first.id, world.second.id]


def writing_down_what_a_deployment_replaces(world: World) -> Iterator[str]:
    world.share(100, before=50)
    yield "EndpointService.UpdateEndpoint"
    third = world.endpoint.deploy(world.model, traffic=10)
    yield "EndpointService.UpdateEndpoint"
    world.endpoint.undeploy(third)
    world.share(80, before=100)
    assert world.endpoint.rollback() == world.split(100)


def resizing(world: World) -> Iterator[str]:
    for replicas in (2, 1):
        yield "EndpointService.MutateDeployedModel"
        assert world.endpoint.resize(world.second, replicas).replicas == (replicas, replicas)


def looking_at_a_deployment_that_goes_on(world: World) -> Iterator[str]:
    operation = world.endpoint.deploy(world.model, wait=False)
    yield "*.GetOperation"
    third = operation.result(120)
    yield "*.GetOperation"
    assert world.session.endpoints.operation(operation.name).result() == third
    world.endpoint.undeploy(third)


def cancelling_a_deployment(world: World) -> Iterator[str]:
    world.share(100, before=50)
    operation = world.endpoint.deploy(world.model, traffic=10, wait=False)
    yield "*.CancelOperation"
    operation.cancel()
    assert operation.wait(120).state == "CANCELLED"
    # Nobody has asked for its result, so nothing of ours has run since.
    assert world.endpoint.rollback() == world.split(50)
    assert [one.id for one in world.endpoint.deployed] == [world.first.id, world.second.id]


CASES: list[Callable[[World], Iterator[str]]] = [
    creating_and_deleting_an_endpoint,
    finding_endpoints,
    uploading_and_deleting_a_model,
    deleting_a_version,
    finding_models,
    naming_a_version,
    setting_traffic,
    trying_a_canary,
    promoting,
    rolling_back,
    deploying_and_undeploying,
    writing_down_what_a_deployment_replaces,
    resizing,
    looking_at_a_deployment_that_goes_on,
    cancelling_a_deployment,
]


@pytest.mark.parametrize("fault", ONCE)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_one_failure_of_a_call_changes_nothing(
    world: World, inject: Inject, case: Callable[[World], Iterator[str]], fault: str
) -> None:
    struck = None
    for method in case(world):
        assert struck is None or struck() == [1]
        struck = inject({"method": method, **ONCE[fault]})
    assert struck is not None
    assert struck() == [1]


def test_every_call_that_a_noun_makes_is_made_to_fail() -> None:
    """A call of a generated client that no case above names is one that nobody has made fail."""
    source = "".join(path.read_text() for path in Path(vk.__file__).parent.glob("*.py"))
    called = set(re.findall(r"clients\.(?:endpoints|models)\.([a-z_]+)", source))
    called |= set(re.findall(r'_delete\("([a-z_]+)"', source))
    assert len(called) > 10
    tested = set(re.findall(r'yield "[\w*]+\.(\w+)"', Path(__file__).read_text()))
    assert {"".join(part.title() for part in name.split("_")) for name in called} <= tested


@pytest.mark.parametrize("fault", ["refused_503", "cut_off_before", "answer_lost"])
def test_a_version_whose_upload_is_cut_off_is_not_left_half_made(
    session: vk.Session, scaling_models: Mapping[int, Path], inject: Inject, fault: str
) -> None:
    model = session.models.upload("scaling", scaling_models[2])
    before = {item.name for item in session.bucket.list()}
    inject({"method": "ModelService.UploadModel", **ONCE[fault]})
    with pytest.raises(vk.Unavailable):
        model.upload_version(scaling_models[3])
    assert [version.version_id for version in model.versions()] == ["1"]
    assert session.models.get("scaling").version_id == "1"
    assert {item.name for item in session.bucket.list()} == before
    assert model.upload_version(scaling_models[3]).version_aliases == ("default",)


def test_a_service_that_stays_away_is_an_error_at_the_deadline(
    session: vk.Session, inject: Inject, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vertexkit._core import rpc

    monkeypatch.setattr(rpc, "_DEADLINE", 0.5)
    inject({"method": "EndpointService.*", "status": 503})
    with pytest.raises(vk.Unavailable):
        session.endpoints.list()
    # On a busy machine the time may be over in the middle of an attempt.
    with pytest.raises((vk.Unavailable, vk.DeadlineExceeded)):
        session.endpoints.create("e")
    inject()
    assert session.endpoints.list() == []


def test_an_emulator_that_is_killed_is_an_error_and_the_session_still_closes(
    scaling_models: Mapping[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import signal

    from vertexkit._core import rpc

    monkeypatch.setattr(rpc, "_DEADLINE", 0.5)
    with vk.connect(emulator=True) as session:
        session.endpoints.create("e")
        assert session._process is not None
        os.kill(session._process.pid, signal.SIGKILL)
        with pytest.raises(vk.Unavailable):
            session.endpoints.list()
        with pytest.raises(vk.CleanupIncomplete, match="endpoints/"):
            session.cleanup()


def test_faults_under_many_threads_lose_nothing(session: vk.Session, inject: Inject) -> None:
    inject(
        {"method": "EndpointService.*", "status": 503, "probability": 0.3, "seed": 1},
        {"method": "EndpointService.*", "reset": True, "after_work": True, "probability": 0.2, "seed": 2},
    )
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            assert session.endpoints.create(f"e{number}").refresh().display_name == f"e{number}"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    inject()
    assert failures == []
    assert sorted(found.display_name for found in session.endpoints.list()) == sorted(
        f"e{number}" for number in range(12)
    )
    assert len(session.cleanup().deleted) == 12
