"""How good a model a search finds, beside a search at random of as many trials.

``MNIST_NPZ`` names the full MNIST, on which the reference was measured; else the subset in the repository.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

import vertexkit as vk
from tests.bench.deployed import ROOT
from tests.bench.report import Row
from tests.conftest import launched

_PROGRAM: Final = "trainer_scripts.mnist_trial"
_FULL: Final = os.environ.get("MNIST_NPZ")
_DATA: Final = Path(_FULL or ROOT / "trainer_scripts" / "data" / "mnist_subset.npz")
_TRIALS, _PARALLEL = 30, 2
_SPACE: Final[Any] = {
    "learning_rate": vk.Double(1e-3, 10, scale="log"),
    "n_neurons": vk.Integer(1, 300),
    "n_hidden": vk.Integer(1, 10),
    "optimizer": vk.Categorical(["sgd", "adam"]),
}
_ARGS: Final = {"epochs": 15, "patience": 4, "batch_size": 512 if _FULL else 64}
_REFERENCE: Final = 0.977
"""The best of 100 trials of the same space, as others have reported it of the full MNIST."""


@dataclass(frozen=True)
class Found:
    """What a search has come to."""

    validation: float
    """Accuracy of the best trial on the digits that were held back."""
    on_the_way: float
    """Mean, over the trials, of the best so far."""
    test: float
    """Accuracy of its model on the test digits, which no trial has seen."""

    def __str__(self) -> str:
        return f"{self.validation:.2%}"


def run() -> list[Row]:
    """Search by default and at random, and deploy the best of each."""
    with (
        launched() as emulator,
        vk.connect("bench-accuracy", emulator=emulator.rest, temporary=True) as session,
    ):
        data = f"{session.bucket.uri}/mnist.npz"
        session.bucket.upload_file(_DATA, data)
        found, by_chance = (_search(session, data, algorithm) for algorithm in (None, "random"))
    what = f"tuning {'MNIST' if _FULL else 'the MNIST subset'}, {_TRIALS} trials"
    rows = [
        Row(
            f"{what}: best validation accuracy",
            str(found),
            f"random search {by_chance}",
            found.validation * 100,
            unit="%",
            # What is reported of the full MNIST is out of reach with a tenth of it.
            target=_REFERENCE * 100 if _FULL else None,
        )
    ]
    for name, of in (("best so far, mean of all trials", "on_the_way"), ("its test accuracy", "test")):
        ours, theirs = getattr(found, of), getattr(by_chance, of)
        rows.append(
            Row(f"{what}: {name}", f"{ours:.2%}", f"random search {theirs:.2%}", ours * 100, unit="%")
        )
    return rows


def _search(session: vk.Session, data: str, algorithm: Literal["random"] | None) -> Found:
    began = time.perf_counter()
    job = session.tuning.run(
        _PROGRAM,
        metric="accuracy",
        space=_SPACE,
        trials=_TRIALS,
        parallel=_PARALLEL,
        algorithm=algorithm,
        args={**_ARGS, "data": data},
    )
    took = time.perf_counter() - began
    best = job.best
    if best is None:
        raise RuntimeError(f"no trial succeeded: {job.to_frame()}")
    # The seed of a search is its id.
    print(f"{algorithm or 'default'} search {job.id}, {took:.0f} s; {best}", file=sys.stderr, flush=True)
    reached = [trial.metrics.get("accuracy", 0.0) for trial in job.trials]
    so_far = list(accumulate(reached, max))
    with session.endpoints.create("best") as endpoint, np.load(_DATA) as digits:
        endpoint.deploy(best.model(), machine="n1-standard-2")
        guessed = endpoint.predict(digits["x_test"]).argmax(axis=1)
        test = float((guessed == digits["y_test"]).mean())
    return Found(max(reached), sum(so_far) / len(so_far), test)
