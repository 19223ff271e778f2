"""Nothing that anybody sends breaks the local Vertex AI; what is wrong is answered as wrong."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vertexkit.emulator.methods import Method, methods
from vertexkit.emulator.parts import SERVICE_CLASSES, implements
from vertexkit.emulator.uri_templates import UriTemplate

IMPLEMENTED = [method for method in methods().values() if implements(method)]
WITH_BODY = [
    (method, rule) for method in IMPLEMENTED for rule in method.http if rule.body and "/v1/" in rule.template
]
NOT_ANSWERS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE}


@pytest.fixture(scope="module")
def channel(emulator: Any) -> Iterator[grpc.Channel]:
    credentials = grpc.ssl_channel_credentials(Path(emulator.ca).read_bytes())
    with grpc.secure_channel(emulator.grpc, credentials) as channel:
        yield channel


@pytest.fixture(scope="module")
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


def call(channel: grpc.Channel, method: Method, data: bytes) -> tuple[grpc.StatusCode, str]:
    """Status and words with which an RPC answers these bytes."""
    try:
        channel.unary_unary(method.path)(data, timeout=30)
    except grpc.RpcError as error:
        return error.code(), error.details() or ""  # type: ignore[attr-defined]
    return grpc.StatusCode.OK, ""


def url(emulator: Any, template: str, *, segment: str = "x") -> str:
    """A URL that a template fits."""
    parsed = UriTemplate.parse(template)
    path = "/".join(segment if part == "*" else part for part in parsed.segments)
    return f"{emulator.rest}/{path}" + (f":{parsed.custom_verb}" if parsed.custom_verb else "")


def test_something_is_implemented_of_every_served_service() -> None:
    assert {method.service for method in IMPLEMENTED} == set(SERVICE_CLASSES)


@pytest.mark.parametrize("method", IMPLEMENTED, ids=lambda method: method.full_name)
def test_an_empty_request_is_answered_with_reason(channel: grpc.Channel, method: Method) -> None:
    code, words = call(channel, method, b"")
    assert code not in NOT_ANSWERS, words


@pytest.mark.parametrize("method", IMPLEMENTED, ids=lambda method: method.full_name)
def test_a_request_of_nonsense_names_is_answered_with_reason(channel: grpc.Channel, method: Method) -> None:
    request = method.request()
    for field in request.DESCRIPTOR.fields:
        if field.type == field.TYPE_STRING and not field.is_repeated:
            setattr(request, field.name, "projects/../locations/\x00/models/'; DROP TABLE--/\u202e%s")
    code, words = call(channel, method, request.SerializeToString())
    assert code not in NOT_ANSWERS, words


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(method=st.sampled_from(IMPLEMENTED), data=st.binary(max_size=64))
def test_bytes_that_are_no_message_harm_nothing(channel: grpc.Channel, method: Method, data: bytes) -> None:
    try:
        method.request.FromString(data)
    except Exception:
        expected = {grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT}
        assert call(channel, method, data)[0] in expected
    else:
        code, words = call(channel, method, data)
        assert code not in NOT_ANSWERS, words


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"null", b"\xff", b'{"nope": 1}', b'{"name": {}}', b"[" * 5000, b'{"a":' * 5000]
)
def test_malformed_json_is_a_bad_request_everywhere(
    emulator: Any, http: requests.Session, body: bytes
) -> None:
    for method, rule in WITH_BODY:
        answer = http.request(rule.verb, url(emulator, rule.template), data=body, timeout=30)
        assert 400 <= answer.status_code < 500, (method.full_name, body, answer.text)
        if answer.headers["content-type"].startswith("application/json"):
            assert answer.json()["error"]["code"] == answer.status_code


@pytest.mark.parametrize(
    "segment",
    ["..", "%2e%2e%2f%2e%2e", "%00", "%ff", "a b", "%25", "x" * 3000, "é", "'\"", "-", "@", "1@2@3"],
)
def test_odd_names_in_a_path_are_answered_with_reason(
    emulator: Any, http: requests.Session, segment: str
) -> None:
    for method in IMPLEMENTED:
        for rule in method.http:
            if rule.verb != "GET" or "/v1/" not in rule.template:
                continue
            address = url(emulator, rule.template, segment=segment)
            answer = http.get(address, timeout=30)
            assert answer.status_code < 500, (method.full_name, answer.text)


@pytest.mark.parametrize("port", ["grpc", "rest", "storage"])
@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 100, b"\xff" * 100, b"GET", b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nshort",
        b"GET /" + b"x" * 200_000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01",
    ],
)  # fmt: skip
def test_a_connection_that_speaks_nonsense_harms_nobody(emulator: Any, port: str, data: bytes) -> None:
    number = int(getattr(emulator, port).rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", number), timeout=10) as connection,
        contextlib.suppress(ConnectionError),
    ):
        connection.sendall(data)
        # The server may have ended the connection by now, which leaves nothing to shut down.
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    assert requests.get(f"{emulator.rest}/emulator", timeout=30).ok
    assert requests.get(f"https://{emulator.grpc}/emulator", verify=emulator.ca, timeout=30).ok
    assert requests.get(f"{emulator.storage}/storage/v1/b?project=p", timeout=30).ok
