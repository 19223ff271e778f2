"""Draws the scalars of a training job: a plot for each tag, a line for each run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from vertexkit.errors import ConfigurationError, InvalidArgument

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["drawing", "plot"]

_COLUMNS: Final = {"run", "tag", "step", "value"}
_WIDE: Final = 3
_INCHES: Final = (4.2, 3.0)


def plot(frame: pd.DataFrame) -> Figure:
    """Draw what `vertexkit.training_outputs.metrics` returned.

    Nothing of pyplot is touched, and no display is needed: a notebook shows the figure, and
    ``figure.savefig("metrics.png")`` writes it.

    Args:
        frame: The scalars, with the columns ``run``, ``tag``, ``step`` and ``value``; a part of them does.

    Returns:
        A figure with a plot for each tag, in the order of their names, and a line for each run.

    Raises:
        InvalidArgument: The frame has other columns, or no rows.
        ConfigurationError: matplotlib is not installed.
    """
    make = drawing("the scalars of a job")
    import matplotlib as mpl
    from matplotlib.ticker import MaxNLocator

    columns = set(getattr(frame, "columns", ()))
    if not columns >= _COLUMNS:
        raise InvalidArgument(
            "frame",
            frame,
            "is no frame of scalars",
            remedy="give what metrics() returned, or some rows of it",
        )
    if not len(frame):
        raise InvalidArgument(
            "frame", frame, "has no rows: the job has logged no scalars", remedy="log some for TensorBoard"
        )
    tags = sorted(frame["tag"].unique())
    colors = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
    runs = {run: colors[index % len(colors)] for index, run in enumerate(sorted(frame["run"].unique()))}
    across = min(_WIDE, len(tags))
    down = math.ceil(len(tags) / across)
    figure = make(figsize=(_INCHES[0] * across, _INCHES[1] * down), layout="constrained")
    for index, tag in enumerate(tags):
        axes = figure.add_subplot(down, across, index + 1)
        rows = frame[frame["tag"] == tag]
        for run, line in rows.groupby("run"):
            # A single value is no line.
            marker = "o" if len(line) == 1 else ""
            steps, values = line["step"].to_numpy(), line["value"].to_numpy()
            axes.plot(steps, values, label=str(run), color=runs[run], marker=marker)
        axes.set_title(tag, fontsize="medium")
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.grid(visible=True, alpha=0.3)
        if len(runs) > 1:
            axes.legend(fontsize="small")
    return figure


def drawing(what: str) -> Callable[..., Figure]:
    """What makes figures that a notebook shows, whether or not pyplot has been set up there.

    Args:
        what: What is to be drawn, for the error.

    Raises:
        ConfigurationError: matplotlib is not installed.
    """
    from io import BytesIO

    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigurationError(
            f"matplotlib draws {what}, and is not installed", remedy="pip install 'vertexkit[plot]'"
        ) from None

    class Shown(Figure):
        def _repr_png_(self) -> bytes:
            content = BytesIO()
            self.savefig(content, format="png")
            return content.getvalue()

    return Shown
