"""Asking an endpoint: requests sent at once, answers in order, one deadline for all of it.

:class:`Predictor` holds the behaviour and knows no transport: it is given a ``send`` and a source
of signatures. ``Endpoint.predict`` builds it from the session's clients; tests from a function.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/predict
"""

from __future__ import annotations

import numbers
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, overload

from vertexkit._core.fan_out import fan_out
from vertexkit._core.retry import may_try_again, retrying
from vertexkit.errors import (
    BadRequest,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    PredictionFailed,
)

if TYPE_CHECKING:
    import numpy as np
    import tenacity

    from vertexkit._core.context import Context
    from vertexkit._core.rpc import Clients
    from vertexkit.codec import EncodedRequest, Predictions, Reply
    from vertexkit.types import Signature

__all__ = ["PredictResponse", "Predictor", "RawPrediction", "RequestInfo", "http_sender"]

Predicted: TypeAlias = "np.ndarray[Any, Any] | Any"
"""An array; a dict of arrays by output name for a model of several outputs.

To type checkers it is an array, or anything: which of the two it is, the model decides.
"""

SHARED_LIMIT, DEDICATED_LIMIT = 1_500_000, 10_000_000
"""Bytes of a request, and of a reply, on a shared and on a dedicated endpoint.

Source: https://cloud.google.com/vertex-ai/docs/quotas and
https://cloud.google.com/vertex-ai/docs/predictions/choose-endpoint-type
"""
CONCURRENT_REQUESTS = 8
"""Requests of one call under way at a time. More only queue: a replica serves few at once."""
DEFAULT_TIMEOUT = 60.0
_SHARE_FOR_SIGNATURES, _LONGEST_FOR_SIGNATURES = 1 / 3, 10.0
"""Of a call's time, and in seconds: how long finding out the signatures may take.

A prediction goes without them rather than not at all.
"""


class HttpReply(Protocol):
    """What ``send`` gives back; ``requests.Response`` is one."""

    @property
    def content(self) -> bytes:
        """The body."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, looked up in any case."""


class Send(Protocol):
    """POSTs once; raises a ``VertexkitError`` for a status of 400 or more, or when nothing comes back."""

    def __call__(self, url: str, *, body: bytes, headers: Mapping[str, str], timeout: float) -> HttpReply:
        """POST ``body`` to ``url`` and wait ``timeout`` seconds at most."""


class SignatureSource(Protocol):
    """Knows the signatures of the deployed models that an endpoint sends traffic to."""

    def current(self, *, timeout: float, fresh: bool = False) -> Mapping[str, Signature | None]:
        """Signature by deployed-model id; ``fresh`` asks again.

        None for a model without one. What cannot be read is left out, or None; nothing is raised for it.
        """


@dataclass(frozen=True)
class RequestInfo:
    """One of the HTTP requests that a call of ``predict`` was split into."""

    instances: range
    """The instances that it carried."""
    request_bytes: int
    response_bytes: int
    seconds: float
    """From the first attempt to the answer, retries included."""
    attempts: int
    deployed_model_id: str
    model: str
    """Resource name of the model that answered."""
    model_version_id: str


@dataclass(frozen=True)
class PredictResponse:
    """What ``predict(..., return_response=True)`` gives."""

    predictions: Predicted
    """As ``predict`` gives them without ``return_response``."""
    deployed_model_ids: tuple[str, ...] = field(repr=False)
    """For each instance, the id of the deployed model that answered."""
    models: tuple[str, ...] = field(repr=False)
    """For each instance, the resource name of the model that answered."""
    model_version_ids: tuple[str, ...] = field(repr=False)
    """For each instance, the version of the model that answered."""
    requests: tuple[RequestInfo, ...]
    """The HTTP requests that were sent, in the order of the instances."""


@dataclass(frozen=True)
class RawPrediction:
    """What a model server answered to ``raw_predict``, as it answered."""

    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(repr=False)
    deployed_model_id: str
    """``X-Vertex-AI-Deployed-Model-Id``; empty if the service did not say."""
    model: str
    """``X-Vertex-AI-Model``; empty if the service did not say."""
    model_version_id: str
    """``X-Vertex-AI-Model-Version-Id``; empty if the service did not say."""

    def json(self) -> Any:
        """The body, read as JSON.

        Raises:
            PredictionFailed: The body is not JSON.
        """
        from vertexkit.codec import load_json

        return load_json(self.body)


@dataclass(frozen=True)
class _Call:
    """One call of ``predict``, which may be many requests and attempts."""

    deadline: float
    """In ``time.monotonic()``."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set when the call has ended; whatever it still has under way is of no use then."""

    @classmethod
    def within(cls, timeout: float) -> _Call:
        is_number = isinstance(timeout, numbers.Real) and not isinstance(timeout, bool)
        # The longest that a thread can wait is some 290 years; infinity is above it.
        if not is_number or not 0 < timeout <= threading.TIMEOUT_MAX:
            raise InvalidArgument("timeout", timeout, "is not a number of seconds above 0")
        return cls(time.monotonic() + float(timeout))

    @property
    def remaining(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    def policy(self) -> tenacity.Retrying:
        """The project's policy for retries, ended by ``stop``; a gateway that gave up is asked again too."""
        import tenacity

        def worth_it(error: BaseException) -> bool:
            return may_try_again(error, idempotent=True) or isinstance(error, DeadlineExceeded)

        policy = retrying(max(self.remaining, 0.0), idempotent=True)
        return policy.copy(
            retry=tenacity.retry_if_exception(worth_it) & tenacity.retry_if_exception(self._goes_on),
            sleep=self.stop.wait,
        )

    def _goes_on(self, _: BaseException) -> bool:
        return not self.stop.is_set()


class Predictor:
    """Predicts on one endpoint. Thread-safe; holds no thread and no connection of its own."""

    def __init__(
        self,
        send: Send,
        url: str,
        *,
        resource: str | None = None,
        signatures: SignatureSource | None = None,
        limit: int = SHARED_LIMIT,
        concurrency: int = CONCURRENT_REQUESTS,
    ) -> None:
        """Make a predictor.

        Args:
            send: POSTs one request, as :func:`http_sender` makes one.
            url: URL of the endpoint: ``https://.../v1/projects/P/locations/L/endpoints/E``.
            resource: Name of the endpoint, for errors.
            signatures: Knows what the endpoint's models take and give; None leaves that unchecked.
            limit: Most bytes in a request.
            concurrency: Most requests of one call under way at a time.
        """
        self._send = send
        self._url = url
        self._resource = resource
        self._signatures = signatures
        self._limit = limit
        self._concurrency = concurrency

    @classmethod
    def for_endpoint(cls, context: Context, endpoint: str, *, dedicated_dns: str | None = None) -> Predictor:
        """Make a predictor for an endpoint of a session.

        Args:
            context: The session's parts.
            endpoint: Resource name of the endpoint.
            dedicated_dns: Host name of a dedicated endpoint, which takes larger requests; None for a
                shared one.
        """
        from vertexkit.deployed_signatures import DeployedSignatures
        from vertexkit.model_signature import read_signature

        base = f"https://{dedicated_dns}" if dedicated_dns else context.target.rest_url
        return cls(
            http_sender(context.clients, resource=endpoint),
            f"{base}/v1/{endpoint}",
            resource=endpoint,
            signatures=DeployedSignatures(
                context.clients.http_json, partial(read_signature, context), endpoint
            ),
            limit=DEDICATED_LIMIT if dedicated_dns else SHARED_LIMIT,
        )

    @overload
    def predict(
        self, instances: Any, *, parameters: Any = None, timeout: float = ..., return_response: Literal[True]
    ) -> PredictResponse: ...

    @overload
    def predict(
        self,
        instances: Any,
        *,
        parameters: Any = None,
        timeout: float = ...,
        return_response: Literal[False] = False,
    ) -> Predicted: ...

    @overload
    def predict(
        self, instances: Any, *, parameters: Any = None, timeout: float = ..., return_response: bool
    ) -> Predicted | PredictResponse: ...

    def predict(
        self,
        instances: Any,
        *,
        parameters: Any = None,
        timeout: float = DEFAULT_TIMEOUT,
        return_response: bool = False,
    ) -> Predicted | PredictResponse:
        """See `vertexkit.Endpoint.predict`."""
        call = _Call.within(timeout)
        requests, signatures = self._encode(instances, parameters, call)
        answers = fan_out(
            [partial(self._ask, call, request) for request in requests],
            concurrency=self._concurrency,
            deadline=call.deadline,
            stop=call.stop,
            late=lambda: self._too_late(timeout),
        )
        predictions = self._decode([reply for reply, _ in answers], signatures, call)
        if not return_response:
            return predictions
        infos = tuple(info for _, info in answers)
        return PredictResponse(
            predictions,
            deployed_model_ids=tuple(info.deployed_model_id for info in infos for _ in info.instances),
            models=tuple(info.model for info in infos for _ in info.instances),
            model_version_ids=tuple(info.model_version_id for info in infos for _ in info.instances),
            requests=infos,
        )

    def raw_predict(
        self,
        body: bytes | str | Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        timeout: float = DEFAULT_TIMEOUT,
    ) -> RawPrediction:
        """See `vertexkit.Endpoint.raw_predict`."""
        from vertexkit.codec import raw_body

        call = _Call.within(timeout)
        data = raw_body(body, limit=self._limit)
        sent = _checked_headers(headers, content_type)
        [(reply, _)] = fan_out(
            [partial(self._post, call, "rawPredict", data, sent)],
            concurrency=1,
            deadline=call.deadline,
            stop=call.stop,
            late=lambda: self._too_late(timeout),
        )
        return RawPrediction(
            reply.content,
            content_type=reply.headers.get("Content-Type", ""),
            headers=dict(reply.headers),
            deployed_model_id=reply.headers.get("X-Vertex-AI-Deployed-Model-Id", ""),
            model=reply.headers.get("X-Vertex-AI-Model", ""),
            model_version_id=reply.headers.get("X-Vertex-AI-Model-Version-Id", ""),
        )

    def _encode(
        self, instances: Any, parameters: Any, call: _Call
    ) -> tuple[list[EncodedRequest], Mapping[str, Signature | None]]:
        """Write the requests for the models that may get them."""
        from vertexkit.codec import encode_for_all

        limit = self._limit
        signatures = self._current_signatures(call)
        try:
            return encode_for_all(instances, signatures, limit=limit, parameters=parameters), signatures
        except InvalidArgument:
            # Another process may have deployed another model since: refuse by what holds now only.
            fresh = self._current_signatures(call, fresh=True)
            if fresh == signatures:
                raise
        return encode_for_all(instances, fresh, limit=limit, parameters=parameters), fresh

    def _ask(self, call: _Call, request: EncodedRequest) -> tuple[Reply, RequestInfo]:
        from vertexkit.codec import check_count, read_reply

        instances = range(request.start, request.stop)
        started = time.monotonic()
        headers = {"Content-Type": "application/json"}
        reply, attempts = self._post(call, "predict", request.body, headers, instances)
        answer = read_reply(reply.content, resource=self._resource, instances=instances)
        check_count(answer, instances, resource=self._resource)
        return answer, RequestInfo(
            instances=instances,
            request_bytes=len(request.body),
            response_bytes=len(reply.content),
            seconds=time.monotonic() - started,
            attempts=attempts,
            deployed_model_id=answer.deployed_model_id,
            model=answer.model,
            model_version_id=answer.model_version_id,
        )

    def _post(
        self, call: _Call, verb: str, body: bytes, headers: Mapping[str, str], instances: range | None = None
    ) -> tuple[HttpReply, int]:
        """Send until it succeeds, fails for good, or the deadline; how often is told too."""
        attempts = 0

        def attempt() -> HttpReply:
            nonlocal attempts
            attempts += 1
            if call.remaining <= 0 or call.stop.is_set():
                raise DeadlineExceeded("the call ended before this request", resource=self._resource)
            return self._send(f"{self._url}:{verb}", body=body, headers=headers, timeout=call.remaining)

        try:
            return call.policy()(attempt), attempts
        except BadRequest as error:
            which = "" if instances is None else f" (instances {instances.start} to {instances.stop - 1})"
            raise PredictionFailed(
                f"the model refused the request{which}: {error.service_message}",
                resource=self._resource,
                instances=instances,
            ) from error
        except FailedPrecondition as error:
            raise FailedPrecondition(
                error.service_message,
                resource=self._resource,
                remedy="deploy() a model to the endpoint, or give one some traffic with promote()",
            ) from error

    def _decode(
        self, replies: Sequence[Reply], signatures: Mapping[str, Signature | None], call: _Call
    ) -> Predictions:
        from vertexkit.codec import decode_replies

        if any(reply.deployed_model_id not in signatures for reply in replies):
            signatures = self._current_signatures(call, fresh=True)
        try:
            return decode_replies(replies, [signatures.get(reply.deployed_model_id) for reply in replies])
        except PredictionFailed as error:
            raise PredictionFailed(str(error), resource=self._resource, instances=error.instances) from error

    def _current_signatures(self, call: _Call, *, fresh: bool = False) -> Mapping[str, Signature | None]:
        if self._signatures is None:
            return {}
        patience = min(call.remaining * _SHARE_FOR_SIGNATURES, _LONGEST_FOR_SIGNATURES)
        return self._signatures.current(timeout=max(patience, 0.001), fresh=fresh)

    def _too_late(self, timeout: float) -> DeadlineExceeded:
        return DeadlineExceeded(f"there was no answer within {timeout:g} seconds", resource=self._resource)


def _checked_headers(headers: Mapping[str, str] | None, content_type: str) -> dict[str, str]:
    if not isinstance(headers or {}, Mapping):
        raise InvalidArgument("headers", headers, "is not a mapping")
    sent = {**(headers or {}), "Content-Type": content_type}
    for name, value in sent.items():
        argument = "content_type" if name == "Content-Type" else f"headers[{name!r}]"
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidArgument(argument, value, "is not text by a name that is text")
        # What HTTP has room for: one line of Latin-1.
        if not all(char.isprintable() and ord(char) < 256 for char in name + value):
            raise InvalidArgument(argument, value, "has characters that no header can carry")
    return sent


def http_sender(clients: Clients, *, resource: str | None = None) -> Send:
    """A ``send`` over the session's pooled HTTP connections: one attempt, failures made ours.

    Args:
        clients: The session's clients.
        resource: Name of the endpoint, for errors.
    """
    from vertexkit._core.failures import from_http
    from vertexkit._core.rpc import translated

    def send(url: str, *, body: bytes, headers: Mapping[str, str], timeout: float) -> HttpReply:
        with translated(resource):
            # allow_redirects=False: a redirected POST would be sent on as a GET without its body.
            reply = clients.http.post(
                url, data=body, headers=dict(headers), timeout=timeout, allow_redirects=False
            )
        if reply.status_code >= 300:
            raise from_http(reply.status_code, reply.content, resource=resource)
        return reply

    return send
