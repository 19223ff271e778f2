"""Finding training jobs, which are in two collections: pipelines, and custom jobs without a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from vertexkit._core.lookup import listed, parent, quoted, timestamp
from vertexkit._core.names import is_resource_name, parse_resource_name
from vertexkit.errors import InvalidArgument, NotFound
from vertexkit.job_state import naming_states
from vertexkit.training_body import CUSTOM_JOBS, PIPELINES
from vertexkit.tuning_body import TUNING_JOBS

if TYPE_CHECKING:
    from vertexkit._core.context import Context

__all__ = ["find_training_job", "in_order", "list_training_jobs"]

_COLLECTIONS: Final = (PIPELINES, CUSTOM_JOBS)
_STATE_OF: Final = {PIPELINES: "PIPELINE_STATE_", CUSTOM_JOBS: "JOB_STATE_"}
# The API has no order for these collections.
_ORDERS: Final[Mapping[str, Callable[[dict[str, Any]], Any]]] = {
    "create_time": lambda data: timestamp(data, "createTime"),
    "start_time": lambda data: timestamp(data, "startTime"),
    "end_time": lambda data: timestamp(data, "endTime"),
    "update_time": lambda data: timestamp(data, "updateTime"),
    "display_name": lambda data: str(data.get("displayName", "")),
}


def find_training_job(context: Context, name: str, *, manager: str = "training") -> dict[str, Any]:
    """The one job that a user means.

    Args:
        context: The session's parts.
        name: The resource name, id or display name of a pipeline or a custom job.
        manager: What of a session lists what the caller looks for.

    Raises:
        InvalidArgument: It names something else, or several jobs have this display name.
        NotFound: There is none.
    """
    if not isinstance(name, str) or not name:
        raise InvalidArgument("name", name, "is not the name, id or display name of a training job")
    clients = context.clients
    if name.startswith("projects/"):
        if not is_resource_name(name) or parse_resource_name(name).collection not in _COLLECTIONS:
            raise InvalidArgument(
                "name", name, "is the resource name of neither a training pipeline nor a custom job"
            )
        return clients.http_json("GET", name, resource=name)
    if name.isascii() and name.isdecimal():
        for collection in _COLLECTIONS:
            try:
                return clients.http_json("GET", f"{parent(context)}/{collection}/{name}", resource=name)
            except NotFound:
                pass
    found = list_training_jobs(context, filter=f"display_name={quoted(name)}")
    if not found:
        raise NotFound(
            f"there is none in {parent(context)}",
            resource=f"training job {name!r}",
            remedy=f"see what there is with session.{manager}.list()",
        )
    if len(found) > 1:
        shown = ", ".join(f"{one['name']} (created {one.get('createTime', '?')})" for one in found)
        raise InvalidArgument(
            "name",
            name,
            f"is the display name of {len(found)} training jobs: {shown}",
            remedy="give the id of the one that you mean",
        )
    return found[0]


def list_training_jobs(
    context: Context, *, filter: str | None = None, order_by: str | None = None
) -> list[dict[str, Any]]:
    """Every training job, of both collections.

    Args:
        context: The session's parts.
        filter: https://google.aip.dev/160; a state may be named as `JobState` or either collection names it.
        order_by: A field, with ``desc`` behind it or not; by default the youngest first.

    Raises:
        InvalidArgument: There is no such order.
    """
    _order(order_by)
    found = {
        collection: list(
            listed(
                context,
                f"{parent(context)}/{collection}",
                collection,
                filter=naming_states(filter, _STATE_OF[collection]),
            )
        )
        for collection in _COLLECTIONS
    }
    # Other pipelines train too, without a program: AutoML's.
    found[PIPELINES] = [data for data in found[PIPELINES] if _is_custom(data)]
    if found[CUSTOM_JOBS]:
        # Those that belong to a pipeline are listed as that.
        pipelines = found[PIPELINES]
        if filter is not None:
            pipelines = list(listed(context, f"{parent(context)}/{PIPELINES}", PIPELINES))
        backing = {data.get("trainingTaskMetadata", {}).get("backingCustomJob") for data in pipelines}
        found[CUSTOM_JOBS] = [data for data in found[CUSTOM_JOBS] if data["name"] not in backing]
    if found[CUSTOM_JOBS]:
        # Those that are trials belong to a tuning job.
        tuning = listed(context, f"{parent(context)}/{TUNING_JOBS}", TUNING_JOBS)
        trials = {trial.get("customJob") for data in tuning for trial in data.get("trials", [])}
        found[CUSTOM_JOBS] = [data for data in found[CUSTOM_JOBS] if data["name"] not in trials]
    return in_order([*found[PIPELINES], *found[CUSTOM_JOBS]], order_by)


def in_order(jobs: Iterable[dict[str, Any]], order_by: str | None) -> list[dict[str, Any]]:
    """Jobs as a user wants them, by default the youngest first.

    Raises:
        InvalidArgument: There is no such order.
    """
    key, descending = _order(order_by)
    return sorted(jobs, key=_ORDERS[key], reverse=descending)


def _is_custom(pipeline: Mapping[str, Any]) -> bool:
    return "/custom_task_" in pipeline.get("trainingTaskDefinition", "/custom_task_")


def _order(order_by: str | None) -> tuple[str, bool]:
    if order_by is None:
        return "create_time", True
    words = order_by.split() if isinstance(order_by, str) else []
    if not 1 <= len(words) <= 2 or words[0] not in _ORDERS or words[1:] not in ([], ["asc"], ["desc"]):
        raise InvalidArgument(
            "order_by",
            order_by,
            "is no order of jobs",
            remedy=f"give one of {', '.join(_ORDERS)}, with ' desc' behind it for the other way round",
        )
    return words[0], words[1:] == ["desc"]
