"""What the caller of `BatchPrediction.run` asks for, before anything of it is looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vertexkit._core.arguments import own_integers
from vertexkit.types import Machine

__all__ = ["BatchRequest", "InputFormat", "OutputFormat"]

InputFormat = Literal["jsonl", "csv", "tf-record", "tf-record-gzip", "file-list", "bigquery"]
"""Formats of instances, by the service's names."""
OutputFormat = Literal["jsonl", "csv", "bigquery"]
"""Formats of results."""


@dataclass(frozen=True)
class BatchRequest:
    """The arguments of `BatchPrediction.run`, which documents them."""

    source: Any
    format: InputFormat | None = None
    name: str | None = None
    machine: Machine | str | None = None
    replicas: int | tuple[int, int] = 1
    batch_size: int | None = None
    destination: str | None = None
    output_format: OutputFormat = "jsonl"
    instance_type: Literal["object", "array"] | None = None
    key_field: str | None = None
    included_fields: Sequence[str] | None = None
    excluded_fields: Sequence[str] | None = None
    parameters: Any = None
    labels: Mapping[str, str] | None = None
    service_account: str | None = None

    def __post_init__(self) -> None:
        own_integers(self, "replicas", "batch_size")
