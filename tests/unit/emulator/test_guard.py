import asyncio
from typing import Any

import pytest

from vertexkit.emulator.guard import Guard, is_allowed_host

HEADERS = list[tuple[bytes, bytes]]


def status_of(headers: HEADERS, *, times: int = 1) -> int:
    """What a guarded application that would answer 204 answers."""

    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is read of what is refused")

    guard = Guard(application)
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
    for _ in range(times):
        sent.clear()
        asyncio.run(guard(scope, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:1", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:65535", "127.9.9.9", "[::1]",
        "[::1]:80", "googleapis.com", "storage.googleapis.com", "us-central1-aiplatform.googleapis.com:443",
        "localhost.",
    ],
)  # fmt: skip
def test_loopback_and_googleapis_hosts_pass(host: str) -> None:
    assert is_allowed_host(host)
    assert status_of([(b"host", host.encode())], times=2) == 204


@pytest.mark.parametrize(
    "host",
    [
        "", "evil.com", "evil.com:80", "127.0.0.1.evil.com", "localhost.evil.com", "evilgoogleapis.com",
        "googleapis.com.evil.com", "10.0.0.1", "[::2]", "[::1", "::1:80", "localhost:80:80", "localhost:x",
        "0.0.0.0", "a@localhost", "localhost/x", "127.1", "2130706433",
    ],
)  # fmt: skip
def test_other_hosts_are_refused(host: str) -> None:
    assert not is_allowed_host(host)
    assert status_of([(b"host", host.encode())], times=2) == 403


def test_any_origin_is_refused_even_a_local_one() -> None:
    assert status_of([(b"host", b"localhost"), (b"origin", b"http://localhost")]) == 403
    assert status_of([(b"origin", b"null"), (b"host", b"localhost")]) == 403


def test_a_request_without_a_host_or_with_two_is_refused() -> None:
    assert status_of([]) == 403
    assert status_of([(b"host", b"localhost"), (b"host", b"evil.com")]) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "", "other"])
def test_what_a_page_of_another_site_fetches_is_refused_without_an_origin(site: str) -> None:
    assert status_of([(b"host", b"localhost"), (b"sec-fetch-site", site.encode())]) == 403


@pytest.mark.parametrize("site", ["none", "same-origin"])
def test_an_address_that_the_user_types_in_is_answered(site: str) -> None:
    assert status_of([(b"host", b"localhost"), (b"sec-fetch-site", site.encode())]) == 204
