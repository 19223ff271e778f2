"""google.longrunning.Operations: what became of long-running operations.

See https://cloud.google.com/vertex-ai/docs/reference/rpc/google.longrunning
"""

from __future__ import annotations

import re

from vertexkit.emulator.messages import Empty, ListOperationsResponse, Raw
from vertexkit.emulator.operations import Operations
from vertexkit.emulator.store import PageRequest
from vertexkit.emulator.validation import canonical_location, invalid

_NAME = re.compile(
    r"(?P<location>projects/[^/@]+/locations/[^/@]+)(?P<resource>(?:/[A-Za-z]+/[^/@]+)*?)"
    r"(?P<operation>/operations/[0-9]+)"
)
_PARENT = re.compile(
    r"(?P<location>projects/[^/@]+/locations/[^/@]+)(?P<resource>(?:/(?!operations)[A-Za-z]+/[^/@]+)*)"
    r"(?:/operations)?"
)


class OperationsService:
    """Answers the RPCs of ``google.longrunning.Operations``. Safe to use from any thread.

    Args:
        operations: Where operations are kept and run.
    """

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def GetOperation(self, request: Raw) -> Raw:
        """Get an operation as it is now."""
        return self._operations.get(_canonical(request.name))

    def ListOperations(self, request: Raw) -> Raw:
        """List the operations on a resource, or all of a location."""
        match = _PARENT.fullmatch(request.name)
        if match is None:
            raise invalid(f'Invalid name "{request.name}": expected that of a location or a resource in one.')
        operations, token = self._operations.page(
            f"{canonical_location(match['location'])}{match['resource']}",
            PageRequest(request.page_size, request.page_token, fingerprint=request.filter),
            request.filter,
        )
        return ListOperationsResponse(operations=operations, next_page_token=token)

    def WaitOperation(self, request: Raw) -> Raw:
        """Wait until an operation is done, or the timeout is over."""
        timeout = request.timeout.ToTimedelta().total_seconds() if request.HasField("timeout") else None
        return self._operations.wait(_canonical(request.name), timeout)

    def CancelOperation(self, request: Raw) -> Raw:
        """Ask an operation to stop; it ends in CANCELLED once it has."""
        self._operations.cancel(_canonical(request.name))
        return Empty()

    def DeleteOperation(self, request: Raw) -> Raw:
        """Forget an operation that is done."""
        self._operations.delete(_canonical(request.name))
        return Empty()


def _canonical(name: str) -> str:
    match = _NAME.fullmatch(name)
    if match is None:
        raise invalid(
            f'Invalid operation name "{name}": expected projects/{{project}}/locations/{{location}}/.../'
            "operations/{operation}."
        )
    return f"{canonical_location(match['location'])}{match['resource']}{match['operation']}"
