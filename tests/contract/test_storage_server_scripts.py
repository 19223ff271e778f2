"""What scripts written for Cloud Storage expect of it, through Google's own client."""

import io
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from storage_server import StorageServer


@pytest.fixture
def client(server: StorageServer) -> Any:
    return server.client(f"p-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def bucket(client: Any) -> Any:
    return client.create_bucket(f"bucket-{uuid.uuid4().hex[:12]}")


def make_uniform(bucket: Any) -> None:
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.patch()


def test_etags_guard_what_is_read(client: Any, bucket: Any) -> None:
    bucket.blob("kitten").upload_from_string(b"fluffy")
    etag = bucket.get_blob("kitten").etag
    blob = bucket.blob("kitten")
    reads: list[Callable[..., Any]] = [
        blob.reload,
        blob.exists,
        blob.download_as_bytes,
        lambda **options: client.download_blob_to_file(blob, io.BytesIO(), **options),
    ]
    for read in reads:
        with pytest.raises(exceptions.PreconditionFailed):
            read(if_etag_match="another")
        with pytest.raises(exceptions.NotModified):
            read(if_etag_not_match=etag)
        read(if_etag_match=etag)
        read(if_etag_not_match="another")


def test_a_download_tells_the_etag_that_the_metadata_has(bucket: Any) -> None:
    bucket.blob("a").upload_from_string(b"x")
    blob = bucket.blob("a")
    assert blob.download_as_text() == "x"
    assert blob.etag == bucket.get_blob("a").etag


def test_a_composition_has_no_type_unless_it_is_given_one(bucket: Any) -> None:
    parts = [bucket.blob(name) for name in "ab"]
    for part in parts:
        part.upload_from_string(part.name)
    plain, typed = bucket.blob("plain"), bucket.blob("typed")
    typed.content_type = "text/csv"
    for composed in (plain, typed):
        composed.compose(parts)
    assert [bucket.get_blob(name).content_type for name in ("plain", "typed")] == [None, "text/csv"]
    assert plain.download_as_text() == "ab"


def test_the_service_agent_of_a_project_has_an_address(client: Any, bucket: Any) -> None:
    number = bucket.project_number
    assert client.get_service_account_email() == (
        f"service-{number}@gs-project-accounts.iam.gserviceaccount.com"
    )


def test_a_conditional_policy_needs_uniform_access_and_version_3(bucket: Any) -> None:
    condition = {"title": "always", "expression": "true"}
    binding = {"role": "roles/storage.objectViewer", "members": {"allUsers"}, "condition": condition}
    policy = bucket.get_iam_policy(requested_policy_version=3)
    policy.bindings.append(binding)
    with pytest.raises(exceptions.PreconditionFailed, match="enable uniform bucket-level access"):
        bucket.set_iam_policy(policy)
    make_uniform(bucket)
    with pytest.raises(exceptions.BadRequest, match="at least 3"):
        bucket.set_iam_policy(policy)
    policy.version = 3
    bucket.set_iam_policy(policy)
    assert bucket.get_iam_policy(requested_policy_version=3).bindings[-1]["condition"] == condition


def test_access_control_lists_are_refused_by_name_or_by_the_buckets_own_rule(bucket: Any) -> None:
    blob = bucket.blob("public")
    blob.upload_from_string(b"x")
    for ask in (blob.make_public, bucket.make_public, bucket.acl.reload, bucket.default_object_acl.reload):
        with pytest.raises(exceptions.MethodNotImplemented, match="access control lists"):
            ask()
    make_uniform(bucket)
    for ask in (blob.make_public, bucket.acl.reload, bucket.default_object_acl.reload):
        with pytest.raises(exceptions.BadRequest, match="uniform bucket-level access"):
            ask()


def test_no_setting_of_a_new_bucket_is_passed_over_in_silence(client: Any, server: StorageServer) -> None:
    def create(**body: Any) -> requests.Response:
        parameters = {"project": "p", **body.pop("parameters", {})}
        body["name"] = f"bucket-{uuid.uuid4().hex[:12]}"
        return requests.post(f"{server.url}/storage/v1/b", params=parameters, json=body)

    assert create(location="NAM4", rpo="DEFAULT").json()["rpo"] == "DEFAULT"
    assert "rpo" not in create(location="us-central1").json()
    assert create(parameters={"enableObjectRetention": "False"}).status_code == 200
    for refused in (
        {"location": "NAM4", "rpo": "ASYNC_TURBO"},
        {"parameters": {"enableObjectRetention": "true"}},
        {"parameters": {"predefinedAcl": "publicRead"}},
        {"parameters": {"predefinedDefaultObjectAcl": "publicRead"}},
    ):
        assert create(**refused).status_code == 501, refused
    wrong = create(iamConfiguration={"publicAccessPrevention": "sometimes"})
    assert (wrong.status_code, "publicAccessPrevention" in wrong.text) == (400, True)


def test_an_upload_as_googles_command_line_writes_it_is_taken(bucket: Any, server: StorageServer) -> None:
    """Its boundary stands in single quotes, its lines end with a bare line feed."""
    body = (
        b'--==1==\nContent-Type: application/json\nMIME-Version: 1.0\n\n{"name": "f"}\n'
        b"--==1==\nContent-Type: text/plain\nContent-Transfer-Encoding: binary\n\none\ntwo\n--==1==--"
    )
    made = requests.post(
        f"{server.url}/upload/storage/v1/b/{bucket.name}/o",
        params={"uploadType": "multipart"},
        data=body,
        headers={"Content-Type": "multipart/related; boundary='==1=='"},
    )
    assert made.status_code == 200, made.text
    assert bucket.blob("f").download_as_bytes() == b"one\ntwo"


def test_there_are_no_managed_folders_and_none_can_be_made(bucket: Any, server: StorageServer) -> None:
    url = f"{server.url}/storage/v1/b/{bucket.name}/managedFolders"
    assert requests.get(url).json() == {"kind": "storage#managedFolders"}
    refused = requests.post(url, json={"name": "folder"})
    assert (refused.status_code, "managedFolders" in refused.text) == (501, True)
