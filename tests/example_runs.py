"""The examples, each run in a process and a folder of its own: nothing configured, nothing left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def run_example(name: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run an example, which has to succeed and to leave nothing; what it printed.

    Args:
        name: Its file.
        folder: Where it is run and has its temporary files; an empty one.
        options: Its command line.
    """
    env = {key: value for key, value in os.environ.items() if not key.startswith(("VERTEXKIT_", "GOOGLE_"))}
    finished = subprocess.run(
        [sys.executable, EXAMPLES / name, *options],
        cwd=folder,
        env={**env, "TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert list(folder.iterdir()) == []
    return finished
