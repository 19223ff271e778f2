"""What the caller of `Training.run` asks for, before anything of it is looked at."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from vertexkit._core.arguments import own_integers
from vertexkit.types import Machine

__all__ = ["TrainingRequest"]


@dataclass(frozen=True)
class TrainingRequest:
    """The arguments of `Training.run`, which documents them."""

    program: str | os.PathLike[str] | None = None
    name: str | None = None
    module: str | None = None
    args: Mapping[str, object] | Sequence[str] | None = None
    env: Mapping[str, str] | None = None
    requirements: Sequence[str] | str | os.PathLike[str] | None = None
    machine: Machine | str = "n1-standard-4"
    workers: int = 0
    parameter_servers: int = 0
    evaluators: int = 0
    worker_machine: Machine | str | None = None
    parameter_server_machine: Machine | str | None = None
    evaluator_machine: Machine | str | None = None
    image: str | None = None
    command: Sequence[str] | None = None
    framework: str = "tensorflow"
    framework_version: str | None = None
    service_account: str | None = None
    timeout: float | timedelta | None = None
    base_output_dir: str | None = None
    tensorboard: str | None = None
    dataset: str | None = None
    restart_on_worker_restart: bool = False
    spot: bool = False
    network: str | None = None
    model: str | Literal[False] | None = None
    serving_image: str | None = None
    labels: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        own_integers(self, "workers", "parameter_servers", "evaluators")
