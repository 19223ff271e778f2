"""What a service asks of the jobs engine, and what it is told. No message of the API is in here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol


@dataclass(frozen=True)
class PackageProgram:
    """A module of Python packages, run in a prebuilt image (``python_package_spec``)."""

    image_uri: str
    package_uris: tuple[str, ...]
    """``gs://`` URIs of source distributions and wheels, installed in this order."""
    module: str


@dataclass(frozen=True)
class ContainerProgram:
    """A command run in an image (``container_spec``)."""

    image_uri: str
    command: tuple[str, ...]
    """Replaces the image's entry point; empty for the image's own."""


@dataclass(frozen=True)
class WorkerPool:
    """Replicas that are all alike."""

    program: PackageProgram | ContainerProgram
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    """What the user gave; it does not override the contract's variables."""
    replica_count: int = 1
    machine_type: str = ""
    accelerator_type: str = ""
    accelerator_count: int = 0


@dataclass(frozen=True)
class JobSpec:
    """Everything about a job that its processes depend on."""

    job_id: str
    """Numeric id of the CustomJob: ``CLOUD_ML_JOB_ID``, and the folder of its logs."""
    project: str
    """Project id, as the client gave it."""
    project_number: str
    location: str
    pools: tuple[WorkerPool | None, ...]
    """By index: chief, workers, parameter servers, evaluator; None for one that is left out."""
    base_output_uri: str = ""
    """``gs://bucket/folder``; empty for a job without AIP_MODEL_DIR and its like."""
    trial_id: str = ""
    """Of a tuning job's trial; empty for any other job."""
    family: str = ""
    """Of a trial: what it has in common with many alike that are coming, such as the id of its tuning job.
    They start quicker; ``JobsEngine.end_family`` gives back what that takes. Empty for a job on its own."""
    dataset_env: Mapping[str, str] = field(default_factory=dict)
    """``AIP_DATA_FORMAT`` and ``AIP_*_DATA_URI`` of a managed dataset."""
    timeout: float | None = None
    """Seconds that it may run."""
    restart_on_worker_restart: bool = False
    """Whether the whole job starts anew when a replica was killed."""


class EndKind(Enum):
    """How a job came to its end."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed out"


@dataclass(frozen=True)
class JobEnd:
    """How a job ended."""

    kind: EndKind
    message: str = ""
    """What happened, in the words of Vertex AI where they are known."""
    replica: str = ""
    """The replica that it was because of: ``workerpool0-0``."""
    exit_code: int | None = None
    """Of that replica; None where it ended by a signal, or none did."""
    signal: int | None = None


class Watcher(Protocol):
    """Is told how a job goes, from a thread of the engine's."""

    def running(self) -> None:
        """Every replica has been started (again, after a restart)."""

    def ended(self, end: JobEnd) -> None:
        """It is over: no process is left, and the logs are complete."""
