"""Buckets of the Cloud Storage server, through Google's own client and plain HTTP."""

import uuid
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from storage_server import StorageServer


@pytest.fixture
def client(server: StorageServer) -> Any:
    return server.client(f"p-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def name() -> str:
    return f"bucket-{uuid.uuid4().hex[:12]}"


def test_a_bucket_has_what_it_was_created_with(client: Any, name: str) -> None:
    bucket = client.bucket(name)
    bucket.storage_class = "NEARLINE"
    bucket.labels = {"team": "vision"}
    client.create_bucket(bucket, location="europe-west4")

    found = client.get_bucket(name)
    assert found.location == "EUROPE-WEST4"
    assert found.location_type == "region"
    assert found.storage_class == "NEARLINE"
    assert found.labels == {"team": "vision"}
    assert found.time_created is not None
    assert found.metageneration == 1
    assert str(found.project_number).isdigit()
    assert found.versioning_enabled is False


def test_a_bucket_without_a_location_is_in_the_us(client: Any, name: str) -> None:
    bucket = client.create_bucket(name)
    assert (bucket.location, bucket.location_type) == ("US", "multi-region")


def test_a_name_is_taken_once(client: Any, server: StorageServer, name: str) -> None:
    client.create_bucket(name)
    with pytest.raises(exceptions.Conflict, match="you already own it"):
        client.create_bucket(name)
    with pytest.raises(exceptions.Conflict, match="not available"):
        server.client("somebody-else").create_bucket(name)


@pytest.mark.parametrize("wrong", ["UPPER", "ab", "goog-mine", "has..dots", "10.0.0.1", "a" * 64])
def test_an_impossible_name_is_refused(server: StorageServer, wrong: str) -> None:
    answer = requests.post(f"{server.url}/storage/v1/b?project=p", json={"name": wrong})
    assert answer.status_code == 400
    assert wrong in answer.json()["error"]["message"]


def test_only_buckets_of_the_project_are_listed(client: Any, server: StorageServer) -> None:
    names = sorted(f"bucket-{uuid.uuid4().hex[:12]}" for _ in range(5))
    for name in names:
        client.create_bucket(name)
    server.client("somebody-else").create_bucket(f"bucket-{uuid.uuid4().hex[:12]}")
    assert [bucket.name for bucket in client.list_buckets()] == names
    assert [bucket.name for bucket in client.list_buckets(page_size=2)] == names
    assert [bucket.name for bucket in client.list_buckets(prefix=names[2])] == [names[2]]


def test_a_bucket_that_holds_something_is_not_deleted(client: Any, name: str) -> None:
    bucket = client.create_bucket(name)
    blob = bucket.blob("kept")
    blob.upload_from_string(b"x")
    with pytest.raises(exceptions.Conflict, match="not empty"):
        bucket.delete()
    assert blob.exists()

    blob.delete()
    bucket.delete()
    assert not bucket.exists()
    with pytest.raises(exceptions.NotFound, match="bucket does not exist"):
        client.get_bucket(name)


def test_a_bucket_goes_with_its_empty_folders(client: Any, server: StorageServer, name: str) -> None:
    bucket = client.create_bucket(name)
    (server.folder(name) / "made" / "by a job").mkdir(parents=True)
    bucket.delete()
    assert not server.folder(name).exists()


def test_a_bucket_with_a_link_in_its_folder_is_not_deleted(
    client: Any, server: StorageServer, name: str
) -> None:
    bucket = client.create_bucket(name)
    link = server.folder(name) / "link"
    link.symlink_to("/")
    with pytest.raises(exceptions.Conflict):
        bucket.delete()
    assert link.is_symlink()


def test_a_bucket_made_again_is_empty(client: Any, name: str) -> None:
    bucket = client.create_bucket(name)
    bucket.blob("/odd").upload_from_string(b"x")
    bucket.blob("plain").upload_from_string(b"x")
    bucket.delete(force=True)
    assert list(client.list_blobs(client.create_bucket(name))) == []


def test_labels_are_patched_one_by_one(client: Any, name: str) -> None:
    bucket = client.bucket(name)
    bucket.labels = {"a": "1", "b": "2"}
    client.create_bucket(bucket)

    bucket = client.get_bucket(name)
    labels = bucket.labels
    del labels["a"]
    labels["c"] = "3"
    bucket.labels = labels
    bucket.patch()
    assert client.get_bucket(name).labels == {"b": "2", "c": "3"}
    assert client.get_bucket(name).metageneration == 2


def test_null_labels_are_removed_and_others_kept(server: StorageServer, client: Any, name: str) -> None:
    bucket = client.bucket(name)
    bucket.labels = {"a": "1", "b": "2"}
    client.create_bucket(bucket)
    url = f"{server.url}/storage/v1/b/{name}"
    assert requests.patch(url, json={"labels": {"a": None}}).json()["labels"] == {"b": "2"}
    assert "labels" not in requests.patch(url, json={"labels": None}).json()


def test_an_impossible_label_is_refused(server: StorageServer, client: Any, name: str) -> None:
    client.create_bucket(name)
    url = f"{server.url}/storage/v1/b/{name}"
    assert requests.patch(url, json={"labels": {"UPPER": "x"}}).status_code == 400


def test_a_bucket_changes_only_if_its_metageneration_is_the_one_expected(client: Any, name: str) -> None:
    bucket = client.create_bucket(name)
    bucket.storage_class = "COLDLINE"
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.patch(if_metageneration_match=7)
    bucket.storage_class = "COLDLINE"
    bucket.patch(if_metageneration_match=1)
    assert client.get_bucket(name).storage_class == "COLDLINE"
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.delete(if_metageneration_match=1)


def test_an_iam_policy_is_kept_and_guarded_by_its_etag(client: Any, name: str) -> None:
    bucket = client.create_bucket(name)
    policy = bucket.get_iam_policy()
    stale = bucket.get_iam_policy()
    policy["roles/storage.objectViewer"] = {"user:someone@example.com"}
    bucket.set_iam_policy(policy)
    assert bucket.get_iam_policy()["roles/storage.objectViewer"] == {"user:someone@example.com"}
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.set_iam_policy(stale)


def test_every_permission_asked_about_is_there(client: Any, name: str) -> None:
    bucket = client.create_bucket(name)
    asked = ["storage.objects.get", "storage.objects.create"]
    assert bucket.test_iam_permissions(asked) == asked


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("versioning", {"enabled": True}),
        ("lifecycle", {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 1}}]}),
        ("retentionPolicy", {"retentionPeriod": "60"}),
        ("softDeletePolicy", {"retentionDurationSeconds": "604800"}),
    ],
)
def test_what_is_not_done_is_refused_by_name(
    server: StorageServer, client: Any, name: str, field: str, value: Any
) -> None:
    client.create_bucket(name)
    answer = requests.patch(f"{server.url}/storage/v1/b/{name}", json={field: value})
    assert answer.status_code == 501
    assert field in answer.json()["error"]["message"]


def test_an_unknown_method_is_refused_by_name(server: StorageServer, client: Any, name: str) -> None:
    client.create_bucket(name)
    answer = requests.get(f"{server.url}/storage/v1/b/{name}/notificationConfigs")
    assert answer.status_code == 501
    assert "notificationConfigs" in answer.json()["error"]["message"]


def test_errors_have_the_shape_of_the_json_api(server: StorageServer) -> None:
    error = requests.get(f"{server.url}/storage/v1/b/no-such-bucket").json()["error"]
    assert error["code"] == 404
    assert error["errors"][0]["domain"] == "global"
    assert error["errors"][0]["reason"] == "notFound"
    assert error["message"] == error["errors"][0]["message"] == "The specified bucket does not exist."


@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b"\xff"])
def test_a_malformed_body_is_a_bad_request(server: StorageServer, body: bytes) -> None:
    answer = requests.post(f"{server.url}/storage/v1/b?project=p", data=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["errors"][0]["reason"] == "parseError"


def test_service_account_credentials_get_a_token(server: StorageServer) -> None:
    first, second = (requests.post(f"{server.url}/token", data={"assertion": "x"}).json() for _ in range(2))
    assert first["token_type"] == "Bearer"
    assert first["expires_in"] > 0
    assert first["access_token"] != second["access_token"]
