"""IAM policies of buckets over the JSON API. They are kept and given back; nobody is asked who they are.

Source: https://cloud.google.com/storage/docs/json_api/v1/buckets/getIamPolicy
"""

from __future__ import annotations

import base64
import zlib
from typing import Any
from urllib.parse import parse_qsl

import orjson

from vertexkit.emulator.gcs import errors, json_shapes
from vertexkit.emulator.gcs.acls import has_uniform_access
from vertexkit.emulator.gcs.conditions import UNCONDITIONAL
from vertexkit.emulator.gcs.errors import StorageError
from vertexkit.emulator.gcs.http import Request, Response
from vertexkit.emulator.gcs.json_errors import json_response
from vertexkit.emulator.gcs.records import BucketInfo
from vertexkit.emulator.gcs.store import ObjectStore


class JsonPolicies:
    """The methods ``getIamPolicy``, ``setIamPolicy`` and ``testIamPermissions`` of ``buckets``."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def get(self, request: Request, bucket: str) -> Response:
        """Get a bucket's policy."""
        return json_response(_policy(self._store.bucket(bucket)), request)

    async def set(self, request: Request, bucket: str) -> Response:
        """Set a bucket's policy; with an ``etag``, only if it is still the one that was read."""
        body = await request.json()
        bindings = json_shapes.inners(body, "bindings")
        conditional = False
        for binding in bindings:
            if not json_shapes.text(binding, "role"):
                raise errors.required("bindings[].role")
            json_shapes.texts(binding, "members")
            conditional = bool(json_shapes.inner(binding, "condition")) or conditional
        version = json_shapes.integer(body, "version") or 1
        etag = json_shapes.text(body, "etag")

        def change(info: BucketInfo) -> BucketInfo:
            if conditional and not has_uniform_access(info):
                raise StorageError(
                    412,
                    "conditionNotMet",
                    "To set a policy with conditions, enable uniform bucket-level access on the bucket: "
                    "https://cloud.google.com/storage/docs/uniform-bucket-level-access",
                    "PreconditionFailed",
                )
            if conditional and version < 3:
                raise errors.invalid(
                    f"Policies with conditions are of version 3: set the version, {version}, to at least 3."
                )
            if etag not in (None, "", _policy(info)["etag"]):
                raise errors.precondition_failed("If-Match")
            return info._replace(policy=orjson.dumps({"version": version, "bindings": bindings}).decode())

        return json_response(_policy(self._store.update_bucket(bucket, change, UNCONDITIONAL)), request)

    async def test(self, request: Request, bucket: str) -> Response:
        """Tell which permissions the caller has: all, as access is not checked here."""
        self._store.bucket(bucket)
        pairs = parse_qsl(request.scope["query_string"].decode("latin-1"))
        permissions = [value for key, value in pairs if key == "permissions"]
        answer: dict[str, Any] = {"kind": "storage#testIamPermissionsResponse"}
        if permissions:
            answer["permissions"] = permissions
        return json_response(answer, request)


def _policy(bucket: BucketInfo) -> dict[str, Any]:
    if bucket.policy:
        policy = orjson.loads(bucket.policy)
    else:
        owner = bucket.project
        roles = {
            "roles/storage.legacyBucketOwner": [f"projectEditor:{owner}", f"projectOwner:{owner}"],
            "roles/storage.legacyBucketReader": [f"projectViewer:{owner}"],
        }
        bindings = [{"role": role, "members": members} for role, members in roles.items()]
        policy = {"version": 1, "bindings": bindings}
    etag = base64.b64encode(zlib.crc32(orjson.dumps(policy)).to_bytes(4, "big")).decode("ascii")
    return {
        "kind": "storage#policy",
        "resourceId": f"projects/_/buckets/{bucket.name}",
        **policy,
        "etag": etag,
    }
