"""Finds out what is in a bucket under given names, with few calls."""

from __future__ import annotations

from collections.abc import Sequence

from vertexkit._transfer.objects_api import ObjectsApi
from vertexkit._transfer.values import ObjectInfo

_OTHERS = 1000
"""So many objects that nobody asked for are read on the way; beyond, asking for each name is cheaper."""


def existing_objects(
    api: ObjectsApi, names: Sequence[str], prefix: str, *, timeout: float | None = None
) -> dict[str, ObjectInfo]:
    """Those of the objects that exist, by name.

    One listing of what lies between the first and the last name tells of a thousand objects, but
    there may be millions of others between them.

    Args:
        api: The bucket.
        names: What to look for.
        prefix: What they all start with.
        timeout: Seconds for each call; by default what is usual.
    """
    found: dict[str, ObjectInfo] = {}
    if not names:
        return found
    wanted, reached = set(names), ""
    # Code points sort as their UTF-8 does, which is the order of listings.
    for seen, item in enumerate(api.list(prefix, first=min(names), last=max(names), timeout=timeout)):
        if seen - len(found) >= _OTHERS:
            break
        reached = item.name
        if item.name in wanted:
            found[item.name] = item
    else:
        return found
    for name in wanted:
        if name > reached and (item_or_none := api.find(name)) is not None:
            found[name] = item_or_none
    return found
