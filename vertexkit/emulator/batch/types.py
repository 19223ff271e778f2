"""What a service asks of the batch engine, and what it is told. No message of the API is in here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Protocol

MOST_FAILURES_TOLD = 20
"""Of a job's failures, how many are told; a BatchPredictionJob has no room for more."""


class InputFormat(StrEnum):
    """``InputConfig.instances_format``, as the API spells it."""

    JSONL = "jsonl"
    CSV = "csv"
    TF_RECORD = "tf-record"
    TF_RECORD_GZIP = "tf-record-gzip"
    FILE_LIST = "file-list"


class OutputFormat(StrEnum):
    """``OutputConfig.predictions_format``, as the API spells it."""

    JSONL = "jsonl"
    CSV = "csv"


@dataclass(frozen=True)
class Instances:
    """How an input becomes the instance that the model is sent (``InstanceConfig``).

    ``key_field`` is for jsonl and csv, ``included`` and ``excluded`` are for jsonl.

    Source: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.batchPredictionJobs
    """

    instance_type: str = ""
    """``object``, ``array``, or empty for what the input's format makes of it."""
    key_field: str = ""
    """The field that is not sent, and that stands for the instance in the results."""
    included: tuple[str, ...] = ()
    """The fields that are sent, in the order of an array; empty for all."""
    excluded: tuple[str, ...] = ()
    """The fields that are not sent."""


@dataclass(frozen=True)
class BatchSpec:
    """Everything that the files of a job's results depend on."""

    input_format: InputFormat
    uris: tuple[str, ...]
    """The objects to read, in this order; no patterns."""
    output_format: OutputFormat = OutputFormat.JSONL
    instances: Instances = Instances()
    parameters: bytes = b""
    """JSON that goes with every request; empty for none."""
    batch_size: int = 64
    """Most instances in one request."""
    shards: int = 1
    """How many files the results are split into; results lie in them in the order of the input."""
    in_flight: int = 2
    """Most requests at a time: three for every replica keep it busy."""


class Sources(Protocol):
    """Where inputs are read: objects by their ``gs://`` URI. Called from several threads."""

    def open(self, uri: str) -> BinaryIO:
        """A seekable file with the object's bytes, which is closed when it has been read.

        Raises:
            InputMissing: There is no such object.
        """
        ...

    def size(self, uri: str) -> int:
        """The object's bytes.

        Raises:
            InputMissing: There is no such object.
        """
        ...


@dataclass(frozen=True)
class Answer:
    """What a model server answered."""

    status: int
    """The HTTP status."""
    body: bytes


Predict = Callable[[bytes], Answer]
"""Has a replica answer a request's body. Blocks; called from ``in_flight`` threads; raises NoAnswer."""


@dataclass(frozen=True)
class Failure:
    """An instance that has no prediction."""

    instance: str
    """Its JSON as far as it is short, or the URI of the file that could not be read on."""
    code: int
    """Of ``google.rpc.Code``."""
    message: str
    """What is wrong, and in which line of which file."""


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    succeeded: int = 0
    failed: int = 0
    total: int | None = None
    """How many instances there are; None until they have been counted."""
    failures: tuple[Failure, ...] = ()
    """The first of those that failed, ``MOST_FAILURES_TOLD`` at most."""

    @property
    def left(self) -> int | None:
        """How many instances have not been answered yet; None until they have been counted."""
        return None if self.total is None else max(0, self.total - self.succeeded - self.failed)


@dataclass(frozen=True)
class BatchEnd:
    """How a run ended."""

    complete: bool
    """Whether every instance has been answered or has failed; False where the run was cancelled."""
    progress: Progress
    results: tuple[Path, ...]
    """A file for every shard, empty ones too."""
    errors: tuple[Path, ...]
    """A file for every shard, empty ones too; JSON lines in every output format."""


class InputMissing(Exception):
    """An object is not there (any more)."""


class NoAnswer(Exception):
    """No replica could answer a request: it may be sent again."""


class BatchFailed(Exception):
    """A run cannot go on, though it may later: its journal stays. The message says why."""
