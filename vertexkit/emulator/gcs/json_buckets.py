"""Buckets over the JSON API.

Source: https://cloud.google.com/storage/docs/json_api/v1/buckets
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from vertexkit.emulator.gcs import errors, json_shapes
from vertexkit.emulator.gcs.conditions import from_query, integer, version_tag
from vertexkit.emulator.gcs.http import Request, Response
from vertexkit.emulator.gcs.json_errors import json_response
from vertexkit.emulator.gcs.listing import decode_token, encode_token
from vertexkit.emulator.gcs.records import BucketInfo
from vertexkit.emulator.gcs.resources import STORAGE_CLASSES
from vertexkit.emulator.gcs.store import ObjectStore
from vertexkit.emulator.gcs.times import rfc3339
from vertexkit.emulator.projects import project_number

_MULTI_REGIONS = {"US", "EU", "ASIA"}
_DUAL_REGION = re.compile(r"[A-Z]+\d+")
_LABEL = re.compile(r"[\w-]{0,63}")
_MAX_LABELS = 64
_WRITABLE = {"labels", "iamConfiguration"}
_REFUSED = {
    "acl": "access control lists of buckets",
    "defaultObjectAcl": "access control lists of objects",
    "autoclass": "Autoclass",
    "cors": "cross-origin resource sharing",
    "customPlacementConfig": "configurable dual regions",
    "defaultEventBasedHold": "holds",
    "encryption": "customer-managed encryption keys",
    "ipFilter": "IP filters",
    "lifecycle": "object lifecycle management",
    "logging": "usage logs",
    "objectRetention": "retention of objects",
    "retentionPolicy": "retention policies",
    "website": "static websites",
}
_REFUSED_PARAMETERS = {
    "enableObjectRetention": "retention of objects",
    "predefinedAcl": "access control lists",
    "predefinedDefaultObjectAcl": "access control lists",
}
_PUBLIC_ACCESS = {"enforced", "inherited", "unspecified"}
_REFUSED_IF_ENABLED = {
    "versioning": "object versioning",
    "hierarchicalNamespace": "hierarchical namespaces",
}


def bucket_resource(bucket: BucketInfo, base_url: str) -> dict[str, Any]:
    """A bucket as the JSON API answers it."""
    iam = {
        "bucketPolicyOnly": {"enabled": False},
        "uniformBucketLevelAccess": {"enabled": False},
        "publicAccessPrevention": "inherited",
    }
    attributes = bucket.attributes
    iam.update(attributes.pop("iamConfiguration", {}))
    location_type = _location_type(bucket.location)
    return {
        "kind": "storage#bucket",
        "id": bucket.name,
        "selfLink": f"{base_url}/storage/v1/b/{bucket.name}",
        "name": bucket.name,
        "projectNumber": project_number(bucket.project),
        "metageneration": str(bucket.metageneration),
        "location": bucket.location,
        "locationType": location_type,
        **({} if location_type == "region" else {"rpo": "DEFAULT"}),
        "storageClass": bucket.storage_class,
        "etag": version_tag(bucket.created_us, bucket.metageneration),
        "timeCreated": rfc3339(bucket.created_us),
        "updated": rfc3339(bucket.updated_us),
        "iamConfiguration": iam,
        # Deleted objects are gone at once.
        "softDeletePolicy": {"retentionDurationSeconds": "0"},
        **attributes,
    }


class JsonBuckets:
    """The methods of ``buckets``."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def insert(self, request: Request) -> Response:
        """Create a bucket in the project of the ``project`` parameter."""
        body = await request.json()
        project = request.query.get("project")
        if not project:
            raise errors.required("project")
        name = json_shapes.text(body, "name")
        if not name:
            raise errors.required("name")
        for parameter, what in _REFUSED_PARAMETERS.items():
            # Google's command line writes every parameter that it knows, and False with a capital.
            if request.query.get(parameter, "false").lower() != "false":
                raise errors.unimplemented(f"{what} ({parameter})")
        attributes, storage_class = _checked(body)
        location = json_shapes.text(body, "location") or "US"
        if not re.fullmatch(r"[A-Za-z0-9-]+", location):
            raise errors.invalid(f"The specified location constraint is not valid: {location}.")
        bucket = self._store.create_bucket(
            name,
            project,
            location=location,
            storage_class=storage_class or "STANDARD",
            attributes=_without_nulls(attributes),
        )
        return json_response(bucket_resource(bucket, request.base_url), request)

    async def list(self, request: Request) -> Response:
        """List the buckets of a project."""
        query = request.query
        project = query.get("project")
        if not project:
            raise errors.required("project")
        buckets = self._store.buckets(project, query.get("prefix", ""))
        start = decode_token(query["pageToken"]) if query.get("pageToken") else ""
        limit = max(1, integer(query, "maxResults") or 1000)
        buckets = [bucket for bucket in buckets if bucket.name >= start]
        answer: dict[str, Any] = {"kind": "storage#buckets"}
        if buckets:
            answer["items"] = [bucket_resource(bucket, request.base_url) for bucket in buckets[:limit]]
        if len(buckets) > limit:
            answer["nextPageToken"] = encode_token(buckets[limit].name)
        return json_response(answer, request)

    async def get(self, request: Request, bucket: str) -> Response:
        """Get a bucket."""
        info = self._store.bucket(bucket)
        from_query(request.query).check_bucket(info, reading=True)
        return json_response(bucket_resource(info, request.base_url), request)

    async def patch(self, request: Request, bucket: str) -> Response:
        """Change some of a bucket's metadata; null removes a field or a label."""
        attributes, storage_class = _checked(await request.json())

        def change(info: BucketInfo) -> BucketInfo:
            merged = _merged(info.attributes, attributes)
            return info._replace(
                properties=orjson.dumps(merged).decode(), storage_class=storage_class or info.storage_class
            )

        return self._changed(request, bucket, change)

    async def update(self, request: Request, bucket: str) -> Response:
        """Replace a bucket's metadata."""
        attributes, storage_class = _checked(await request.json())

        def change(info: BucketInfo) -> BucketInfo:
            return info._replace(
                properties=orjson.dumps(_without_nulls(attributes)).decode(),
                storage_class=storage_class or info.storage_class,
            )

        return self._changed(request, bucket, change)

    def _changed(self, request: Request, bucket: str, change: Any) -> Response:
        info = self._store.update_bucket(bucket, change, from_query(request.query))
        return json_response(bucket_resource(info, request.base_url), request)

    async def delete(self, request: Request, bucket: str) -> Response:
        """Delete an empty bucket."""
        self._store.delete_bucket(bucket, from_query(request.query))
        return Response(204)

    async def managed_folders(self, request: Request, bucket: str) -> Response:
        """List the managed folders of a bucket: as none can be made here, there are none."""
        self._store.bucket(bucket)
        return json_response({"kind": "storage#managedFolders"}, request)

    async def storage_layout(self, request: Request, bucket: str) -> Response:
        """Tell where a bucket is, and that its names are flat."""
        info = self._store.bucket(bucket)
        layout = {
            "kind": "storage#storageLayout",
            "bucket": info.name,
            "location": info.location,
            "locationType": _location_type(info.location),
            "hierarchicalNamespace": {"enabled": False},
        }
        return json_response(layout, request)


def _location_type(location: str) -> str:
    if location in _MULTI_REGIONS:
        return "multi-region"
    return "dual-region" if _DUAL_REGION.fullmatch(location) else "region"


def _checked(resource: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The writable fields of a bucket resource that are done here, and its storage class."""
    for field, what in _REFUSED.items():
        if resource.get(field):
            raise errors.unimplemented(f"{what} ({field})")
    for field, what in _REFUSED_IF_ENABLED.items():
        if json_shapes.flag(json_shapes.inner(resource, field), "enabled"):
            raise errors.unimplemented(f"{what} ({field}.enabled)")
    if json_shapes.flag(json_shapes.inner(resource, "billing"), "requesterPays"):
        raise errors.unimplemented("requester pays (billing.requesterPays)")
    if json_shapes.integer(json_shapes.inner(resource, "softDeletePolicy"), "retentionDurationSeconds"):
        raise errors.unimplemented("soft delete (softDeletePolicy.retentionDurationSeconds)")
    if json_shapes.text(resource, "rpo") not in (None, "DEFAULT"):
        raise errors.unimplemented("turbo replication (rpo)")
    storage_class = json_shapes.text(resource, "storageClass")
    if storage_class is not None and storage_class not in STORAGE_CLASSES:
        raise errors.invalid(f"Invalid storage class: {storage_class}.")
    _check_labels(resource.get("labels"))
    checked = {key: value for key, value in resource.items() if key in _WRITABLE}
    if resource.get("iamConfiguration") is not None:
        checked["iamConfiguration"] = _checked_iam(json_shapes.inner(resource, "iamConfiguration"))
    return checked, storage_class


def _checked_iam(iam: Mapping[str, Any]) -> dict[str, Any]:
    """Who may have access; what the service alone writes (``lockedTime``) is passed over."""
    checked: dict[str, Any] = {}
    for field in ("uniformBucketLevelAccess", "bucketPolicyOnly"):
        if field in iam:
            enabled = json_shapes.flag(json_shapes.inner(iam, field), "enabled")
            checked[field] = None if enabled is None else {"enabled": enabled}
    if "publicAccessPrevention" in iam:
        prevention = json_shapes.text(iam, "publicAccessPrevention")
        if prevention is not None and prevention not in _PUBLIC_ACCESS:
            raise errors.invalid(f"Invalid argument: publicAccessPrevention is {prevention!r}.")
        checked["publicAccessPrevention"] = prevention
    return checked


def _check_labels(labels: Any) -> None:
    if labels is None:
        return
    if not isinstance(labels, dict) or len(labels) > _MAX_LABELS:
        raise errors.invalid(f"labels is an object of at most {_MAX_LABELS} labels.")
    for key, value in labels.items():
        if (
            not key
            or not _is_label(key)
            or not (value is None or (isinstance(value, str) and _is_label(value)))
        ):
            raise errors.invalid(
                f"Invalid label {key!r}: {value!r}: at most 63 lower-case letters, digits, '_' and '-'."
            )


def _is_label(text: str) -> bool:
    return _LABEL.fullmatch(text) is not None and text == text.lower()


def _merged(attributes: dict[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**attributes}
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = {**merged[key], **value}
        else:
            merged[key] = value
    return _without_nulls(merged)


def _without_nulls(attributes: Mapping[str, Any]) -> dict[str, Any]:
    kept = {}
    for key, value in attributes.items():
        inner = _without_nulls(value) if isinstance(value, dict) else value
        if inner is not None and inner != {}:
            kept[key] = inner
    return kept
