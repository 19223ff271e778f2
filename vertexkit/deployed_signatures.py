"""Which signatures the models of an endpoint have: those that its traffic goes to, as uploaded.

Read over REST, for this is on the way of every first prediction.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from vertexkit.errors import NotFound, PermissionDenied
from vertexkit.types import Signature

GetJson = Callable[..., dict[str, Any]]
"""``Clients.http_json``: ``(verb, path_or_url, *, timeout) -> dict``."""
ReadSchemata = Callable[[Mapping[str, str]], Signature | None]
"""Reads the signature that a model's ``predictSchemata`` stand for; None if they stand for none."""


class DeployedSignatures:
    """Signatures of the deployed models that an endpoint sends traffic to. Thread-safe.

    A deployed model never changes, so each is read once; which of them get traffic is asked again when
    ``fresh`` is wanted.
    """

    def __init__(self, http_json: GetJson, read_schemata: ReadSchemata, endpoint: str) -> None:
        """Make one.

        Args:
            http_json: Reads the endpoint and its models, as ``Clients.http_json`` does.
            read_schemata: Reads the signature that a model's ``predictSchemata`` stand for.
            endpoint: Resource name of the endpoint.
        """
        self._http_json = http_json
        self._read_schemata = read_schemata
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._known: dict[str, Signature | None] = {}
        self._with_traffic: tuple[str, ...] | None = None

    def current(self, *, timeout: float, fresh: bool = False) -> Mapping[str, Signature | None]:
        """The signatures by deployed-model id.

        Args:
            timeout: Seconds for finding out where the traffic goes.
            fresh: Whether to ask the endpoint again where its traffic goes.

        Returns:
            A signature for each deployed model that gets traffic, None for one that has none (it was
            not uploaded by vertexkit, say) or that these credentials cannot see.
        """
        with self._lock:
            if self._with_traffic is None or fresh:
                self._refresh(time.monotonic() + timeout)
            return {key: self._known[key] for key in self._with_traffic or ()}

    def _refresh(self, deadline: float) -> None:
        endpoint = self._get(self._endpoint, deadline)
        if endpoint is None:
            self._with_traffic = ()
            return
        split = endpoint.get("trafficSplit", {})
        asked = [deployed for deployed in endpoint.get("deployedModels", []) if split.get(deployed["id"])]
        for deployed in asked:
            if deployed["id"] not in self._known:
                self._known[deployed["id"]] = self._signature(deployed, deadline)
        # An endpoint without traffic is asked again: the next thing to happen to it is a deployment.
        self._with_traffic = tuple(deployed["id"] for deployed in asked) or None

    def _signature(self, deployed: Mapping[str, Any], deadline: float) -> Signature | None:
        name = str(deployed.get("model", ""))
        version = deployed.get("modelVersionId")
        if version and "@" not in name:
            name = f"{name}@{version}"
        return self._read_schemata((self._get(name, deadline) or {}).get("predictSchemata", {}))

    def _get(self, name: str, deadline: float) -> dict[str, Any] | None:
        """JSON of a resource; None where there is none to be seen."""
        try:
            return self._http_json("GET", name, timeout=max(deadline - time.monotonic(), 0.001))
        except (NotFound, PermissionDenied):
            # Predicting needs none of this: the service decides whether these credentials may.
            return None
