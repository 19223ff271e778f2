"""The clients of a session: what they send, how often, and what comes of failures."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from doubles import TARGET, Doubles, in_turn
from google.api_core import exceptions as api

from vertexkit import errors
from vertexkit._core.rpc import Clients, load_credentials
from vertexkit._core.target import Target


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERTEXKIT_NO_BACKOFF", "1")


def test_a_call_goes_out_once_with_a_deadline_and_without_googles_own_retries(doubles: Doubles) -> None:
    doubles.endpoints.get_endpoint.return_value = "answer"
    answer = doubles.clients.call(doubles.endpoints.get_endpoint, {"name": "n"}, timeout=7)
    assert answer == "answer"
    [call] = doubles.endpoints.get_endpoint.call_args_list
    assert call.kwargs["request"] == {"name": "n"}
    assert call.kwargs["retry"] is None
    assert 0 < call.kwargs["timeout"] <= 7


def test_an_idempotent_call_is_sent_again_while_the_service_is_away(doubles: Doubles) -> None:
    doubles.endpoints.get_endpoint.side_effect = in_turn(
        api.ServiceUnavailable("reset"), api.TooManyRequests("slow down"), "answer"
    )
    assert doubles.clients.call(doubles.endpoints.get_endpoint, {}) == "answer"


def test_a_call_that_may_have_been_carried_out_is_not_sent_again(doubles: Doubles) -> None:
    doubles.endpoints.deploy_model.side_effect = api.ServiceUnavailable("connection reset")
    with pytest.raises(errors.Unavailable, match="projects/p/e: connection reset"):
        doubles.clients.call(doubles.endpoints.deploy_model, {}, resource="projects/p/e", retry=False)
    assert doubles.endpoints.deploy_model.call_count == 1


def test_a_get_is_sent_again_and_a_post_is_not(doubles: Doubles) -> None:
    doubles.rest.answers["thing"] = in_turn(503, 429, {"name": "thing"})
    assert doubles.clients.http_json("GET", "thing") == {"name": "thing"}
    doubles.rest.answers["thing"] = in_turn(503, {"name": "thing"})
    with pytest.raises(errors.Unavailable):
        doubles.clients.http_json("POST", "thing", body={"x": 1})


def test_a_whole_url_is_taken_as_it_is(doubles: Doubles) -> None:
    doubles.rest.answers["https://storage.test/o"] = {"kind": "object"}
    assert doubles.clients.http_json("GET", "https://storage.test/o") == {"kind": "object"}


@pytest.mark.parametrize("answer", [["a", "list"], "text"])
def test_a_reply_that_is_no_json_object_is_an_error_that_shows_it(doubles: Doubles, answer: object) -> None:
    doubles.rest.answers["thing"] = answer
    with pytest.raises(errors.InternalError, match=r"list|text"):
        doubles.clients.http_json("GET", "thing")


def test_every_thread_gets_the_same_client() -> None:
    clients = Clients(TARGET)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(clients.http)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
    clients.close()


def test_the_generated_clients_share_one_channel_which_close_closes() -> None:
    clients = Clients(TARGET)
    channel = clients.models.transport.grpc_channel
    assert clients.endpoints.transport._logged_channel._channel is clients._built["channel"]
    assert channel is not None
    clients.close()
    with pytest.raises(errors.ConfigurationError, match="closed"):
        _ = clients.models


def test_storage_goes_to_the_target_over_the_shared_connections() -> None:
    clients = Clients(TARGET)
    assert clients.storage._connection.API_BASE_URL == "https://storage.test"
    assert clients.storage._http is clients.http
    assert clients.storage.project == TARGET.project
    clients.close()
    clients.close()


def test_a_local_target_needs_neither_proxy_nor_netrc() -> None:
    clients = Clients(TARGET)
    assert not clients.http.trust_env
    assert clients.http.headers["User-Agent"].startswith("vertexkit/")
    clients.close()


def test_credentials_are_those_given() -> None:
    from google.auth.credentials import AnonymousCredentials

    given = AnonymousCredentials()
    target = Target("p-12345", "us-central1", "https://r", "g:443", "https://s", credentials=given)
    assert Clients(target).credentials() is given


def test_a_key_file_that_is_none_is_named_without_its_content(tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    key.write_text('{"private_key": "SECRET"}')
    target = Target("p-12345", "us-central1", "https://r", "g:443", "https://s", key_file=key)
    with pytest.raises(errors.ConfigurationError, match=r"key\.json") as raised:
        load_credentials(target)
    assert "SECRET" not in str(raised.value)


def test_without_credentials_the_remedy_says_how_to_get_some(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    target = Target("p-12345", "us-central1", "https://r", "g:443", "https://s")
    with pytest.raises(errors.ConfigurationError, match="gcloud auth application-default login"):
        load_credentials(target)
