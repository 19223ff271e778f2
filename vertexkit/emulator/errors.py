"""Errors as the API knows them: a canonical code and a message. Fronts encode them, services raise them."""

from __future__ import annotations

import enum


class Code(enum.Enum):
    """Canonical codes, with their number and their HTTP status.

    Source: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
    """

    CANCELLED = (1, 499)
    UNKNOWN = (2, 500)
    INVALID_ARGUMENT = (3, 400)
    DEADLINE_EXCEEDED = (4, 504)
    NOT_FOUND = (5, 404)
    ALREADY_EXISTS = (6, 409)
    PERMISSION_DENIED = (7, 403)
    RESOURCE_EXHAUSTED = (8, 429)
    FAILED_PRECONDITION = (9, 400)
    ABORTED = (10, 409)
    OUT_OF_RANGE = (11, 400)
    UNIMPLEMENTED = (12, 501)
    INTERNAL = (13, 500)
    UNAVAILABLE = (14, 503)
    DATA_LOSS = (15, 500)
    UNAUTHENTICATED = (16, 401)

    @property
    def number(self) -> int:
        """The code's number on the wire."""
        return self.value[0]

    @property
    def http_status(self) -> int:
        """The HTTP status that REST answers with."""
        return self.value[1]


class ApiError(Exception):
    """What a service answers instead of a response."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def prediction_too_large(size: int, limit: int) -> ApiError:
    """The answer to a request for a prediction of more than ``limit`` bytes, of which ``size`` are known."""
    return ApiError(
        Code.INVALID_ARGUMENT, f"The request size ({size} bytes) exceeds {limit / 1e6:.3f}MB limit."
    )
