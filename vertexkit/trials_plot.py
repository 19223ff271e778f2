"""Draws the trials of a search: a metric over time with the best so far, and against each parameter."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

from vertexkit.errors import InvalidArgument
from vertexkit.metrics_plot import drawing
from vertexkit.trials import Objective, ParameterValue, Trial, TrialState

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot"]

_WIDE: Final = 3
_INCHES: Final = (4.2, 3.0)
_MANY: Final = 300
_LOG_RATIO: Final = 1000


def plot(trials: Sequence[Trial], metric: str, maximize: bool, *, log: Collection[str] = ()) -> Figure:
    """Draw how a search went.

    Nothing of pyplot is touched, and no display is needed: a notebook shows the figure, and
    ``figure.savefig("search.png")`` writes it.

    Args:
        trials: The trials, in the order in which they were begun.
        metric: The metric to draw.
        maximize: Whether more of it is better.
        log: Names of the parameters that get a logarithmic axis.

    Returns:
        A figure: the metric of each trial and the best so far, then a plot for each parameter.

    Raises:
        InvalidArgument: No trial has that metric.
        ConfigurationError: matplotlib is not installed.
    """
    make = drawing("trials")
    objective = Objective(metric, maximize)
    rated = [
        (place, trial, value)
        for place, trial in enumerate(trials, start=1)
        if trial.state is TrialState.SUCCEEDED
        and (value := objective.value(trial)) is not None
        and math.isfinite(value)
    ]
    if not rated:
        raise InvalidArgument("metric", metric, "is of no trial so far", remedy="wait until one has ended")
    names = list(dict.fromkeys(name for _, trial, _ in rated for name in trial.parameters))
    across = min(_WIDE, 1 + len(names))
    down = math.ceil((1 + len(names)) / across)
    figure = make(figsize=(_INCHES[0] * across, _INCHES[1] * down), layout="constrained")
    _history(figure.add_subplot(down, across, 1), rated, objective)
    best = rated[0]
    for one in rated:
        if objective.better(one[2], best[2]):
            best = one
    for index, name in enumerate(names, start=2):
        points = [
            (trial.parameters[name], value, trial is best[1])
            for _, trial, value in rated
            if name in trial.parameters
        ]
        _against(figure.add_subplot(down, across, index), name, objective, points, log=name in log)
    return figure


def _history(axes: Axes, rated: Sequence[tuple[int, Trial, float]], objective: Objective) -> None:
    from matplotlib.ticker import MaxNLocator

    so_far: list[float] = []
    for _, _, value in rated:
        so_far.append(value if not so_far or objective.better(value, so_far[-1]) else so_far[-1])
    places, values = [place for place, _, _ in rated], [value for _, _, value in rated]
    axes.plot(places, values, "o", color="0.6", markersize=_size(len(rated)), label="trial")
    axes.plot(places, so_far, color="C0", drawstyle="steps-post", label="best so far")
    _scaled(axes, objective, values)
    axes.set_xlabel("trial")
    axes.set_ylabel(objective.metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    # Where the best ends is where no bad trial is; to look for free space takes long with many.
    axes.legend(fontsize="small", loc="lower right" if objective.maximize else "upper right")
    axes.grid(visible=True, alpha=0.3)


def _against(
    axes: Axes,
    name: str,
    objective: Objective,
    points: Sequence[tuple[ParameterValue, float, bool]],
    *,
    log: bool,
) -> None:
    given = [value for value, _, _ in points]
    ticks: list[str] | None = None
    places: list[Any] = list(given)
    if any(isinstance(value, str | bool) for value in given):
        ticks = sorted({str(value) for value in given})
        number = {tick: index for index, tick in enumerate(ticks)}
        places = [number[str(value)] for value in given]
    size = _size(len(points))
    axes.plot(places, [value for _, value, _ in points], "o", color="C0", alpha=0.5, markersize=size)
    for place, (_, value, is_best) in zip(places, points, strict=True):
        if is_best:
            axes.plot([place], [value], "*", color="C3", markersize=11, label="best")
    if ticks is not None:
        axes.set_xticks(range(len(ticks)), ticks)
        axes.set_xlim(-0.5, len(ticks) - 0.5)
    elif log and all(place > 0 for place in places):
        axes.set_xscale("log")
    _scaled(axes, objective, [value for _, value, _ in points])
    axes.set_xlabel(name)
    axes.set_ylabel(objective.metric)
    axes.grid(visible=True, alpha=0.3)


def _scaled(axes: Axes, objective: Objective, values: Sequence[float]) -> None:
    """A logarithmic axis for a loss that a few bad trials would flatten."""
    if not objective.maximize and min(values) > 0 and max(values) / min(values) > _LOG_RATIO:
        axes.set_yscale("log")


def _size(count: int) -> float:
    return 5.0 if count <= _MANY else 3.0
