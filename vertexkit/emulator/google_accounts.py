"""What of Google Cloud's accounts and projects is asked for beside Vertex AI, as ASGI applications.

Source: https://cloud.google.com/resource-manager/reference/rest/v1/projects,
https://cloud.google.com/iam/docs/reference/credentials/rest
"""

from __future__ import annotations

import datetime
import re
import secrets
from collections.abc import Mapping

import orjson

from vertexkit.emulator.asgi import Application, Receive, Scope, Send, read_body, reply
from vertexkit.emulator.dispatch import not_implemented
from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.projects import project_id, project_number
from vertexkit.emulator.validation import invalid

_PROJECT = re.compile(r"/v1/projects/(?P<project>[^/:]+)")
_ACCOUNT = re.compile(r"/v1/projects/-/serviceAccounts/(?P<account>[^/:]+)(?P<asked>[/:][A-Za-z]+)")
_MOST_BYTES = 1 << 20
_LIFETIME = re.compile(r"(?P<seconds>\d{1,5})s")


async def project_v1(scope: Scope, _receive: Receive, send: Send) -> None:
    """Version 1 of Resource Manager: ``GET /v1/projects/{project}``; every project exists."""
    asked = _PROJECT.fullmatch(scope["path"])
    if asked is None or scope["method"] != "GET":
        raise not_implemented(f"Resource Manager v1 ({scope['method']} {scope['path']})")
    found = project_id(asked["project"])
    described = {
        "projectNumber": project_number(found),
        "projectId": found,
        "lifecycleState": "ACTIVE",
        "name": found,
    }
    await reply(send, 200, orjson.dumps(described))


async def service_account_credentials(scope: Scope, receive: Receive, send: Send) -> None:
    """Throw-away tokens for any service account: ``:generateAccessToken``."""
    asked = _ACCOUNT.fullmatch(scope["path"])
    if asked is not None and (scope["method"], asked["asked"]) == ("GET", "/allowedLocations"):
        # As the service answers for an account that has no trust boundary.
        raise ApiError(Code.NOT_FOUND, f"No trust boundary for {asked['account']}.")
    if asked is None or (scope["method"], asked["asked"]) != ("POST", ":generateAccessToken"):
        raise not_implemented(f"IAM Service Account Credentials ({scope['method']} {scope['path']})")
    try:
        wanted = orjson.loads(await read_body(scope, receive, _MOST_BYTES) or b"{}")
        lifetime = _LIFETIME.fullmatch(wanted.get("lifetime", "3600s"))
    except (ValueError, AttributeError, TypeError) as error:
        raise invalid(f"The body is not a GenerateAccessTokenRequest: {error}") from error
    if lifetime is None:
        raise invalid(f'Invalid lifetime {wanted["lifetime"]!r}: seconds, as in "3600s".')
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=int(lifetime["seconds"]))
    token = {
        "accessToken": f"local-{secrets.token_urlsafe(24)}",
        "expireTime": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    await reply(send, 200, orjson.dumps(token))


def other_hosts(api: Application) -> Mapping[str, Mapping[str, Application]]:
    """Google's hosts beside Vertex AI's and Cloud Storage's, with what answers by how paths begin.

    Args:
        api: What answers on the REST port.
    """
    return {
        "cloudresourcemanager.googleapis.com": {"/v3/projects/": api, "/v1/": project_v1},
        "iamcredentials.googleapis.com": {"/v1/": service_account_credentials},
        "logging.googleapis.com": {"/v2/entries:list": api},
    }
