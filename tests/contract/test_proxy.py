"""Google's own clients under Google's own names: each finds the emulator by the environment alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
import requests

Program = Callable[..., Any]


@pytest.fixture
def program(emulator: Any, project: str) -> Program:
    """``program(code, *arguments)``: what a program in the emulator's environment prints last, as JSON."""

    def run(code: str, *arguments: str, **env: str) -> Any:
        told = requests.get(f"{emulator.rest}/emulator/environment", params={"project": project}).json()
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", "import json, sys\n" + textwrap.dedent(code), *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, **told, **env},
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.mark.parametrize("location", ["us-central1", "europe-west4"])
def test_generated_clients_reach_the_api_by_the_name_of_their_region(
    program: Program, project: str, location: str
) -> None:
    found = program(
        """
        import asyncio
        from google.cloud import aiplatform_v1 as v1
        project, location = sys.argv[1:]
        parent = f"projects/{project}/locations/{location}"
        options = {"api_endpoint": f"{location}-aiplatform.googleapis.com"}
        client = v1.EndpointServiceClient(client_options=options)
        made = client.create_endpoint(parent=parent, endpoint={"display_name": "grpc"}).result()
        rest = v1.EndpointServiceClient(client_options=options, transport="rest")
        listed = [endpoint.name for endpoint in rest.list_endpoints(parent=parent)]

        async def get():
            client = v1.EndpointServiceAsyncClient(client_options=options)
            return await client.get_endpoint(name=made.name)

        print(json.dumps([made.name, listed, asyncio.run(get()).display_name]))
        """,
        project,
        location,
    )
    name, listed, display_name = found
    assert f"/locations/{location}/endpoints/" in name
    assert (listed, display_name) == ([name], "grpc")


def test_storage_is_reached_by_its_own_name_without_an_emulator_variable(
    program: Program, project: str
) -> None:
    found = program(
        """
        from google.cloud import storage
        import requests
        client = storage.Client()
        bucket = client.create_bucket(f"{sys.argv[1]}-proxied")
        large = bucket.blob("folder/large", chunk_size=256 * 1024)
        large.upload_from_string(b"x" * 1_000_000)
        bucket.blob("small").upload_from_string("hello")
        bucket.copy_blob(bucket.blob("small"), bucket, "copy")
        url = bucket.blob("copy").generate_signed_url(version="v4", expiration=60)
        print(json.dumps([
            client.project,
            [blob.name for blob in client.list_blobs(bucket)],
            len(large.download_as_bytes()),
            [url.split("/")[2], requests.get(url).text],
            requests.get(f"https://{bucket.name}.storage.googleapis.com/small").text,
        ]))
        """,
        project,
        STORAGE_EMULATOR_HOST="",
    )
    assert found == [
        project,
        ["copy", "folder/large", "small"],
        1_000_000,
        ["storage.googleapis.com", "hello"],
        "hello",
    ]


def test_resource_manager_knows_every_project_over_grpc_and_rest(program: Program, project: str) -> None:
    grpc, rest, by_number = program(
        """
        from google.cloud import resourcemanager_v3 as v3
        name = f"projects/{sys.argv[1]}"
        found = [v3.ProjectsClient(transport=t).get_project(name=name) for t in ("grpc", "rest")]
        found.append(v3.ProjectsClient().get_project(name=found[0].name))
        print(json.dumps([[p.name, p.project_id, p.state.name] for p in found]))
        """,
        project,
    )
    assert grpc == rest == by_number
    assert grpc[1:] == [project, "ACTIVE"]


def test_credentials_get_their_token_here_whatever_address_they_know(program: Program) -> None:
    found = program(
        """
        import google.auth
        from google.auth.transport.requests import AuthorizedSession, Request
        from google.oauth2 import service_account
        credentials, project = google.auth.default(
            scopes=["https://www.googleapis.com/auth/cloud-platform"]
        )
        session = AuthorizedSession(credentials)
        # As a key from Google's console has it.
        key = dict(json.load(open(__import__("os").environ["GOOGLE_APPLICATION_CREDENTIALS"])))
        key["token_uri"] = "https://oauth2.googleapis.com/token"
        own = service_account.Credentials.from_service_account_info(key, scopes=["x"])
        own.refresh(Request())
        url = f"https://us-central1-aiplatform.googleapis.com/v1/projects/{project}/locations/us-central1/models"
        print(json.dumps([session.get(url).status_code, own.token[:6], session.get(
            f"https://bigquery.googleapis.com/bigquery/v2/projects/{project}/datasets").json()]))
        """
    )
    assert found[:2] == [200, "local-"]
    assert found[2]["error"]["status"] == "UNIMPLEMENTED"
    assert "bigquery.googleapis.com" in found[2]["error"]["message"]


def test_httpx_and_urllib_reach_it_too(program: Program) -> None:
    found = program(
        """
        import httpx, os, urllib.request
        project = os.environ["GOOGLE_CLOUD_PROJECT"]
        url = f"https://cloudresourcemanager.googleapis.com/v1/projects/{project}"
        with urllib.request.urlopen(url) as answer:
            print(json.dumps([httpx.get(url).json(), json.load(answer)]))
        """
    )
    assert found[0] == found[1]
    assert found[0]["lifecycleState"] == "ACTIVE"


def test_vertexkit_in_a_program_works_with_the_emulator_that_it_runs_on(
    program: Program, emulator: Any, project: str
) -> None:
    found = program(
        """
        import vertexkit as vk
        with vk.connect(progress=False) as session:
            print(json.dumps([session.project, session.location]))
        """,
        GOOGLE_CLOUD_PROJECT="elsewhere-1234",
    )
    assert found == [project, emulator.location]
