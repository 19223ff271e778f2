"""Builds Google's clients, calls them, and turns their failures into ours.

Reads go as JSON over one pooled HTTP session, changes through Google's generated clients over one
gRPC channel. The reason is time: importing the generated clients costs 0.75 s and 108 MB, which a
script that finds an endpoint and predicts would pay for nothing.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from vertexkit._core.failures import LOGIN, from_http, is_service_failure, translate
from vertexkit._core.retry import retrying
from vertexkit.errors import ConfigurationError, InternalError

if TYPE_CHECKING:
    import grpc
    import requests
    from google.cloud import aiplatform_v1
    from google.cloud.storage import Client as StorageClient

    from vertexkit._core.target import Target

__all__ = ["Clients", "is_service_failure", "translate"]

T = TypeVar("T")

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_DEADLINE = 60.0
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_CONNECTIONS = 64


class Clients:
    """Every client of one session, each built when first used. Thread-safe."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._lock = threading.RLock()
        self._built: dict[str, Any] = {}
        self._closed = False

    # -- clients -----------------------------------------------------------------------------

    @property
    def models(self) -> aiplatform_v1.ModelServiceClient:
        """Google's generated client of ModelService."""
        from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient

        return self._once("models", lambda: self._generated(ModelServiceClient))

    @property
    def endpoints(self) -> aiplatform_v1.EndpointServiceClient:
        """Google's generated client of EndpointService."""
        from google.cloud.aiplatform_v1.services.endpoint_service import EndpointServiceClient

        return self._once("endpoints", lambda: self._generated(EndpointServiceClient))

    @property
    def storage(self) -> StorageClient:
        """Google's Cloud Storage client."""
        return self._once("storage", self._storage)

    @property
    def http(self) -> requests.Session:
        """A pooled session that sends the credentials along, for use from any number of threads."""
        return self._once("http", self._http)

    def credentials(self) -> Any:
        """The google-auth credentials of the target.

        Raises:
            ConfigurationError: There are none.
        """
        return self._once("credentials", lambda: load_credentials(self._target)[0])

    # -- calls -------------------------------------------------------------------------------

    def call(
        self,
        method: Callable[..., T],
        request: object,
        *,
        resource: str | None = None,
        timeout: float | None = None,
        retry: bool = True,
    ) -> T:
        """Call a method of a generated client.

        Args:
            method: A bound method of ``models`` or ``endpoints``.
            request: Its request message, or a mapping for one.
            resource: Name of the resource concerned, for errors.
            timeout: Seconds for all attempts together; 60 by default.
            retry: Whether the call is idempotent, and may be sent again even if it might have been
                carried out. A call that certainly was not is sent again in any case.

        Raises:
            VertexkitError: The call failed, and went on failing until the deadline.
        """
        deadline = time.monotonic() + (_DEADLINE if timeout is None else timeout)

        def attempt() -> T:
            with translated(resource):
                # retry=None: google.api_core would retry inside, by another policy.
                return method(request=request, timeout=max(deadline - time.monotonic(), 0.001), retry=None)

        return retrying(deadline - time.monotonic(), idempotent=retry)(attempt)

    def http_json(
        self,
        verb: str,
        path_or_url: str,
        *,
        body: object = None,
        params: Mapping[str, str | int] | None = None,
        timeout: float | None = None,
        resource: str | None = None,
        retry: bool | None = None,
    ) -> dict[str, Any]:
        """Send a request with a JSON body, and decode the JSON object of the reply.

        Args:
            verb: HTTP method.
            path_or_url: A path below ``/v1/`` of the Vertex AI API, or a whole URL.
            body: What to send as JSON; None for no body.
            params: Query parameters.
            timeout: Seconds for all attempts together; 60 by default.
            resource: Name of the resource concerned, for errors.
            retry: As in `call`; by default, GET is idempotent and nothing else.

        Raises:
            VertexkitError: The call failed, and went on failing until the deadline.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        deadline = time.monotonic() + (_DEADLINE if timeout is None else timeout)

        def attempt() -> dict[str, Any]:
            reply = self.send(
                verb,
                path_or_url,
                body=data,
                headers=headers,
                params=params,
                timeout=max(deadline - time.monotonic(), 0.001),
                resource=resource,
            )
            try:
                decoded = json.loads(reply.content or b"{}")
            except ValueError as error:
                raise InternalError(
                    f"the reply is not JSON: {reply.content[:200]!r}", resource=resource
                ) from error
            if not isinstance(decoded, dict):
                raise InternalError(
                    f"the reply is no JSON object: {reply.content[:200]!r}", resource=resource
                )
            return decoded

        idempotent = verb == "GET" if retry is None else retry
        return retrying(deadline - time.monotonic(), idempotent=idempotent)(attempt)

    def send(
        self,
        verb: str,
        path_or_url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str | int] | None = None,
        timeout: float = _DEADLINE,
        resource: str | None = None,
    ) -> requests.Response:
        """Send one HTTP request, once, and give back the reply.

        Args:
            verb: HTTP method.
            path_or_url: A path below ``/v1/`` of the Vertex AI API, or a whole URL.
            body: The body's bytes.
            headers: More headers.
            params: Query parameters.
            timeout: Seconds to wait for the connection, and for the reply.
            resource: Name of the resource concerned, for errors.

        Raises:
            VertexkitError: No reply came, or one with a status of 400 or more.
        """
        url = path_or_url if "://" in path_or_url else f"{self._target.rest_url}/v1/{path_or_url}"
        with translated(resource):
            reply = self.http.request(
                verb, url, data=body, params=params, headers=headers or {}, timeout=timeout
            )
        if reply.status_code >= 400:
            raise from_http(reply.status_code, reply.content, resource=resource)
        return reply

    def aiplatform(self) -> Any:
        """Google's high-level SDK, ``google.cloud.aiplatform``, set to this target.

        Its configuration is one for the whole process: what was set before is lost.
        """
        from google.cloud import aiplatform

        target = self._target
        local: dict[str, Any] = {"api_endpoint": target.rest_url, "api_transport": "rest"}
        aiplatform.init(
            project=target.project,
            location=target.location,
            credentials=self.credentials(),
            # Over gRPC, it could be told of a CA by an environment variable only.
            **(local if target.anonymous else {}),
        )
        return aiplatform

    def close(self) -> None:
        """Close every client and connection. May be called twice."""
        with self._lock:
            self._closed = True
            built, self._built = self._built, {}
        for key in ("storage", "http", "channel"):
            if key in built:
                built[key].close()

    # -- building ----------------------------------------------------------------------------

    def _once(self, key: str, build: Callable[[], T]) -> T:
        found: T | None = self._built.get(key)
        if found is not None:
            return found
        with self._lock:
            if self._closed:
                raise ConfigurationError("the session is closed", remedy="connect() again")
            found = self._built.get(key)
            if found is None:
                found = self._built[key] = build()
            return found

    def _generated(self, client: Callable[..., T]) -> T:
        transport = client.get_transport_class("grpc")(  # type: ignore[attr-defined] # of every generated client
            host=self._target.grpc_address, channel=self._once("channel", self._channel)
        )
        return client(transport=transport)

    def _channel(self) -> grpc.Channel:
        """One channel, shared by all generated clients: one connection, one TLS handshake."""
        import grpc

        target = self._target
        options = [
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.primary_user_agent", user_agent()),
        ]
        authority = None if target.ca_file is None else target.ca_file.read_bytes()
        channel_credentials = grpc.ssl_channel_credentials(authority)
        if target.anonymous:
            # A proxy that the environment names for the Internet does not lead to this machine.
            options.append(("grpc.enable_http_proxy", 0))
            return grpc.secure_channel(target.grpc_address, channel_credentials, options)
        from google.auth.transport.grpc import AuthMetadataPlugin
        from google.auth.transport.requests import Request

        plugin = AuthMetadataPlugin(
            self.credentials(), Request(), default_host=target.rest_url.partition("://")[2]
        )
        call_credentials = grpc.metadata_call_credentials(plugin)
        return grpc.secure_channel(
            target.grpc_address,
            grpc.composite_channel_credentials(channel_credentials, call_credentials),
            options,
        )

    def _storage(self) -> StorageClient:
        from google.api_core.client_options import ClientOptions
        from google.cloud.storage import Client

        return Client(
            project=self._target.project,
            credentials=self.credentials(),
            client_options=ClientOptions(api_endpoint=self._target.storage_url),
            _http=self.http,
        )

    def _http(self) -> requests.Session:
        import requests
        from requests.adapters import HTTPAdapter

        if self._target.anonymous:
            # google-auth would add nothing to the requests, and 0.1 s to the start of a script.
            session = requests.Session()
            # No proxy, no ~/.netrc: the environment's are meant for the Internet.
            session.trust_env = False
        else:
            from google.auth.transport.requests import AuthorizedSession

            session = AuthorizedSession(self.credentials())
        adapter = HTTPAdapter(pool_connections=8, pool_maxsize=_CONNECTIONS)
        for scheme in ("https://", "http://"):
            session.mount(scheme, adapter)
        session.headers["User-Agent"] = user_agent()
        if self._target.ca_file is not None:
            session.verify = str(self._target.ca_file)
        return session


class translated:  # noqa: N801 - reads as a statement: `with translated(resource):`
    """Turns the failures of Google's clients, raised in the block, into ours."""

    def __init__(self, resource: str | None = None) -> None:
        self._resource = resource

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        # What is not in the table is a mistake in code, and must look like one.
        if isinstance(error, Exception) and is_service_failure(error):
            ours = translate(error, resource=self._resource)
            if ours is not error:
                raise ours from error


def user_agent() -> str:
    """``vertexkit/0.1.0``."""
    from vertexkit import __version__

    return f"vertexkit/{__version__}"


def load_credentials(target: Target) -> tuple[Any, str | None]:
    """The credentials of a target, and the project that they name, if they do.

    Raises:
        ConfigurationError: There are none, or the key file cannot be read.
    """
    if target.credentials is not None:
        return target.credentials, getattr(target.credentials, "project_id", None)
    if target.anonymous:
        from google.auth.credentials import AnonymousCredentials

        return AnonymousCredentials(), None
    from google.auth.exceptions import GoogleAuthError

    if target.key_file is not None:
        from google.oauth2.service_account import Credentials

        try:
            key = Credentials.from_service_account_file(str(target.key_file), scopes=[_SCOPE])
        except (GoogleAuthError, OSError, ValueError) as error:
            raise ConfigurationError(
                f"cannot read credentials from {target.key_file}: {error}",
                remedy="give the path of a service-account key file (JSON)",
            ) from error
        return key, key.project_id
    import google.auth

    try:
        found, project = google.auth.default(scopes=[_SCOPE])
    except (GoogleAuthError, OSError, ValueError) as error:
        raise ConfigurationError(
            f"there are no Google Cloud credentials: {error}",
            remedy=f"{LOGIN}. To work without an account, leave out the project, or pass emulator=True",
        ) from error
    return found, project
