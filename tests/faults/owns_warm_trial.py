"""A process that owns a jobs engine and runs a forked trial: FOLDER, whether with namespaces."""

import sys
import time
from pathlib import Path

from waiting import until
from warm_trials import DOES, Trials

from vertexkit.emulator.jobs import gcs_mount

folder = Path(sys.argv[1])
if sys.argv[2] == "False":
    gcs_mount.GcsMount._choose = lambda self: gcs_mount.BY_NOTHING  # type: ignore[method-assign]
trials = Trials(folder, folder / "cache")
with trials.engine(folder) as engine:
    job_id, _ = trials.start(engine, DOES, "sleep")
    until(lambda: trials.is_up(engine, job_id), 100)
    print("up", flush=True)
    time.sleep(600)
