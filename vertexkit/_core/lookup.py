"""Finding resources over REST: by name, by id, by display name, and page by page.

REST and not gRPC, because a script that looks up an endpoint and predicts need not import the
generated clients.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vertexkit._core.names import ResourceName, location_name, parse_resource_name
from vertexkit.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from vertexkit._core.context import Context

_PAGE_SIZE = 100
_EPOCH = datetime.fromtimestamp(0, UTC)


def listed(
    context: Context,
    path: str,
    key: str,
    *,
    filter: str | None = None,
    order_by: str | None = None,
    fields: Sequence[str] = (),
    timeout: float | None = None,
) -> Iterator[dict[str, Any]]:
    """Every resource of a collection, one page after another.

    Args:
        context: The session's parts.
        path: Path below ``/v1/``.
        key: The name of the list in the reply, such as ``endpoints``.
        filter: https://google.aip.dev/160
        order_by: https://google.aip.dev/132#ordering
        fields: What of each resource is wanted, where that is not all; see https://google.aip.dev/157
        timeout: Seconds that each page may take; None for the usual.
    """
    params: dict[str, str | int] = {"pageSize": _PAGE_SIZE}
    if filter:
        params["filter"] = filter
    if order_by:
        params["orderBy"] = order_by
    if fields:
        params["readMask"] = ",".join(fields)
    while True:
        page = context.clients.http_json("GET", path, params=params, resource=path, timeout=timeout)
        yield from page.get(key, [])
        token = page.get("nextPageToken")
        if not token:
            return
        params["pageToken"] = token


def parent(context: Context) -> str:
    """``projects/P/locations/L`` of the session."""
    return location_name(context.target.project, context.target.location)


def find(
    context: Context,
    collection: str,
    name: str,
    *,
    argument: str = "name",
    by_id: bool = True,
    manager: str | None = None,
) -> dict[str, Any]:
    """The one resource that a user means.

    Args:
        context: The session's parts.
        collection: ``endpoints`` or ``models``.
        name: A resource name, an id, or a display name.
        argument: What the caller calls it.
        by_id: Whether ``name`` may be an id or resource name too.
        manager: What of a session lists them; by default it has the name of the collection.

    Returns:
        The resource, as REST gives it.

    Raises:
        InvalidArgument: It is empty, names another collection, or several have this display name.
        NotFound: There is none.
    """
    if not isinstance(name, str) or not name:
        raise InvalidArgument(argument, name, f"is not the name, id or display name of one of {collection}")
    if by_id and name.startswith("projects/"):
        return context.clients.http_json("GET", str(_checked(name, collection, argument)), resource=name)
    with_id = f"{parent(context)}/{collection}/{name}"
    if by_id and name.isdecimal():
        # An id most probably; a display name of digits is possible too, and looked for next.
        found = _got(context, with_id)
        if found is not None:
            return found
    candidates = list(
        listed(context, f"{parent(context)}/{collection}", collection, filter=f"display_name={quoted(name)}")
    )
    if by_id and not candidates and not name.isdecimal() and _can_be_an_id(name):
        found = _got(context, with_id)
        candidates = [] if found is None else [found]
    if not candidates:
        raise NotFound(
            f"there is none in {parent(context)}",
            resource=f"{collection} {name!r}",
            remedy=f"see what there is with session.{manager or collection}.list()",
        )
    if len(candidates) > 1:
        shown = ", ".join(f"{found['name']} (created {found.get('createTime', '?')})" for found in candidates)
        raise InvalidArgument(
            argument,
            name,
            f"is the display name of {len(candidates)} {collection}: {shown}",
            remedy="give the id of the one that you mean",
        )
    return candidates[0]


def quoted(text: str) -> str:
    """``text`` as a string of the filter language."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def timestamp(resource: Mapping[str, Any], *keys: str) -> datetime:
    """The first of these times that the resource has, in UTC; 1970 if it has none."""
    for key in keys:
        if resource.get(key):
            return datetime.fromisoformat(resource[key])
    return _EPOCH


def _checked(name: str, collection: str, argument: str) -> ResourceName:
    try:
        parsed = parse_resource_name(name)
    except ValueError as error:
        raise InvalidArgument(argument, name, str(error)) from None
    if parsed.collection != collection:
        raise InvalidArgument(argument, name, f"names one of {parsed.collection}, not of {collection}")
    return parsed


def _got(context: Context, name: str) -> dict[str, Any] | None:
    try:
        return context.clients.http_json("GET", name, resource=name)
    except NotFound:
        return None


def _can_be_an_id(text: str) -> bool:
    return text.isascii() and text.replace("-", "a").replace("_", "a").isalnum()
