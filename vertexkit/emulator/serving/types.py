"""The engine's values and errors."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

VALUES_HEADER = "X-Vertex-Values"
"""Header that tells the model server a request's ``Source``; there is none in raw requests."""


class Source(enum.Enum):
    """Where a request's body comes from; values are those of ``VALUES_HEADER``."""

    RAW = ""
    """RawPredict: whatever the caller wrote, for the model server to read as it likes."""
    REST = "rest"
    """Predict over REST: JSON of a PredictRequest, passed on undecoded."""
    GRPC = "grpc"
    """Predict over gRPC: a PredictRequest, written as JSON by the service."""


@dataclass(frozen=True)
class DeploymentSpec:
    """A model to serve, and how."""

    key: str
    """The engine's name for the deployment; requests are addressed to it."""
    artifact_dir: Path
    """A folder with the model: a private copy, which the engine reads and does not delete."""
    env: Mapping[str, str]
    """The ``AIP_*`` variables of the serving container; ``AIP_STORAGE_URI`` is set by the engine."""
    replicas: int = 1


@dataclass(frozen=True)
class HealthPolicy:
    """When a replica gets requests, and when no longer.

    Source: https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements#health
    """

    interval: float = 10.0
    """Seconds between two checks of one replica."""
    timeout: float = 10.0
    """Seconds in which the health route must answer 200."""
    failures: int = 4
    """Checks failed in a row after which a replica gets no more requests, until one succeeds."""
    grace: float = 5.0
    """Seconds between asking a replica to end and making it."""
    backoff: Sequence[float] = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
    """Seconds before the first, second, ... restart of a replica that dies over and over."""


@dataclass(frozen=True)
class ReplicaStatus:
    """One replica as it is now."""

    index: int
    pid: int | None
    """None while no process of it runs."""
    routable: bool
    """Whether it gets requests."""
    restarts: int
    in_flight: int
    """Requests that it is answering."""


@dataclass(frozen=True)
class DeploymentStatus:
    """A deployment as it is now."""

    key: str
    replicas: tuple[ReplicaStatus, ...]
    log_tail: tuple[str, ...]
    """The last lines of the model servers' logs, oldest first."""


@dataclass(frozen=True)
class ServingReply:
    """What a model server answered."""

    status: int
    """The HTTP status."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: bytes = b""


class ServingFailed(Exception):
    """A deployment did not come up; nothing of it runs.

    Attributes:
        message: What happened, in Vertex AI's words and the model server's own.
        log_tail: The last lines of the model server's log, oldest first.
    """

    def __init__(self, message: str, log_tail: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.log_tail = tuple(log_tail)


class NoReplica(Exception):
    """No replica could take a request before its deadline, or none that took it lived to answer."""


class RequestTimeout(Exception):
    """A replica took a request and did not answer before the deadline."""
