"""Draws the trials of a search: a metric over time with the best so far, and against each parameter."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

from vertexkit.errors import InvalidArgument
from vertexkit.metrics_plot import drawing
from vertexkit.trials import Objective, ParameterValue, Trial, TrialState

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot"]

_WIDE: Final = 3
_PANEL: Final = (3.3, 2.3)
_GAP: Final = (0.25, 0.65)
"""Between panels: across; down, where the names of the parameters are."""
_MARGIN: Final = (0.85, 0.15)
"""At the left, where the metric is; at the right."""
_LEGEND: Final = 0.35
"""At the top, where the legend covers no point. All in inches: to find out what room the texts
need would take longer than to draw them."""
_SLANTED: Final = 0.45
"""Inches more for names of categories that do not fit beside each other."""
_MANY: Final = 300
_LOG_RATIO: Final = 1000
_TICKS: Final = 5
_DECADES: Final = 100
_LETTERS: Final = 32
"""That a panel has room for in a row."""
_LONGEST: Final = 14
"""Letters of a category that are shown."""


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
        raise _nothing_to_draw(trials, metric)
    names = list(dict.fromkeys(name for _, trial, _ in rated for name in trial.parameters))
    values = {
        name: [trial.parameters[name] for _, trial, _ in rated if name in trial.parameters] for name in names
    }
    slanted = any(_categories(given) and not _fit(_categories(given)) for given in values.values())
    figure, panels = _laid_out(make, 1 + len(names), metric, _SLANTED if slanted else 0.0)
    _history(panels[0], rated, objective)
    best = rated[0]
    for one in rated:
        if objective.better(one[2], best[2]):
            best = one
    for axes, name in zip(panels[1:], names, strict=True):
        points = [
            (trial.parameters[name], value, trial is best[1])
            for _, trial, value in rated
            if name in trial.parameters
        ]
        _against(axes, name, points, log=name in log)
    return figure


def _nothing_to_draw(trials: Sequence[Trial], metric: str) -> InvalidArgument:
    """Why there is no trial with the metric, and what would do."""
    begun, ended = len(trials), sum(trial.state.ended for trial in trials)
    so_far = f"{ended or 'none'} of {begun} has ended" if begun else "none has begun"
    if begun and ended == begun:
        remedy = "see infeasible_reason of the trials, and what the program prints"
    else:
        remedy = "wait() for the search, or plot it again once a trial has reported the metric and ended"
    problem = f"is of no trial so far: {so_far}{', without it' if ended else ''}"
    return InvalidArgument("metric", metric, problem, remedy=remedy)


def _laid_out(make: Callable[..., Figure], count: int, metric: str, more: float) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels, which have the metric in common; ``more`` inches are below each."""
    across = min(_WIDE, count)
    down = math.ceil(count / across)
    width = _MARGIN[0] + _MARGIN[1] + across * _PANEL[0] + (across - 1) * _GAP[0]
    below = _GAP[1] + more
    height = _LEGEND + down * (_PANEL[1] + below)
    figure = make(figsize=(width, height))
    grid = figure.add_gridspec(
        down,
        across,
        left=_MARGIN[0] / width,
        right=1 - _MARGIN[1] / width,
        bottom=below / height,
        top=1 - _LEGEND / height,
        wspace=_GAP[0] / _PANEL[0],
        hspace=below / _PANEL[1],
    )
    panels: list[Axes] = []
    for index in range(count):
        axes = figure.add_subplot(grid[divmod(index, across)], sharey=panels[0] if panels else None)
        axes.grid(visible=True, alpha=0.3)
        if index % across:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel(metric)
        panels.append(axes)
    return figure, panels


def _history(axes: Axes, rated: Sequence[tuple[int, Trial, float]], objective: Objective) -> None:
    from matplotlib.ticker import MaxNLocator

    so_far: list[float] = []
    for _, _, value in rated:
        so_far.append(value if not so_far or objective.better(value, so_far[-1]) else so_far[-1])
    places, values = [place for place, _, _ in rated], [value for _, _, value in rated]
    axes.plot(places, values, "o", color="0.6", markersize=_size(len(rated)), label="trial")
    axes.plot(places, so_far, color="C0", drawstyle="steps-post", label="best so far")
    # A few bad trials would flatten a loss.
    if not objective.maximize and min(values) > 0 and max(values) / min(values) > _LOG_RATIO:
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=_TICKS, min_n_ticks=1))
    if len(places) == 1:
        axes.set_xlim(places[0] - 0.5, places[0] + 0.5)
    axes.legend(
        fontsize="small", loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0.1
    )
    axes.set_xlabel("trial")


def _against(
    axes: Axes, name: str, points: Sequence[tuple[ParameterValue, float, bool]], *, log: bool
) -> None:
    given = [value for value, _, _ in points]
    categories = _categories(given)
    number = {category: index for index, category in enumerate(categories)}
    places: list[Any] = [number[str(value)] for value in given] if categories else list(given)
    size = _size(len(points))
    axes.plot(places, [value for _, value, _ in points], "o", color="C0", alpha=0.5, markersize=size)
    for place, (_, value, is_best) in zip(places, points, strict=True):
        if is_best:
            axes.plot([place], [value], "*", color="C3", markersize=11, label="best")
    if categories:
        _name_categories(axes, categories)
    else:
        _scale(axes, places, log=log and min(places) > 0)
    axes.set_xlabel(name)


def _categories(values: Sequence[ParameterValue]) -> list[str]:
    """The values of a parameter that is no number; none of one that is."""
    if not any(isinstance(value, str | bool) for value in values):
        return []
    return sorted({str(value) for value in values})


def _shown(categories: Sequence[str]) -> list[str]:
    return [one if len(one) <= _LONGEST else f"{one[: _LONGEST - 1]}\u2026" for one in categories]


def _fit(categories: Sequence[str]) -> bool:
    """Whether there is room for them beside each other."""
    return len(categories) * max(map(len, _shown(categories))) <= _LETTERS


def _name_categories(axes: Axes, categories: Sequence[str]) -> None:
    fit = _fit(categories)
    places = range(len(categories))
    axes.set_xticks(places, _shown(categories), rotation=0 if fit else 30, ha="center" if fit else "right")
    axes.set_xlim(-0.5, len(categories) - 0.5)


def _scale(axes: Axes, values: Sequence[float], *, log: bool) -> None:
    from matplotlib.ticker import MaxNLocator, NullLocator

    if not log:
        whole = all(isinstance(value, int) for value in values)
        axes.xaxis.set_major_locator(MaxNLocator(integer=whole, nbins=_TICKS))
        return
    axes.set_xscale("log")
    if max(values) / min(values) >= _DECADES:
        # There are powers of ten enough to read it by.
        axes.xaxis.set_minor_locator(NullLocator())


def _size(count: int) -> float:
    return 5.0 if count <= _MANY else 3.0
