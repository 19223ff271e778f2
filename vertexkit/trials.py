"""What a search has tried: every trial, the best of them, and all of them as a table.

A hyperparameter tuning job and a Keras Tuner search give the same.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias, overload

from vertexkit._core.html import described
from vertexkit.errors import ConfigurationError, InvalidArgument, NotFound
from vertexkit.pareto import unbeaten

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from vertexkit.model import Model

__all__ = ["Measurement", "Objective", "ParameterValue", "Trial", "TrialState", "Trials", "facts", "number"]

ParameterValue: TypeAlias = float | int | str
"""Of a parameter in a trial."""

_SHOWN: Final = 200
"""Rows that a notebook shows, beside the best."""


class TrialState(enum.StrEnum):
    """How far a trial has come. Compares equal to its name: ``trial.state == "SUCCEEDED"``."""

    REQUESTED = "REQUESTED"
    """It is to be run, and has no parameters yet."""
    ACTIVE = "ACTIVE"
    """It is running."""
    STOPPING = "STOPPING"
    """It was asked to stop early."""
    SUCCEEDED = "SUCCEEDED"
    INFEASIBLE = "INFEASIBLE"
    """It came to no metric; its ``infeasible_reason`` says why."""
    UNKNOWN = "UNKNOWN"
    """One that the service has and vertexkit does not know."""

    @property
    def ended(self) -> bool:
        """Whether nothing about the trial changes any more."""
        return self in (TrialState.SUCCEEDED, TrialState.INFEASIBLE)


@dataclass(frozen=True)
class Objective:
    """What a search is after."""

    metric: str
    maximize: bool = True

    def __str__(self) -> str:
        """``accuracy (maximized)``."""
        return f"{self.metric} ({'maximized' if self.maximize else 'minimized'})"

    def value(self, trial: Trial) -> float | None:
        """The trial's metric; None if it has none, or none that can be compared."""
        value = trial.metrics.get(self.metric)
        return None if value is None or math.isnan(value) else value

    def better(self, value: float, other: float) -> bool:
        """Whether a value is better than another."""
        return value > other if self.maximize else value < other


@dataclass(frozen=True, repr=False)
class Measurement:
    """What a trial reported at one moment."""

    step: int
    metrics: Mapping[str, float]
    elapsed: float | None = None
    """Seconds since the trial was started, where the service says."""

    def __str__(self) -> str:
        """``step 3 after 1.5 s: accuracy=0.97``."""
        after = "" if self.elapsed is None else f" after {self.elapsed:.1f} s"
        return f"step {self.step}{after}: {facts(self.metrics)}"

    def __repr__(self) -> str:
        return f"<{self}>"


@dataclass(frozen=True, repr=False)
class Trial:
    """One point of the space that was tried, as last read."""

    id: str
    state: TrialState
    parameters: Mapping[str, ParameterValue]
    """By name: an integer is an int, a category a str."""
    metrics: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """The metrics that count, by name; empty as long as there are none."""
    measurements: tuple[Measurement, ...] = ()
    """What it has reported while it ran, where the service keeps that."""
    start: datetime | None = None
    """When it began, in UTC."""
    end: datetime | None = None
    """When it was over, in UTC."""
    stopped_early: bool = False
    """Whether the search stopped it, because others promised more: its metrics are those it had by then."""
    infeasible_reason: str | None = None
    """Why it came to no metric."""
    model_dir: str | None = None
    """``AIP_MODEL_DIR`` of the trial: ``gs://bucket/folder``, where it may have written a SavedModel."""
    custom_job: str | None = None
    """Resource name of the CustomJob that runs it, where one does."""
    _upload: Callable[..., Model] | None = field(default=None, compare=False)

    @property
    def seconds(self) -> float | None:
        """How long it took; None as long as it is not over."""
        return None if self.start is None or self.end is None else (self.end - self.start).total_seconds()

    def model(
        self,
        name: str | None = None,
        *,
        serving_image: str | None = None,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Model:
        """Upload the SavedModel that the trial has written, as a model that can be deployed.

        Args:
            name: Display name; by default that of the search, with the trial's id.
            serving_image: URI of the container that is to serve it; by default the prebuilt one of the
                version that trained it.
            description: Description; by default the trial's parameters and metrics.
            labels: Labels, beside those of the session.

        Returns:
            The model. Every call makes another one.

        Raises:
            NotFound: The trial has written no model.
            InvalidArgument: An argument, or what was written, is wrong.
            VertexkitError: The service refused the model.
        """
        if self._upload is None:
            raise NotFound("the trial was told no place to write a model to", resource=f"trial {self.id}")
        return self._upload(self, name, serving_image=serving_image, description=description, labels=labels)

    def __str__(self) -> str:
        """``trial 3: SUCCEEDED, n_hidden=2, accuracy=0.97``."""
        said = [
            self.state.value,
            *(["stopped early"] if self.stopped_early else []),
            *([facts({**self.parameters, **self.metrics})] if self.parameters or self.metrics else []),
            *([self.infeasible_reason] if self.infeasible_reason else []),
        ]
        return f"trial {self.id}: {', '.join(said)}"

    def __repr__(self) -> str:
        return f"<{self}>"

    def _repr_html_(self) -> str:
        shown = {
            "state": f"{self.state.value}, stopped early" if self.stopped_early else self.state.value,
            "parameters": facts(self.parameters),
            "metrics": facts(self.metrics),
            "reports": f"{len(self.measurements)}, the last one {self.measurements[-1]}"
            if self.measurements
            else "",
            "began": "" if self.start is None else f"{self.start:%Y-%m-%d %H:%M:%S} UTC",
            "took": "" if self.seconds is None else f"{self.seconds:.1f} s",
            "why": self.infeasible_reason or "",
            "model folder": self.model_dir or "",
            "job": self.custom_job or "",
        }
        return described(f"Trial {self.id}", shown)


class Trials(Sequence[Trial]):
    """The trials of a search, in the order in which they were begun.

    Args:
        trials: The trials.
        objectives: What the search is after: one metric, or several.
        log: Names of the parameters that are drawn on a logarithmic axis.
    """

    def __init__(
        self, trials: Sequence[Trial], objectives: Sequence[Objective], *, log: Sequence[str] = ()
    ) -> None:
        self._trials = tuple(trials)
        self.objectives = tuple(objectives)
        self._log = frozenset(log)

    @overload
    def __getitem__(self, index: int) -> Trial: ...

    @overload
    def __getitem__(self, index: slice) -> Trials: ...

    def __getitem__(self, index: int | slice) -> Trial | Trials:
        if isinstance(index, slice):
            return Trials(self._trials[index], self.objectives, log=tuple(self._log))
        return self._trials[index]

    def __len__(self) -> int:
        return len(self._trials)

    def __iter__(self) -> Iterator[Trial]:
        return iter(self._trials)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Trials):
            return NotImplemented
        return (self._trials, self.objectives) == (other._trials, other.objectives)

    def __hash__(self) -> int:
        return hash(tuple(trial.id for trial in self._trials))

    def best(self, metric: str | None = None, maximize: bool | None = None) -> Trial | None:
        """The best of those that have succeeded; of equals the first.

        Args:
            metric: Which metric counts; may be left out where the search has only one.
            maximize: Whether more of it is better; by default as the search has it.

        Returns:
            The trial; None if none has succeeded so far.

        Raises:
            InvalidArgument: There is no such metric, or none is named where the search has several.
        """
        objective = self._objective(metric, maximize)
        best: tuple[float, Trial] | None = None
        for trial in self._trials:
            value = objective.value(trial) if trial.state is TrialState.SUCCEEDED else None
            if value is not None and (best is None or objective.better(value, best[0])):
                best = value, trial
        return None if best is None else best[1]

    def optimal(self) -> Trials:
        """Those that no other one beats: for one metric the best, of equals the first; else the Pareto set.

        Of a trial that is in it no metric could be better without another one being worse.
        """
        if len(self.objectives) == 1:
            best = self.best()
            return Trials([] if best is None else [best], self.objectives, log=tuple(self._log))
        rated = [
            (trial, tuple(value if goal.maximize else -value for goal, value in values))
            for trial in self._trials
            if trial.state is TrialState.SUCCEEDED
            and len(values := self._values(trial)) == len(self.objectives)
        ]
        kept = [rated[index][0] for index in unbeaten([values for _, values in rated])]
        return Trials(kept, self.objectives, log=tuple(self._log))

    def to_frame(self) -> pd.DataFrame:
        """All trials as a frame.

        Returns:
            A row for each trial, by ``trial`` (its id): ``state``, a column for each parameter and for each
            metric, ``start``, ``end`` (UTC), ``seconds``, ``stopped_early`` and ``infeasible_reason``. A
            parameter that only some trials have is missing in the others; integers stay integers. A metric
            of a parameter's name has ``_`` behind it.

        Raises:
            ConfigurationError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ConfigurationError(
                "trials come as a frame of pandas, which is not installed",
                remedy="pip install 'vertexkit[pandas]'",
            ) from None
        index = pd.Index([trial.id for trial in self._trials], name="trial", dtype="str")
        columns: dict[str, Any] = {"state": pd.array([trial.state.value for trial in self._trials], "str")}
        for name in self.parameter_names:
            values = [trial.parameters.get(name) for trial in self._trials]
            columns[_free(name, columns)] = pd.array(values, dtype=_dtype(values))  # type: ignore[call-overload]
        for name in self.metric_names:
            numbers = [trial.metrics.get(name, math.nan) for trial in self._trials]
            columns[_free(name, columns)] = pd.array(numbers, dtype="float64")
        for name in ("start", "end"):
            times = [getattr(trial, name) for trial in self._trials]
            columns[_free(name, columns)] = (
                pd.to_datetime(pd.Series(times, dtype="object"), utc=True).dt.as_unit("ns").array
            )
        seconds = [math.nan if trial.seconds is None else trial.seconds for trial in self._trials]
        columns[_free("seconds", columns)] = seconds
        columns[_free("stopped_early", columns)] = [trial.stopped_early for trial in self._trials]
        columns[_free("infeasible_reason", columns)] = [
            trial.infeasible_reason or "" for trial in self._trials
        ]
        return pd.DataFrame(columns, index=index)

    def plot(self, metric: str | None = None) -> Figure:
        """Draw how the search went: the metric by trial with the best so far, and by each parameter.

        Args:
            metric: Which one; may be left out where the search has only one.

        Returns:
            The ``matplotlib.figure.Figure``, which a notebook shows.

        Raises:
            InvalidArgument: There is no such metric, or no trial has one yet.
            ConfigurationError: matplotlib is not installed.
        """
        from vertexkit.trials_plot import plot

        objective = self._objective(metric, None)
        return plot(self, objective.metric, objective.maximize, log=self._log)

    @property
    def parameter_names(self) -> list[str]:
        """The names of all parameters that a trial has, in the order in which they appear."""
        return list(dict.fromkeys(name for trial in self._trials for name in trial.parameters))

    @property
    def metric_names(self) -> list[str]:
        """The metrics of the search, and what else its trials have reported."""
        own = [objective.metric for objective in self.objectives]
        return list(dict.fromkeys([*own, *(name for trial in self._trials for name in trial.metrics)]))

    def _values(self, trial: Trial) -> list[tuple[Objective, float]]:
        values = [(objective, objective.value(trial)) for objective in self.objectives]
        return [(objective, value) for objective, value in values if value is not None]

    def _objective(self, metric: str | None, maximize: bool | None) -> Objective:
        if metric is None:
            if len(self.objectives) != 1:
                names = " or ".join(repr(objective.metric) for objective in self.objectives)
                raise InvalidArgument(
                    "metric",
                    None,
                    f"is not given, and the search has {len(self.objectives)} of them",
                    remedy=f"name {names}; optimal() gives the trials that no other one beats",
                )
            found = self.objectives[0]
        else:
            known = {objective.metric: objective for objective in self.objectives}
            if metric not in known and metric not in self.metric_names:
                raise InvalidArgument(
                    "metric", metric, "is no metric of the search", remedy=f"name one of {', '.join(known)}"
                )
            found = known.get(metric, Objective(metric))
        return found if maximize is None else Objective(found.metric, maximize)

    def __repr__(self) -> str:
        ended = sum(trial.state is TrialState.SUCCEEDED for trial in self._trials)
        stopped = sum(trial.stopped_early for trial in self._trials)
        of_them = f", {stopped} of them stopped early" if stopped else ""
        return f"<{len(self)} {'trial' if len(self) == 1 else 'trials'}, {ended} succeeded{of_them}>"

    def _repr_html_(self) -> str:
        parameters, metrics = self.parameter_names, self.metric_names
        head = ["trial", "state", *parameters, *metrics, "time", ""]
        best = {trial.id for trial in self.optimal()}
        rows = []
        for trial in [one for one in self._trials[:-_SHOWN] if one.id in best] + [*self._trials[-_SHOWN:]]:
            cells = [
                trial.id,
                trial.state.value,
                *(number(trial.parameters.get(name)) for name in parameters),
                *(number(trial.metrics.get(name)) for name in metrics),
                "" if trial.seconds is None else f"{trial.seconds:.1f} s",
                ", ".join(_remarks(trial, best)),
            ]
            style = ' style="font-weight: bold"' if trial.id in best else ""
            rows.append(f"<tr{style}>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
        left_out = len(self) - len(rows)
        note = f"<p>{left_out} earlier trials are left out: to_frame() has them all.</p>" if left_out else ""
        titles = "".join(f"<th>{escape(title)}</th>" for title in head)
        return f"<table><tr>{titles}</tr>{''.join(rows)}</table>{note}"


def _remarks(trial: Trial, best: set[str]) -> Iterator[str]:
    if trial.id in best:
        yield "★ best"
    if trial.stopped_early:
        yield "stopped early"
    if trial.infeasible_reason:
        yield trial.infeasible_reason


def number(value: ParameterValue | None) -> str:
    """A value as people read it: ``0.00123``, ``128``, ``adam``; empty for none."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def facts(values: Mapping[str, ParameterValue]) -> str:
    """Parameters or metrics as people read them: ``lr=0.001, n=3``."""
    return ", ".join(f"{name}={number(value)}" for name, value in values.items())


def _free(name: str, columns: Mapping[str, Any]) -> str:
    """A column's name, with ``_`` behind it where another column has it."""
    while name in columns:
        name += "_"
    return name


def _dtype(values: Sequence[ParameterValue | None]) -> str:
    given = [value for value in values if value is not None]
    if all(isinstance(value, str) for value in given):
        return "str"
    if all(isinstance(value, bool) for value in given):
        return "boolean" if len(given) < len(values) else "bool"
    if all(isinstance(value, int) for value in given):
        # A column with gaps must not turn integers into floats.
        return "Int64" if len(given) < len(values) else "int64"
    if not any(isinstance(value, str) for value in given):
        return "float64"
    return "object"
