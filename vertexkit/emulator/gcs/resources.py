"""Objects as the JSON API writes them, and what of them a client may write.

Source: https://cloud.google.com/storage/docs/json_api/v1/objects#resource
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from vertexkit.emulator.gcs import errors, json_shapes
from vertexkit.emulator.gcs.checksums import Announced
from vertexkit.emulator.gcs.conditions import version_tag
from vertexkit.emulator.gcs.records import ObjectInfo
from vertexkit.emulator.gcs.store import Attributes
from vertexkit.emulator.gcs.times import rfc3339

STORAGE_CLASSES = {
    "STANDARD",
    "NEARLINE",
    "COLDLINE",
    "ARCHIVE",
    "MULTI_REGIONAL",
    "REGIONAL",
    "DURABLE_REDUCED_AVAILABILITY",
}
_TEXTS = ("cacheControl", "contentDisposition", "contentEncoding", "contentLanguage", "customTime")
_WRITABLE = {*_TEXTS, "contentType", "storageClass", "metadata"}
_REFUSED = {
    "acl": "access control lists of objects",
    "eventBasedHold": "holds",
    "temporaryHold": "holds",
    "retention": "retention of objects",
    "retentionExpirationTime": "retention of objects",
    "kmsKeyName": "customer-managed encryption keys",
    "customerEncryption": "customer-supplied encryption keys",
    "contexts": "object contexts",
}


def object_resource(info: ObjectInfo, base_url: str) -> dict[str, Any]:
    """An object as the JSON API answers it."""
    path = f"{quote(info.bucket)}/o/{quote(info.name, safe='')}"
    resource: dict[str, Any] = {
        "kind": "storage#object",
        "id": f"{info.bucket}/{info.name}/{info.generation}",
        "selfLink": f"{base_url}/storage/v1/b/{path}",
        "mediaLink": f"{base_url}/download/storage/v1/b/{path}?generation={info.generation}&alt=media",
        "name": info.name,
        "bucket": info.bucket,
        "generation": str(info.generation),
        "metageneration": str(info.metageneration),
        "storageClass": "STANDARD",
        "size": str(info.size),
        "etag": version_tag(info.generation, info.metageneration),
        "timeCreated": (created := rfc3339(info.created_us)),
        "updated": rfc3339(info.updated_us),
        "timeStorageClassUpdated": created,
        "timeFinalized": created,
    }
    if info.content_type:
        resource["contentType"] = info.content_type
    if info.crc32c is not None:
        resource["crc32c"] = info.crc32c
    if info.md5 is not None:
        resource["md5Hash"] = info.md5
    if info.properties:
        resource.update(info.attributes)
    return resource


def new_attributes(
    resource: Mapping[str, Any],
    content_type: str | None = None,
    *,
    default_type: str = "application/octet-stream",
) -> Attributes:
    """The metadata of a new object.

    Args:
        resource: The object resource that the client sent.
        content_type: The type that it gave beside it, which counts if the resource has none.
        default_type: The type if it gave none; an empty one for an object without.

    Raises:
        StorageError: 400 or 501; a field is wrong, or not done here.
    """
    checked = _checked(resource)
    written = {key: value for key, value in checked.items() if value is not None}
    if "metadata" in written:
        written["metadata"] = {key: text for key, text in written["metadata"].items() if text is not None}
        if not written["metadata"]:
            del written["metadata"]
    given = written.pop("contentType", None) or content_type or default_type
    json_shapes.check_header("contentType", given)
    return pack(given, written)


def pack(content_type: str, properties: Mapping[str, Any]) -> Attributes:
    """Metadata as the store keeps it."""
    return Attributes(content_type, orjson.dumps(properties).decode() if properties else "")


def announced(resource: Mapping[str, Any]) -> Announced:
    """The checksums that an object resource gives. Raises StorageError: 400."""
    return Announced(
        json_shapes.text(resource, "crc32c") or None, json_shapes.text(resource, "md5Hash") or None
    )


def patched(info: ObjectInfo, patch: Mapping[str, Any]) -> ObjectInfo:
    """The object with some of its metadata changed; null removes a field or a key.

    Raises:
        StorageError: 400 or 501; a field is wrong, or not done here.
    """
    checked = _checked(patch)
    properties = info.attributes
    content_type = info.content_type
    if "contentType" in checked:
        content_type = checked.pop("contentType") or "application/octet-stream"
    if "metadata" in checked:
        changes = checked.pop("metadata")
        kept = {} if changes is None else {**properties.get("metadata", {}), **changes}
        checked["metadata"] = {key: text for key, text in kept.items() if text is not None} or None
    properties = {
        key: value for key, value in {**properties, **checked}.items() if value is not None and value != ""
    }
    packed = pack(content_type, properties)
    return info._replace(content_type=packed.content_type, properties=packed.properties)


def replaced(info: ObjectInfo, resource: Mapping[str, Any]) -> ObjectInfo:
    """The object with all of its metadata replaced (``objects.update``)."""
    given = new_attributes(resource)
    return info._replace(content_type=given.content_type, properties=given.properties)


def _checked(resource: Mapping[str, Any]) -> dict[str, Any]:
    """The writable fields of a resource; those that the service alone writes are passed over."""
    for field, what in _REFUSED.items():
        if resource.get(field):
            raise errors.unimplemented(f"{what} ({field})")
    checked = {key: value for key, value in resource.items() if key in _WRITABLE}
    for key in (*_TEXTS, "contentType"):
        json_shapes.header(checked, key)
    storage_class = json_shapes.text(checked, "storageClass")
    if storage_class is not None and storage_class not in STORAGE_CLASSES:
        raise errors.invalid(f"Invalid storage class: {storage_class}.")
    metadata = json_shapes.inner(checked, "metadata")
    for key in metadata:
        json_shapes.text(metadata, key)
    return checked
