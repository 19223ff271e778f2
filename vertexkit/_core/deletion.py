"""Deleting a resource over REST, which is a long-running operation.

`Operation` watches those of the generated clients, whose import costs what a script may not need.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vertexkit._core.failures import from_status
from vertexkit._core.operations import intervals
from vertexkit.errors import DeadlineExceeded

if TYPE_CHECKING:
    from vertexkit._core.context import Context

__all__ = ["delete_resource"]


def delete_resource(context: Context, name: str, *, timeout: float = 300.0) -> None:
    """Delete a resource, and wait until it is gone.

    Args:
        context: The session's parts.
        name: Its resource name.
        timeout: Seconds to wait.

    Raises:
        NotFound: There is none.
        DeadlineExceeded: It is still being deleted.
        VertexkitError: It cannot be deleted.
    """
    clients = context.clients
    deadline = time.monotonic() + timeout
    operation = clients.http_json("DELETE", name, resource=name, retry=True)
    for interval in intervals():
        if operation.get("done"):
            break
        left = deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"is still being deleted after {timeout:g} s", resource=name)
        time.sleep(min(interval, left))
        operation = clients.http_json("GET", operation["name"], resource=name)
    error = operation.get("error")
    if error:
        raise from_status(int(error.get("code", 2)), str(error.get("message", "")), resource=name)
