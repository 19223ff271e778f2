"""The Cloud Storage API as an ASGI application: one table of routes, and what surrounds a call."""

from __future__ import annotations

import logging
import secrets

from vertexkit.emulator.gcs import errors
from vertexkit.emulator.gcs.acls import AccessControls
from vertexkit.emulator.gcs.batch import Batch
from vertexkit.emulator.gcs.errors import StorageError
from vertexkit.emulator.gcs.fields import parse_fields
from vertexkit.emulator.gcs.http import ClientGone, Receive, Request, Response, Scope, Send
from vertexkit.emulator.gcs.json_buckets import JsonBuckets
from vertexkit.emulator.gcs.json_errors import json_error, json_response, media_error
from vertexkit.emulator.gcs.json_objects import JsonObjects
from vertexkit.emulator.gcs.json_policies import JsonPolicies
from vertexkit.emulator.gcs.json_uploads import JsonUploads
from vertexkit.emulator.gcs.public import PublicBuckets
from vertexkit.emulator.gcs.routing import ErrorEncoder, Route, Router, nothing_here
from vertexkit.emulator.gcs.store import ObjectStore
from vertexkit.emulator.gcs.xml import xml_error
from vertexkit.emulator.gcs.xml_objects import XmlObjects
from vertexkit.emulator.gcs.xml_uploads import XmlUploads
from vertexkit.emulator.projects import project_number

_log = logging.getLogger(__name__)
_BUCKET = "/storage/v1/b/{bucket}"
_OBJECT = "/storage/v1/b/{bucket}/o/{name}"
_ANY = "GET POST PUT PATCH DELETE"


def storage_app(store: ObjectStore, public: PublicBuckets | None = None) -> StorageApp:
    """The Cloud Storage API over a store.

    Args:
        store: The buckets and objects; the caller closes it after the server has stopped.
        public: Where buckets that the store does not have are read from; None for nowhere. The caller
            closes it, too.

    Returns:
        An ASGI application, to be served at the root of an address of its own.
    """
    return StorageApp(store, public)


class StorageApp:
    """The Cloud Storage API over a store, as an ASGI application."""

    def __init__(self, store: ObjectStore, public: PublicBuckets | None = None) -> None:
        self._store = store
        self._public = public
        self._router = Router(self._routes(store))

    def _routes(self, store: ObjectStore) -> list[Route]:
        buckets, policies, objects = JsonBuckets(store), JsonPolicies(store), JsonObjects(store)
        uploads, xml, xml_uploads = JsonUploads(store), XmlObjects(store), XmlUploads(store)
        acls = AccessControls(store)
        batch = Batch(self._answer)

        async def xml_get(request: Request, bucket: str, name: str) -> Response:
            chosen = xml_uploads.list_parts if "uploadId" in request.query else xml.get
            return await chosen(request, bucket, name)

        async def xml_put(request: Request, bucket: str, name: str) -> Response:
            chosen = xml_uploads.put_part if "uploadId" in request.query else xml.put
            return await chosen(request, bucket, name)

        async def xml_post(request: Request, bucket: str, name: str) -> Response:
            if "uploads" in request.query:
                return await xml_uploads.initiate(request, bucket, name)
            if "uploadId" in request.query:
                return await xml_uploads.complete(request, bucket, name)
            raise nothing_here(request)

        async def xml_delete(request: Request, bucket: str, name: str) -> Response:
            chosen = xml_uploads.abort if "uploadId" in request.query else xml.delete
            return await chosen(request, bucket, name)

        async def xml_list(request: Request, bucket: str) -> Response:
            chosen = xml_uploads.list_uploads if "uploads" in request.query else xml.list
            return await chosen(request, bucket)

        return [
            Route("POST", "/token", _token, json_error),
            Route("POST", "/batch/storage/v1", batch.run, json_error),
            Route("POST", "/batch", batch.run, json_error),
            Route("GET", "/storage/v1/b", buckets.list, json_error),
            Route("POST", "/storage/v1/b", buckets.insert, json_error),
            Route("GET", _BUCKET, buckets.get, json_error),
            Route("PATCH", _BUCKET, buckets.patch, json_error),
            Route("PUT", _BUCKET, buckets.update, json_error),
            Route("DELETE", _BUCKET, buckets.delete, json_error),
            Route("GET", _BUCKET + "/managedFolders", buckets.managed_folders, json_error),
            Route("GET", _BUCKET + "/storageLayout", buckets.storage_layout, json_error),
            Route("GET", _BUCKET + "/iam", policies.get, json_error),
            Route("PUT", _BUCKET + "/iam", policies.set, json_error),
            Route("GET", _BUCKET + "/iam/testPermissions", policies.test, json_error),
            Route(_ANY, _BUCKET + "/acl", acls.refuse, json_error),
            Route(_ANY, _BUCKET + "/acl/{entity}", acls.refuse, json_error),
            Route(_ANY, _BUCKET + "/defaultObjectAcl", acls.refuse, json_error),
            Route(_ANY, _BUCKET + "/defaultObjectAcl/{entity}", acls.refuse, json_error),
            Route(_ANY, _OBJECT + "/acl", acls.refuse, json_error),
            Route(_ANY, _OBJECT + "/acl/{entity}", acls.refuse, json_error),
            Route("GET", "/storage/v1/projects/{project}/serviceAccount", _service_account, json_error),
            Route("GET", _BUCKET + "/o", objects.list, json_error),
            Route("GET", _OBJECT, objects.get, json_error),
            Route("PATCH", _OBJECT, objects.patch, json_error),
            Route("PUT", _OBJECT, objects.update, json_error),
            Route("DELETE", _OBJECT, objects.delete, json_error),
            Route("POST", _OBJECT + "/compose", objects.compose, json_error),
            Route("POST", _OBJECT + "/copyTo/b/{target_bucket}/o/{target}", objects.copy, json_error),
            Route("POST", _OBJECT + "/rewriteTo/b/{target_bucket}/o/{target}", objects.rewrite, json_error),
            Route("POST", _OBJECT + "/moveTo/o/{target}", objects.move, json_error),
            Route("POST PUT", "/upload/storage/v1/b/{bucket}/o", uploads.insert, json_error),
            Route("DELETE", "/upload/storage/v1/b/{bucket}/o", uploads.cancel, json_error),
            Route("POST PUT", "/resumable/upload/storage/v1/b/{bucket}/o", uploads.insert, json_error),
            Route("DELETE", "/resumable/upload/storage/v1/b/{bucket}/o", uploads.cancel, json_error),
            Route("GET", "/download/storage/v1/b/{bucket}/o/{name}", objects.download, media_error),
            Route(_ANY, "/storage/v1/{rest...}", _unknown, json_error),
            Route("GET", "/{bucket}", xml_list, xml_error),
            Route("GET", "/{bucket}/", xml_list, xml_error),
            Route("HEAD", "/{bucket}", xml.head_bucket, xml_error),
            Route("GET HEAD", "/{bucket}/{name...}", xml_get, xml_error),
            Route("PUT", "/{bucket}/{name...}", xml_put, xml_error),
            Route("POST", "/{bucket}/{name...}", xml_post, xml_error),
            Route("DELETE", "/{bucket}/{name...}", xml_delete, xml_error),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientGone:
            # There is nobody to answer. What came has been dropped or, of a resumable upload, kept.
            return
        try:
            await response.send(send, head=request.method == "HEAD")
        finally:
            response.close()

    async def _answer(self, request: Request) -> Response:
        encode: ErrorEncoder = json_error
        values: dict[str, str] = {}
        try:
            matched = self._router.match(request)
            if matched is None:
                raise nothing_here(request)
            route, values = matched
            encode = route.encode_error
            if encode is json_error and (asked := request.query.get("fields")):
                # Now, too: a request that is answered with a refusal should not have changed anything.
                parse_fields(asked)
            try:
                return await route.handler(request, **values)
            except StorageError as error:
                bucket = values.get("bucket", "")
                # The bucket of the request, not the one that it copies to.
                missing = error.xml_code == "NoSuchBucket" and not self._store.bucket_exists(bucket)
                if not missing or self._public is None or not self._public.may_have(bucket):
                    raise
            return await self._public.answer(request, bucket)
        except StorageError as error:
            return encode(request, error)
        except ClientGone:
            raise
        except Exception as error:
            if errors.is_full(error):
                return encode(request, errors.disk_full())
            # A mistake of ours, most likely: the client is told, in the form that it understands.
            _log.exception("%s %s", request.method, request.scope["raw_path"])
            failure = StorageError(500, "backendError", f"Internal error: {error!r}", "InternalError")
            return encode(request, failure)


async def _token(request: Request) -> Response:
    """A throw-away OAuth token: nothing asks for one, but service-account credentials insist on having it."""
    await request.body()
    return json_response(
        {"access_token": f"local-{secrets.token_urlsafe(24)}", "expires_in": 3600, "token_type": "Bearer"},
        request,
    )


async def _service_account(request: Request, project: str) -> Response:
    """The service agent of Cloud Storage in a project, which scripts give roles to."""
    email = f"service-{project_number(project)}@gs-project-accounts.iam.gserviceaccount.com"
    return json_response({"kind": "storage#serviceAccount", "email_address": email}, request)


async def _unknown(request: Request, rest: str) -> Response:
    raise errors.unimplemented(f"{request.method} {rest} of the JSON API")
