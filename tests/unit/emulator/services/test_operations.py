"""Long-running operations, and the service that tells of them."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pytest
from google.cloud.aiplatform_v1 import types
from google.longrunning import operations_pb2
from google.protobuf import duration_pb2
from local_services import PARENT, Vertex, raw, response_of

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.operations import OPERATIONS, OUTCOMES, Operations, Running
from vertexkit.emulator.projects import project_number
from vertexkit.emulator.store import Kind, Store

LOCATION = f"projects/{project_number('my-project')}/locations/us-central1"
ENDPOINT = f"{LOCATION}/endpoints/1"
METADATA = types.DeployModelOperationMetadata.pb()


def until_cancelled(running: Running) -> Any:
    assert running.cancelled.wait(30)
    running.raise_if_cancelled()


def get(vertex: Vertex, name: str) -> Any:
    return vertex.operations.GetOperation(operations_pb2.GetOperationRequest(name=name))


def test_an_operation_runs_and_ends_with_a_typed_response(vertex: Vertex) -> None:
    proceed = threading.Event()

    def work(running: Running) -> Any:
        assert proceed.wait(30)
        return types.Endpoint.pb()(name=ENDPOINT)

    operation = vertex.running.start(ENDPOINT, METADATA(), work)
    assert operation.name.startswith(f"{ENDPOINT}/operations/")
    assert not get(vertex, operation.name).done
    proceed.set()
    assert response_of(vertex.finished(operation), types.Endpoint).name == ENDPOINT


def test_metadata_are_typed_and_timed(vertex: Vertex) -> None:
    stage = types.DeploymentStage.FINISHING_UP

    def work(running: Running) -> Any:
        running.update(METADATA(deployment_stage=stage))
        return types.Endpoint.pb()()

    operation = vertex.running.start(ENDPOINT, METADATA(), work)
    started, ended = METADATA(), METADATA()
    assert operation.metadata.Unpack(started)
    assert vertex.finished(operation).metadata.Unpack(ended)
    assert ended.deployment_stage == stage
    assert ended.generic_metadata.create_time == started.generic_metadata.create_time
    assert started.generic_metadata.create_time == started.generic_metadata.update_time
    assert (
        ended.generic_metadata.update_time.ToNanoseconds()
        > started.generic_metadata.update_time.ToNanoseconds()
    )


def test_an_error_of_the_work_is_the_operations_error(vertex: Vertex) -> None:
    def refuses(running: Running) -> Any:
        raise ApiError(Code.RESOURCE_EXHAUSTED, "no more")

    def breaks(running: Running) -> Any:
        raise ValueError("a defect")

    refused = vertex.finished(vertex.running.start(ENDPOINT, METADATA(), refuses))
    assert (refused.error.code, refused.error.message) == (8, "no more")
    broken = vertex.finished(vertex.running.start(ENDPOINT, METADATA(), breaks))
    assert (broken.error.code, broken.error.message) == (13, "ValueError: a defect")


def test_an_operation_that_needs_no_time_is_done_in_the_first_answer(vertex: Vertex) -> None:
    operation = vertex.running.done(ENDPOINT, METADATA(), types.Endpoint.pb()(name=ENDPOINT))
    assert operation.done
    assert get(vertex, operation.name) == operation


def test_operations_are_found_by_project_id_and_by_their_short_name(vertex: Vertex) -> None:
    operation = vertex.running.done(ENDPOINT, METADATA(), types.Endpoint.pb()())
    number = operation.name.rpartition("/")[2]
    assert get(vertex, f"{PARENT}/endpoints/1/operations/{number}") == operation
    assert get(vertex, f"{PARENT}/operations/{number}") == operation
    for missing in (f"{PARENT}/endpoints/2/operations/{number}", f"{PARENT}/operations/5"):
        with pytest.raises(ApiError) as error:
            get(vertex, missing)
        assert error.value.code is Code.NOT_FOUND


@pytest.mark.parametrize("name", ["", "operations/1", "projects/p/operations/1", f"{PARENT}/operations/x"])
def test_a_malformed_name_is_an_invalid_argument(vertex: Vertex, name: str) -> None:
    with pytest.raises(ApiError) as error:
        get(vertex, name)
    assert error.value.code is Code.INVALID_ARGUMENT


def test_operations_are_listed_by_resource_by_location_and_by_state(vertex: Vertex) -> None:
    other = f"{LOCATION}/models/1"
    done = vertex.running.done(ENDPOINT, METADATA(), types.Endpoint.pb()())
    elsewhere = vertex.running.done(other, METADATA(), types.Endpoint.pb()())
    running = vertex.running.start(ENDPOINT, METADATA(), until_cancelled)

    def names(name: str, filter: str = "") -> list[str]:
        request = operations_pb2.ListOperationsRequest(name=name, filter=filter)
        return [one.name for one in vertex.operations.ListOperations(request).operations]

    assert names(f"{PARENT}/endpoints/1") == [running.name, done.name]
    assert names(f"{PARENT}/endpoints/1/operations") == [running.name, done.name]
    assert names(PARENT) == [running.name, elsewhere.name, done.name]
    assert names(PARENT, "done=true") == [elsewhere.name, done.name]
    assert names(f"{PARENT}/endpoints/1", "done=false") == [running.name]
    with pytest.raises(ApiError, match="Invalid filter"):
        names(PARENT, "error=1")
    vertex.running.cancel(running.name)


def test_waiting_ends_with_the_timeout(vertex: Vertex) -> None:
    operation = vertex.running.start(ENDPOINT, METADATA(), until_cancelled)
    request = operations_pb2.WaitOperationRequest(
        name=operation.name, timeout=duration_pb2.Duration(nanos=10**7)
    )
    assert not vertex.operations.WaitOperation(request).done
    vertex.running.cancel(operation.name)
    assert vertex.finished(operation).error.code == Code.CANCELLED.number


def test_many_who_wait_leave_threads_for_others(vertex: Vertex) -> None:
    operation = vertex.running.start(ENDPOINT, METADATA(), until_cancelled)
    with ThreadPoolExecutor(32) as threads:
        # As many as a front has threads: without a bound, none of them ends before the operation.
        waits = [threads.submit(vertex.running.wait, operation.name, None) for _ in range(32)]
        early = next(as_completed(waits, timeout=30)).result()
        assert threads.submit(vertex.running.get, operation.name).result(30).name == operation.name
        vertex.running.cancel(operation.name)
        ended = [wait.result(30) for wait in waits]
    assert not early.done
    assert 1 <= sum(one.done for one in ended) < 32


def test_cancelling_what_is_done_changes_nothing(vertex: Vertex) -> None:
    operation = vertex.running.done(ENDPOINT, METADATA(), types.Endpoint.pb()())
    vertex.operations.CancelOperation(operations_pb2.CancelOperationRequest(name=operation.name))
    assert get(vertex, operation.name) == operation


def test_only_a_finished_operation_can_be_forgotten(vertex: Vertex) -> None:
    operation = vertex.running.start(ENDPOINT, METADATA(), until_cancelled)
    delete = operations_pb2.DeleteOperationRequest(name=operation.name)
    with pytest.raises(ApiError, match="still running") as error:
        vertex.operations.DeleteOperation(delete)
    assert error.value.code is Code.FAILED_PRECONDITION
    vertex.running.cancel(operation.name)
    vertex.finished(operation)
    vertex.operations.DeleteOperation(delete)
    with pytest.raises(ApiError):
        get(vertex, operation.name)


def test_what_a_stop_cuts_short_ends_in_aborted(start: Callable[[], Vertex]) -> None:
    first = start()
    operation = first.running.start(ENDPOINT, METADATA(), until_cancelled)
    # Starting again closes the first one, which calls the work off.
    second = start()
    ended = get(second, operation.name)
    assert ended.done
    assert ended.error.code == Code.ABORTED.number
    assert "stopped before the operation finished" in ended.error.message


def test_what_a_kill_cut_short_ends_in_aborted_at_the_next_start(vertex: Vertex, tmp_path: Path) -> None:
    operation = vertex.running.start(ENDPOINT, METADATA(), until_cancelled)
    # As a killed process leaves it: begun and not done.
    left = tmp_path / "killed.sqlite"
    with contextlib.closing(sqlite3.connect(left)) as copy:
        vertex.store._connection.backup(copy)
    vertex.running.cancel(operation.name)
    with contextlib.closing(Store(left)) as store:
        ended = Operations(store).get(operation.name)
        assert (ended.done, ended.error.code) == (True, Code.ABORTED.number)
        assert Operations(store).get(operation.name) == ended


def test_a_start_reads_no_operation_that_is_done(vertex: Vertex, monkeypatch: pytest.MonkeyPatch) -> None:
    vertex.running.done(ENDPOINT, METADATA(), types.Endpoint.pb()())
    read: list[Kind] = []

    def all_of(kind: Kind, _parent: str | None = None) -> list[Any]:
        read.append(kind)
        return []

    monkeypatch.setattr(vertex.store, "all", all_of)
    Operations(vertex.store)
    assert read == [OUTCOMES]


def test_old_operations_are_forgotten_but_not_one_that_runs(
    vertex: Vertex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vertexkit.emulator.operations._MOST_KEPT", 10)
    monkeypatch.setattr("vertexkit.emulator.operations._PRUNE_EVERY", 5)
    running = vertex.running.start(ENDPOINT, METADATA(), until_cancelled)
    done = [vertex.running.done(ENDPOINT, METADATA(), types.Endpoint.pb()()).name for _ in range(24)]
    assert {one.name for one in vertex.store.all(OPERATIONS)} == {running.name, *done[-10:]}
    vertex.running.cancel(running.name)
    assert vertex.finished(running).done
    for _ in range(10):
        vertex.running.done(ENDPOINT, METADATA(), types.Endpoint.pb()())
    assert running.name not in {one.name for one in vertex.store.all(OPERATIONS)}


def test_nothing_starts_while_everything_stops(vertex: Vertex) -> None:
    vertex.running.close()
    with pytest.raises(ApiError) as error:
        vertex.running.start(ENDPOINT, METADATA(), until_cancelled)
    assert error.value.code is Code.UNAVAILABLE


def test_an_uploads_operation_is_of_its_model(vertex: Vertex) -> None:
    model = vertex.upload().partition("@")[0]
    request = operations_pb2.ListOperationsRequest(name=model)
    (operation,) = vertex.operations.ListOperations(request).operations
    assert operation.metadata.Is(types.UploadModelOperationMetadata.pb().DESCRIPTOR)
    vertex.models.DeleteModel(raw(types.DeleteModelRequest(name=model)))
    newest = vertex.operations.ListOperations(request).operations[0]
    assert newest.metadata.Is(types.DeleteOperationMetadata.pb().DESCRIPTOR)
    assert newest.response.TypeName() == "google.protobuf.Empty"
