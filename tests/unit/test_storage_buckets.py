"""Exactly what is sent for buckets themselves, and what the answers become."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
from google.api_core import exceptions as google_errors
from google.cloud import storage

from vertexkit import errors
from vertexkit._core.context import Context
from vertexkit._core.rpc import Clients
from vertexkit._core.target import Target
from vertexkit.cleanup import Created
from vertexkit.storage import Bucket, Buckets, DownloadReport, UploadReport


@pytest.fixture
def client() -> Any:
    client = create_autospec(storage.Client, instance=True, project="p")
    client.bucket.side_effect = lambda name: storage.Bucket(client, name)
    client.create_bucket.side_effect = lambda bucket, location, **_: placed(client, bucket.name, location)
    return client


@pytest.fixture
def created() -> Created:
    return Created()


@pytest.fixture
def buckets(client: Any, created: Created, monkeypatch: pytest.MonkeyPatch) -> Buckets:
    monkeypatch.setenv("VERTEXKIT_NO_BACKOFF", "1")
    clients = create_autospec(Clients, instance=True)
    clients.storage = client
    where = Target("p", "europe-west4", "https://rest", "grpc:443", "https://storage")
    return Buckets(Context(where, clients, created, {"vertexkit_session": "s1"}, "p-default"))


def placed(client: Any, name: str, location: str) -> storage.Bucket:
    bucket = storage.Bucket(client, name)
    bucket._set_properties({"location": location.upper()})
    return bucket


def test_create_asks_for_the_sessions_region_uniform_access_and_labels(
    buckets: Buckets, client: Any, created: Created
) -> None:
    made = buckets.create("my-bucket", labels={"team": "vision"})
    (sent,) = client.create_bucket.call_args_list
    (resource,) = sent.args
    assert resource.name == "my-bucket"
    assert resource.labels == {"team": "vision", "vertexkit_session": "s1"}
    assert resource.iam_configuration.uniform_bucket_level_access_enabled
    assert sent.kwargs["location"] == "europe-west4"
    assert sent.kwargs["retry"] is None
    assert made.location == "europe-west4"
    assert created.names == ("gs://my-bucket",)


def test_a_region_given_is_the_one_asked_for(buckets: Buckets, client: Any) -> None:
    assert buckets.create("my-bucket", location="us-east1").location == "us-east1"
    assert client.create_bucket.call_args.kwargs["location"] == "us-east1"


def test_a_bucket_of_somebody_else_is_told_from_one_of_yours(
    buckets: Buckets, client: Any, created: Created
) -> None:
    client.create_bucket.side_effect = google_errors.Conflict("the name is not available")
    client.get_bucket.side_effect = google_errors.Forbidden("not yours")
    with pytest.raises(errors.AlreadyExists, match=r"it is not yours.*choose another") as caught:
        buckets.create("taken", exist_ok=False)
    assert caught.value.resource == "gs://taken"
    client.get_bucket.side_effect = None
    client.get_bucket.return_value = placed(client, "taken", "EUROPE-WEST4")
    with pytest.raises(errors.AlreadyExists, match="exist_ok=True"):
        buckets.create("taken")
    assert buckets.create("taken", exist_ok=True).name == "taken"
    # What was there before is not this session's to delete.
    assert created.names == ()


def test_a_bucket_of_somebody_else_does_not_do_for_exist_ok(buckets: Buckets, client: Any) -> None:
    client.create_bucket.side_effect = google_errors.Conflict("the name is not available")
    client.get_bucket.side_effect = google_errors.Forbidden("not yours")
    with pytest.raises(errors.PermissionDenied):
        buckets.create("taken", exist_ok=True)


def test_a_creation_that_may_have_happened_is_not_sent_again(buckets: Buckets, client: Any) -> None:
    client.create_bucket.side_effect = google_errors.ServiceUnavailable("connection lost after sending")
    with pytest.raises(errors.Unavailable):
        buckets.create("my-bucket")
    assert client.create_bucket.call_count == 1


def test_a_read_is_sent_again_when_the_service_is_away(buckets: Buckets, client: Any) -> None:
    client.get_bucket.side_effect = [
        google_errors.ServiceUnavailable("later"),
        google_errors.TooManyRequests("slow down"),
        placed(client, "b-1", "US"),
    ]
    assert buckets.get("b-1").location == "us"


def test_list_asks_for_the_project(buckets: Buckets, client: Any) -> None:
    client.list_buckets.return_value = [placed(client, "one", "US"), placed(client, "two", "EU")]
    assert [(each.name, each.location) for each in buckets.list()] == [("one", "us"), ("two", "eu")]
    assert client.list_buckets.call_args.kwargs["project"] == "p"


def test_the_default_bucket_is_looked_for_before_it_is_made_and_then_known(
    buckets: Buckets, client: Any, created: Created
) -> None:
    client.get_bucket.side_effect = google_errors.NotFound("no such bucket")
    assert buckets.default().name == "p-default"
    assert buckets.default().location == "europe-west4"
    assert client.get_bucket.call_count == 1
    assert client.create_bucket.call_count == 1
    assert created.names == ("gs://p-default",)


def test_a_default_bucket_that_may_not_be_seen_is_an_error_and_not_made(
    buckets: Buckets, client: Any
) -> None:
    client.get_bucket.side_effect = google_errors.Forbidden("no")
    with pytest.raises(errors.PermissionDenied):
        buckets.default()
    client.create_bucket.assert_not_called()


@pytest.mark.parametrize(
    "name", ["", "UPPER", "a", "x" * 64, "gs://bucket/object", "192.168.0.1", "goog-x", 7]
)
def test_a_name_that_no_bucket_can_have_is_refused_before_anything_is_sent(
    buckets: Buckets, client: Any, name: Any
) -> None:
    for call in (buckets.create, buckets.get, buckets.delete):
        with pytest.raises(errors.InvalidArgument, match="name="):
            call(name)
    client.create_bucket.assert_not_called()
    client.get_bucket.assert_not_called()


@pytest.mark.parametrize("how", ["manager", "bucket", "cleanup"])
def test_a_default_bucket_that_was_deleted_is_made_again_when_it_is_needed(
    buckets: Buckets, client: Any, created: Created, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("vertexkit._transfer.removal.remove", lambda place, name: 0)
    client.get_bucket.side_effect = google_errors.NotFound("no such bucket")
    # The managers of a session make one another's buckets.
    default = Buckets(buckets._context).default()
    assert buckets.default().name == default.name
    assert client.create_bucket.call_count == 1
    if how == "manager":
        buckets.delete(default.name)
    elif how == "bucket":
        default.delete()
    else:
        created.delete_all()
    assert buckets.default().name == default.name
    assert client.create_bucket.call_count == 2


def test_a_notebook_shows_a_bucket_without_asking_for_anything(buckets: Buckets, client: Any) -> None:
    bucket = Bucket(buckets._context, "b-1")
    assert "<td>gs://b-1</td>" in bucket._repr_html_()
    client.get_bucket.assert_not_called()
    client.get_bucket.return_value = placed(client, "b-1", "US")
    assert "<td>us</td>" in buckets.get("b-1")._repr_html_()


def test_a_report_prints_as_one_line() -> None:
    sent = UploadReport("gs://b/model", files=4, uploaded=3, skipped=1, bytes=51_200_000, seconds=0.4)
    assert str(sent) == "gs://b/model: 3 files uploaded (51.2 MB in 0.4 s), 1 there already"
    got = DownloadReport(Path("model"), files=4, downloaded=3, skipped=1, bytes=51_200_000, seconds=0.4)
    assert str(got) == "model: 3 files downloaded (51.2 MB in 0.4 s), 1 there already"
    for report in (sent, got):
        assert f"``{report}``" in str(type(report).__doc__)
