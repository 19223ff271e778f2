"""A process that owns a jobs engine and runs one job: FOLDER, whether without namespaces, CODE."""

import sys
import time
from pathlib import Path

from jobs_engine import Watched, job, jobs_engine, pool

from vertexkit.emulator.jobs import gcs_mount

folder, without_namespaces, code = sys.argv[1:]
if without_namespaces == "True":
    gcs_mount.GcsMount._choose = lambda self: gcs_mount.BY_NOTHING  # type: ignore[method-assign]
with jobs_engine(Path(folder)) as engine:
    watched = Watched()
    engine.start(job(pool(code), pool(code)), watched)
    watched.until_running()
    print("running", flush=True)
    time.sleep(600)
