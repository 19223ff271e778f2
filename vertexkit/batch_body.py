"""The resource that a batch prediction job is, as JSON.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.batchPredictionJobs
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from vertexkit.types import Machine
from vertexkit.worker_pools import machine_spec

if TYPE_CHECKING:
    from vertexkit.batch_input import BatchInput

__all__ = ["BATCH_JOBS", "BatchOptions", "batch_body"]

BATCH_JOBS: Final = "batchPredictionJobs"


@dataclass(frozen=True)
class BatchOptions:
    """What a job is told beside its input, with which nothing is wrong."""

    name: str
    """Display name of the job."""
    model: str
    """Resource name of the model, with its version."""
    destination: str
    """Where the results go: a ``gs://`` prefix, or ``bq://project[.dataset]``."""
    output_format: str = "jsonl"
    machine: Machine = field(default_factory=Machine)
    replicas: tuple[int, int] = (1, 1)
    """How many to begin with, and at most."""
    batch_size: int | None = None
    """Most instances in a request; None for the service's own choice."""
    parameters: Any = None
    """What the model is given with every request, as JSON."""
    service_account: str | None = None


def batch_body(options: BatchOptions, given: BatchInput, labels: Mapping[str, str]) -> dict[str, Any]:
    """The resource to create in `BATCH_JOBS`.

    Args:
        options: The job.
        given: Its instances.
        labels: Its labels.
    """
    starting, most = options.replicas
    source: dict[str, Any] = {"instancesFormat": given.format}
    if given.bigquery is not None:
        source["bigquerySource"] = {"inputUri": given.bigquery}
    else:
        source["gcsSource"] = {"uris": list(given.uris)}
    output: dict[str, Any] = {"predictionsFormat": options.output_format}
    if options.output_format == "bigquery":
        output["bigqueryDestination"] = {"outputUri": options.destination}
    else:
        output["gcsDestination"] = {"outputUriPrefix": options.destination}
    body: dict[str, Any] = {
        "displayName": options.name,
        "model": options.model,
        "inputConfig": source,
        "outputConfig": output,
        "dedicatedResources": {
            "machineSpec": machine_spec(options.machine),
            "startingReplicaCount": starting,
            "maxReplicaCount": most,
        },
        "labels": dict(labels),
    }
    if not given.config.is_default:
        body["instanceConfig"] = given.config.body()
    if options.batch_size is not None:
        body["manualBatchTuningParameters"] = {"batchSize": options.batch_size}
    if options.parameters is not None:
        body["modelParameters"] = options.parameters
    if options.service_account is not None:
        body["serviceAccount"] = options.service_account
    return body
