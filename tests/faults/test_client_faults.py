"""vertexkit while every call of the service fails once: refused, overloaded, or cut off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
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


@pytest.fixture(scope="module")
def deploying(emulator: Any, scaling_models: Mapping[int, Path]) -> Iterator[vk.Model]:
    """A model of two versions, of a project in which things are deployed."""
    with vk.connect("client-faults", emulator=emulator.rest, temporary=True) as session:
        model = session.models.upload("scaling", scaling_models[2])
        model.upload_version(scaling_models[3], default=False)
        yield model


@pytest.mark.parametrize("fault", ONCE)
def test_a_life_without_deploying_goes_through_one_failure_of_every_call(
    session: vk.Session, scaling_models: Mapping[int, Path], inject: Inject, fault: str
) -> None:
    methods = [
        "ModelService.UploadModel",
        "ModelService.GetModel",
        "ModelService.ListModels",
        "ModelService.ListModelVersions",
        "ModelService.MergeVersionAliases",
        "ModelService.DeleteModel",
        "EndpointService.CreateEndpoint",
        "EndpointService.GetEndpoint",
        "EndpointService.ListEndpoints",
        "EndpointService.DeleteEndpoint",
    ]
    struck = inject(*({"method": method, **ONCE[fault]} for method in methods))
    model = session.models.upload("scaling", scaling_models[2])
    model.add_aliases("stable")
    assert [version.version_aliases for version in model.versions()] == [("default", "stable")]
    assert session.models.get("scaling") == model
    endpoint = session.endpoints.create("scaling")
    assert [found.id for found in session.endpoints.list()] == [endpoint.id]
    assert endpoint.refresh().display_name == "scaling"
    session.cleanup()
    assert dict(zip(methods, struck(), strict=True)) == dict.fromkeys(methods, 1)
    inject()
    assert (session.models.list(), session.endpoints.list(), session.buckets.list()) == ([], [], [])


@pytest.mark.parametrize("fault", ONCE)
def test_deploying_goes_through_one_failure_of_every_call_and_deploys_once(
    deploying: vk.Model, emulator: Any, inject: Inject, fault: str
) -> None:
    with vk.connect("client-faults", emulator=emulator.rest, temporary=True) as session:
        endpoint = session.endpoints.create("scaling")
        methods = [
            "EndpointService.DeployModel",
            "EndpointService.GetEndpoint",
            "EndpointService.UpdateEndpoint",
            "EndpointService.UndeployModel",
            "*.GetOperation",
        ]
        struck = inject(*({"method": method, **ONCE[fault]} for method in methods))
        first = endpoint.deploy(deploying.version(1))
        second = endpoint.deploy(deploying.version(2))
        assert endpoint.refresh().deployed == [first, second]
        assert endpoint.canary(second, 20).traffic == 20
        assert endpoint.rollback() == {first.id: 100}
        assert endpoint.rollback() == {first.id: 80, second.id: 20}
        assert endpoint.predict(ROW).shape == (1, 3)
        endpoint.undeploy_all()
        assert endpoint.refresh().deployed == []
        assert dict(zip(methods, struck(), strict=True)) == dict.fromkeys(methods, 1)


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
    with pytest.raises(vk.Unavailable):
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
