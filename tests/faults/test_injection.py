"""Whether the faults that other tests ask for really happen."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

Inject = Callable[..., Callable[[], list[int]]]


@pytest.fixture
def endpoints(emulator: Any, project: str) -> str:
    """URL of the endpoints of a project of its own."""
    return f"{emulator.rest}/v1/projects/{project}/locations/us-central1/endpoints"


def names(endpoints: str) -> list[str]:
    return [endpoint["displayName"] for endpoint in requests.get(endpoints).json().get("endpoints", [])]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_status_is_answered_and_the_work_not_done(inject: Inject, endpoints: str, status: int) -> None:
    struck = inject({"method": "EndpointService.CreateEndpoint", "status": status, "times": 1})
    answer = requests.post(endpoints, json={"displayName": "a"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, status)
    assert (names(endpoints), struck()) == ([], [1])
    assert requests.post(endpoints, json={"displayName": "a"}).ok


def test_a_reset_after_the_work_loses_only_the_answer(inject: Inject, endpoints: str) -> None:
    inject({"method": "EndpointService.CreateEndpoint", "reset": True, "after_work": True, "times": 1})
    with pytest.raises(requests.ConnectionError):
        requests.post(endpoints, json={"displayName": "a"})
    assert names(endpoints) == ["a"]


def test_a_reset_before_the_work_loses_it(inject: Inject, endpoints: str) -> None:
    inject({"method": "EndpointService.CreateEndpoint", "reset": True, "times": 1})
    with pytest.raises(requests.ConnectionError):
        requests.post(endpoints, json={"displayName": "a"})
    assert names(endpoints) == []


def test_latency_delays_the_answer(inject: Inject, endpoints: str) -> None:
    inject({"method": "EndpointService.ListEndpoints", "latency": 0.3, "times": 1})
    began = time.monotonic()
    assert requests.get(endpoints).ok
    assert time.monotonic() - began >= 0.3


def test_storage_fails_as_asked(inject: Inject, emulator: Any, project: str) -> None:
    buckets = f"{emulator.storage}/storage/v1/b"
    struck = inject(
        {"storage": "POST /storage/v1/b", "status": 503, "times": 1},
        {"storage": "POST /storage/v1/b", "reset": True, "after_work": True, "times": 1},
    )
    new = {"name": f"b-{project}"}
    assert requests.post(buckets, params={"project": project}, json=new).status_code == 503
    assert requests.get(f"{buckets}/b-{project}").status_code == 404
    with pytest.raises(requests.ConnectionError):
        requests.post(buckets, params={"project": project}, json=new)
    assert requests.get(f"{buckets}/b-{project}").status_code == 200
    assert struck() == [1, 1]


@pytest.mark.parametrize("rule", [{"status": 503}, {"reset": True}])
def test_grpc_fails_as_asked(inject: Inject, emulator: Any, project: str, rule: dict[str, Any]) -> None:
    grpc = pytest.importorskip("grpc")
    from pathlib import Path

    from google.cloud import aiplatform_v1

    credentials = grpc.ssl_channel_credentials(Path(emulator.ca).read_bytes())
    request = aiplatform_v1.ListEndpointsRequest.pb()(parent=f"projects/{project}/locations/us-central1")
    with grpc.secure_channel(emulator.grpc, credentials) as channel:
        call = channel.unary_unary(
            "/google.cloud.aiplatform.v1.EndpointService/ListEndpoints",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=aiplatform_v1.ListEndpointsResponse.pb().FromString,
        )
        inject({"method": "EndpointService.ListEndpoints", "times": 1, **rule})
        with pytest.raises(grpc.RpcError) as caught:
            call(request, timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not call(request, timeout=30).endpoints
