"""A jobs engine on the running interpreter, and jobs of a few lines, for tests without TensorFlow."""

from __future__ import annotations

import contextlib
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vertexkit.emulator.jobs.engine import JobsEngine
from vertexkit.emulator.jobs.replica_group import Patience
from vertexkit.emulator.jobs.types import ContainerProgram, JobEnd, JobSpec, WorkerPool

IMAGE = "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest"
QUICK = Patience(grace=1.0, closing=1.0, settling=0.3, stopping=0.3, stuck=10.0)


@dataclass(frozen=True)
class Interpreter:
    """The environment that every image has here."""

    bin: Path
    env: Mapping[str, str]


class RunningInterpreter:
    """In place of ``Environments``: installs nothing."""

    def __init__(self, prepare: Callable[[threading.Event], None] = lambda cancelled: None) -> None:
        self._prepare = prepare

    def prepare(
        self,
        image: object,
        packages: Sequence[Path],
        *,
        home: Path,
        pip_settings: Mapping[str, str],
        say: Callable[[str], None],
        cancelled: threading.Event,
    ) -> Interpreter:
        self._prepare(cancelled)
        return Interpreter(Path(sys.executable).parent, {"PYTHONPATH": ":".join(map(str, packages))})


class Watched:
    """Is told how a job goes, and waits for it."""

    def __init__(self) -> None:
        self.runs = 0
        self.end: JobEnd | None = None
        self._changed = threading.Condition()

    def running(self) -> None:
        with self._changed:
            self.runs += 1
            self._changed.notify_all()

    def ended(self, end: JobEnd) -> None:
        with self._changed:
            assert self.end is None, "it ends once"
            self.end = end
            self._changed.notify_all()

    def until_running(self, times: int = 1, within: float = 20.0) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.runs >= times or self.end, within), "it does not run"
            assert self.runs >= times, self.end

    def until_ended(self, within: float = 30.0) -> JobEnd:
        with self._changed:
            assert self._changed.wait_for(lambda: self.end is not None, within), "it does not end"
            assert self.end is not None
            return self.end


def pool(code: str, *args: str, count: int = 1, **more: Any) -> WorkerPool:
    """Replicas that run some Python."""
    command = ("python3", "-c", textwrap.dedent(code))
    return WorkerPool(ContainerProgram(IMAGE, command), args, replica_count=count, **more)


def job(*pools: WorkerPool | None, job_id: str = "1", **more: Any) -> JobSpec:
    """A job of these pools."""
    return JobSpec(job_id, "a-project", "123456789", "us-central1", pools, **more)


@contextlib.contextmanager
def jobs_engine(folder: Path, **options: Any) -> Iterator[JobsEngine]:
    """An engine that is closed at the end."""
    arguments: dict[str, Any] = {
        "google_env": lambda project: {"GOOGLE_CLOUD_PROJECT": project, "NO_GCE_CHECK": "true"},
        "fetch": lambda uri, file: file.write_text(uri),
        "environments": RunningInterpreter(),
        "patience": QUICK,
    }
    engine = JobsEngine(folder / "data", folder / "work", **{**arguments, **options})
    try:
        yield engine
    finally:
        engine.close()


def run(engine: JobsEngine, spec: JobSpec, within: float = 30.0) -> JobEnd:
    """Run a job to its end."""
    watched = Watched()
    engine.start(spec, watched)
    return watched.until_ended(within)


def lines(engine: JobsEngine, job_id: str = "1", replica: str = "workerpool0-0") -> list[str]:
    """What a replica has written so far."""
    logs = engine.logs(job_id)
    return [] if logs is None else [line.text for line in logs.forward(replicas=[replica])]
