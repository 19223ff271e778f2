"""What the caller of `Tuning.run` asks for, before anything of it is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from vertexkit._core.arguments import own_integers
from vertexkit.early_stopping import EarlyStopping
from vertexkit.spaces import Space
from vertexkit.training_request import TrainingRequest

__all__ = ["Algorithm", "Goal", "Selection", "TuningRequest"]

Goal = Literal["maximize", "minimize"]
"""Whether more of a metric is better."""
Algorithm = Literal["random", "grid"]
"""How points of the space are chosen, in place of Vertex AI's own way, which learns from the trials."""
Selection = Literal["last", "best"]
"""Which of a trial's reports is its metric."""


@dataclass(frozen=True)
class TuningRequest:
    """The arguments of `Tuning.run`, which documents them."""

    trial: TrainingRequest
    """What every trial runs; it makes no model."""
    metric: str | Mapping[str, Goal]
    space: Space
    trials: int
    maximize: bool = True
    parallel: int | None = None
    max_failed: int | None = None
    algorithm: Algorithm | None = None
    early_stopping: EarlyStopping | None = None
    measurement_selection: Selection = "last"

    def __post_init__(self) -> None:
        own_integers(self, "trials", "parallel", "max_failed")
