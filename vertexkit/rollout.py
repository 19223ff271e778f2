"""How a version takes over an endpoint's requests, and gives them back.

Every change of the split reads the endpoint, writes it under the etag it was read with, and does
both again when somebody else was quicker. The same write keeps the split before the change in labels
(`TrafficSplit.to_labels`), so that any process can roll back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vertexkit._core.names import is_resource_name, parse_resource_name
from vertexkit.deployment import DeployedModel
from vertexkit.errors import Conflict, FailedPrecondition, InvalidArgument
from vertexkit.traffic import TrafficSplit, without_labels

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit.models import Model, ModelVersion

__all__ = ["change_traffic", "match", "remember", "roll_back", "share_of_new", "split_of", "update", "which"]

_ATTEMPTS = 5


def split_of(endpoint: Mapping[str, Any]) -> TrafficSplit:
    """The traffic split of an endpoint, as REST gives it."""
    return TrafficSplit({key: int(share) for key, share in endpoint.get("trafficSplit", {}).items() if share})


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
            "nothing else is there to take the other requests",
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
                "version", version, "give a model, a version of one, or a deployed model (or its id)"
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
        raise InvalidArgument("version", version, f"it is not deployed here; deployed is: {there}")
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
    for attempt in range(_ATTEMPTS):
        current = clients.http_json("GET", name, resource=name)
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
        return {} if after == before else _fields(endpoint, before, after)

    return update(context, name, fields)


def roll_back(context: Context, name: str) -> Mapping[str, Any]:
    """Exchange the split and the one before.

    Returns:
        The endpoint after the change.

    Raises:
        FailedPrecondition: There is none before, or a version in it is not deployed any more.
    """

    def fields(endpoint: Mapping[str, Any]) -> Mapping[str, Any]:
        before = TrafficSplit.from_labels(endpoint.get("labels", {}))
        if before is None:
            raise FailedPrecondition(
                "there is no earlier traffic split to go back to",
                resource=name,
                remedy="set_traffic() shares the requests as you say",
            )
        gone = sorted(set(before) - {deployed["id"] for deployed in endpoint.get("deployedModels", [])})
        if gone:
            raise FailedPrecondition(
                f"the split before ({before}) needs what has been undeployed: {', '.join(gone)}",
                resource=name,
                remedy="deploy that version again, or set_traffic() to what is deployed",
            )
        return _fields(endpoint, split_of(endpoint), before)

    return update(context, name, fields)


def remember(context: Context, name: str) -> Mapping[str, str]:
    """Keep the split as the one before, ahead of a deployment that changes it.

    Returns:
        The labels as they were, to be restored should the deployment fail.
    """
    labels: dict[str, str] = {}

    def fields(endpoint: Mapping[str, Any]) -> Mapping[str, Any]:
        labels.clear()
        labels.update(endpoint.get("labels", {}))
        return {"labels": {**without_labels(labels), **split_of(endpoint).to_labels()}}

    update(context, name, fields)
    return labels


def _fields(endpoint: Mapping[str, Any], before: TrafficSplit, after: TrafficSplit) -> Mapping[str, Any]:
    labels = without_labels(endpoint.get("labels", {}))
    return {"traffic_split": dict(after), "labels": {**labels, **before.to_labels()}}


def _same_model(deployed: DeployedModel, versioned_name: str) -> bool:
    """Whether this version is what is deployed. Project ids and numbers name the same project."""
    ours, theirs = parse_resource_name(deployed.model), parse_resource_name(versioned_name)
    return (ours.location, ours.id) == (theirs.location, theirs.id) and theirs.version in (
        None,
        deployed.version_id,
    )
