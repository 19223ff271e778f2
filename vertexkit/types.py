"""Values that the nouns take and give: frozen, typed, without any Google message type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Machine", "Signature", "TensorSpec"]


@dataclass(frozen=True)
class Machine:
    """A Compute Engine machine type, with the accelerators attached to it.

    See https://cloud.google.com/vertex-ai/docs/predictions/configure-compute
    """

    type: str = "n1-standard-2"
    """Machine type, such as ``"n1-standard-4"``."""
    accelerator: str | None = None
    """Accelerator type, such as ``"NVIDIA_TESLA_T4"``; None for none."""
    accelerator_count: int = field(default=-1)
    """Accelerators per machine; 1 when an accelerator is named and no count given."""

    def __post_init__(self) -> None:
        """Fill in the count that the accelerator implies."""
        if self.accelerator_count == -1:
            object.__setattr__(self, "accelerator_count", 0 if self.accelerator is None else 1)

    def __str__(self) -> str:
        """``n1-standard-4 + 1 x NVIDIA_TESLA_T4``."""
        if self.accelerator is None:
            return self.type
        return f"{self.type} + {self.accelerator_count} x {self.accelerator}"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model."""

    name: str
    """The name that instances and predictions use for it."""
    dtype: str
    """numpy's name of the dtype (``"float32"``), or ``"string"`` for bytes and text."""
    shape: tuple[int | None, ...] | None
    """Shape including the batch axis; None for an axis of any length; None for an unknown rank."""

    def __str__(self) -> str:
        """``images: uint8[?, 28, 28]``."""
        if self.shape is None:
            return f"{self.name}: {self.dtype}[...]"
        axes = ", ".join("?" if axis is None else str(axis) for axis in self.shape)
        return f"{self.name}: {self.dtype}[{axes}]"


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives, as its SavedModel says."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    name: str = "serving_default"
    """The signature's name in the SavedModel."""

    def __str__(self) -> str:
        """``serving_default(images: uint8[?, 28, 28]) -> output_0: float32[?, 10]``."""
        taken = ", ".join(map(str, self.inputs.values()))
        given = ", ".join(map(str, self.outputs.values()))
        return f"{self.name}({taken}) -> {given}"
