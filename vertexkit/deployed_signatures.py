"""Which signatures the models of an endpoint have: those that its traffic goes to.

Read over REST, for this is on the way of every first prediction. Predicting needs none of it: what
cannot be read is left unchecked, and asked for again later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from vertexkit.errors import ServiceError
from vertexkit.types import Signature

GetJson = Callable[..., dict[str, Any]]
"""``Clients.http_json``: ``(verb, path_or_url, *, timeout) -> dict``."""

_ASK_AGAIN_AFTER = 30.0
"""Seconds after a failure in which it is not asked again: an outage must not slow every prediction."""

_log = logging.getLogger("vertexkit")


class ReadSignature(Protocol):
    """Reads the signature of a model, as REST gives the model."""

    def __call__(self, model: Mapping[str, Any], *, timeout: float) -> Signature | None:
        """The signature; None if there is none. Raises a ServiceError when it cannot be read."""


class DeployedSignatures:
    """Signatures of the deployed models that an endpoint sends traffic to. Thread-safe.

    A deployed model never changes, so each is read once; which of them get traffic is asked again when
    ``fresh`` is wanted.
    """

    def __init__(self, http_json: GetJson, read_signature: ReadSignature, endpoint: str) -> None:
        """Make one.

        Args:
            http_json: Reads the endpoint and its models, as ``Clients.http_json`` does.
            read_signature: Reads the signature of a model, as REST gives the model.
            endpoint: Resource name of the endpoint.
        """
        self._http_json = http_json
        self._read_signature = read_signature
        self._endpoint = endpoint
        # Held while reading, and only by who reads; what is known is replaced whole, and needs no lock.
        self._reading = threading.Lock()
        self._known: dict[str, Signature | None] = {}
        self._with_traffic: tuple[str, ...] | None = None
        self._ask_again: dict[str, float] = {}

    def current(self, *, timeout: float, fresh: bool = False) -> Mapping[str, Signature | None]:
        """The signatures by deployed-model id.

        Args:
            timeout: Seconds for all that has to be read; what is not known by then is left out.
            fresh: Whether to ask the endpoint again where its traffic goes.

        Returns:
            A signature for each deployed model that gets traffic, None for one that has none (it is no
            SavedModel, say) or whose cannot be read now.
        """
        if fresh or not self._is_complete():
            deadline = time.monotonic() + timeout
            # Who waits here wants what another thread is reading, and waits no longer than for its own.
            if self._reading.acquire(timeout=max(timeout, 0)):
                try:
                    if fresh or not self._is_complete():
                        self._refresh(deadline)
                finally:
                    self._reading.release()
        return {key: self._known.get(key) for key in self._with_traffic or ()}

    def _is_complete(self) -> bool:
        """Whether all is known that can be known now."""
        if self._with_traffic is None:
            return not self._may_ask(self._endpoint)
        return not any(key not in self._known and self._may_ask(key) for key in self._with_traffic)

    def _may_ask(self, key: str) -> bool:
        return time.monotonic() >= self._ask_again.get(key, 0.0)

    def _refresh(self, deadline: float) -> None:
        if not self._may_ask(self._endpoint):
            return
        try:
            endpoint = self._get(self._endpoint, deadline)
        except ServiceError as error:
            self._failed(self._endpoint, error)
            return
        split = endpoint.get("trafficSplit", {})
        asked = [deployed for deployed in endpoint.get("deployedModels", []) if split.get(deployed["id"])]
        for deployed in asked:
            key = deployed["id"]
            if key in self._known or not self._may_ask(key):
                continue
            try:
                self._known[key] = self._signature(deployed, deadline)
            except ServiceError as error:
                self._failed(key, error)
        # An endpoint without traffic is asked again: the next thing to happen to it is a deployment.
        self._with_traffic = tuple(deployed["id"] for deployed in asked) or None

    def _failed(self, key: str, error: ServiceError) -> None:
        self._ask_again[key] = time.monotonic() + _ASK_AGAIN_AFTER
        _log.warning(
            "predictions are not checked against the model's signature for now: it cannot be read: %s", error
        )

    def _signature(self, deployed: Mapping[str, Any], deadline: float) -> Signature | None:
        name = str(deployed.get("model", ""))
        version = deployed.get("modelVersionId")
        if version and "@" not in name:
            name = f"{name}@{version}"
        return self._read_signature(self._get(name, deadline), timeout=_left(deadline))

    def _get(self, name: str, deadline: float) -> dict[str, Any]:
        return self._http_json("GET", name, timeout=_left(deadline))


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.001)
