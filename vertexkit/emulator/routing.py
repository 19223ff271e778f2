"""Which deployed model answers the next request: the traffic split, honoured to the percent.

The order of turns is computed when a split changes (smooth weighted round robin, as nginx does it),
so that choosing one costs a dictionary look-up and an increment on the path of every prediction.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.validation import canonical_name

_START_SECONDS = 60.0


@dataclass(frozen=True)
class Route:
    """One deployed model, as a prediction needs to know it."""

    key: str
    """What the serving engine knows the deployment by."""
    deployed_model_id: str
    model_name: str
    """Resource name of the model, without its version."""
    model_display_name: str
    model_version_id: str
    dedicated: bool = False
    """Whether its endpoint has a DNS name of its own, and with it room for larger requests."""
    starting: Future[None] | None = None
    """Done when the deployment is up again after a restart of the emulator, failed when it did not
    come up. None for one that is up."""

    async def up(self, timeout: float = _START_SECONDS) -> None:
        """Wait until the deployment is up; it nearly always is.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            ApiError: UNAVAILABLE, it did not come up, or not yet.
        """
        if self.starting is None:
            return
        try:
            # Shielded: a client that gives up must not cancel what others wait for.
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self.starting)), timeout)
        except TimeoutError:
            raise ApiError(
                Code.UNAVAILABLE,
                f"DeployedModel {self.deployed_model_id} is still starting after a restart of the local "
                "Vertex AI.",
            ) from None


class _Turns:
    """An endpoint's turns, and whose is next."""

    def __init__(self, weighted: Sequence[tuple[Route, int]]) -> None:
        self.order = tuple(_smooth(weighted))
        # next() of an itertools.count is one step of the interpreter: no two threads get one turn.
        self.next: Iterator[int] = itertools.count()


class Routes:
    """The routes of all endpoints, in memory. Safe to use from any thread and any event loop."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turns] = {}
        self._lock = threading.Lock()

    def set(self, endpoint: str, weighted: Sequence[tuple[Route, int]]) -> None:
        """Replace an endpoint's split at once; no request sees half of it.

        Args:
            endpoint: Canonical resource name of the endpoint.
            weighted: Every deployed model with its percentage; those of 0 get no turn.
        """
        turns = _Turns(weighted)
        with self._lock:
            self._turns[endpoint] = turns

    def rename_model(self, model_name: str, display_name: str) -> None:
        """Have predictions tell a model's new display name, wherever it is deployed.

        Args:
            model_name: Resource name of the model, without a version.
            display_name: The new one.
        """
        with self._lock:
            for turns in self._turns.values():
                turns.order = tuple(
                    replace(route, model_display_name=display_name)
                    if route.model_name == model_name
                    else route
                    for route in turns.order
                )

    def remove(self, endpoint: str) -> None:
        """Forget an endpoint."""
        with self._lock:
            self._turns.pop(endpoint, None)

    def pick(self, endpoint_name: str) -> Route:
        """The deployed model whose turn it is.

        Over any 100 requests in a row, each deployed model gets exactly its percentage.

        Args:
            endpoint_name: Resource name of the endpoint, with the project's id or number.

        Raises:
            ApiError: INVALID_ARGUMENT, it is not an endpoint's name; NOT_FOUND, there is no such
                endpoint; FAILED_PRECONDITION, no model on it takes traffic.
        """
        turns = self._found(endpoint_name)
        return turns.order[next(turns.next) % len(turns.order)]

    def is_dedicated(self, endpoint_name: str) -> bool:
        """Whether an endpoint that takes traffic has a DNS name of its own; nobody's turn is taken.

        Args:
            endpoint_name: Resource name of the endpoint, with the project's id or number.

        Raises:
            ApiError: As for ``pick``.
        """
        return self._found(endpoint_name).order[0].dedicated

    def _found(self, endpoint_name: str) -> _Turns:
        """The turns of an endpoint on which somebody has one."""
        turns = self._turns.get(endpoint_name)
        if turns is None:
            canonical = str(canonical_name(endpoint_name, "endpoints"))
            turns = self._turns.get(canonical)
            if turns is None:
                raise ApiError(Code.NOT_FOUND, f"Endpoint `{canonical}` not found.")
        if not turns.order:
            raise ApiError(Code.FAILED_PRECONDITION, f"Endpoint {endpoint_name} doesn't have traffic_split.")
        return turns


def _smooth(weighted: Sequence[tuple[Route, int]]) -> Iterator[Route]:
    """One period of smooth weighted round robin: every route as often as its weight, evenly spread."""
    routes = [(route, weight) for route, weight in weighted if weight > 0]
    if not routes:
        return
    divisor = math.gcd(*(weight for _, weight in routes))
    weights = [weight // divisor for _, weight in routes]
    total = sum(weights)
    credit = [0] * len(routes)
    by_credit: Callable[[int], int] = credit.__getitem__
    for _ in range(total):
        for index, weight in enumerate(weights):
            credit[index] += weight
        chosen = max(range(len(routes)), key=by_credit)
        credit[chosen] -= total
        yield routes[chosen][0]
