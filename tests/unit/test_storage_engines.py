"""Exactly what each engine sends, and what its failures become."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
import requests
from google.api_core import exceptions as google_errors
from google.auth import exceptions as auth_errors
from google.auth.credentials import AnonymousCredentials, Credentials
from google.cloud import storage
from obstore import exceptions as obstore_errors

from vertexkit import errors
from vertexkit._core.context import Context
from vertexkit._core.rpc import Clients
from vertexkit._core.target import Target
from vertexkit._transfer.engine import Place, choose_engine
from vertexkit._transfer.google_engine import GoogleEngine
from vertexkit._transfer.obstore_engine import ObstoreEngine, failure_from
from vertexkit.cleanup import Created


def target(**changes: Any) -> Target:
    settings: dict[str, Any] = {
        "project": "p",
        "location": "us-central1",
        "rest_url": "https://us-central1-aiplatform.googleapis.com",
        "grpc_address": "us-central1-aiplatform.googleapis.com:443",
        "storage_url": "https://storage.googleapis.com",
    }
    return Target(**(settings | changes))


def place(clients: Clients, **changes: Any) -> Place:
    context = Context(target(**changes), clients, Created(), {"vertexkit_session": "s1"}, "default-bucket")
    return Place(context, "bucket")


class Tokens(Credentials):  # type: ignore[misc] # google-auth ships no types
    """Credentials that need no network."""

    def __init__(self, headers: dict[str, str] | None = None) -> None:
        super().__init__()
        self.token = "secret-token"
        self.extra = headers or {}

    def refresh(self, request: object) -> None:
        raise AssertionError("the token is valid")

    def before_request(self, request: object, method: str, url: str, headers: dict[str, str]) -> None:
        headers["authorization"] = f"Bearer {self.token}"
        headers.update(self.extra)


def clients_with(credentials: object) -> Clients:
    clients = create_autospec(Clients, instance=True)
    clients.credentials.return_value = credentials
    return clients  # type: ignore[no-any-return] # an autospec is Any


# -- google --------------------------------------------------------------------------------------


@pytest.fixture
def blob() -> Any:
    return create_autospec(storage.Blob, instance=True)


@pytest.fixture
def google_bucket(blob: Any) -> Any:
    bucket = create_autospec(storage.Bucket, instance=True)
    bucket.blob.return_value = blob
    return bucket


@pytest.fixture
def google(google_bucket: Any) -> GoogleEngine:
    clients = create_autospec(Clients, instance=True)
    clients.storage = create_autospec(storage.Client, instance=True)
    clients.storage.bucket.return_value = google_bucket
    engine = GoogleEngine(place(clients))
    clients.storage.bucket.assert_called_once_with("bucket")
    return engine


def test_google_puts_bytes_with_their_checksum_and_leaves_the_retries_to_us(
    google: GoogleEngine, google_bucket: Any, blob: Any
) -> None:
    blob.generation = 7
    assert google.put("a/b.txt", b"data", "text/plain") == 7
    google_bucket.blob.assert_called_once_with("a/b.txt")
    (sent,) = blob.upload_from_string.call_args_list
    assert sent.args == (b"data",)
    assert sent.kwargs.pop("timeout")
    assert sent.kwargs == {"content_type": "text/plain", "checksum": "crc32c", "retry": None}


def test_google_gets_the_stored_bytes_of_that_generation(
    google: GoogleEngine, google_bucket: Any, blob: Any
) -> None:
    blob.download_as_bytes.return_value = b"data"
    assert google.get("a", 7, 4) == b"data"
    google_bucket.blob.assert_called_once_with("a", generation=7)
    (asked,) = blob.download_as_bytes.call_args_list
    assert asked.kwargs.pop("timeout")
    assert asked.kwargs == {"raw_download": True, "checksum": None, "retry": None}


def test_google_deletes_by_name(google: GoogleEngine, google_bucket: Any, blob: Any) -> None:
    google.delete("a")
    google_bucket.blob.assert_called_once_with("a")
    (sent,) = blob.delete.call_args_list
    assert sent.kwargs.pop("timeout")
    assert sent.kwargs == {"retry": None}


@pytest.mark.parametrize(
    ("raised", "ours"),
    [
        (google_errors.NotFound("no such bucket"), errors.NotFound),
        (google_errors.Forbidden("no"), errors.PermissionDenied),
        (google_errors.Unauthorized("who"), errors.Unauthenticated),
        (google_errors.TooManyRequests("slow"), errors.QuotaExceeded),
        (google_errors.ServiceUnavailable("later"), errors.Unavailable),
        (google_errors.InternalServerError("oops"), errors.InternalError),
        (google_errors.BadRequest("bad digest"), errors.BadRequest),
        (auth_errors.RefreshError("expired"), errors.Unauthenticated),
        (auth_errors.TransportError("no network"), errors.Unavailable),
        (requests.ConnectionError("reset"), errors.Unavailable),
        (requests.ReadTimeout("slow"), errors.DeadlineExceeded),
    ],
)
def test_each_failure_of_googles_client_becomes_ours(
    google: GoogleEngine, blob: Any, raised: Exception, ours: type[Exception]
) -> None:
    blob.upload_from_string.side_effect = raised
    blob.download_as_bytes.side_effect = raised
    blob.delete.side_effect = raised
    for call in (
        lambda: google.put("a", b"", "x/y"),
        lambda: google.get("a", 1, 0),
        lambda: google.delete("a"),
    ):
        with pytest.raises(ours, match="gs://bucket/a") as caught:
            call()
        assert caught.value.__cause__ is raised


def test_a_mistake_in_code_is_not_dressed_up_as_a_failure_of_the_service(
    google: GoogleEngine, blob: Any
) -> None:
    blob.upload_from_string.side_effect = AttributeError("typo")
    with pytest.raises(AttributeError):
        google.put("a", b"", "x/y")


# -- obstore -------------------------------------------------------------------------------------


def generic(words: str) -> Exception:
    return obstore_errors.GenericError(f"Generic GCS error: {words}\n\nDebug source:\nGeneric {{ secret }}")


def status(code: int, reply: str = "") -> Exception:
    return generic(
        "Error performing PUT http://x/b/o in 1ms - "
        f"Server returned non-2xx status code: {code} Words: {reply}"
    )


@pytest.mark.parametrize(
    ("raised", "ours", "words"),
    [
        (status(503), errors.Unavailable, ""),
        (status(500), errors.InternalError, ""),
        (status(429, "<Error><Message>slow down</Message></Error>"), errors.QuotaExceeded, "slow down"),
        (status(400, "<Error><Message>bad</Message></Error>"), errors.BadRequest, "bad"),
        (status(403, '{"error": {"code": 403, "message": "no"}}'), errors.PermissionDenied, "no"),
        (status(408), errors.DeadlineExceeded, ""),
        (status(412), errors.FailedPrecondition, ""),
        (generic("Error performing PUT - HTTP error: error sending request"), errors.Unavailable, "sending"),
        (generic("Last-Modified Header missing"), errors.InternalError, "Last-Modified"),
        (FileNotFoundError("Object at location x not found"), errors.NotFound, "not found"),
        (
            obstore_errors.UnauthenticatedError("lacked valid authentication"),
            errors.Unauthenticated,
            "lacked",
        ),
    ],
)
def test_each_failure_of_obstore_becomes_ours_without_its_insides(
    raised: Exception, ours: type[errors.VertexkitError], words: str
) -> None:
    failure = failure_from(raised, "gs://bucket/a")
    assert type(failure) is ours
    assert failure.resource == "gs://bucket/a"
    assert words in str(failure)
    assert "Debug" not in str(failure)
    assert "secret" not in str(failure)


def test_obstore_carries_a_bearer_token_and_the_headers_that_go_with_it() -> None:
    engine = ObstoreEngine(place(clients_with(Tokens({"x-goog-user-project": "payer"}))))
    assert engine._store.config["base_url"] == "https://storage.googleapis.com"
    options = engine._store.client_options
    assert options is not None
    headers = options["default_headers"]
    assert headers["x-goog-user-project"] in ("payer", b"payer")
    given = engine._token()
    assert given["token"] == "secret-token"
    assert given["expires_at"] is not None
    assert given["expires_at"].tzinfo is not None
    assert "secret-token" not in repr(engine._store)


def test_credentials_that_obstore_cannot_carry_go_to_googles_client() -> None:
    class Signing(Tokens):
        def before_request(self, request: object, method: str, url: str, headers: dict[str, str]) -> None:
            headers["Authorization"] = "Signature keyId=..."

    clients = clients_with(Signing())
    clients.storage = create_autospec(storage.Client, instance=True)  # type: ignore[misc] # an autospec
    assert isinstance(choose_engine(place(clients), None), GoogleEngine)
    with pytest.raises(errors.ConfigurationError, match="more than a bearer token"):
        choose_engine(place(clients), "obstore")


def test_settings_of_the_environment_that_make_no_sense_to_obstore_do_not_stop_a_transfer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(tmp_path / "missing.json"))
    clients = clients_with(Tokens())
    clients.storage = create_autospec(storage.Client, instance=True)  # type: ignore[misc] # an autospec
    assert isinstance(choose_engine(place(clients), None), GoogleEngine)
    with pytest.raises(errors.ConfigurationError, match="cannot be set up"):
        choose_engine(place(clients), "obstore")


def test_a_token_that_cannot_be_had_is_told_as_what_it_is() -> None:
    class Expired(Tokens):
        def before_request(self, request: object, method: str, url: str, headers: dict[str, str]) -> None:
            raise auth_errors.RefreshError("run gcloud auth")

    with pytest.raises(errors.Unauthenticated, match="run gcloud auth"):
        choose_engine(place(clients_with(Expired())), None)


def test_a_token_that_expires_during_a_transfer_is_told_as_what_it_is() -> None:
    credentials = Tokens()
    engine = ObstoreEngine(place(clients_with(credentials), storage_url="http://127.0.0.1:9"))

    def refuse(*arguments: object) -> None:
        raise auth_errors.RefreshError("revoked")

    credentials.before_request = refuse  # type: ignore[method-assign] # the point
    with pytest.raises(errors.Unauthenticated, match="revoked"):
        engine.put("a", b"", "x/y")


def test_a_local_server_needs_no_credentials_at_all() -> None:
    clients = clients_with(AnonymousCredentials())
    engine = choose_engine(place(clients, storage_url="http://127.0.0.1:9", anonymous=True), None)
    assert engine.name == "obstore"
    clients.credentials.assert_not_called()  # type: ignore[attr-defined] # an autospec


def test_an_engine_that_there_is_not_is_refused() -> None:
    with pytest.raises(errors.InvalidArgument, match="neither 'obstore' nor 'google'"):
        choose_engine(place(clients_with(Tokens())), "gsutil")  # type: ignore[arg-type] # the point


def test_a_name_that_obstore_would_change_goes_through_the_json_api() -> None:
    clients = clients_with(Tokens())
    reply = requests.Response()
    reply.status_code = 200
    reply._content = json.dumps({"name": "a//b", "size": "4", "crc32c": "x", "generation": "9"}).encode()
    clients.http = create_autospec(requests.Session, instance=True)  # type: ignore[misc] # an autospec
    clients.http.request.return_value = reply  # type: ignore[attr-defined] # an autospec
    assert ObstoreEngine(place(clients)).put("a//b", b"data", "text/plain") == 9
    (sent,) = clients.http.request.call_args_list  # type: ignore[attr-defined] # an autospec
    assert sent.args == ("POST", "https://storage.googleapis.com/upload/storage/v1/b/bucket/o")
    assert b'"name": "a//b"' in sent.kwargs["data"]
    assert b"\r\n\r\ndata\r\n" in sent.kwargs["data"]
