"""What a restart of the emulator finds and brings back."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable

import pytest
from google.cloud.aiplatform_v1 import types
from local_services import ThreadServing, Vertex, raw
from waiting import until

from vertexkit.emulator.errors import ApiError, Code

Start = Callable[..., Vertex]


def up(vertex: Vertex, endpoint: str) -> None:
    """Wait, as a prediction does."""
    asyncio.run(vertex.endpoints.routes.pick(endpoint).up(timeout=30))


def test_deployed_models_are_served_again_by_their_split(start: Start) -> None:
    first = start()
    endpoint, model = first.create_endpoint(), first.upload()
    old = first.deploy(endpoint, model, replicas=2)
    new = first.deploy(endpoint, model, split={"0": 20, old.id: 80})
    specs, before = dict(first.serving.specs), first.endpoint(endpoint)
    # What is served is the copy: the artifact may be gone.
    shutil.rmtree(first.data_dir / "gcs" / "models" / "mnist")
    second = start()
    picked = [second.endpoints.routes.pick(endpoint) for _ in range(100)]
    assert [route.deployed_model_id for route in picked].count(new.id) == 20
    for route in set(picked):
        asyncio.run(route.up(timeout=30))
    assert second.serving.specs == specs
    after = second.endpoint(endpoint)
    assert dict(after.traffic_split) == dict(before.traffic_split)
    assert [one.status.available_replica_count for one in after.deployed_models] == [2, 1]
    assert after.update_time == before.update_time


def test_a_prediction_waits_until_its_model_is_back(start: Start) -> None:
    first = start()
    endpoint = first.create_endpoint()
    first.serving.proceed.set()
    first.deploy(endpoint, first.upload(content=b"slow"))
    second = start()
    route = second.endpoints.routes.pick(endpoint)
    assert route.starting is not None
    with pytest.raises(ApiError, match="still starting"):
        asyncio.run(route.up(timeout=0.05))
    second.serving.proceed.set()
    up(second, endpoint)
    assert second.serving.specs


def test_a_model_that_does_not_come_back_says_why(start: Start) -> None:
    first = start()
    endpoint = first.create_endpoint()
    first.deploy(endpoint, first.upload())
    (copy,) = (first.data_dir / "serving").glob("*/model/saved_model.pb")
    copy.write_bytes(b"broken")
    second = start()
    with pytest.raises(ApiError, match="bad magic number") as error:
        up(second, endpoint)
    assert error.value.code is Code.UNAVAILABLE
    # Who waits for it is told before whoever looks.
    until(lambda: bool(second.endpoint(endpoint).deployed_models[0].status.message))
    shown = second.endpoint(endpoint).deployed_models[0]
    assert "bad magic number" in shown.status.message
    assert shown.status.available_replica_count == 0


def test_what_does_not_come_back_can_be_undeployed_and_deployed_again(start: Start) -> None:
    first = start()
    endpoint, model = first.create_endpoint(), first.upload()
    first.deploy(endpoint, model, id="7")
    (copy,) = (first.data_dir / "serving").glob("*/model/saved_model.pb")
    copy.write_bytes(b"broken")
    second = start()
    second.undeploy(endpoint, "7")
    second.deploy(endpoint, model, id="7")
    up(second, endpoint)


def test_a_model_on_its_way_back_can_be_undeployed(start: Start) -> None:
    first = start()
    endpoint = first.create_endpoint()
    first.serving.proceed.set()
    deployed = first.deploy(endpoint, first.upload(content=b"slow"))
    second = start()
    second.undeploy(endpoint, deployed.id)
    assert not second.serving.specs
    assert not second.endpoint(endpoint).deployed_models


def test_stopping_does_not_wait_for_models_to_come_back(start: Start) -> None:
    first = start()
    endpoint = first.create_endpoint()
    first.serving.proceed.set()
    first.deploy(endpoint, first.upload(content=b"slow"))
    second = start()
    assert second.serving.loading.wait(30)
    closing = threading.Thread(target=second.endpoints.close)
    closing.start()
    closing.join(30)
    assert not closing.is_alive()
    assert not second.serving.specs


def test_what_a_deploy_left_that_was_cut_short_is_removed(start: Start) -> None:
    first = start()
    endpoint, model = first.create_endpoint(), first.upload()
    kept = first.deploy(endpoint, model)
    # As a process killed in the middle of a deploy leaves it.
    leftover = first.data_dir / "serving" / "0123456789ab-5" / "model"
    leftover.mkdir(parents=True)
    first.endpoints._deployed.registry.deployed(model, endpoint, "5")
    second = start()
    assert not leftover.exists()
    assert [reference.deployed_model_id for reference in second.model(model).deployed_models] == [kept.id]


def test_endpoints_and_models_are_as_they_were(start: Start) -> None:
    first = start()
    endpoint, model = first.create_endpoint(), first.upload()
    shown = first.endpoint(endpoint), first.model(model)
    second = start(ThreadServing())
    assert (second.endpoint(endpoint), second.model(model)) == shown
    second.endpoints.DeleteEndpoint(raw(types.DeleteEndpointRequest(name=endpoint)))
    third = start()
    with pytest.raises(ApiError):
        third.endpoint(endpoint)
