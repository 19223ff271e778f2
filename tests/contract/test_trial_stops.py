"""Trials that a real local Vertex AI stops early, as vertexkit shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import vertexkit as vk

# The second point of the grid is better than the first, and all later ones are worse from their first step.
PROGRAM = """\
import argparse, time
import hypertune
parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float, required=True)
options = parser.parse_args()
reports = hypertune.HyperTune()
for step in range(1, 4 if options.x < 3 else 400):
    reports.report_hyperparameter_tuning_metric("loss", abs(options.x - 2) + step / 1000, global_step=step)
    time.sleep(0.05)
"""


def test_trials_that_were_stopped_early_say_so(
    emulator: Any, project: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "trial.py"
    script.write_text(PROGRAM)
    with vk.connect(project, emulator=emulator.rest, temporary=True) as session:
        job = session.tuning.run(
            script,
            metric="loss",
            maximize=False,
            space={"x": vk.Discrete([1, 2, 30, 40])},
            trials=4,
            parallel=1,
            algorithm="grid",
            early_stopping="median",
        )
        stopped = [trial.id for trial in job.trials if trial.stopped_early]
        assert stopped == ["3", "4"]
        for trial in job.trials[2:]:
            assert trial.state == "SUCCEEDED"
            assert 0 < len(trial.measurements) < 399
            assert trial.metrics == trial.measurements[-1].metrics
        shown = capsys.readouterr().err
        assert [f"trial {index} stopped early after" in shown for index in (1, 2, 3, 4)] == [
            False,
            False,
            True,
            True,
        ]
        # From elsewhere they are listed, which is another request.
        again = session.tuning.get(job.resource_name)
        assert list(again.to_frame()["stopped_early"]) == [False, False, True, True]
