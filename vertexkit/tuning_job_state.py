"""A tuning job as it was when last read: what it searches, and the trials that there are so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vertexkit._core.html import described
from vertexkit._core.lookup import timestamp
from vertexkit.job import Job, took
from vertexkit.trial_stops import TrialStops
from vertexkit.trials import Measurement, Objective, ParameterValue, Trial, Trials, TrialState

if TYPE_CHECKING:
    from vertexkit._core.context import Context
    from vertexkit.model import Model

__all__ = ["TuningJobState"]

_LOG = "UNIT_LOG_SCALE"
_STOPPING = frozenset(
    ("medianAutomatedStoppingSpec", "decayCurveStoppingSpec", "convexAutomatedStoppingSpec")
)
_CONDITIONS = ("parentCategoricalValues", "parentIntValues", "parentDiscreteValues")


class TuningJobState(Job):
    """What is known of a tuning job without asking."""

    def __init__(self, context: Context, data: Mapping[str, Any]) -> None:
        """Wrap a resource as REST gives it; use `Tuning` to get one."""
        super().__init__(context, data)
        self._parsed: tuple[Mapping[str, Any], frozenset[str], Trials] | None = None
        self._stops = TrialStops(context)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What it is after."""
        metrics = self._data.get("studySpec", {}).get("metrics", [])
        return tuple(Objective(str(one["metricId"]), one.get("goal") != "MINIMIZE") for one in metrics)

    @property
    def trial_count(self) -> int:
        """How many trials there are to be."""
        return int(self._data.get("maxTrialCount", 0))

    @property
    def parallel(self) -> int:
        """How many run at a time, at most."""
        return int(self._data.get("parallelTrialCount", 0))

    @property
    def base_output_dir(self) -> str | None:
        """Where its trials write, each below its id; None for a job that was told no place."""
        spec = self._data.get("trialJobSpec", {})
        return str(spec.get("baseOutputDirectory", {}).get("outputUriPrefix", "")).rstrip("/") or None

    @property
    def trials_as_read(self) -> Trials:
        """The trials when it was last read."""
        # Whoever shows them asks often, and there may be a thousand.
        data, stopped, parsed = self._data, self._stops.stopped, self._parsed
        if parsed is None or parsed[0] is not data or parsed[1] is not stopped:
            self._parsed = parsed = data, stopped, self._trials(data, stopped)
        return parsed[2]

    def _trials(self, data: Mapping[str, Any], stopped: frozenset[str]) -> Trials:
        specs = data.get("studySpec", {}).get("parameters", [])
        log = [spec["parameterId"] for spec in _every(specs) if spec.get("scaleType") == _LOG]
        base, upload = self.base_output_dir, self._upload_trial
        found = [_trial(one, specs, base, upload, stopped) for one in data.get("trials", [])]
        return Trials(found, self.objectives, log=log)

    def _look_for_stops(self, timeout: float | None = None) -> None:
        """Learn which trials were stopped early, where the search stops any."""
        if _STOPPING.isdisjoint(self._data.get("studySpec", {})):
            return
        jobs = [
            str(trial["customJob"])
            for trial in self._data.get("trials", [])
            if trial.get("state") == TrialState.SUCCEEDED and "customJob" in trial
        ]
        self._stops.look(jobs, since=self._data["createTime"], timeout=timeout)

    def _upload_trial(self, trial: Trial, name: str | None, **options: Any) -> Model:
        from vertexkit.trial_model import upload_trial

        return upload_trial(
            self._context, trial, name, search=self.display_name, image=self._image, **options
        )

    @property
    def _image(self) -> str | None:
        pools = self._data.get("trialJobSpec", {}).get("workerPoolSpecs", [])
        pool = pools[0] if pools else {}
        package, container = pool.get("pythonPackageSpec", {}), pool.get("containerSpec", {})
        return str(package.get("executorImageUri") or container.get("imageUri") or "") or None

    def _repr_html_(self) -> str:
        trials = self.trials_as_read
        ended = sum(trial.state.ended for trial in trials)
        facts = {
            "state": self.state_as_read.value,
            "name": self.resource_name,
            "created": f"{self.created:%Y-%m-%d %H:%M:%S} UTC",
            "took": took(self.start_time, self.end_time),
            "metric": ", ".join(map(str, self.objectives)),
            "trials": f"{ended} of {self.trial_count} are over",
            "output": self.base_output_dir or "",
            "error": self.error or "",
        }
        return described(f"Tuning job {self.display_name}", facts) + trials._repr_html_()


def _trial(
    data: Mapping[str, Any],
    specs: Any,
    base: str | None,
    upload: Callable[..., Model],
    stopped: frozenset[str],
) -> Trial:
    given = {one["parameterId"]: one.get("value") for one in data.get("parameters", [])}
    whole = {spec["parameterId"] for spec in _active(specs, given) if _is_whole(spec)}
    parameters = {name: _value(value, whole=name in whole) for name, value in given.items()}
    return Trial(
        id=str(data.get("id", "")),
        state=_state(data.get("state")),
        parameters=MappingProxyType(parameters),
        metrics=MappingProxyType(_metrics(data.get("finalMeasurement", {}))),
        measurements=tuple(map(_measurement, data.get("measurements", []))),
        start=_time(data, "startTime"),
        end=_time(data, "endTime"),
        stopped_early=data.get("customJob") in stopped,
        infeasible_reason=data.get("infeasibleReason") or None,
        model_dir=None if base is None else f"{base}/{data.get('id', '')}/model",
        custom_job=data.get("customJob") or None,
        _upload=upload,
    )


def _state(name: str | None) -> TrialState:
    try:
        return TrialState(name or "UNKNOWN")
    except ValueError:
        return TrialState.UNKNOWN


def _value(value: Any, *, whole: bool) -> ParameterValue:
    """A value that JSON has as a double, though its parameter is an integer."""
    if isinstance(value, str):
        return value
    return round(value) if whole else float(value)


def _metrics(measurement: Mapping[str, Any]) -> dict[str, float]:
    return {one["metricId"]: float(one.get("value", 0.0)) for one in measurement.get("metrics", [])}


def _measurement(data: Mapping[str, Any]) -> Measurement:
    elapsed = data.get("elapsedDuration")
    return Measurement(
        step=int(data.get("stepCount", 0)),
        metrics=MappingProxyType(_metrics(data)),
        elapsed=None if elapsed is None else float(str(elapsed).rstrip("s")),
    )


def _every(specs: Any) -> Iterator[Mapping[str, Any]]:
    """Every parameter, those below others too."""
    for spec in specs:
        yield spec
        yield from _every(one["parameterSpec"] for one in spec.get("conditionalParameterSpecs", []))


def _active(specs: Any, given: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The parameters that a trial has: of several of one name, the one below the parent's value."""
    for spec in specs:
        yield spec
        below = spec.get("conditionalParameterSpecs", [])
        value = given.get(spec["parameterId"])
        yield from _active([one["parameterSpec"] for one in below if value in _condition(one)], given)


def _condition(spec: Mapping[str, Any]) -> list[ParameterValue]:
    """The parent's values with which there is a parameter; JSON has integers as strings."""
    texts, *numbers = (spec.get(kind, {}).get("values", []) for kind in _CONDITIONS)
    return [*texts, *(float(value) for values in numbers for value in values)]


def _is_whole(spec: Mapping[str, Any]) -> bool:
    """Whether a parameter has nothing but whole numbers."""
    values = spec.get("discreteValueSpec", {}).get("values", [])
    return "integerValueSpec" in spec or (bool(values) and all(value == int(value) for value in values))


def _time(data: Mapping[str, Any], key: str) -> datetime | None:
    return timestamp(data, key) if data.get(key) else None
