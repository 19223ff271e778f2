"""A real search of real trials, by the example that shows how."""

from __future__ import annotations

import re
from pathlib import Path

from example_runs import run_example


def test_the_example_searches_deploys_the_best_and_leaves_nothing(tmp_path: Path) -> None:
    finished = run_example("tune.py", tmp_path, "--trials=3", "--epochs=1")
    line = r"trial (\d) (?:ended|stopped early) after [\d.]+ s: accuracy=([\d.]+)"
    ended = re.findall(line, finished.stderr)
    assert sorted(name for name, _ in ended) == ["1", "2", "3"]
    (best,) = re.findall(r"Best: trial (\d): SUCCEEDED, .*accuracy=([\d.]+)", finished.stdout)
    assert best in ended
    assert float(best[1]) == max(float(value) for _, value in ended)
    (served,) = re.findall(r"Accuracy by the endpoint: ([\d.]+)", finished.stdout)
    # Other digits than those of the metric, by the same model.
    assert abs(float(served) - float(best[1])) < 0.15
