"""The trials of a Keras Tuner search, read from the folder in which its processes keep it.

Source: what keras-tuner 1.4 writes, ``<directory>/<project_name>/oracle.json`` and
``trial_<id>/trial.json`` (https://keras.io/api/keras_tuner/tuners/base_tuner/). A trial ended when its file
was last written; when it began is there where the program has joined its cluster with ``trainer_scripts``.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from vertexkit._core.fan_out import fan_out
from vertexkit._core.names import GcsUri, parse_gcs_uri
from vertexkit.errors import DeadlineExceeded, NotFound
from vertexkit.storage import Bucket, ObjectInfo
from vertexkit.trials import Measurement, Objective, ParameterValue, Trial, Trials, TrialState

if TYPE_CHECKING:
    from vertexkit._core.context import Context

__all__ = ["SearchFolder"]

_ORACLE: Final = "oracle.json"
_TRIAL: Final = "/trial.json"
_AT_ONCE: Final = 8
_SECONDS: Final = 300.0
_STATES: Final = {
    "IDLE": TrialState.REQUESTED,
    "RUNNING": TrialState.ACTIVE,
    "STOPPED": TrialState.SUCCEEDED,
    "COMPLETED": TrialState.SUCCEEDED,
    "INVALID": TrialState.INFEASIBLE,
    "FAILED": TrialState.INFEASIBLE,
}
_BEGAN: Final = "began"
"""What `trainer_scripts.keras_tuner_oracle` adds to a trial's file: when it began, in seconds since 1970."""
_SCORE: Final = "score"
"""What the objective is called where no metric has the values of the score."""


class SearchFolder:
    """Where one search is kept, read again and again while it goes on. Thread-safe.

    Args:
        context: The session's parts.
        places: ``gs://`` folders somewhere below which it is; of several searches the latest counts.
    """

    def __init__(self, context: Context, places: Sequence[str]) -> None:
        self._context = context
        self.places = tuple(parse_gcs_uri(place) for place in places)
        """Where it is looked for."""
        self._lock = threading.Lock()
        # What was read of an object, by its name and generation.
        self._read_before: dict[tuple[str, int], dict[str, Any] | None] = {}

    def trials(self, model_of: Any = None, *, interrupted: str | None = None) -> Trials:
        """The trials as they are now, in the order in which they were begun.

        Args:
            model_of: Makes a model of a trial; see `Trial.model`.
            interrupted: Why none of them runs any more, whatever the folder says; None for a search that
                goes on.
        """
        with self._lock:
            oracle, documents, log = self._look()
        order = {str(name): index for index, name in enumerate(oracle.get("start_order", []))}
        documents.sort(key=lambda one: (order.get(str(one[0]["trial_id"]), len(order)), one[0]["trial_id"]))
        objective = _objective([document for document, _ in documents])
        waiting = {str(name) for name in oracle.get("retry_queue", [])}
        return Trials(
            [
                _trial(*one, objective, waiting, model_of=model_of, interrupted=interrupted)
                for one in documents
            ],
            [] if objective is None else [objective],
            log=log,
        )

    def _look(self) -> tuple[dict[str, Any], list[tuple[dict[str, Any], datetime | None]], list[str]]:
        """The oracle, the trials with when each was written, and the parameters on a logarithmic scale."""
        found = [(place, self._objects(place)) for place in self.places]
        oracles = [
            (place, item, objects)
            for place, objects in found
            for item in objects
            if item.name.rpartition("/")[2] == _ORACLE
        ]
        if not oracles:
            return {}, [], []
        place, oracle, objects = max(oracles, key=lambda one: (str(one[1].updated or ""), one[1].name))
        folder = oracle.name[: -len(_ORACLE)]
        wanted = [
            item for item in objects if item.name.startswith(f"{folder}trial_") and item.name.endswith(_TRIAL)
        ]
        first, *documents = self._documents(place, [oracle, *wanted])
        log = [
            str(one["config"]["name"])
            for one in (first or {}).get("hyperparameters", {}).get("space", [])
            if one.get("config", {}).get("sampling") in ("log", "reverse_log")
        ]
        trials = [
            (one, item.updated)
            for one, item in zip(documents, wanted, strict=True)
            if one is not None and "trial_id" in one
        ]
        return first or {}, trials, log

    def _objects(self, place: GcsUri) -> list[ObjectInfo]:
        name = place.name.strip("/")
        try:
            return Bucket(self._context, place.bucket).list(f"{name}/" if name else "")
        except NotFound:  # the bucket has been deleted
            return []

    def _documents(self, place: GcsUri, items: Sequence[ObjectInfo]) -> list[dict[str, Any] | None]:
        """The JSON objects in some files, of which those are read that have changed."""
        bucket = Bucket(self._context, place.bucket)
        keys = [(f"{place.bucket}/{item.name}", item.generation) for item in items]
        new = [(key, item) for key, item in zip(keys, items, strict=True) if key not in self._read_before]
        read = fan_out(
            [partial(_document, bucket, item.name) for _, item in new],
            concurrency=_AT_ONCE,
            deadline=time.monotonic() + _SECONDS,
            stop=threading.Event(),
            late=lambda: DeadlineExceeded(
                f"the trials were not read after {_SECONDS:g} s", resource=str(place)
            ),
        )
        known = {**self._read_before, **{key: value for (key, _), value in zip(new, read, strict=True)}}
        self._read_before = {key: known[key] for key in keys}
        return [known[key] for key in keys]


def _document(bucket: Bucket, name: str) -> dict[str, Any] | None:
    try:
        found = json.loads(bucket.read(name))
    except (NotFound, ValueError):  # gone since it was listed, or no JSON
        return None
    return found if isinstance(found, dict) else None


def _trial(
    document: Mapping[str, Any],
    written: datetime | None,
    objective: Objective | None,
    waiting: Iterable[str],
    *,
    model_of: Any,
    interrupted: str | None,
) -> Trial:
    name = str(document["trial_id"])
    state = _STATES.get(str(document.get("status")), TrialState.UNKNOWN)
    is_cut_short = interrupted is not None and not state.ended
    if is_cut_short:
        state = TrialState.INFEASIBLE
    elif name in waiting and not state.ended:
        state = TrialState.REQUESTED
    measurements = _measurements(document)
    best = document.get("best_step")
    at_best = next((one for one in measurements if one.step == best), None)
    metrics = dict(at_best.metrics) if at_best is not None else {}
    score = document.get("score")
    if objective is not None and score is not None:
        metrics[objective.metric] = float(score)
    reason = str(interrupted if is_cut_short else document.get("message") or "").strip()
    if not reason and score is not None and math.isnan(score):
        reason = "its score is NaN, by which no trial can be compared"
    began = document.get(_BEGAN)
    start = None if began is None else datetime.fromtimestamp(began, UTC)
    end = written if state.ended and not is_cut_short else None
    return Trial(
        id=name,
        state=state,
        parameters=MappingProxyType(_parameters(document)),
        metrics=MappingProxyType(metrics),
        measurements=measurements,
        start=start,
        # The clocks of the machine and of the bucket are not the same.
        end=end if end is None or start is None else max(end, start),
        # The last line of a traceback says what it was.
        infeasible_reason=(reason.splitlines() or ["no reason is given"])[-1]
        if state is TrialState.INFEASIBLE
        else None,
        _upload=model_of,
    )


def _parameters(document: Mapping[str, Any]) -> dict[str, ParameterValue]:
    """What a trial was run with; Hyperband's own bookkeeping is left out."""
    values = document.get("hyperparameters", {}).get("values", {})
    return {str(name): value for name, value in values.items() if not str(name).startswith("tuner/")}


def _measurements(document: Mapping[str, Any]) -> tuple[Measurement, ...]:
    """What a trial has reported, step by step; of several executions the mean."""
    steps: dict[int, dict[str, float]] = {}
    for name, history in document.get("metrics", {}).get("metrics", {}).items():
        for one in history.get("observations", []):
            values = [float(value) for value in one.get("value", [])]
            if values:
                steps.setdefault(int(one.get("step", 0)), {})[str(name)] = math.fsum(values) / len(values)
    return tuple(Measurement(step, MappingProxyType(metrics)) for step, metrics in sorted(steps.items()))


def _objective(documents: Sequence[Mapping[str, Any]]) -> Objective | None:
    """What the search is after, which Keras Tuner does not write: the metric whose best is the score."""
    candidates: dict[str, bool] | None = None
    for document in documents:
        score, best = document.get("score"), document.get("best_step")
        if score is None or math.isnan(score):
            continue
        steps = {one.step: one.metrics for one in _measurements(document)}
        histories = document.get("metrics", {}).get("metrics", {})
        fitting = {
            name: histories[name].get("direction") == "max"
            for name, value in steps.get(int(best or 0), {}).items()
            if math.isclose(value, float(score), rel_tol=1e-6)
        }
        candidates = (
            fitting
            if candidates is None
            else {name: up for name, up in candidates.items() if name in fitting}
        )
    if candidates is None:
        return None
    # A trial of one step may have equal metrics; what is validated is what one searches by.
    names = sorted(candidates, key=lambda name: (not name.startswith("val_"), name))
    return Objective(names[0], candidates[names[0]]) if names else Objective(_SCORE, maximize=False)
