"""The trials of a search as a terminal shows them while it goes on, with no number cut where it is narrow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vertexkit.trials import Trial, Trials, TrialState, number

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["trials_table"]

_LEAST_ROWS: Final = 3
_AROUND: Final = 8
"""Lines of a terminal that are not for rows: headings, the line above, what the user sees before it."""
_MOST_ROWS: Final = 25
_STYLES: Final = {
    TrialState.ACTIVE: "cyan",
    TrialState.STOPPING: "yellow",
    TrialState.INFEASIBLE: "red",
}
_EDGES: Final = 2
_GAP: Final = 2
"""Between two columns, as rich draws them."""
_LEAST_TITLE: Final = 6
_LEAST_METRIC: Final = 12
"""So much of a title is shown, at least: of a metric's more than of a parameter's."""
_LEAST_TEXT: Final = 12
"""So much of a category is shown, at least."""


@dataclass(frozen=True)
class _Column:
    title: str
    cells: Sequence[str]
    least: int
    """The width below which something would be cut that must not be."""
    rank: int = 0
    """Where there is no room, those of the highest rank go first; the last of equals; none of rank 0."""

    @property
    def whole(self) -> int:
        """The width with which nothing is cut."""
        return max(map(_width, [self.title, *self.cells]))


_OF_THE_STATE: Final = 1
_OF_WHAT_IS_LEFT_OUT: Final = 2
_OF_THE_TIME: Final = 3
_OF_A_PARAMETER: Final = 4


def trials_table(trials: Trials, console: Console) -> RenderableType:
    """The trials that a terminal has room for: the best, those that run, the latest that have ended.

    Where it is narrow, titles and categories are cut first, then parameters are left out, which it says, then
    the time and the state.

    Args:
        trials: The trials.
        console: The terminal.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    best = {trial.id for trial in trials.optimal()}
    rows = _chosen(trials, best, console.height - _AROUND)
    columns = _fitting(_columns(trials, rows, best), console.width)
    widths = _widths(columns, console.width)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column, width in zip(columns, widths, strict=True):
        table.add_column(Text(column.title), width=width, no_wrap=True)
    for index, trial in enumerate(rows):
        style = "bold green" if trial.id in best else _STYLES.get(trial.state, "")
        table.add_row(*(Text(column.cells[index]) for column in columns), style=style)
    return table


def _chosen(trials: Trials, best: set[str], rows: int) -> list[Trial]:
    room = min(max(rows, _LEAST_ROWS), _MOST_ROWS)
    by_worth = sorted(enumerate(trials), key=lambda one: (one[1].id not in best, one[1].state.ended, -one[0]))
    return [trial for _, trial in sorted(by_worth[:room], key=lambda one: one[0])]


def _columns(trials: Trials, rows: Sequence[Trial], best: set[str]) -> list[_Column]:
    ids = [f"{trial.id} ★" if trial.id in best else trial.id for trial in rows]
    states = ["stopped" if trial.stopped_early else trial.state.value for trial in rows]
    columns = [_column("trial", ids), _column("state", states, rank=_OF_THE_STATE)]
    for name in trials.parameter_names:
        values = [trial.parameters.get(name) for trial in rows]
        cells = [number(value) for value in values]
        least = max(
            (
                min(_width(cell), _LEAST_TEXT) if isinstance(value, str) else _width(cell)
                for cell, value in zip(cells, values, strict=True)
            ),
            default=0,
        )
        title = min(_width(name), _LEAST_TITLE)
        columns.append(_Column(name, cells, max(least, title), _OF_A_PARAMETER))
    for name in (objective.metric for objective in trials.objectives):
        cells = [number(trial.metrics.get(name, _latest(trial, name))) for trial in rows]
        columns.append(_column(name, cells, title_least=_LEAST_METRIC))
    seconds = [f"{_seconds(trial):.0f} s" if trial.start is not None else "" for trial in rows]
    return [*columns, _column("time", seconds, rank=_OF_THE_TIME)]


def _column(title: str, cells: Sequence[str], *, title_least: int = _LEAST_TITLE, rank: int = 0) -> _Column:
    """One of which no cell may be cut."""
    least = max([min(_width(title), title_least), *map(_width, cells)])
    return _Column(title, cells, least, rank)


def _fitting(columns: list[_Column], room: int) -> list[_Column]:
    """As many of them as there is room for, and one that says how many parameters are left out."""
    left_out = 0
    while _needed(columns) > room:
        going = max(range(len(columns)), key=lambda index: (columns[index].rank, index))
        if columns[going].rank == 0:
            break
        if columns[going].rank == _OF_A_PARAMETER:
            said = f"+{left_out + 1} more"
            counting = _Column(said, [""] * len(columns[going].cells), len(said), _OF_WHAT_IS_LEFT_OUT)
            others = [one for one in columns if one.rank != _OF_WHAT_IS_LEFT_OUT]
            columns = [counting if one is columns[going] else one for one in others]
            left_out += 1
        else:
            columns = columns[:going] + columns[going + 1 :]
    return columns


def _widths(columns: Sequence[_Column], room: int) -> list[int]:
    """How wide they are to be: what there is too much of goes to the metrics, then to the others in turn."""
    widths = [column.least for column in columns]
    spare = max(room - _needed(columns), 0)
    for index in sorted(range(len(columns)), key=lambda index: columns[index].rank):
        more = min(columns[index].whole - widths[index], spare)
        widths[index] += more
        spare -= more
    return widths


def _needed(columns: Sequence[_Column]) -> int:
    return sum(column.least for column in columns) + _GAP * (len(columns) - 1) + _EDGES


def _width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    from rich.cells import cell_len

    return cell_len(text)


def _latest(trial: Trial, metric: str) -> float | None:
    """What a trial that runs has reported last."""
    values = [measured.metrics[metric] for measured in trial.measurements if metric in measured.metrics]
    return values[-1] if values else None


def _seconds(trial: Trial) -> float:
    if trial.start is None:
        return 0.0
    until = time.time() if trial.end is None else trial.end.timestamp()
    return max(until - trial.start.timestamp(), 0.0)
