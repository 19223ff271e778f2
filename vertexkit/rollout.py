"""How a version takes over an endpoint's requests, and gives them back.

Every change of the split reads the endpoint, writes it under the etag it was read with, and does
both again when somebody else was quicker. The same write keeps the split before the change in labels
(`SplitHistory`), so that any process can roll back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vertexkit._core.names import is_resource_name, parse_resource_name
from vertexkit.deployed_model import DeployedModel
from vertexkit.errors import Conflict, FailedPrecondition, InvalidArgument
from vertexkit.split_history import SplitHistory
from vertexkit.traffic import TrafficSplit, split_of

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit.models import Model, ModelVersion

__all__ = [
    "announce",
    "change_traffic",
    "match",
    "roll_back",
    "settle",
    "share_of_new",
    "update",
    "which",
    "withdraw",
]

_ATTEMPTS = 5


def share_of_new(current: TrafficSplit, wanted: int | None) -> int:
    """The share that a model to be deployed gets.

    Args:
        current: The split before.
        wanted: What the caller asks for; None for everything or nothing.

    Raises:
        InvalidArgument: It would be the only one that gets requests, and is to get only some.
    """
    if current:
        return wanted or 0
    if wanted not in (None, 100):
        raise InvalidArgument(
            "traffic",
            wanted,
            "leaves requests that nothing else is there to take",
            remedy="leave it out: the first model gets all requests",
        )
    return 100


def match(
    deployed: Sequence[DeployedModel], version: DeployedModel | Model | ModelVersion | str
) -> DeployedModel | None:
    """The deployed model that a user means, or None if it is not deployed.

    Of several deployments of one version, the last.

    Raises:
        InvalidArgument: ``version`` is of none of the types that name one.
    """
    for one in reversed(deployed):
        if isinstance(version, DeployedModel):
            found = one.id == version.id
        elif isinstance(version, str):
            found = version in (one.id, one.display_name) or (
                is_resource_name(version) and _same_model(one, version)
            )
        elif hasattr(version, "versioned_name"):
            found = _same_model(one, version.versioned_name)
        else:
            raise InvalidArgument(
                "version",
                version,
                "is neither a model nor something deployed",
                remedy="give a model, a version of one, or a deployed model (or its id)",
            )
        if found:
            return one
    return None


def which(
    deployed: Sequence[DeployedModel], version: DeployedModel | Model | ModelVersion | str
) -> DeployedModel:
    """The deployed model that a user means.

    Raises:
        InvalidArgument: It is not deployed.
    """
    found = match(deployed, version)
    if found is None:
        there = "; ".join(map(str, deployed)) or "nothing"
        raise InvalidArgument("version", version, f"is not deployed here, where there is: {there}")
    return found


def update(
    context: Context, name: str, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]
) -> Mapping[str, Any]:
    """Change an endpoint from what it is now, whoever else changes it at the same time.

    Args:
        context: The session's parts.
        name: Resource name of the endpoint.
        change: Given the endpoint, as REST gives it, the new values of its fields; nothing when it is
            as wanted already. Called again when somebody else was quicker.

    Returns:
        The endpoint after the change.
    """
    from google.cloud.aiplatform_v1 import types
    from google.protobuf.field_mask_pb2 import FieldMask
    from google.protobuf.json_format import MessageToDict

    clients = context.clients
    fields: Mapping[str, Any] = {}
    for attempt in range(_ATTEMPTS):
        current = clients.http_json("GET", name, resource=name)
        if fields and _carries(current, fields):
            # What was refused repeated a write that had been carried out, and its answer lost.
            # Computed anew from its own outcome, a roll-back would undo itself.
            break
        fields = change(current)
        if not fields:
            break
        request = types.UpdateEndpointRequest(
            endpoint=types.Endpoint(name=name, etag=current.get("etag", ""), **fields),
            update_mask=FieldMask(paths=sorted(fields)),
        )
        try:
            # Idempotent: carried out twice, the second has an etag that is no longer the one.
            changed = clients.call(clients.endpoints.update_endpoint, request, resource=name)
        except Conflict:
            if attempt == _ATTEMPTS - 1:
                raise
            continue
        return MessageToDict(types.Endpoint.pb(changed))
    return current


def change_traffic(
    context: Context, name: str, change: Callable[[TrafficSplit], TrafficSplit]
) -> Mapping[str, Any]:
    """Change the split, keeping the one before.

    Args:
        context: The session's parts.
        name: Resource name of the endpoint.
        change: Given the split, the new one.

    Returns:
        The endpoint after the change.
    """

    def fields(endpoint: Mapping[str, Any]) -> Mapping[str, Any]:
        before = split_of(endpoint)
        after = change(before)
        # Written again, an unchanged split would be kept as its own predecessor.
        return {} if after == before else _changed(endpoint, before, after)

    return update(context, name, fields)


def roll_back(context: Context, name: str) -> Mapping[str, Any]:
    """Exchange the split and the one before.

    Returns:
        The endpoint after the change.

    Raises:
        FailedPrecondition: There is none before, or a version in it is not deployed any more.
        Conflict: Somebody else changed the split meanwhile, so that another change is the last now.
    """
    seen: tuple[TrafficSplit, TrafficSplit] | None = None

    def fields(endpoint: Mapping[str, Any]) -> Mapping[str, Any]:
        nonlocal seen
        now, before = split_of(endpoint), SplitHistory.of(endpoint).previous
        if before is None:
            raise FailedPrecondition(
                "there is no earlier traffic split to go back to",
                resource=name,
                remedy="share the requests as you want with set_traffic()",
            )
        if seen is not None and seen != (now, before):
            raise Conflict(
                f"somebody else changed the traffic split at the same time; it is now {now}",
                resource=name,
                remedy="roll back again if that is still what you want",
            )
        seen = (now, before)
        gone = sorted(set(before) - _ids(endpoint))
        if gone:
            raise FailedPrecondition(
                f"the split before ({before}) needs what has been undeployed: {', '.join(gone)}",
                resource=name,
                remedy="deploy that version again, or set_traffic() to what is deployed",
            )
        return _changed(endpoint, now, before)

    return update(context, name, fields)


def announce(context: Context, name: str, deployed_model_id: str) -> TrafficSplit:
    """Write down the split that a deployment is about to replace.

    Args:
        context: The session's parts.
        name: Resource name of the endpoint.
        deployed_model_id: The model to be deployed.

    Returns:
        That split.
    """

    def fields(endpoint: Mapping[str, Any]) -> Mapping[str, Any]:
        return _history(endpoint, SplitHistory.of(endpoint).announcing(deployed_model_id, split_of(endpoint)))

    return split_of(update(context, name, fields))


def settle(context: Context, name: str) -> Mapping[str, Any]:
    """Write down what the history means now, ahead of what would change its meaning.

    Returns:
        The endpoint after the change.
    """
    return update(context, name, lambda endpoint: _history(endpoint, SplitHistory.of(endpoint)))


def withdraw(context: Context, name: str, deployed_model_id: str, before: TrafficSplit) -> Mapping[str, Any]:
    """Let a model that shall not be there get no requests, nor be remembered as a change.

    Args:
        context: The session's parts.
        name: Resource name of the endpoint.
        deployed_model_id: The model.
        before: Who gets its requests, if they are all there are: those in this split that are still
            there.

    Returns:
        The endpoint after the change.
    """

    def fields(endpoint: Mapping[str, Any]) -> Mapping[str, Any]:
        # To the letter: what was replaced is to count no more, also when the model came up.
        written = SplitHistory.written(endpoint.get("labels", {}))
        changes = dict(_history(endpoint, written.without(deployed_model_id)))
        split, others = split_of(endpoint), _ids(endpoint) - {deployed_model_id}
        if others and split.percent(deployed_model_id):
            rest = split.without(deployed_model_id)
            changes["traffic_split"] = dict(rest or _limited(before, others))
        return changes

    return update(context, name, fields)


def _changed(endpoint: Mapping[str, Any], before: TrafficSplit, after: TrafficSplit) -> Mapping[str, Any]:
    history = SplitHistory.of(endpoint).changed(before, after)
    return {"traffic_split": dict(after), "labels": history.labels(endpoint.get("labels", {}))}


def _history(endpoint: Mapping[str, Any], history: SplitHistory) -> Mapping[str, Any]:
    """The fields in which an endpoint keeps this history; none if it does."""
    labels = endpoint.get("labels", {})
    return {} if SplitHistory.written(labels) == history else {"labels": history.labels(labels)}


def _carries(endpoint: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    """Whether an endpoint is as these fields would make it. The service may have added labels of its own."""
    labels, wanted = endpoint.get("labels", {}), fields.get("labels")
    if wanted is not None and not (
        wanted.items() <= labels.items() and SplitHistory.written(wanted) == SplitHistory.written(labels)
    ):
        return False
    split = fields.get("traffic_split")
    return split is None or split_of(endpoint) == split


def _ids(endpoint: Mapping[str, Any]) -> set[str]:
    return {deployed["id"] for deployed in endpoint.get("deployedModels", [])}


def _limited(split: TrafficSplit, to: Collection[str]) -> TrafficSplit:
    for key in split:
        if key not in to:
            split = split.without(key)
    return split


def _same_model(deployed: DeployedModel, versioned_name: str) -> bool:
    """Whether this version is what is deployed. Project ids and numbers name the same project."""
    ours, theirs = parse_resource_name(deployed.model), parse_resource_name(versioned_name)
    return (ours.location, ours.id) == (theirs.location, theirs.id) and theirs.version in (
        None,
        deployed.version_id,
    )
