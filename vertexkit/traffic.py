"""How an endpoint's requests are shared among its deployed models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vertexkit.errors import InvalidArgument

__all__ = ["TrafficSplit", "split_of"]


class TrafficSplit(Mapping[str, int]):
    """Percentages of an endpoint's requests, by deployed-model id. Immutable; always sums to 100.

    The one exception is the empty split, of an endpoint that sends its requests nowhere. Models
    that get nothing are not in it: ``split.percent(id)`` is 0 for them.

    ::

        split = TrafficSplit({"1": 100})
        split.shift("2", 10)              # TrafficSplit({'1': 90, '2': 10})
        split.shift("2", 10).only("2")    # TrafficSplit({'2': 100})
    """

    __slots__ = ("_shares",)

    def __init__(self, shares: Mapping[str, int] | None = None) -> None:
        """Make a split.

        Args:
            shares: Whole percentages by deployed-model id, summing to 100; or nothing.

        Raises:
            InvalidArgument: They do not sum to 100, or one is no percentage.
        """
        shares = {} if shares is None else shares
        if not isinstance(shares, Mapping):
            raise InvalidArgument("shares", shares, "is no mapping from ids to percentages")
        checked = {}
        for key, share in shares.items():
            if not isinstance(key, str) or not key:
                raise InvalidArgument("shares", shares, f"names {key!r}, which is no deployed model's id")
            checked[key] = _percentage(f"shares[{key!r}]", share)
        total = sum(checked.values())
        if total not in (0, 100) or (checked and total == 0):
            raise InvalidArgument("shares", dict(shares), f"sums to {total} and not to 100")
        self._shares = {key: share for key, share in sorted(checked.items()) if share}

    def percent(self, deployed_model_id: str) -> int:
        """The share of a deployed model; 0 if it has none."""
        return self._shares.get(deployed_model_id, 0)

    def shift(self, to: str, percent: int) -> TrafficSplit:
        """Give one model exactly this share; the others share the rest in proportion to what they have.

        Args:
            to: Id of the deployed model; it need not have had a share.
            percent: Its new share, 0 to 100.

        Raises:
            InvalidArgument: It is no percentage, or nothing else is there to take the rest.
        """
        _percentage("percent", percent)
        others = {key: share for key, share in self._shares.items() if key != to}
        if not others and percent < 100:
            raise InvalidArgument(
                "percent",
                percent,
                f"leaves {100 - percent} % that no other model is there to take",
                remedy="give it 100, or name the shares of all models with set_traffic",
            )
        return TrafficSplit({**_proportional(others, 100 - percent), to: percent})

    def without(self, deployed_model_id: str) -> TrafficSplit:
        """Take a model's share away; the others share it in proportion to what they have.

        The split of the only model becomes the empty one.
        """
        others = {key: share for key, share in self._shares.items() if key != deployed_model_id}
        return TrafficSplit(_proportional(others, 100)) if others else TrafficSplit()

    def only(self, deployed_model_id: str) -> TrafficSplit:
        """Send everything to one model."""
        return TrafficSplit({deployed_model_id: 100})

    def __getitem__(self, deployed_model_id: str) -> int:
        return self._shares[deployed_model_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shares)

    def __len__(self) -> int:
        return len(self._shares)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Mapping):
            return self._shares == {key: share for key, share in other.items() if share}
        return NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self._shares.items()))

    def __repr__(self) -> str:
        return f"TrafficSplit({self._shares!r})"

    def __str__(self) -> str:
        """``1: 90 %, 2: 10 %``."""
        return ", ".join(f"{key}: {share} %" for key, share in self._shares.items()) or "no traffic"


def split_of(endpoint: Mapping[str, Any]) -> TrafficSplit:
    """The traffic split of an endpoint, as REST gives it."""
    return TrafficSplit({key: int(share) for key, share in endpoint.get("trafficSplit", {}).items() if share})


def _percentage(argument: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(argument, value, "is not a whole percentage")
    if not 0 <= value <= 100:
        raise InvalidArgument(argument, value, "is not from 0 to 100 percent")
    return value


def _proportional(shares: Mapping[str, int], total: int) -> dict[str, int]:
    """``total`` in whole parts, in proportion to ``shares``, by the largest remainder."""
    whole = sum(shares.values())
    parts = {key: share * total // whole for key, share in shares.items()}
    by_remainder = sorted(shares, key=lambda key: (-(shares[key] * total % whole), key))
    for key in by_remainder[: total - sum(parts.values())]:
        parts[key] += 1
    return parts
