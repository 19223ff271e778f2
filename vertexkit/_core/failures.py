"""The one table that turns the failures of Google's clients, gRPC and HTTP into ours.

The table is keyed by the full names of the exception classes, so that looking an exception up
imports nothing: an exception can only come from a library that is loaded already, and importing
``google.api_core.exceptions`` would load gRPC, which a script that only predicts never needs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vertexkit.errors import (
    AlreadyExists,
    BadRequest,
    Cancelled,
    Conflict,
    DeadlineExceeded,
    FailedPrecondition,
    InternalError,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    ServiceError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    VertexkitError,
)

BY_STATUS: Mapping[str, type[ServiceError]] = {
    "CANCELLED": Cancelled,
    "UNKNOWN": InternalError,
    "INVALID_ARGUMENT": BadRequest,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": AlreadyExists,
    "PERMISSION_DENIED": PermissionDenied,
    "RESOURCE_EXHAUSTED": QuotaExceeded,
    "FAILED_PRECONDITION": FailedPrecondition,
    "ABORTED": Conflict,
    "OUT_OF_RANGE": BadRequest,
    "UNIMPLEMENTED": Unimplemented,
    "INTERNAL": InternalError,
    "UNAVAILABLE": Unavailable,
    "DATA_LOSS": InternalError,
    "UNAUTHENTICATED": Unauthenticated,
}
"""Canonical status -> error. https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto"""

# The numbers of the canonical codes are the positions here, from 1 (``google.rpc.Status.code``).
_STATUS_NUMBERS = (
    "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
    "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip

_BY_HTTP_STATUS: Mapping[int, type[ServiceError]] = {
    400: BadRequest,
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    408: DeadlineExceeded,
    409: Conflict,
    412: FailedPrecondition,
    413: BadRequest,
    416: BadRequest,
    429: QuotaExceeded,
    499: Cancelled,
    500: InternalError,
    501: Unimplemented,
    502: Unavailable,
    503: Unavailable,
    504: DeadlineExceeded,
}

BY_CLASS: Mapping[str, type[ServiceError]] = {
    "google.api_core.exceptions.Aborted": Conflict,
    "google.api_core.exceptions.AlreadyExists": AlreadyExists,
    "google.api_core.exceptions.BadGateway": Unavailable,
    "google.api_core.exceptions.BadRequest": BadRequest,
    "google.api_core.exceptions.Cancelled": Cancelled,
    "google.api_core.exceptions.ClientError": BadRequest,
    "google.api_core.exceptions.Conflict": Conflict,
    "google.api_core.exceptions.DataLoss": InternalError,
    "google.api_core.exceptions.DeadlineExceeded": DeadlineExceeded,
    "google.api_core.exceptions.DuplicateCredentialArgs": Unauthenticated,
    "google.api_core.exceptions.FailedPrecondition": FailedPrecondition,
    "google.api_core.exceptions.Forbidden": PermissionDenied,
    "google.api_core.exceptions.GatewayTimeout": DeadlineExceeded,
    "google.api_core.exceptions.GoogleAPICallError": InternalError,
    "google.api_core.exceptions.GoogleAPIError": InternalError,
    "google.api_core.exceptions.InternalServerError": InternalError,
    "google.api_core.exceptions.InvalidArgument": BadRequest,
    "google.api_core.exceptions.LengthRequired": BadRequest,
    "google.api_core.exceptions.MethodNotAllowed": Unimplemented,
    "google.api_core.exceptions.MethodNotImplemented": Unimplemented,
    "google.api_core.exceptions.MissingStatusHeaderError": InternalError,
    "google.api_core.exceptions.MovedPermanently": InternalError,
    "google.api_core.exceptions.NotFound": NotFound,
    "google.api_core.exceptions.NotModified": InternalError,
    "google.api_core.exceptions.OutOfRange": BadRequest,
    "google.api_core.exceptions.PermissionDenied": PermissionDenied,
    "google.api_core.exceptions.PreconditionFailed": FailedPrecondition,
    "google.api_core.exceptions.Redirection": InternalError,
    "google.api_core.exceptions.RequestRangeNotSatisfiable": BadRequest,
    "google.api_core.exceptions.ResourceExhausted": QuotaExceeded,
    "google.api_core.exceptions.ResumableTransferError": Unavailable,
    "google.api_core.exceptions.ResumeIncomplete": Unavailable,
    "google.api_core.exceptions.RetryError": DeadlineExceeded,
    "google.api_core.exceptions.ServerError": InternalError,
    "google.api_core.exceptions.ServiceUnavailable": Unavailable,
    "google.api_core.exceptions.TemporaryRedirect": InternalError,
    "google.api_core.exceptions.TooManyRequests": QuotaExceeded,
    "google.api_core.exceptions.TransferStalledError": Unavailable,
    "google.api_core.exceptions.Unauthenticated": Unauthenticated,
    "google.api_core.exceptions.Unauthorized": Unauthenticated,
    "google.api_core.exceptions.Unknown": InternalError,
    "google.api_core.exceptions.UnseekableStreamError": BadRequest,
    "google.api_core.exceptions.UploadCancelledError": Cancelled,
    "google.auth.exceptions.GoogleAuthError": Unauthenticated,
    "google.auth.exceptions.TimeoutError": DeadlineExceeded,
    "google.auth.exceptions.TransportError": Unavailable,
    "google.cloud.storage.exceptions.DataCorruption": InternalError,
    "google.cloud.storage.exceptions.InvalidPathError": BadRequest,
    "google.cloud.storage.exceptions.InvalidResponse": InternalError,
    "google.resumable_media.common.DataCorruption": InternalError,
    "google.resumable_media.common.InvalidResponse": InternalError,
    "grpc.FutureTimeoutError": DeadlineExceeded,
    "grpc.RpcError": InternalError,
    "requests.exceptions.ConnectTimeout": Unavailable,
    "requests.exceptions.ChunkedEncodingError": Unavailable,
    "requests.exceptions.ConnectionError": Unavailable,
    "requests.exceptions.ContentDecodingError": InternalError,
    "requests.exceptions.JSONDecodeError": InternalError,
    "requests.exceptions.RequestException": BadRequest,
    "requests.exceptions.RetryError": Unavailable,
    "requests.exceptions.Timeout": DeadlineExceeded,
    "requests.exceptions.TooManyRedirects": InternalError,
    "urllib3.exceptions.HTTPError": Unavailable,
    "urllib3.exceptions.TimeoutError": DeadlineExceeded,
    "builtins.ConnectionError": Unavailable,
    "builtins.TimeoutError": DeadlineExceeded,
    "socket.gaierror": Unavailable,
    "ssl.SSLError": Unavailable,
}
"""Full name of an exception class -> error, the most derived class first found in the ``__mro__``.

Where the exception carries a canonical status or an HTTP status, that decides instead.
"""

_QUOTA_METRIC = (
    re.compile(r"quotas? (?:is|are) exceeded: ([\w.,/ -]*\w)", re.IGNORECASE),
    re.compile(r"quota metric '([^']+)'", re.IGNORECASE),
    re.compile(r"[Qq]uota exceeded for ([\w./-]*\w)"),
)
_DISABLED_API = re.compile(r"has not been used in project|it is disabled|SERVICE_DISABLED")
_API_HOST = re.compile(r"\b([a-z]+\.googleapis\.com)\b")
_PROJECT = re.compile(r"\bprojects?[/ ]([a-z0-9:.-]+)")
_REQUEST = re.compile(r"\A(?:GET|HEAD|POST|PUT|PATCH|DELETE) https?://\S+: ")
_PERMISSION = re.compile(r"[Pp]ermission '?([a-z][\w]*(?:\.\w+){2,})'?")

# A local Vertex AI that was started again has another certificate.
_REFUSED_HERE = re.compile(
    r"(?:\b127\.0\.0\.1|\blocalhost|\[::1\]):\d+.*(?:connection refused|handshake failed)",
    re.IGNORECASE | re.DOTALL,
)

LOGIN = (
    "run `gcloud auth application-default login`, or give connect() a `key_file=` or `credentials=`; see "
    "https://cloud.google.com/docs/authentication/provide-credentials-adc"
)
"""What to do about missing or expired credentials."""

_START_IT = (
    "the local Vertex AI there has stopped, or was started again since: start it with "
    "`vertexkit emulator start`, and connect() again"
)


def is_service_failure(exception: BaseException) -> bool:
    """Whether ``exception`` comes from a service or the way to it, and not from a mistake in code."""
    return isinstance(exception, VertexkitError) or _listed(exception) is not None


def translate(exception: BaseException, *, resource: str | None = None) -> VertexkitError:
    """Turn a failure of Google's clients, gRPC, google-auth or HTTP into ours.

    Args:
        exception: What was raised. One of ours comes back as it is.
        resource: Name of the resource that the call concerned.

    Returns:
        The error to raise ``from`` the exception: the resource's name, the service's words, the remedy.
    """
    if isinstance(exception, VertexkitError):
        return exception
    details = _error_info(exception)
    return _service_error(
        _class_of(exception),
        _message_of(exception),
        resource=resource,
        reason=details[0],
        metadata=details[1],
    )


def from_http(status: int, body: bytes, *, resource: str | None = None) -> ServiceError:
    """Turn an HTTP error reply of a Google API into ours.

    Args:
        status: The HTTP status.
        body: The reply's body: Google's JSON error object, or anything else.
        resource: Name of the resource that the call concerned.
    """
    import json

    kind = _BY_HTTP_STATUS.get(status, BadRequest if 400 <= status < 500 else InternalError)
    message, reason = "", ""
    metadata: Mapping[str, str] = {}
    try:
        error = json.loads(body)["error"]
        # Cloud Storage gives no canonical status; its HTTP status says it all.
        kind = BY_STATUS.get(error.get("status", ""), kind)
        message = str(error["message"])
        for detail in error.get("details") or []:
            reason = detail.get("reason", reason)
            metadata = detail.get("metadata", metadata)
    except (ValueError, LookupError, TypeError, AttributeError):
        message = message or body[:500].decode("utf-8", "replace").strip()
    return _service_error(
        kind, message or f"HTTP {status}", resource=resource, reason=reason, metadata=metadata
    )


def from_status(code: int, message: str, *, resource: str | None = None) -> ServiceError:
    """Turn a ``google.rpc.Status``, as a failed operation holds one, into ours."""
    name = _STATUS_NUMBERS[code - 1] if 1 <= code <= len(_STATUS_NUMBERS) else "UNKNOWN"
    return _service_error(BY_STATUS[name], message, resource=resource, reason="", metadata={})


def is_used_up(error: QuotaExceeded) -> bool:
    """Whether a quota of resources (so many GPUs) is used up, rather than one of requests a minute.

    Requests a minute come back by themselves; GPUs do not, so there is no sense in trying again.
    """
    text = error.service_message
    return _QUOTA_METRIC[0].search(text) is not None or "AllocationExceeded" in text


def is_refused_here(error: BaseException) -> bool:
    """Whether a port of this machine refused the connection: the server there has gone."""
    return isinstance(error, Unavailable) and _REFUSED_HERE.search(error.service_message) is not None


def _service_error(
    kind: type[ServiceError], message: str, *, resource: str | None, reason: str, metadata: Mapping[str, str]
) -> ServiceError:
    return kind(message, resource=resource, remedy=_remedy(kind, message, reason, metadata))


def _remedy(kind: type[ServiceError], message: str, reason: str, metadata: Mapping[str, str]) -> str | None:
    if issubclass(kind, QuotaExceeded):
        found = (pattern.search(message) for pattern in _QUOTA_METRIC)
        metric = metadata.get("quota_metric") or next((hit[1] for hit in found if hit), None)
        which = f"the quota {metric}" if metric else "the quota"
        return f"wait, or raise {which} at https://console.cloud.google.com/iam-admin/quotas"
    if issubclass(kind, PermissionDenied):
        if reason == "SERVICE_DISABLED" or _DISABLED_API.search(message):
            host = _API_HOST.search(message)
            api = metadata.get("service") or (host[1] if host else "aiplatform.googleapis.com")
            project = _PROJECT.search(metadata.get("consumer", "")) or _PROJECT.search(message)
            query = f"?project={project[1].rstrip('.')}" if project else ""
            return f"enable the API at https://console.cloud.google.com/apis/library/{api}{query}"
        permission = metadata.get("permission") or next(iter(_PERMISSION.findall(message)), None)
        held = f"the permission {permission}" if permission else "the permission"
        return (
            f"ask an owner of the project for a role that holds {held}; see "
            "https://cloud.google.com/vertex-ai/docs/general/access-control"
        )
    if issubclass(kind, Unauthenticated):
        return LOGIN
    if issubclass(kind, Unimplemented):
        # Google Cloud answers so too, of which that list says nothing.
        is_local = "local vertex ai" in message.lower()
        return "see `vertexkit emulator methods` for what the local Vertex AI does" if is_local else None
    return _START_IT if issubclass(kind, Unavailable) and _REFUSED_HERE.search(message) else None


def _class_of(exception: BaseException) -> type[ServiceError]:
    listed = _listed(exception)
    status = _canonical_status(exception)
    if status is not None:
        return BY_STATUS[status]
    reply = getattr(exception, "response", None)
    http_status = getattr(exception, "code", None) or getattr(reply, "status_code", None)
    # Classes that stand for one status are in the table; the general ones carry it.
    if listed in (None, InternalError, BadRequest) and isinstance(http_status, int):
        return _BY_HTTP_STATUS.get(http_status, listed or InternalError)
    return listed or InternalError


def _listed(exception: BaseException) -> type[ServiceError] | None:
    for base in type(exception).__mro__:
        found = BY_CLASS.get(f"{base.__module__}.{base.__qualname__}")
        if found is not None:
            return found
    return None


def _canonical_status(exception: BaseException) -> str | None:
    """The name of the gRPC status that the exception carries, if it does."""
    code: Any = getattr(exception, "grpc_status_code", None)
    if code is None:
        # A grpc.RpcError is a grpc.Call too, where the code is a method.
        code = getattr(exception, "code", None)
        code = code() if callable(code) else None
    name = getattr(code, "name", None)
    return name if name in BY_STATUS else None


def _message_of(exception: BaseException) -> str:
    """The service's own words."""
    details = getattr(exception, "details", None)
    words = details() if callable(details) else getattr(exception, "message", None)
    if isinstance(words, str) and words:
        # google.api_core puts the request before the words of a REST reply: "GET https://...: words".
        return _REQUEST.sub("", words, count=1) or words
    url = getattr(getattr(exception, "request", None), "url", None)
    if url:
        # requests and urllib3 wrap the reason several times, each with its own internals.
        host = "/".join(str(url).split("/")[:3])
        return f"{host} cannot be reached: {_reason(exception)}"
    return str(exception) or type(exception).__name__


def _reason(exception: BaseException) -> str:
    """The words of the innermost exception: ``[Errno 111] Connection refused``."""
    inner: Any = exception
    for _ in range(10):
        deeper = getattr(inner, "reason", None) or next(
            (arg for arg in reversed(inner.args) if isinstance(arg, BaseException)), None
        )
        if not isinstance(deeper, BaseException):
            break
        inner = deeper
    # urllib3 puts itself before the words: "HTTPConnection(host=..., port=...): words".
    return str(inner).rpartition("): ")[2] or type(inner).__name__


def _error_info(exception: BaseException) -> tuple[str, Mapping[str, str]]:
    """The ``google.rpc.ErrorInfo`` that google.api_core found in the error: reason and metadata."""
    reason, metadata = getattr(exception, "reason", None), getattr(exception, "metadata", None)
    return (
        reason if isinstance(reason, str) else "",
        metadata if isinstance(metadata, Mapping) else {},
    )
