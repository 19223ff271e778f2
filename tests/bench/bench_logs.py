"""What a job's output costs the job, and what reading a long log costs whoever reads it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import vertexkit as vk
from tests.bench.deployed import ROOT
from tests.bench.report import Row, in_turn
from tests.conftest import RunningEmulator, launched
from tests.submitted import Submitted

_LINES = 100_000
_TIMES = 3

_TRAINING = f"""
import time
started = time.perf_counter()
for number in range({_LINES}):
    sum(range(1000))  # some work for each line
    print(f"step {{number}}: loss 0.123456 accuracy 0.987654", flush=True)
print("elapsed", time.perf_counter() - started)
"""
"""As chatty as a training can be that does something: a line every 50 microseconds or so."""

_LONG = f"""
for number in range({_LINES}):
    print(f"{{number:06d}}", "x" * 993)
"""
"""100 MB."""

_READER = """
import resource, sys
from pathlib import Path
import vertexkit as vk
from vertexkit.job_logs import JobLogs
address, project, job_id = sys.argv[1:]
with vk.connect(project, emulator=address) as session:
    count = sum(len(line.text) == 1000 for line in JobLogs(session._context, job_id).read("workerpool0-0"))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
status = Path("/proc/self/status")
if status.exists():
    # What getrusage says has the peak of whoever started this in it.
    peak = next(int(line.split()[1]) for line in status.open() if line.startswith("VmHWM")) * 1024
print(count, peak)
"""


def run() -> list[Row]:
    """Print, follow and read, on a local Vertex AI of one's own."""
    with launched() as emulator, vk.connect("p-bench-logs", emulator=emulator.rest) as session:
        return [*_chatty(session), *_long(session, emulator)]


def _chatty(session: vk.Session) -> list[Row]:
    lost: list[int] = []

    def as_job() -> float:
        job = Submitted(session, _TRAINING)
        lines = [line.text for line in job.followed() if line.replica != "service"]
        if job.state()["state"] != "JOB_STATE_SUCCEEDED":
            raise RuntimeError(f"the measured job failed: {job.state()}, {lines[-5:]}")
        expected = [f"step {number}: loss 0.123456 accuracy 0.987654" for number in range(_LINES)]
        lost.append(sum(said != meant for said, meant in zip(lines, expected, strict=False)))
        lost[-1] += abs(len(lines) - 1 - _LINES)
        return float(lines[-1].split()[1])

    def to_file() -> float:
        with tempfile.TemporaryDirectory() as folder:
            script, output = Path(folder, "train.py"), Path(folder, "output")
            script.write_text(_TRAINING)
            with output.open("wb") as file:
                subprocess.run([sys.executable, str(script)], stdout=file, check=True)
            return float(output.read_text().splitlines()[-1].split()[1])

    followed, alone = in_turn(as_job, to_file, _TIMES)
    return [
        Row(
            f"job that prints {_LINES:,} lines, followed: lines lost or given twice",
            f"{max(lost)} lines",
            "",
            max(lost),
            target=0,
            unit="lines",
            at_most=True,
        ),
        Row(
            f"job that prints {_LINES:,} lines, followed: time of the script",
            f"{followed:.2f} s",
            f"the script alone, writing to a file {alone:.2f} s",
            followed / alone,
            target=1.15,
            at_most=True,
        ),
    ]


def _long(session: vk.Session, emulator: RunningEmulator) -> list[Row]:
    job = Submitted(session, _LONG)
    job.wait()
    before = _resident_bytes(emulator.pid)
    command = [sys.executable, "-c", _READER, emulator.rest, session.project, job.logs.job_id]
    started = time.perf_counter()
    ran = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    count, peak = map(int, ran.stdout.split())
    if count != _LINES:
        raise RuntimeError(f"{_LINES - count} lines were lost of {_LINES}")
    grown = max(_resident_bytes(emulator.pid) - before, 0)
    return [
        Row(
            "logs() of 100 MB: peak memory of the script, the interpreter included",
            f"{peak / 1e6:.0f} MB",
            "",
            peak / 1e6,
            target=50,
            unit="MB",
            at_most=True,
        ),
        Row(
            "logs() of 100 MB: memory that the local Vertex AI keeps for it",
            f"{grown / 1e6:.0f} MB",
            "",
            grown / 1e6,
            target=50,
            unit="MB",
            at_most=True,
        ),
        Row("logs() of 100 MB: time", f"{seconds:.1f} s", "", seconds, unit="s"),
    ]


def _resident_bytes(pid: int) -> int:
    command = ["ps", "-o", "rss=", "-p", str(pid)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * 1024
