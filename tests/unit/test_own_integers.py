"""Counts that numpy has counted: as good as Python's own."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from vertexkit._core.arguments import own_integers, replicas_of
from vertexkit.batch_request import BatchRequest
from vertexkit.errors import InvalidArgument
from vertexkit.training_request import TrainingRequest
from vertexkit.tuning_request import TuningRequest

TWO: Any = np.int64(2)


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        (
            TrainingRequest(workers=TWO, parameter_servers=TWO, evaluators=TWO),
            ("workers", "parameter_servers", "evaluators"),
        ),
        (
            TuningRequest(TrainingRequest(), "m", {}, trials=TWO, parallel=TWO, max_failed=TWO),
            ("trials", "parallel", "max_failed"),
        ),
        (BatchRequest(None, replicas=TWO, batch_size=TWO), ("replicas", "batch_size")),
    ],
)
def test_a_request_has_them_as_json_has_them(request_: object, names: tuple[str, ...]) -> None:
    assert json.dumps([getattr(request_, name) for name in names]) == json.dumps([2] * len(names))


def test_so_have_the_least_and_the_greatest_number_of_replicas() -> None:
    assert json.dumps([replicas_of(TWO), replicas_of((1, TWO)), replicas_of([TWO, 3])]) == (
        "[[2, 2], [1, 2], [2, 3]]"
    )
    assert json.dumps(BatchRequest(None, replicas=(1, TWO)).replicas) == "[1, 2]"


@pytest.mark.parametrize("value", ["2", 2.0, np.float64(2), None, True, [2, "3"], np.bool_(True)])
def test_all_else_stays_to_be_checked(value: Any) -> None:
    request = TrainingRequest(workers=value)
    own_integers(request, "workers")
    assert request.workers is value or request.workers == value


@pytest.mark.parametrize("value", [np.float64(2), np.bool_(True), (1, np.float32(2))])
def test_a_number_of_replicas_is_whole(value: Any) -> None:
    with pytest.raises(InvalidArgument, match="replicas"):
        replicas_of(value)
