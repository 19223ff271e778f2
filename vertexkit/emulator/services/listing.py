"""What every List RPC does: filter, order, cut into pages, and show what the read mask asks for.

See https://google.aip.dev/158 and https://google.aip.dev/160
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from vertexkit.emulator.field_masks import check_read_mask, masked
from vertexkit.emulator.filters import Filterable, parse_filter, parse_order_by
from vertexkit.emulator.messages import Raw
from vertexkit.emulator.store import ORDERABLE, Kind, PageRequest, Store

JOB_FIELDS: Final = frozenset(
    {"create_time", "display_name", "end_time", "labels", "start_time", "state", "update_time"}
)
"""What jobs, and pipelines, can be filtered by."""


def resource_id(resource: Raw) -> str:
    """The last part of a resource's name, by which filters may ask for it."""
    return str(resource.name.rpartition("/")[2])


def list_page(
    store: Store,
    kind: Kind,
    parent: str,
    request: Raw,
    *,
    filterable: Filterable,
    view: Callable[[Raw], Raw],
    orderable: Sequence[str] = ORDERABLE,
    oldest_first: bool = False,
) -> tuple[list[Raw], str]:
    """The page that a List request asks for.

    Args:
        store: Where the resources are kept.
        kind: What to list.
        parent: Resource name of what they belong to.
        request: The List request: page size and token, filter, order and read mask.
        filterable: The resource's message, and what a filter may name of it.
        view: Makes what is shown, and filtered, of what is kept.
        orderable: What ``order_by`` may name.
        oldest_first: Whether the oldest comes first where no order is asked for.

    Returns:
        The page, and the token of the next; an empty one after the last.

    Raises:
        ApiError: INVALID_ARGUMENT, the request is wrong.
    """
    check_read_mask(filterable.message, request.read_mask)
    found, token = store.page(
        kind,
        parent,
        PageRequest(
            request.page_size,
            request.page_token,
            # Jobs and pipelines are listed in one order only: their requests have no such field.
            parse_order_by(getattr(request, "order_by", ""), orderable),
            request.filter,
            oldest_first=oldest_first,
        ),
        matches=parse_filter(request.filter, filterable),
        view=view,
    )
    return [masked(resource, request.read_mask) for resource in found], token
