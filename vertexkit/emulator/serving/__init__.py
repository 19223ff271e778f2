"""Serving: model server processes, and the routing of requests to them.

The engine knows neither the store nor the services: it is given folders and answers requests.
"""

from __future__ import annotations

from vertexkit.emulator.serving.engine import ServingEngine
from vertexkit.emulator.serving.types import (
    VALUES_HEADER,
    DeploymentSpec,
    DeploymentStatus,
    HealthPolicy,
    NoReplica,
    ReplicaStatus,
    RequestTimeout,
    ServingFailed,
    ServingReply,
    Source,
)

__all__ = [
    "VALUES_HEADER",
    "DeploymentSpec",
    "DeploymentStatus",
    "HealthPolicy",
    "NoReplica",
    "ReplicaStatus",
    "RequestTimeout",
    "ServingEngine",
    "ServingFailed",
    "ServingReply",
    "Source",
]
