"""The proxy before parts made for the test: where it leads, what it refuses, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from served import served

from vertexkit.emulator.asgi import header, read_body, reply
from vertexkit.emulator.options import EmulatorInfo, EmulatorOptions
from vertexkit.emulator.parts import Parts

BIG = 20 * 1024 * 1024


async def storage(scope: Any, receive: Any, send: Any) -> None:
    """Answer with what was asked for, and the body that came."""
    body = await read_body(scope, receive, 2 * BIG)
    named = (header(scope, b"host") or b"").decode()
    asked = f"{scope['method']} {scope['raw_path'].decode()} {len(body)} {named}"
    await reply(
        send, 200, asked.encode(), content_type="text/plain", headers=[(b"location", b"https://there")]
    )


async def log_entries(_scope: Any, _receive: Any, send: Any) -> None:
    await reply(send, 200, b'{"entries": []}')


@contextlib.contextmanager
def started(**options: Any) -> Iterator[EmulatorInfo]:
    parts = Parts({}, None, storage, apps={"/v2/entries:list": log_entries})
    with served(parts, EmulatorOptions(**options)) as info:
        yield info


@pytest.fixture(scope="module")
def info() -> Iterator[EmulatorInfo]:
    with started() as info:
        yield info


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "grpc_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def get(info: EmulatorInfo, url: str, method: str = "GET", **options: Any) -> requests.Response:
    """Ask for a URL as a program does that has the proxy and trusts the bundle."""
    proxies = {"http": info.proxy, "https": info.proxy}
    return requests.request(method, url, proxies=proxies, verify=info.ca_bundle, timeout=30, **options)


def connected(info: EmulatorInfo) -> socket.socket:
    """A bare connection to the proxy."""
    host, port = info.proxy.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def said(connection: socket.socket, request: bytes) -> bytes:
    """All that the proxy answers to a request before it closes."""
    connection.sendall(request)
    answer = b""
    while data := connection.recv(65536):
        answer += data
    return answer


def tunnelled(connection: socket.socket, target: str) -> None:
    """Have the proxy open a tunnel."""
    connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    answer = head_of(connection)
    assert answer.startswith(b"HTTP/1.1 200 "), answer


@contextlib.contextmanager
def host(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that is none of Google's, each of its connections in a thread; its port."""
    threads: list[threading.Thread] = []

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=answered, args=(connection,)))
                threads[-1].start()

    def answered(connection: socket.socket) -> None:
        connection.settimeout(30)
        with connection, contextlib.suppress(OSError):
            answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=serve, args=(listener,))
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join(30)
            for thread in threads:
                thread.join(30)


def echo(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


def head_of(connection: socket.socket) -> bytes:
    """All up to the empty line, and nothing of what follows."""
    head = b""
    while b"\r\n\r\n" not in head:
        byte = connection.recv(1)
        assert byte, head
        head += byte
    return head


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://storage.googleapis.com/storage/v1/b", "/storage/v1/b"),
        ("https://www.googleapis.com/upload/storage/v1/b/x/o", "/upload/storage/v1/b/x/o"),
        ("https://www.googleapis.com/download/storage/v1/b/x/o/y%2Fz", "/download/storage/v1/b/x/o/y%2Fz"),
        ("https://storage.us-central1.rep.googleapis.com/storage/v1/b", "/storage/v1/b"),
        ("https://my-bucket.storage.googleapis.com/a%2Fb", "/my-bucket/a%2Fb"),
        ("https://oauth2.googleapis.com/token", "/token"),
        ("https://www.googleapis.com/oauth2/v4/token", "/token"),
        ("http://storage.googleapis.com/storage/v1/b", "/storage/v1/b"),
    ],
)
def test_cloud_storage_and_tokens_are_had_under_their_own_names(
    info: EmulatorInfo, url: str, path: str
) -> None:
    answer = get(info, url)
    assert answer.status_code == 200
    assert answer.text == f"GET {path} 0 {url.split('/')[2]}"


@pytest.mark.parametrize(
    "name",
    [
        "aiplatform.googleapis.com",
        "us-central1-aiplatform.googleapis.com",
        "europe-west4-aiplatform.googleapis.com",
        "aiplatform.us.rep.googleapis.com",
        "aiplatform.europe-west4.rep.googleapis.com",
    ],
)
def test_the_api_is_had_under_the_name_of_every_region(info: EmulatorInfo, name: str) -> None:
    answer = get(info, f"https://{name}/v1/projects/p/locations/l/models")
    assert (answer.status_code, answer.json()["error"]["status"]) == (501, "UNIMPLEMENTED")
    assert "ModelService.ListModels" in answer.text


def test_log_entries_are_had_under_the_name_of_cloud_logging(info: EmulatorInfo) -> None:
    assert get(info, "https://logging.googleapis.com/v2/entries:list", "POST").json() == {"entries": []}
    assert get(info, "https://logging.googleapis.com/v2/entries:write", "POST").status_code == 501


@pytest.mark.parametrize(
    "url",
    [
        "https://bigquery.googleapis.com/bigquery/v2/projects/p/queries",
        "https://www.googleapis.com/compute/v1/projects/p",
        "http://pubsub.googleapis.com/v1/projects/p/topics",
    ],
)
def test_what_only_google_has_is_refused_by_name_in_googles_words(info: EmulatorInfo, url: str) -> None:
    answer = get(info, url)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["status"]) == (501, 501, "UNIMPLEMENTED")
    assert url.split("/")[2] in error["message"]
    assert "local Vertex AI" in error["message"]


def test_what_only_google_has_is_refused_by_name_over_grpc(
    info: EmulatorInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("grpc_proxy", info.proxy)
    credentials = grpc.ssl_channel_credentials(Path(info.ca_bundle).read_bytes())
    with (
        grpc.secure_channel("bigquery.googleapis.com:443", credentials) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        channel.unary_unary("/google.cloud.bigquery.v2.JobService/GetJob")(b"", timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]
    assert "google.cloud.bigquery.v2.JobService.GetJob" in caught.value.details()  # type: ignore[attr-defined]


def test_the_metadata_server_is_missing_at_once(info: EmulatorInfo) -> None:
    began = time.monotonic()
    for url in ("http://metadata.google.internal/computeMetadata/v1/", "http://169.254.169.254/"):
        answer = get(info, url)
        assert answer.status_code == 404
        assert "Metadata-Flavor" not in answer.headers
    assert time.monotonic() - began < 2


def test_hosts_that_are_not_googles_are_refused_with_what_allows_them(info: EmulatorInfo) -> None:
    with pytest.raises(requests.exceptions.ProxyError, match=r"403 pypi\.org is .*--pass-through"):
        get(info, "https://pypi.org/simple")
    plain = get(info, "http://example.com/", "POST", data=b"x" * 1_000_000)
    assert plain.status_code == 403
    assert "example.com" in plain.text
    assert "--pass-through" in plain.text


@pytest.mark.parametrize("name", ["googleapis.com.example", "evilgoogleapis.com", "localhost", "127.0.0.1"])
def test_names_that_only_look_like_googles_are_not(info: EmulatorInfo, name: str) -> None:
    with connected(info) as connection:
        assert said(connection, f"CONNECT {name}:443 HTTP/1.1\r\n\r\n".encode()).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"CONNECT storage.googleapis.com:22 HTTP/1.1", 403),
        (b"CONNECT storage.googleapis.com HTTP/1.1", 400),
        (b"CONNECT storage.googleapis.com:99999 HTTP/1.1", 400),
        (b"CONNECT :443 HTTP/1.1", 400),
        (b"GET https://storage.googleapis.com/ HTTP/1.1", 400),
        (b"GET http://storage.googleapis.com:8080/ HTTP/1.1", 403),
        (b"GET ftp://storage.googleapis.com/ HTTP/1.1", 400),
        (b"GET /storage/v1/b HTTP/1.1", 400),
        (b"\x16\x03\x01\x02", 400),
        (b"GET http://storage.googleapis.com/ HTTP/2", 400),
    ],
)
def test_what_is_nothing_for_a_proxy_is_refused_with_the_reason(
    info: EmulatorInfo, request_line: bytes, status: int
) -> None:
    with connected(info) as connection:
        answer = said(connection, request_line + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    reason = answer.partition(b"\r\n")[0].partition(b" ")[2].partition(b" ")[2]
    assert len(reason) > 10
    assert answer.endswith(b"\r\n\r\n" + reason + b"\n")


def test_headers_without_an_end_are_refused(info: EmulatorInfo) -> None:
    with connected(info) as connection:
        answer = said(connection, b"CONNECT a:443 HTTP/1.1\r\nX-Long: " + b"x" * 70_000)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_a_web_page_is_refused_behind_the_proxy_too(info: EmulatorInfo) -> None:
    url = "https://storage.googleapis.com/storage/v1/b"
    assert get(info, url).status_code == 200
    assert get(info, url, headers={"Origin": "http://x"}).status_code == 403
    assert get(info, url, headers={"Host": "rebound.example"}).status_code == 403
    assert get(info, "http://storage.googleapis.com/b", headers={"Origin": "http://x"}).status_code == 403


def test_tls_in_a_tunnel_answers_to_no_name_but_googles(info: EmulatorInfo) -> None:
    context = ssl.create_default_context(cafile=info.ca)
    context.check_hostname = False
    with connected(info) as connection:
        tunnelled(connection, "storage.googleapis.com:443")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(connection, server_hostname="rebound.example")


def test_a_client_that_offers_both_protocols_gets_the_one_that_rest_speaks(info: EmulatorInfo) -> None:
    context = ssl.create_default_context(cafile=info.ca)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with connected(info) as connection:
        tunnelled(connection, "storage.googleapis.com:443")
        with context.wrap_socket(connection, server_hostname="storage.googleapis.com") as secure:
            assert secure.selected_alpn_protocol() == "http/1.1"


def secured(info: EmulatorInfo, connection: socket.socket) -> ssl.SSLSocket:
    tunnelled(connection, "www.googleapis.com:443")
    context = ssl.create_default_context(cafile=info.ca)
    return context.wrap_socket(connection, server_hostname="www.googleapis.com")


def one_answer(secure: ssl.SSLSocket) -> tuple[bytes, bytes]:
    """Head and body of one answer by a connection that stays open."""
    head = head_of(secure)
    size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    body = b""
    while len(body) < size:
        body += secure.recv(65536)
    return head, body


def test_requests_are_taken_as_tensorflow_writes_them(info: EmulatorInfo) -> None:
    start = b" /upload/storage/v1/b/x/o HTTP/1.1\r\nHost: www.googleapis.com\r\n"
    with connected(info) as connection, secured(info, connection) as secure:
        # One after the other by one connection, for what one request announces must not confuse the next.
        for _ in range(2):
            secure.sendall(b"POST" + start + b"Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n")
            head, body = one_answer(secure)
            assert body == b"POST /upload/storage/v1/b/x/o 0 www.googleapis.com"
            # Looked up by exactly this name.
            assert b"\r\nLocation: https://there\r\n" in head
            secure.sendall(b"PUT" + start + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n")
            secure.sendall(b"5\r\nab")
            secure.sendall(b"cde\r\n0\r\n\r\n")
            assert one_answer(secure)[1] == b"PUT /upload/storage/v1/b/x/o 5 www.googleapis.com"
        for piece in (b"PUT" + start[:20], start[20:], b"Content-Length: 3\r\n\r", b"\nabc"):
            secure.sendall(piece)
            time.sleep(0.02)
        assert one_answer(secure)[1].startswith(b"PUT /upload/storage/v1/b/x/o 3 ")


def test_much_goes_both_ways(info: EmulatorInfo) -> None:
    answer = get(info, "https://www.googleapis.com/upload/storage/v1/b/x/o", "PUT", data=bytes(BIG))
    assert answer.text.split()[2] == str(BIG)


def test_headers_without_an_end_are_refused_in_a_tunnel_too(info: EmulatorInfo) -> None:
    with connected(info) as connection, secured(info, connection) as secure:
        answer = said(secure, b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 70_000)
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_clients_that_leave_at_any_point_harm_nobody(info: EmulatorInfo) -> None:
    for words in (b"", b"CONNECT stor", b"CONNECT storage.googleapis.com:443 HTTP/1.1\r\n\r\n"):
        with connected(info) as connection:
            connection.sendall(words)
    with connected(info) as connection:
        tunnelled(connection, "storage.googleapis.com:443")
        connection.sendall(b"\x16\x03\x01")
    with connected(info) as connection:
        tunnelled(connection, "storage.googleapis.com:443")
        connection.sendall(b"this is no TLS at all" * 10)
    with connected(info) as connection, secured(info, connection) as secure:
        secure.sendall(
            b"PUT /upload/storage/v1/b/x/o HTTP/1.1\r\nHost: www.googleapis.com\r\nContent-Length: 9\r\n\r\n"
        )
    assert get(info, "https://storage.googleapis.com/storage/v1/b").status_code == 200


def test_it_ends_with_connections_open_in_every_state() -> None:
    with contextlib.ExitStack() as stack:
        with started() as info:
            silent, half, tunnel, kept = (stack.enter_context(connected(info)) for _ in range(4))
            half.sendall(b"CONNECT stor")
            tunnelled(tunnel, "storage.googleapis.com:443")
            secure = stack.enter_context(secured(info, kept))
            secure.sendall(b"GET /storage/v1/b HTTP/1.1\r\nHost: www.googleapis.com\r\n\r\n")
            one_answer(secure)
        for connection in (silent, half, tunnel, secure):
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                assert connection.recv(1) == b""


def test_a_server_that_stops_lets_requests_through_the_proxy_end() -> None:
    entered, answers = threading.Event(), list[requests.Response]()

    async def slow(_scope: Any, _receive: Any, send: Any) -> None:
        entered.set()
        await asyncio.sleep(0.5)
        await reply(send, 200, b"late")

    with served(Parts({}, None, slow), EmulatorOptions()) as info:
        url = "https://storage.googleapis.com/slow"
        asking = threading.Thread(target=lambda: answers.append(get(info, url)))
        asking.start()
        assert entered.wait(30)
    asking.join(30)
    assert [answer.text for answer in answers] == ["late"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/projects/my-project", {"projectId": "my-project", "lifecycleState": "ACTIVE"}),
    ],
)
def test_every_project_exists_in_version_1_of_resource_manager(
    info: EmulatorInfo, path: str, expected: dict[str, str]
) -> None:
    url = "https://cloudresourcemanager.googleapis.com"
    found = get(info, url + path).json()
    assert expected.items() <= found.items()
    by_number = get(info, f"{url}/v1/projects/{found['projectNumber']}").json()
    assert by_number == found
    assert get(info, f"{url}/v1/projects/p:getIamPolicy", "POST").status_code == 501


def test_service_accounts_get_throw_away_tokens_and_nothing_else(info: EmulatorInfo) -> None:
    account = (
        "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@p.iam.gserviceaccount.com"
    )
    token = get(
        info, f"{account}:generateAccessToken", "POST", json={"lifetime": "60s", "scope": ["x"]}
    ).json()
    assert token["accessToken"].startswith("local-")
    assert token["expireTime"].endswith("Z")
    assert get(info, f"{account}:generateAccessToken", "POST", json={"lifetime": "long"}).status_code == 400
    assert get(info, f"{account}:generateAccessToken", "POST", data=b"[]").status_code == 400
    assert get(info, f"{account}/allowedLocations").status_code == 404
    assert get(info, f"{account}:signBlob", "POST", json={}).status_code == 501


def test_other_hosts_are_passed_through_untouched_when_asked_to() -> None:
    with started(pass_through=True) as info, host(echo) as port, connected(info) as connection:
        tunnelled(connection, f"localhost:{port}")
        data = bytes(range(256)) * 4096 * 8
        sending = threading.Thread(target=connection.sendall, args=(data,))
        sending.start()
        got = b""
        while len(got) < len(data):
            got += connection.recv(1 << 20)
        sending.join()
        assert got == data


def test_plain_requests_are_passed_on_without_what_was_for_the_proxy() -> None:
    heads: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        heads.append(head_of(connection))
        assert connection.recv(10) == b"body"
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    with started(pass_through=True) as info, host(answer) as port:
        url = f"http://127.0.0.1:{port}/a/b?c=d"
        own = {"Proxy-Authorization": "Basic x", "X-Mine": "1", "Connection": "keep-alive"}
        assert get(info, url, "POST", data=b"body", headers=own).text == "hi"
    lines = heads[0].decode().lower().split("\r\n")
    assert lines[0] == "post /a/b?c=d http/1.1"
    assert "x-mine: 1" in lines
    assert [line for line in lines if line.startswith(("proxy", "connection"))] == ["connection: close"]


def test_a_host_that_nobody_answers_at_is_said_to_be_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with started(pass_through=True) as info:
        with connected(info) as connection:
            answer = said(connection, f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 502 127.0.0.1:%d cannot be reached" % port)
        # Nor is the metadata server of the machine that this may run on anybody's business.
        assert get(info, "http://metadata.google.internal/").status_code == 404


def test_other_hosts_are_reached_by_the_proxy_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heads: list[bytes] = []

    def upstream(connection: socket.socket) -> None:
        heads.append(head_of(connection))
        if heads[-1].startswith(b"CONNECT refused"):
            connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        elif heads[-1].startswith(b"CONNECT"):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nhello ")
            echo(connection)
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    with host(upstream) as port, host(echo) as direct:
        monkeypatch.setenv("https_proxy", f"http://me:se%40cret@127.0.0.1:{port}")
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "localhost")
        with started(pass_through=True) as info:
            # The test's own requests go to the proxy that they name.
            monkeypatch.setenv("no_proxy", "")
            with connected(info) as connection:
                tunnelled(connection, "pypi.example:443")
                connection.sendall(b"world")
                got = b""
                while len(got) < len(b"hello world"):
                    got += connection.recv(100)
                assert got == b"hello world"
            assert get(info, "http://plain.example/x").text == "hi"
            with connected(info) as connection:
                assert said(connection, b"CONNECT refused.example:443 HTTP/1.1\r\n\r\n").startswith(
                    b"HTTP/1.1 502 The proxy that the environment names refused: HTTP/1.1 407"
                )
            with connected(info) as connection:
                tunnelled(connection, f"localhost:{direct}")
                connection.sendall(b"direct")
                assert connection.recv(100) == b"direct"
    assert heads[0].startswith(b"CONNECT pypi.example:443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6c2VAY3JldA==\r\n" in heads[0]
    assert heads[1].startswith(b"GET http://plain.example:80/x HTTP/1.1\r\n")
    assert not any(b"localhost" in head for head in heads)


def test_the_environment_that_it_tells_names_it(info: EmulatorInfo) -> None:
    url = f"{info.rest}/emulator/environment"
    told = requests.get(url, params={"project": "other-project", "location": "europe-west4"}).json()
    assert told["https_proxy"] == told["HTTPS_PROXY"] == info.proxy
    assert told["GOOGLE_CLOUD_PROJECT"] == told["VERTEXKIT_PROJECT"] == "other-project"
    assert told["VERTEXKIT_LOCATION"] == "europe-west4"
    assert json.loads(Path(told["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())["type"] == "service_account"
    assert requests.get(url).json()["GOOGLE_CLOUD_PROJECT"] == info.project
    assert requests.post(url).status_code == 404
