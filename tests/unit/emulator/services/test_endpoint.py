"""EndpointService, but for what is deployed."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud.aiplatform_v1 import types
from local_services import PARENT, Vertex, raw, response_of

from vertexkit.emulator.errors import ApiError, Code


def code_of(call: Any, *arguments: Any, **keywords: Any) -> Code:
    with pytest.raises(ApiError) as error:
        call(*arguments, **keywords)
    return error.value.code


def update(vertex: Vertex, paths: list[str], **endpoint: Any) -> Any:
    request = types.UpdateEndpointRequest(endpoint=endpoint, update_mask={"paths": paths})
    return vertex.endpoints.UpdateEndpoint(raw(request))


def listed(vertex: Vertex, **request: Any) -> list[Any]:
    request = {"parent": PARENT, **request}
    return list(vertex.endpoints.ListEndpoints(raw(types.ListEndpointsRequest(**request))).endpoints)


def create(vertex: Vertex, endpoint_id: str) -> Any:
    request = types.CreateEndpointRequest(
        parent=PARENT, endpoint={"display_name": "d"}, endpoint_id=endpoint_id
    )
    return vertex.endpoints.CreateEndpoint(raw(request))


def test_a_created_endpoint_is_there_at_once(vertex: Vertex) -> None:
    name = vertex.create_endpoint(description="of mnist", labels={"stage": "test"}, etag="mine")
    shown = vertex.endpoint(name)
    assert (shown.display_name, shown.description, dict(shown.labels)) == (
        "digits",
        "of mnist",
        {"stage": "test"},
    )
    assert shown.etag not in {"", "mine"}
    assert shown.create_time.ToNanoseconds() == shown.update_time.ToNanoseconds() > 0
    assert not shown.dedicated_endpoint_dns


@pytest.mark.parametrize("endpoint_id", ["a", "my-endpoint-1", "1", "123456789"])
def test_an_endpoint_gets_the_id_asked_for_once(vertex: Vertex, endpoint_id: str) -> None:
    assert response_of(create(vertex, endpoint_id), types.Endpoint).name.endswith(f"/endpoints/{endpoint_id}")
    assert code_of(create, vertex, endpoint_id) is Code.ALREADY_EXISTS


@pytest.mark.parametrize("endpoint_id", ["-a", "a-", "A", "a" * 64, "01", "1234567890", "1a", "a_b"])
def test_an_impossible_id_is_an_invalid_argument(vertex: Vertex, endpoint_id: str) -> None:
    assert code_of(create, vertex, endpoint_id) is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"display_name": ""}, Code.INVALID_ARGUMENT),
        ({"display_name": "x" * 129}, Code.INVALID_ARGUMENT),
        ({"labels": {"A": "b"}}, Code.INVALID_ARGUMENT),
        ({"traffic_split": {"1": 100}}, Code.INVALID_ARGUMENT),
        ({"network": "projects/1/global/networks/n"}, Code.UNIMPLEMENTED),
        ({"encryption_spec": {"kms_key_name": "k"}}, Code.UNIMPLEMENTED),
    ],
)
def test_an_endpoint_that_cannot_be_is_refused(vertex: Vertex, fields: dict[str, Any], code: Code) -> None:
    assert code_of(vertex.create_endpoint, **fields) is code
    assert listed(vertex) == []


def test_a_dedicated_endpoint_is_reached_at_the_api_itself(vertex: Vertex) -> None:
    name = vertex.create_endpoint(dedicated_endpoint_enabled=True)
    assert vertex.endpoint(name).dedicated_endpoint_dns == "localhost:7"
    assert listed(vertex)[0].dedicated_endpoint_dns == "localhost:7"


def test_endpoints_are_listed_by_filter_order_page_and_mask(vertex: Vertex) -> None:
    names = [vertex.create_endpoint(display_name=name, labels={"n": name}) for name in ("b", "a", "c")]
    assert [one.name for one in listed(vertex)] == names[::-1]
    assert [one.display_name for one in listed(vertex, order_by="display_name desc")] == ["c", "b", "a"]
    assert [one.name for one in listed(vertex, filter='labels.n="a" OR display_name="b"')] == [
        names[1],
        names[0],
    ]
    endpoint_id = names[2].rpartition("/")[2]
    assert [one.name for one in listed(vertex, filter=f"endpoint={endpoint_id}")] == [names[2]]
    (masked,) = listed(vertex, filter="labels.n=a", read_mask={"paths": ["display_name"]})
    assert masked == types.Endpoint.pb()(display_name="a")
    page = vertex.endpoints.ListEndpoints(raw(types.ListEndpointsRequest(parent=PARENT, page_size=2)))
    assert [one.name for one in listed(vertex, page_token=page.next_page_token)] == [names[0]]


def test_an_update_changes_what_the_mask_names_only(vertex: Vertex) -> None:
    name = vertex.create_endpoint(description="old", labels={"a": "b"})
    before = vertex.endpoint(name)
    shown = update(vertex, ["display_name", "labels"], name=name, display_name="new", description="ignored")
    assert (shown.display_name, shown.description, dict(shown.labels)) == ("new", "old", {})
    assert shown.etag != before.etag
    assert shown == vertex.endpoint(name)


def test_an_update_with_a_stale_etag_is_aborted(vertex: Vertex) -> None:
    name = vertex.create_endpoint()
    stale = vertex.endpoint(name).etag
    update(vertex, ["description"], name=name, description="x", etag=stale)
    assert code_of(update, vertex, ["description"], name=name, description="y", etag=stale) is Code.ABORTED
    assert vertex.endpoint(name).description == "x"


@pytest.mark.parametrize(
    ("paths", "code"),
    [
        ([], Code.INVALID_ARGUMENT),
        (["*"], Code.INVALID_ARGUMENT),
        (["nosuch"], Code.INVALID_ARGUMENT),
        (["deployed_models"], Code.INVALID_ARGUMENT),
        (["display_name"], Code.INVALID_ARGUMENT),
        (["predict_request_response_logging_config"], Code.UNIMPLEMENTED),
    ],
)
def test_an_update_that_cannot_be_is_refused(vertex: Vertex, paths: list[str], code: Code) -> None:
    assert code_of(update, vertex, paths, name=vertex.create_endpoint()) is code


def test_the_split_changes_at_once_and_only_to_a_split(vertex: Vertex) -> None:
    name, model = vertex.create_endpoint(), vertex.upload()
    old, new = vertex.deploy(name, model), vertex.deploy(name, model)
    update(vertex, ["traffic_split"], name=name, traffic_split={old.id: 75, new.id: 25})
    picked = [vertex.endpoints.routes.pick(name).deployed_model_id for _ in range(100)]
    assert (picked.count(old.id), picked.count(new.id)) == (75, 25)
    for wrong in ({old.id: 99}, {"5": 100}, {old.id: 101, new.id: -1}):
        assert (
            code_of(update, vertex, ["traffic_split"], name=name, traffic_split=wrong)
            is Code.INVALID_ARGUMENT
        )
    assert dict(vertex.endpoint(name).traffic_split) == {old.id: 75, new.id: 25}
    update(vertex, ["traffic_split"], name=name, traffic_split={})
    assert code_of(vertex.endpoints.routes.pick, name) is Code.FAILED_PRECONDITION


def test_an_endpoint_is_deleted_once_nothing_is_deployed(vertex: Vertex) -> None:
    def delete() -> Any:
        return vertex.endpoints.DeleteEndpoint(raw(types.DeleteEndpointRequest(name=name)))

    name = vertex.create_endpoint()
    deployed = vertex.deploy(name, vertex.upload())
    with pytest.raises(ApiError, match=deployed.id) as error:
        delete()
    assert error.value.code is Code.FAILED_PRECONDITION
    vertex.undeploy(name, deployed.id)
    assert delete().done
    assert code_of(vertex.endpoint, name) is Code.NOT_FOUND
    assert code_of(delete) is Code.NOT_FOUND
    assert code_of(vertex.endpoints.routes.pick, name) is Code.NOT_FOUND


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (f"{PARENT}/endpoints/1", Code.NOT_FOUND),
        (f"{PARENT}/models/1", Code.INVALID_ARGUMENT),
        (f"{PARENT}/endpoints/1@2", Code.INVALID_ARGUMENT),
        ("projects/p/endpoints/1", Code.INVALID_ARGUMENT),
    ],
)
def test_an_endpoint_that_is_not_there(vertex: Vertex, name: str, code: Code) -> None:
    assert code_of(vertex.endpoint, name) is code
