"""What a service asks of the tuning engine, and what it is told. No message of the API is in here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

ParameterValue: TypeAlias = float | int | str
"""Of a parameter: a float for DOUBLE and DISCRETE, an int for INTEGER, a str for CATEGORICAL."""


class Kind(Enum):
    """What values a parameter has."""

    DOUBLE = "double"
    INTEGER = "integer"
    CATEGORICAL = "categorical"
    DISCRETE = "discrete"


class Scale(Enum):
    """What is spread evenly over a parameter's range."""

    LINEAR = "linear"
    LOG = "log"
    REVERSE_LOG = "reverse log"
    """Values near the maximum are further apart than those near the minimum."""


@dataclass(frozen=True)
class Parameter:
    """What is searched over."""

    name: str
    kind: Kind
    minimum: float = 0.0
    """Of a DOUBLE or an INTEGER, inclusive; of an INTEGER it is an int."""
    maximum: float = 0.0
    """As ``minimum``."""
    values: tuple[float, ...] | tuple[str, ...] = ()
    """Of a CATEGORICAL, or of a DISCRETE and then increasing."""
    scale: Scale = Scale.LINEAR
    default: ParameterValue | None = None
    """A relatively good starting point; None where none is offered."""
    children: tuple[Child, ...] = ()
    """Parameters that there are only with some values of this one."""


@dataclass(frozen=True)
class Child:
    """A parameter that is active when its parent has one of some values."""

    parent_values: tuple[ParameterValue, ...]
    parameter: Parameter


@dataclass(frozen=True)
class Metric:
    """What is optimized."""

    id: str
    maximize: bool = True


class StoppingKind(Enum):
    """By which rule trials are stopped before their end."""

    MEDIAN = "median"
    DECAY_CURVE = "decay curve"
    CONVEX = "convex"


@dataclass(frozen=True)
class Stopping:
    """Automated early stopping, with the options that the API has.

    Those from ``max_step_count`` on are of the CONVEX rule.

    Source: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/StudySpec
    """

    kind: StoppingKind
    use_elapsed_duration: bool = False
    """Whether the horizontal axis of a trial's curve is seconds rather than steps."""
    max_step_count: int = 0
    """Steps (or seconds) of a whole trial; 0 to learn it from the completed ones."""
    min_step_count: int = 0
    """Steps (or seconds) before which no trial is stopped; 0 for a tenth of the maximum."""
    min_measurement_count: int = 0
    """Measurements before which no trial is stopped, and fewer than completed trials; 0 for 5."""
    learning_rate_parameter_name: str = ""
    """The parameter that is the learning rate; empty when none is."""
    update_all_stopped_trials: bool = False
    """Whether trials stopped earlier are predicted anew."""


class Algorithm(Enum):
    """How suggestions are found."""

    DEFAULT = "default"
    RANDOM_SEARCH = "random search"
    GRID_SEARCH = "grid search"


class Selection(Enum):
    """Which measurement becomes a trial's final one."""

    BEST = "best"
    LAST = "last"


class Noise(Enum):
    """How far the same parameters may lead to different metrics."""

    DEFAULT = "default"
    LOW = "low"
    """Not at all: the same parameters are never suggested twice."""
    HIGH = "high"


@dataclass(frozen=True)
class StudyConfig:
    """What is searched for, where, and how."""

    metrics: tuple[Metric, ...]
    """One objective, or several; of several the optimal trials are the Pareto set."""
    parameters: tuple[Parameter, ...]
    algorithm: Algorithm = Algorithm.DEFAULT
    stopping: Stopping | None = None
    measurement_selection: Selection = Selection.LAST
    noise: Noise = Noise.DEFAULT


@dataclass(frozen=True)
class Measurement:
    """What a trial reported at one moment."""

    step: int
    elapsed: float
    """Seconds since the trial was started."""
    metrics: Mapping[str, float]


class TrialState(Enum):
    """Where a trial is in its life; the values are the API's names."""

    REQUESTED = "REQUESTED"
    ACTIVE = "ACTIVE"
    STOPPING = "STOPPING"
    SUCCEEDED = "SUCCEEDED"
    INFEASIBLE = "INFEASIBLE"

    @property
    def ended(self) -> bool:
        """Whether nothing about the trial changes any more."""
        return self in (TrialState.SUCCEEDED, TrialState.INFEASIBLE)


@dataclass(frozen=True)
class TrialRecord:
    """A trial as the service has it."""

    id: int
    state: TrialState
    parameters: Mapping[str, ParameterValue]
    measurements: tuple[Measurement, ...] = ()
    """By step, then by elapsed seconds."""
    final: Measurement | None = None
    stopped: bool = False
    """Whether automated stopping ended it, so that a curve that ends early says nothing of a whole one."""
