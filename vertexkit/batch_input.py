"""What goes into a batch prediction job, as values: how instances are to be read, and where they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, get_args

from vertexkit.batch_request import InputFormat

__all__ = ["FORMATS", "KEY_FIELD", "BatchInput", "InstanceConfig", "is_own_key", "own_key_field"]

FORMATS: Final[tuple[InputFormat, ...]] = get_args(InputFormat)
"""The formats of instances that a job reads, by the service's names."""

KEY_FIELD: Final = "vertexkit_key"
"""The field of what vertexkit writes that holds an instance's position in the input: ``"0"``, ``"1"``, ...

Where the model has an input of that name, figures follow it.
"""


@dataclass(frozen=True)
class InstanceConfig:
    """How a job makes instances for the model of what it reads.

    API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.batchPredictionJobs
    """

    instance_type: str | None = None
    """``"object"`` or ``"array"``; None for what goes with the format."""
    key_field: str | None = None
    """The field that names an instance: not sent to the model, and given in its place in the results."""
    included_fields: tuple[str, ...] = ()
    """The only fields that are sent to the model, in this order."""
    excluded_fields: tuple[str, ...] = ()
    """Fields that are not sent to the model."""

    @property
    def is_default(self) -> bool:
        """Whether instances are sent as they are."""
        return self == InstanceConfig()

    @property
    def has_positions(self) -> bool:
        """Whether vertexkit has written each instance's position beside it, as its key."""
        return self.key_field is not None and is_own_key(self.key_field)

    def body(self) -> dict[str, Any]:
        """As JSON: what is not said is left out."""
        parts: dict[str, Any] = {
            "instanceType": self.instance_type,
            "keyField": self.key_field,
            "includedFields": list(self.included_fields),
            "excludedFields": list(self.excluded_fields),
        }
        return {name: value for name, value in parts.items() if value}

    def with_key(self, key_field: str) -> InstanceConfig:
        """The same, with another key field."""
        return replace(self, key_field=key_field)


@dataclass(frozen=True)
class BatchInput:
    """Instances where the service finds them: what a job is created with."""

    format: str
    """One of `FORMATS`."""
    uris: tuple[str, ...] = ()
    """``gs://`` URIs, of which some may be patterns; together, in this order, they hold the instances."""
    bigquery: str | None = None
    """``bq://project.dataset.table``, in place of the URIs."""
    config: InstanceConfig = InstanceConfig()
    """As the user wants it; with `KEY_FIELD` as its key field where vertexkit wrote keys."""
    count: int | None = None
    """How many instances there are, where that is known; lines that were not sent are counted too."""
    sent: tuple[str, ...] = ()
    """``gs://`` URIs of the folders that were made for it."""
    _undo: Callable[[], None] | None = field(default=None, repr=False, compare=False)

    def sent_to(self, folder: str, undo: Callable[[], None]) -> BatchInput:
        """The same, knowing how to delete what was sent."""
        return replace(self, sent=(folder,), _undo=undo)

    def undo(self) -> None:
        """Delete what was sent; gone already is no error. Nothing of the user's is touched."""
        if self._undo is not None:
            self._undo()


def is_own_key(key_field: str) -> bool:
    """Whether a job's key field is one that vertexkit wrote, whose values are positions in the input."""
    figures = key_field.removeprefix(KEY_FIELD)
    return key_field.startswith(KEY_FIELD) and (not figures or figures.isdecimal())


def own_key_field(names: Sequence[str]) -> str:
    """A key field that is none of the model's inputs."""
    key_field, tried = KEY_FIELD, 1
    while key_field in names:
        tried += 1
        key_field = f"{KEY_FIELD}{tried}"
    return key_field
