"""Exactly what is sent for buckets themselves, and what the answers become."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec
from urllib.parse import urlsplit

import pytest
import requests

from vertexkit import errors
from vertexkit._core.context import Context
from vertexkit._core.rpc import Clients
from vertexkit._core.target import Target
from vertexkit.cleanup import Created
from vertexkit.storage import Bucket, Buckets, DownloadReport, UploadReport


class Service:
    """What Cloud Storage answers to each kind of call: a bucket, an HTTP status, or some of these in turn."""

    def __init__(self) -> None:
        self.get: Any = 404
        self.create: Any = None
        self.list: Any = {}
        self.delete: Any = {}
        self.sent: list[tuple[str, dict[str, Any], dict[str, Any]]] = []

    def request(self, verb: str, url: str, **options: Any) -> requests.Response:
        path = urlsplit(url).path.removeprefix("/storage/v1/b")
        kind = {"POST": "create", "DELETE": "delete"}.get(verb, "get" if path else "list")
        body = json.loads(options.get("data") or b"{}")
        self.sent.append((kind, body, dict(options.get("params") or {})))
        answer = getattr(self, kind)
        if kind == "create" and answer is None:
            answer = {"location": body["location"].upper()}
        if isinstance(answer, Iterator):
            answer = next(answer)
        reply = requests.Response()
        reply.status_code = answer if isinstance(answer, int) else 200
        said = {"error": {"message": "as it is"}} if isinstance(answer, int) else answer
        reply._content = json.dumps(said).encode()
        return reply

    def count(self, kind: str) -> int:
        return [sent for sent, _, _ in self.sent].count(kind)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def created() -> Created:
    return Created()


@pytest.fixture
def buckets(service: Service, created: Created, monkeypatch: pytest.MonkeyPatch) -> Buckets:
    monkeypatch.setenv("VERTEXKIT_NO_BACKOFF", "1")
    where = Target("p", "europe-west4", "https://rest", "grpc:443", "https://storage")
    clients = Clients(where)
    http = create_autospec(requests.Session, instance=True)
    http.request.side_effect = service.request
    clients._built["http"] = http
    return Buckets(Context(where, clients, created, {"vertexkit_session": "s1"}, "p-default"))


def test_create_asks_for_the_sessions_region_uniform_access_and_labels(
    buckets: Buckets, service: Service, created: Created
) -> None:
    made = buckets.create("my-bucket", labels={"team": "vision"})
    assert service.sent == [
        (
            "create",
            {
                "name": "my-bucket",
                "location": "europe-west4",
                "labels": {"team": "vision", "vertexkit_session": "s1"},
                "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}},
            },
            {"project": "p"},
        )
    ]
    assert made.location == "europe-west4"
    assert created.names == ("gs://my-bucket",)


def test_a_region_given_is_the_one_asked_for(buckets: Buckets, service: Service) -> None:
    assert buckets.create("my-bucket", location="us-east1").location == "us-east1"
    assert service.sent[0][1]["location"] == "us-east1"


def test_a_bucket_of_somebody_else_is_told_from_one_of_yours(
    buckets: Buckets, service: Service, created: Created
) -> None:
    service.create = 409
    service.get = 403
    with pytest.raises(errors.AlreadyExists, match=r"it is not yours.*choose another") as caught:
        buckets.create("taken", exist_ok=False)
    assert caught.value.resource == "gs://taken"
    service.get = {"location": "EUROPE-WEST4"}
    with pytest.raises(errors.AlreadyExists, match="exist_ok=True"):
        buckets.create("taken")
    assert buckets.create("taken", exist_ok=True).name == "taken"
    # What was there before is not this session's to delete.
    assert created.names == ()


def test_a_bucket_of_somebody_else_does_not_do_for_exist_ok(buckets: Buckets, service: Service) -> None:
    service.create = 409
    service.get = 403
    with pytest.raises(errors.PermissionDenied):
        buckets.create("taken", exist_ok=True)


def test_a_creation_that_may_have_happened_is_not_sent_again(buckets: Buckets, service: Service) -> None:
    service.create = 503
    with pytest.raises(errors.Unavailable):
        buckets.create("my-bucket")
    assert service.count("create") == 1


def test_a_read_is_sent_again_when_the_service_is_away(buckets: Buckets, service: Service) -> None:
    service.get = iter([503, 429, {"location": "US"}])
    assert buckets.get("b-1").location == "us"


def test_list_asks_for_the_project(buckets: Buckets, service: Service) -> None:
    first = {"items": [{"name": "one", "location": "US"}], "nextPageToken": "more"}
    service.list = iter([first, {"items": [{"name": "two", "location": "EU"}]}])
    assert [(each.name, each.location) for each in buckets.list()] == [("one", "us"), ("two", "eu")]
    assert [params["project"] for _, _, params in service.sent] == ["p", "p"]
    assert service.sent[1][2]["pageToken"] == "more"


def test_the_default_bucket_is_looked_for_before_it_is_made_and_then_known(
    buckets: Buckets, service: Service, created: Created
) -> None:
    assert buckets.default().name == "p-default"
    assert buckets.default().location == "europe-west4"
    assert service.count("get") == 1
    assert service.count("create") == 1
    assert created.names == ("gs://p-default",)


def test_a_default_bucket_that_may_not_be_seen_is_an_error_and_not_made(
    buckets: Buckets, service: Service
) -> None:
    service.get = 403
    with pytest.raises(errors.PermissionDenied):
        buckets.default()
    assert service.count("create") == 0


@pytest.mark.parametrize(
    "name", ["", "UPPER", "a", "x" * 64, "gs://bucket/object", "192.168.0.1", "goog-x", 7]
)
def test_a_name_that_no_bucket_can_have_is_refused_before_anything_is_sent(
    buckets: Buckets, service: Service, name: Any
) -> None:
    for call in (buckets.create, buckets.get, buckets.delete):
        with pytest.raises(errors.InvalidArgument, match="name="):
            call(name)
    assert service.count("create") == 0
    assert service.count("get") == 0


@pytest.mark.parametrize("how", ["manager", "bucket", "cleanup"])
def test_a_default_bucket_that_was_deleted_is_made_again_when_it_is_needed(
    buckets: Buckets, service: Service, created: Created, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("vertexkit._transfer.removal.remove", lambda place, name: 0)
    # The managers of a session make one another's buckets.
    default = Buckets(buckets._context).default()
    assert buckets.default().name == default.name
    assert service.count("create") == 1
    if how == "manager":
        buckets.delete(default.name)
    elif how == "bucket":
        default.delete()
    else:
        created.delete_all()
    assert buckets.default().name == default.name
    assert service.count("create") == 2


def test_a_notebook_shows_a_bucket_without_asking_for_anything(buckets: Buckets, service: Service) -> None:
    bucket = Bucket(buckets._context, "b-1")
    assert "<td>gs://b-1</td>" in bucket._repr_html_()
    assert service.count("get") == 0
    service.get = {"location": "US"}
    assert "<td>us</td>" in buckets.get("b-1")._repr_html_()


def test_a_report_prints_as_one_line() -> None:
    sent = UploadReport("gs://b/model", files=4, uploaded=3, skipped=1, bytes=51_200_000, seconds=0.4)
    assert str(sent) == "gs://b/model: 3 files uploaded (51.2 MB in 0.4 s), 1 there already"
    got = DownloadReport(Path("model"), files=4, downloaded=3, skipped=1, bytes=51_200_000, seconds=0.4)
    assert str(got) == "model: 3 files downloaded (51.2 MB in 0.4 s), 1 there already"
    for report in (sent, got):
        assert f"``{report}``" in str(type(report).__doc__)
