"""The local Vertex AI killed after any commit: an operation tells the truth about what it did."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.cloud.aiplatform_v1 import types
from local_services import Vertex, raw

from vertexkit.emulator.errors import Code
from vertexkit.emulator.operations import OPERATIONS, Operations
from vertexkit.emulator.services.deployed_models import ENDPOINTS
from vertexkit.emulator.store import Store


@pytest.fixture
def killed(
    vertex: Vertex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Any, str], list[tuple[Any, Any]]]:
    """Does something, and gives the operation and the endpoint as restarts after each commit find them."""

    def after_each_commit(act: Callable[[], Any], endpoint: str) -> list[tuple[Any, Any]]:
        copies: list[Path] = []
        commit, depth = vertex.store.transaction, 0

        @contextlib.contextmanager
        def transaction() -> Iterator[None]:
            nonlocal depth
            with vertex.store._lock:
                depth += 1
                try:
                    with commit():
                        yield
                finally:
                    depth -= 1
                if not depth:
                    copies.append(tmp_path / f"killed-{len(copies)}.sqlite")
                    with contextlib.closing(sqlite3.connect(copies[-1])) as copy:
                        vertex.store._connection.backup(copy)

        monkeypatch.setattr(vertex.store, "transaction", transaction)
        name = vertex.finished(act()).name
        monkeypatch.undo()
        found = []
        for path in copies:
            with contextlib.closing(Store(path)) as store:
                Operations(store)
                operation = store.find(OPERATIONS, name)
                if operation is not None:  # There is none before it has begun.
                    assert operation.done
                    found.append((operation, store.get(ENDPOINTS, endpoint)))
        return found

    return after_each_commit


def check(found: list[tuple[Any, Any]], done: Callable[[Any], bool]) -> None:
    """Either it was done and says so, or it was not and says that; both are met on the way."""
    for operation, endpoint in found:
        if done(endpoint):
            assert operation.HasField("response"), operation
        else:
            assert operation.error.code == Code.ABORTED.number
    assert {done(endpoint) for _, endpoint in found} == {True, False}


def test_a_deploy_is_aborted_or_deployed(vertex: Vertex, killed: Any) -> None:
    endpoint, model = vertex.create_endpoint(), vertex.upload()
    found = killed(lambda: vertex.start_deploy(endpoint, model, id="7"), endpoint)
    check(found, lambda shown: bool(shown.traffic_split))
    told = types.DeployModelResponse.pb()()
    for operation, shown in found:
        if shown.traffic_split:
            assert operation.response.Unpack(told)
            assert told.deployed_model.id == "7"
            assert told.deployed_model.status.available_replica_count == 1


def test_an_undeploy_is_aborted_or_undeployed(vertex: Vertex, killed: Any) -> None:
    endpoint = vertex.create_endpoint()
    gone = vertex.deploy(endpoint, vertex.upload())
    request = raw(types.UndeployModelRequest(endpoint=endpoint, deployed_model_id=gone.id))
    found = killed(lambda: vertex.endpoints.UndeployModel(request), endpoint)
    check(found, lambda shown: not shown.deployed_models)


def test_a_change_of_replicas_is_aborted_or_made(vertex: Vertex, killed: Any) -> None:
    endpoint = vertex.create_endpoint()
    deployed = vertex.deploy(endpoint, vertex.upload())
    asked = {"id": deployed.id, "dedicated_resources": {"min_replica_count": 2, "max_replica_count": 2}}
    request = types.MutateDeployedModelRequest(
        endpoint=endpoint,
        deployed_model=asked,
        update_mask="dedicatedResources.minReplicaCount,dedicatedResources.maxReplicaCount",
    )
    found = killed(lambda: vertex.endpoints.MutateDeployedModel(raw(request)), endpoint)
    check(found, lambda shown: shown.deployed_models[0].dedicated_resources.min_replica_count == 2)


def test_an_undeploy_that_fails_to_tidy_up_has_still_undeployed(
    vertex: Vertex, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = vertex.create_endpoint()
    gone = vertex.deploy(endpoint, vertex.upload())

    def fail(_key: str) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(vertex.serving, "undeploy", fail)
    vertex.undeploy(endpoint, gone.id)
    assert not vertex.endpoint(endpoint).deployed_models
