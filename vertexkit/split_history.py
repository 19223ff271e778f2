"""Which traffic split an endpoint had before, kept in its labels, so that any process can roll back.

::

    vertexkit_previous_<id>  = "<percent>"   the split before the last change
    vertexkit_deploying      = "<new id>"    a deployment is on its way; once that model is there ...
    vertexkit_pending_<id>   = "<percent>"   ... this is the split before the last change

A deployment changes the split long after it was asked for, when its process may be gone. So what it
replaces is written down beforehand, but counts only once the new model is on the endpoint: a deployment
that fails, is cancelled or is forgotten takes no split to roll back to away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from vertexkit.traffic import TrafficSplit

__all__ = ["SplitHistory", "without_history"]

_PREVIOUS: Final = "vertexkit_previous_"
_PENDING: Final = "vertexkit_pending_"
_DEPLOYING: Final = "vertexkit_deploying"


@dataclass(frozen=True)
class SplitHistory:
    """What an endpoint's labels say of earlier splits."""

    previous: TrafficSplit | None = None
    """The split before the last change; None if there was none."""
    deploying: str | None = None
    """Id of a model that is on its way, and changes the split when it comes up."""
    pending: TrafficSplit | None = None
    """What is `previous` from then on."""

    @classmethod
    def written(cls, labels: Mapping[str, str]) -> SplitHistory:
        """What labels say, to the letter."""
        deploying = labels.get(_DEPLOYING)
        if deploying is None:
            return cls(_split(labels, _PREVIOUS))
        return cls(_split(labels, _PREVIOUS), deploying, _split(labels, _PENDING))

    @classmethod
    def of(cls, endpoint: Mapping[str, Any]) -> SplitHistory:
        """What the labels of an endpoint mean, given what is deployed to it.

        Args:
            endpoint: The endpoint, as REST gives it.
        """
        found = cls.written(endpoint.get("labels", {}))
        if any(deployed["id"] == found.deploying for deployed in endpoint.get("deployedModels", [])):
            return cls(found.pending)
        return found

    def changed(self, before: TrafficSplit, after: TrafficSplit) -> SplitHistory:
        """The history once the split has been changed. What is on its way will replace ``after``."""
        return SplitHistory(before, self.deploying, after if self.deploying else None)

    def announcing(self, deployed_model_id: str, before: TrafficSplit) -> SplitHistory:
        """The history while a model is on its way that will replace ``before``."""
        return SplitHistory(self.previous, deployed_model_id, before)

    def without(self, deployed_model_id: str) -> SplitHistory:
        """The history when this model is no longer on its way."""
        return SplitHistory(self.previous) if self.deploying == deployed_model_id else self

    def labels(self, others: Mapping[str, str]) -> dict[str, str]:
        """The labels that keep it, beside other labels."""
        labels = without_history(others)
        labels.update({f"{_PREVIOUS}{key}": str(share) for key, share in (self.previous or {}).items()})
        if self.deploying is not None:
            labels[_DEPLOYING] = self.deploying
            labels.update({f"{_PENDING}{key}": str(share) for key, share in (self.pending or {}).items()})
        return labels


def without_history(labels: Mapping[str, str]) -> dict[str, str]:
    """``labels`` without those that keep a history."""
    return {
        key: value
        for key, value in labels.items()
        if key != _DEPLOYING and not key.startswith((_PREVIOUS, _PENDING))
    }


def _split(labels: Mapping[str, str], prefix: str) -> TrafficSplit | None:
    """The split that labels keep, or None if they keep none (that could be one)."""
    kept = {key.removeprefix(prefix): share for key, share in labels.items() if key.startswith(prefix)}
    if not kept:
        return None
    try:
        return TrafficSplit({key: int(share) for key, share in kept.items()})
    except ValueError:  # also InvalidArgument: somebody edited the labels
        return None
