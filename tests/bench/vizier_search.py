"""Studies of a local Vertex AI, searched over REST as a program without Google's clients would."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

import requests

from vertexkit.emulator.tuning.types import Algorithm, Kind, Parameter, ParameterValue, Scale, StudyConfig

_PARENT: Final = "projects/p-bench-search/locations/us-central1"
_SCALES: Final = {
    Scale.LINEAR: "UNIT_LINEAR_SCALE",
    Scale.LOG: "UNIT_LOG_SCALE",
    Scale.REVERSE_LOG: "UNIT_REVERSE_LOG_SCALE",
}
_ALGORITHMS: Final = {
    Algorithm.DEFAULT: "ALGORITHM_UNSPECIFIED",
    Algorithm.RANDOM_SEARCH: "RANDOM_SEARCH",
    Algorithm.GRID_SEARCH: "GRID_SEARCH",
}


class Studies:
    """Begins studies.

    Args:
        address: Of the local Vertex AI's REST port.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._http = requests.Session()
        self._numbers = itertools.count()

    def __call__(self, config: StudyConfig, seed: int) -> VizierSearch:
        """A new study; its seed is part of its name, of which the service makes its own."""
        spec = {
            "metrics": [
                {"metricId": metric.id, "goal": "MAXIMIZE" if metric.maximize else "MINIMIZE"}
                for metric in config.metrics
            ],
            "parameters": [_spec(parameter) for parameter in config.parameters],
            "algorithm": _ALGORITHMS[config.algorithm],
        }
        study = {"displayName": f"{seed}-{next(self._numbers)}", "studySpec": spec}
        return VizierSearch(self, config, self.post(f"{_PARENT}/studies", study)["name"])

    def post(self, path: str, body: Mapping[str, Any] | None) -> Any:
        """What the API answers."""
        answer = self._http.post(f"{self._address}/v1/{path}", json=body)
        assert answer.ok, answer.text
        return answer.json()

    def trials(self, study: str) -> Sequence[Mapping[str, Any]]:
        """Every trial of a study, page by page."""
        found: list[Mapping[str, Any]] = []
        token = ""
        while True:
            answer = self._http.get(f"{self._address}/v1/{study}/trials", params={"pageToken": token})
            assert answer.ok, answer.text
            found += answer.json().get("trials", ())
            token = answer.json().get("nextPageToken", "")
            if not token:
                return found


class VizierSearch:
    """One study; see ``bench_search.Searched``."""

    def __init__(self, studies: Studies, config: StudyConfig, name: str) -> None:
        self._studies = studies
        self._config = config
        self.name = name
        self._clients = itertools.count()

    def suggest(self) -> tuple[int, Mapping[str, ParameterValue]]:
        """See ``bench_search.Searched``; for a client that has not asked before."""
        (trial,) = self.suggestions(1)
        return int(trial["id"]), {one["parameterId"]: one["value"] for one in trial["parameters"]}

    def suggestions(self, count: int) -> Sequence[Mapping[str, Any]]:
        """New trials, as the API has them."""
        asked = {"clientId": f"client-{next(self._clients)}", "suggestionCount": count}
        operation = self._studies.post(f"{self.name}/trials:suggest", asked)
        while not operation.get("done"):
            operation = self._studies.post(f"{operation['name']}:wait", None)
        trials: Sequence[Mapping[str, Any]] = operation["response"]["trials"]
        return trials

    def complete(self, trial_id: int, regret: float) -> None:
        """See ``bench_search.Searched``."""
        metrics = [{"metricId": self._config.metrics[0].id, "value": regret}]
        path = f"{self.name}/trials/{trial_id}:complete"
        self._studies.post(path, {"finalMeasurement": {"metrics": metrics}})


def _spec(parameter: Parameter) -> dict[str, Any]:
    spec: dict[str, Any] = {"parameterId": parameter.name}
    if parameter.kind is Kind.CATEGORICAL:
        return {**spec, "categoricalValueSpec": {"values": parameter.values}}
    spec["scaleType"] = _SCALES[parameter.scale]
    if parameter.kind is Kind.DISCRETE:
        return {**spec, "discreteValueSpec": {"values": parameter.values}}
    bounds = {"minValue": parameter.minimum, "maxValue": parameter.maximum}
    return {**spec, ("integerValueSpec" if parameter.kind is Kind.INTEGER else "doubleValueSpec"): bounds}
