"""Runs training jobs as processes of this machine. Knows nothing of the API's resources."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.jobs import plan
from vertexkit.emulator.jobs.cluster_ports import ClusterPorts
from vertexkit.emulator.jobs.gcs_mount import GcsMount
from vertexkit.emulator.jobs.gpus import Gpus
from vertexkit.emulator.jobs.logs import JobLogs
from vertexkit.emulator.jobs.memory import memory_below
from vertexkit.emulator.jobs.mount_point import MountPoint
from vertexkit.emulator.jobs.programs import PreparesEnvironments, check_program
from vertexkit.emulator.jobs.replica_group import Patience
from vertexkit.emulator.jobs.runner import JobRun, Means, metric_file
from vertexkit.emulator.jobs.templates import Templates
from vertexkit.emulator.jobs.types import ContainerProgram, JobSpec, Watcher, WorkerPool

_POOLS = 4
# It names a folder.
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_VARIABLE = re.compile(r"[^=\0]+")
_LOG_LIMIT_BYTES = 2**30


class JobsEngine:
    """The jobs that run on this machine. From any thread.

    Args:
        data_dir: Where logs are kept (``jobs/``), and where the buckets are (``gcs/``).
        work_dir: For the working folders of replicas.
        google_env: The variables that send a program's Google Cloud calls to the local Vertex AI, by project.
        fetch: Copies an object (``gs://...``) to a file.
        environments: Make the environments that stand for prebuilt images.
        patience: How long it waits for what.
        gpus: Hands out the machine's GPUs; None for those that there are.
        log_limit: Bytes that the log of one replica may have.
    """

    def __init__(
        self,
        data_dir: Path,
        work_dir: Path,
        *,
        google_env: Callable[[str], Mapping[str, str]],
        fetch: Callable[[str, Path], None],
        environments: PreparesEnvironments,
        patience: Patience | None = None,
        gpus: Gpus | None = None,
        log_limit: int = _LOG_LIMIT_BYTES,
    ) -> None:
        self._kept = data_dir / "jobs"
        buckets = data_dir / "gcs"
        for folder in (self._kept, buckets):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._means = Means(
            work_dir=work_dir / "jobs",
            environments=environments,
            google_env=google_env,
            fetch=fetch,
            mount=GcsMount(buckets),
            reports=MountPoint(Path(plan.HYPERTUNE)),
            templates=Templates(work_dir / "templates"),
            ports=ClusterPorts(),
            gpus=gpus or Gpus(),
            patience=patience or Patience(),
            log_limit=log_limit,
        )
        self._lock = threading.Lock()
        self._runs: dict[str, JobRun] = {}
        self._closed = False

    def check(self, spec: JobSpec) -> None:
        """Refuse a job that cannot run here, before anything of it is made.

        Raises:
            ApiError: INVALID_ARGUMENT or UNIMPLEMENTED, with what would do.
        """
        if not _JOB_ID.fullmatch(spec.job_id):
            raise ApiError(Code.INVALID_ARGUMENT, f"This is no id of a job: {spec.job_id!r}.")
        if len(spec.pools) > _POOLS:
            raise ApiError(
                Code.INVALID_ARGUMENT,
                f"A job has at most {_POOLS} worker pools, and this has {len(spec.pools)}.",
            )
        chief = spec.pools[0] if spec.pools else None
        if chief is None or chief.replica_count != 1:
            raise ApiError(
                Code.INVALID_ARGUMENT, "The first worker pool must have exactly one replica, the chief."
            )
        for pool in spec.pools:
            if pool is not None:
                _check_words(pool)
                check_program(pool, has_gcs=lambda: self._means.mount.isolation().has_gcs)

    def start(self, spec: JobSpec, watcher: Watcher) -> None:
        """Run a job; returns at once.

        Args:
            spec: The job; its id must be new.
            watcher: Is told how it goes, from another thread.

        Raises:
            ApiError: It cannot run here (:meth:`check`), its id is that of a job which runs (ALREADY_EXISTS),
                or the engine has been closed (UNAVAILABLE).
        """
        self.check(spec)
        with self._lock:
            if self._closed:
                raise ApiError(Code.UNAVAILABLE, "The local Vertex AI is being stopped.")
            if spec.job_id in self._runs:
                raise ApiError(Code.ALREADY_EXISTS, f"Job {spec.job_id} runs already.")
            run = JobRun(
                spec,
                watcher,
                JobLogs(self._folder(spec.job_id)),
                self._means,
                lambda: self._over(spec.job_id),
            )
            self._runs[spec.job_id] = run
            run.start()

    def cancel(self, job_id: str) -> None:
        """End a job: SIGTERM, a grace period, SIGKILL. Its watcher is told. One that is over is no error."""
        with self._lock:
            run = self._runs.get(job_id)
        if run is not None:
            run.cancel()

    def end_family(self, family: str) -> None:
        """No more jobs of this family (``JobSpec.family``) are coming: let go of what starts them quicker.

        Those that run go on. A family that is not known is no error, nor is a job of it that still comes.
        """
        self._means.templates.end(family)

    def delete(self, job_id: str) -> None:
        """Remove the logs of a job; there need not be any.

        Raises:
            ApiError: FAILED_PRECONDITION, for it runs.
        """
        with self._lock:
            if job_id in self._runs:
                raise ApiError(Code.FAILED_PRECONDITION, f"Job {job_id} still runs: cancel it first.")
        if _JOB_ID.fullmatch(job_id):
            shutil.rmtree(self._kept / job_id, ignore_errors=True)

    def logs(self, job_id: str) -> JobLogs | None:
        """The logs of a job, also of one that ran before the emulator was started; None if there are none."""
        if not _JOB_ID.fullmatch(job_id) or not self._folder(job_id).is_dir():
            return None
        return JobLogs(self._folder(job_id))

    def metrics(self, job_id: str) -> Path | None:
        """Where the chief of a trial reports, as cloudml-hypertune writes it; None for nowhere yet.

        A job that starts anew has a new file; there is none at this path as long as nothing is reported.
        """
        if not _JOB_ID.fullmatch(job_id):
            return None
        return metric_file(JobLogs(self._folder(job_id)), plan.CHIEF)

    def open_log(self, job_id: str) -> JobLogs:
        """The log of something that runs no replicas itself, such as a search, to write to."""
        return JobLogs(self._folder(job_id))

    def memory(self) -> dict[str, int]:
        """Bytes that the processes of each job take now; nothing of what runs in containers."""
        with self._lock:
            runs = list(self._runs.items())
        keepers = {f"{job_id} {pid}": pid for job_id, run in runs for pid in run.keepers()}
        taken = dict.fromkeys((job_id for job_id, _ in runs), 0)
        for name, count in memory_below(keepers).items():
            taken[name.partition(" ")[0]] += count
        return taken

    def close(self) -> None:
        """End every job; no process of theirs is left, and their watchers are not told."""
        with self._lock:
            self._closed = True
            runs = list(self._runs.values())
        for run in runs:
            run.stop()
        for run in runs:
            run.join()
        self._means.templates.close()
        self._means.reports.release()
        self._means.mount.close()

    def _folder(self, job_id: str) -> Path:
        return self._kept / job_id / "logs"

    def _over(self, job_id: str) -> None:
        with self._lock:
            self._runs.pop(job_id, None)


def _check_words(pool: WorkerPool) -> None:
    """Refuse what no process can be given."""
    program = pool.program
    command = program.command if isinstance(program, ContainerProgram) else (program.module,)
    for word in (*command, *pool.args, *pool.env.values()):
        if "\0" in word:
            raise ApiError(Code.INVALID_ARGUMENT, f"An argument or a variable has a NUL in it: {word!r}.")
    for name in pool.env:
        if not _VARIABLE.fullmatch(name):
            raise ApiError(Code.INVALID_ARGUMENT, f"This is no name of an environment variable: {name!r}.")
