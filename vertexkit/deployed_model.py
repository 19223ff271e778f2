"""What is deployed to an endpoint, as it was when last read.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints#DeployedModel
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vertexkit._core.lookup import timestamp
from vertexkit.types import Machine

__all__ = ["DeployedModel", "read_deployed"]


@dataclass(frozen=True)
class DeployedModel:
    """A version of a model on an endpoint, as it was when last read."""

    id: str
    """Its id on the endpoint; keys of the traffic split are such ids."""
    display_name: str
    model: str
    """Resource name of the model, without the version."""
    version_id: str
    """The version of the model."""
    machine: Machine
    """What it runs on."""
    replicas: tuple[int, int]
    """The least and the greatest number of replicas."""
    traffic: int
    """Its share of the endpoint's requests, in percent."""
    created: datetime
    """When it was deployed, in UTC."""
    service_account: str | None = None
    """The account that it runs as; None for the default one."""
    status_message: str = ""
    """What the service has to say of it, as that it is served without its accelerator; often nothing."""

    @property
    def versioned_model(self) -> str:
        """Resource name of the version: ``projects/.../models/ID@VERSION``."""
        return f"{self.model}@{self.version_id}" if self.version_id else self.model

    def __str__(self) -> str:
        """``mnist@2 (id 123): 10 %, 1 to 5 x n1-standard-4``."""
        least, most = self.replicas
        count = f"{least}" if least == most else f"{least} to {most}"
        name = f"{self.display_name}@{self.version_id}" if self.version_id else self.display_name
        return f"{name} (id {self.id}): {self.traffic} %, {count} x {self.machine}"


def read_deployed(endpoint: Mapping[str, Any]) -> list[DeployedModel]:
    """The deployed models of an endpoint, as REST gives it, the oldest first."""
    split = endpoint.get("trafficSplit", {})
    found = [
        _deployed(deployed, split.get(deployed["id"], 0)) for deployed in endpoint.get("deployedModels", [])
    ]
    return sorted(found, key=lambda deployed: (deployed.created, deployed.id))


def _deployed(deployed: Mapping[str, Any], traffic: int) -> DeployedModel:
    resources = deployed.get("dedicatedResources") or deployed.get("automaticResources") or {}
    spec = resources.get("machineSpec", {})
    least = int(resources.get("minReplicaCount", 1))
    model, _, version = str(deployed.get("model", "")).partition("@")
    return DeployedModel(
        id=str(deployed["id"]),
        display_name=str(deployed.get("displayName", "")),
        model=model,
        version_id=str(deployed.get("modelVersionId", version)),
        machine=Machine(
            spec.get("machineType", ""), spec.get("acceleratorType"), int(spec.get("acceleratorCount", 0))
        ),
        replicas=(least, int(resources.get("maxReplicaCount", least))),
        traffic=int(traffic),
        created=timestamp(deployed, "createTime"),
        service_account=deployed.get("serviceAccount") or None,
        status_message=str(deployed.get("status", {}).get("message", "")),
    )
