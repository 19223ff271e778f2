"""What a study of 1,000 trials costs whoever looks at it, through the API."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, Final

from tests.bench.report import Row, milliseconds
from tests.bench.vizier_search import Studies
from tests.conftest import launched
from vertexkit.emulator.tuning.types import Algorithm, Kind, Metric, Parameter, Scale, StudyConfig
from vertexkit.trials import Objective, Trial, Trials, TrialState

_TRIALS: Final = 1000
_TIMES: Final = 5
_CONFIG: Final = StudyConfig(
    (Metric("loss", maximize=False),),
    (
        Parameter("learning_rate", Kind.DOUBLE, 1e-3, 10.0, scale=Scale.LOG),
        Parameter("n_neurons", Kind.INTEGER, 1, 300),
        Parameter("n_hidden", Kind.INTEGER, 1, 10),
        Parameter("optimizer", Kind.CATEGORICAL, values=("sgd", "adam")),
    ),
    Algorithm.RANDOM_SEARCH,
)


def run() -> list[Row]:
    """Fill a study, then list, tabulate and draw it."""
    with launched() as emulator:
        studies = Studies(emulator.rest)
        study = studies(_CONFIG, 0)
        for trial in study.suggestions(_TRIALS):
            study.complete(int(trial["id"]), 1 / int(trial["id"]))
        listing = _seconds(lambda: studies.trials(study.name))
        # Importing pandas and matplotlib is not what is measured.
        _look(studies, study.name)
        looking = _seconds(lambda: _look(studies, study.name))
    return [
        Row(
            f"study of {_TRIALS:,} trials: list",
            milliseconds(listing),
            "",
            listing,
            target=1.0,
            unit="s",
            at_most=True,
        ),
        Row(
            f"study of {_TRIALS:,} trials: list, tabulate and plot as PNG",
            milliseconds(looking),
            "",
            looking,
            target=1.0,
            unit="s",
            at_most=True,
        ),
    ]


def _look(studies: Studies, name: str) -> None:
    trials = Trials([_trial(one) for one in studies.trials(name)], [Objective("loss", maximize=False)])
    assert len(trials.to_frame()) == _TRIALS
    trials.plot().savefig(io.BytesIO(), format="png")


def _trial(data: Mapping[str, Any]) -> Trial:
    return Trial(
        id=data["id"],
        state=TrialState(data["state"]),
        parameters={one["parameterId"]: one["value"] for one in data["parameters"]},
        metrics={one["metricId"]: one["value"] for one in data["finalMeasurement"]["metrics"]},
    )


def _seconds(look: Callable[[], object]) -> float:
    taken = []
    for _ in range(_TIMES):
        started = time.perf_counter()
        look()
        taken.append(time.perf_counter() - started)
    return median(taken)
