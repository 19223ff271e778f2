"""By which rule a tuning job stops trials that will come to nothing.

API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/StudySpec
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from vertexkit.errors import InvalidArgument

__all__ = [
    "ConvexStopping",
    "DecayCurveStopping",
    "EarlyStopping",
    "MedianStopping",
    "early_stopping",
    "stopping_spec",
]

_INT64: Final = 2**63


@dataclass(frozen=True)
class MedianStopping:
    """Stop a trial whose best value is worse than the median of what the completed ones had by then.

    What they had by then is the running average of what each reported.
    """

    use_elapsed_duration: bool = False
    """Whether trials are compared after the same time rather than after the same number of steps."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        _check_switch("use_elapsed_duration", self.use_elapsed_duration)


@dataclass(frozen=True)
class DecayCurveStopping:
    """Stop a trial that will most probably not exceed the best so far, by a regression on its curve."""

    use_elapsed_duration: bool = False
    """Whether a curve is over time rather than over steps."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        _check_switch("use_elapsed_duration", self.use_elapsed_duration)


@dataclass(frozen=True)
class ConvexStopping:
    """Stop a trial whose slope will not bring it to the best so far, at its last step."""

    max_steps: int = 0
    """Steps of a whole trial (seconds, with ``use_elapsed_duration``); 0 to learn it from the others."""
    min_steps: int = 0
    """Steps before which none is stopped; 0 for a tenth of ``max_steps``."""
    min_measurements: int = 0
    """Measurements before which none is stopped, and fewer than completed trials; 0 for 5."""
    learning_rate: str = ""
    """Name of the parameter that is the learning rate; empty when none is."""
    use_elapsed_duration: bool = False
    """Whether a curve is over time rather than over steps."""
    update_all_stopped_trials: bool = False
    """Whether what trials that were stopped earlier would have come to is predicted anew."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name in ("max_steps", "min_steps", "min_measurements"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InvalidArgument(name, value, "is no whole number from 0 up")
            if value >= _INT64:
                remedy = "write 0 to leave it to Vertex AI"
                raise InvalidArgument(name, value, "has more than 64 bits", remedy=remedy)
        if 0 < self.max_steps <= self.min_steps:
            raise InvalidArgument("min_steps", self.min_steps, f"is not below max_steps={self.max_steps}")
        if not isinstance(self.learning_rate, str):
            raise InvalidArgument("learning_rate", self.learning_rate, "is no name of a parameter")
        _check_switch("use_elapsed_duration", self.use_elapsed_duration)
        _check_switch("update_all_stopped_trials", self.update_all_stopped_trials)


EarlyStopping: TypeAlias = (
    Literal["median", "decay_curve", "convex"] | MedianStopping | DecayCurveStopping | ConvexStopping
)
"""A rule, or its name for the rule as it usually is."""

_NAMED: Final[Mapping[str, Callable[[], MedianStopping | DecayCurveStopping | ConvexStopping]]] = {
    "median": MedianStopping,
    "decay_curve": DecayCurveStopping,
    "convex": ConvexStopping,
}


def early_stopping(given: object) -> MedianStopping | DecayCurveStopping | ConvexStopping | None:
    """The rule that a caller means.

    Raises:
        InvalidArgument: It is none.
    """
    if given is None or isinstance(given, MedianStopping | DecayCurveStopping | ConvexStopping):
        return given
    if isinstance(given, str) and given in _NAMED:
        return _NAMED[given]()
    raise InvalidArgument(
        "early_stopping",
        given,
        "is no rule of early stopping",
        remedy="use 'median', 'decay_curve', 'convex', or a MedianStopping, DecayCurveStopping or "
        "ConvexStopping",
    )


def stopping_spec(rule: MedianStopping | DecayCurveStopping | ConvexStopping) -> dict[str, Any]:
    """The field of a ``StudySpec`` that asks for it."""
    if isinstance(rule, ConvexStopping):
        # A 64-bit integer is text in the JSON of protobuf.
        counts = {
            "maxStepCount": str(rule.max_steps),
            "minStepCount": str(rule.min_steps),
            "minMeasurementCount": str(rule.min_measurements),
        }
        options: dict[str, Any] = {name: count for name, count in counts.items() if count != "0"}
        if rule.learning_rate:
            options["learningRateParameterName"] = rule.learning_rate
        if rule.update_all_stopped_trials:
            options["updateAllStoppedTrials"] = True
        name = "convexAutomatedStoppingSpec"
    else:
        options = {}
        is_median = isinstance(rule, MedianStopping)
        name = "medianAutomatedStoppingSpec" if is_median else "decayCurveStoppingSpec"
    if rule.use_elapsed_duration:
        options["useElapsedDuration"] = True
    return {name: options}


def _check_switch(argument: str, value: object) -> None:
    if not isinstance(value, bool):
        raise InvalidArgument(argument, value, "is neither True nor False")
