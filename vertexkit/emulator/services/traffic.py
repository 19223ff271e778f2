"""The rules of a traffic split, in Vertex AI's words."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.validation import invalid

NEW_MODEL = "0"
"""The key of the model being deployed, in the split of a DeployModel request."""


def check_split(split: Mapping[str, int], deployed_ids: Collection[str]) -> None:
    """Refuse a split that is not one; an empty one is: no traffic at all.

    Args:
        split: Percentage by deployed model id.
        deployed_ids: The ids that there are.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    unknown = sorted(set(split) - set(deployed_ids))
    if unknown:
        raise invalid(f"The following DeployedModel ID(s) [{', '.join(unknown)}] do not exist.")
    outside = {key: percent for key, percent in split.items() if not 0 <= percent <= 100}
    if outside:
        raise invalid(f"Traffic percentages must be between 0 and 100, and traffic_split has {outside}.")
    total = sum(split.values())
    if split and total != 100:
        raise invalid(
            f"The traffic percentage values must add up to 100, and those of traffic_split to {total}."
        )


def split_with_new(
    current: Mapping[str, int], wanted: Mapping[str, int], deployed_ids: Collection[str], new_id: str
) -> dict[str, int]:
    """The split once a model has been deployed.

    Args:
        current: The split before.
        wanted: The split in the request, where ``"0"`` stands for the new model; empty to leave the
            split as it is, or to give the first model everything.
        deployed_ids: The ids of the models that are deployed already.
        new_id: The id of the new one.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    if not wanted:
        return dict(current) if deployed_ids else {new_id: 100}
    check_split(wanted, {*deployed_ids, NEW_MODEL})
    return {new_id if key == NEW_MODEL else key: percent for key, percent in wanted.items()}


def split_without(
    current: Mapping[str, int], wanted: Mapping[str, int], deployed_ids: Collection[str], gone_id: str
) -> dict[str, int]:
    """The split once a model has been undeployed.

    Args:
        current: The split before.
        wanted: The split in the request; empty to leave the rest as it is.
        deployed_ids: The ids of the models that are deployed, ``gone_id`` among them.
        gone_id: The id of the one that goes.

    Raises:
        ApiError: INVALID_ARGUMENT, ``wanted`` is no split; FAILED_PRECONDITION, the model still takes
            traffic that nobody else would get.
    """
    if set(deployed_ids) == {gone_id}:
        return {}
    if wanted:
        check_split(wanted, deployed_ids)
    left = wanted or current
    if left.get(gone_id, 0):
        raise ApiError(
            Code.FAILED_PRECONDITION,
            f"DeployedModel {gone_id} still has {left[gone_id]} percent of the traffic. Give a traffic_split "
            "that adds up to 100 over the other deployed models, or move its traffic before.",
        )
    return {key: percent for key, percent in left.items() if key != gone_id}
