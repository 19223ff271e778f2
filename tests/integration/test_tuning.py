"""A real search of real trials, by the example that shows how."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_example_searches_deploys_the_best_and_leaves_nothing(tmp_path: Path) -> None:
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("VERTEXKIT_", "GOOGLE_"))
    }
    finished = subprocess.run(
        [sys.executable, ROOT / "examples" / "tune.py", "--trials=3", "--epochs=1"],
        cwd=tmp_path,
        env={**env, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert list(tmp_path.iterdir()) == []
    ended = re.findall(r"trial (\d) ended after [\d.]+ s: accuracy=([\d.]+)", finished.stderr)
    assert sorted(name for name, _ in ended) == ["1", "2", "3"]
    (best,) = re.findall(r"Best: trial (\d): SUCCEEDED, .*accuracy=([\d.]+)", finished.stdout)
    assert best in ended
    assert float(best[1]) == max(float(value) for _, value in ended)
    (served,) = re.findall(r"Accuracy by the endpoint: ([\d.]+)", finished.stdout)
    # Other digits than those of the metric, by the same model.
    assert abs(float(served) - float(best[1])) < 0.15
