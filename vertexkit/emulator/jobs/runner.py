"""The life of one job: prepare, start every replica, watch, end all of it, tell."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vertexkit.emulator.errors import ApiError
from vertexkit.emulator.jobs import keeper, plan, programs
from vertexkit.emulator.jobs.cluster_ports import ClusterPorts
from vertexkit.emulator.jobs.gcs_mount import GcsMount, Isolation
from vertexkit.emulator.jobs.gpus import Gpus, has_driver
from vertexkit.emulator.jobs.logs import SERVICE, JobLogs
from vertexkit.emulator.jobs.mount_point import MountPoint
from vertexkit.emulator.jobs.pip_process import InstallCancelled, InstallFailed
from vertexkit.emulator.jobs.replica_group import Patience, ReplicaGroup
from vertexkit.emulator.jobs.replica_process import KeeperProcess, ReplicaProcess, start_keeper
from vertexkit.emulator.jobs.templates import Templates, Wanted
from vertexkit.emulator.jobs.types import EndKind, JobEnd, JobSpec, PackageProgram, Watcher
from vertexkit.machines import RETIRED

_RESTARTS = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Means:
    """What every job of an engine uses."""

    work_dir: Path
    environments: programs.PreparesEnvironments
    google_env: Callable[[str], Mapping[str, str]]
    fetch: Callable[[str, Path], None]
    mount: GcsMount
    reports: MountPoint
    """Where a trial finds its own place to report to."""
    templates: Templates
    ports: ClusterPorts
    gpus: Gpus
    patience: Patience
    log_limit: int


class JobRun:
    """One job, in a thread of its own.

    Args:
        spec: What to run; it has been checked.
        watcher: Is told.
        logs: Where its lines go.
        means: What it runs with.
        over: Called when nothing of it is left, before the watcher is told.
    """

    def __init__(
        self, spec: JobSpec, watcher: Watcher, logs: JobLogs, means: Means, over: Callable[[], None]
    ) -> None:
        self._spec = spec
        self._watcher = watcher
        self._logs = logs
        self._means = means
        self._over = over
        self._replicas = plan.replicas(spec)
        self._folder = means.work_dir / spec.job_id
        self._cancelled = threading.Event()
        self._stopped = False
        self._group: ReplicaGroup | None = None
        self._deadline = float("inf")
        self._said: set[str] = set()
        self._awake, self._wake = os.pipe()
        os.set_blocking(self._awake, False)
        self._wake_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"job-{spec.job_id}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def cancel(self) -> None:
        """End it, and tell that it was cancelled."""
        with self._wake_lock:
            if not self._cancelled.is_set():
                self._cancelled.set()
                if self._wake >= 0:
                    os.write(self._wake, b".")

    def stop(self) -> None:
        """End it because the emulator ends; nobody is told."""
        self._stopped = True
        self.cancel()

    def join(self) -> None:
        """Wait until nothing of it is left."""
        self._thread.join()

    def keepers(self) -> list[int]:
        """The processes that all of its programs are below, as of now."""
        group = self._group
        return [] if group is None else group.keepers()

    def _run(self) -> None:
        try:
            end = self._live()
        except Exception as error:
            _log.exception("job %s could not be run", self._spec.job_id)
            end = JobEnd(EndKind.FAILED, f"The local Vertex AI could not run the job: {error}")
        try:
            if end.kind is EndKind.FAILED:
                self._say(end.message)
            _remove(self._folder)
        except OSError:
            _log.exception("job %s has left something behind", self._spec.job_id)
        with self._wake_lock:
            os.close(self._wake)
            os.close(self._awake)
            self._wake = -1
        self._over()
        if not self._stopped:
            self._tell(lambda: self._watcher.ended(end))

    def _live(self) -> JobEnd:
        """Run the job to its end; nothing is left running, or taken, when this returns."""
        spec, means = self._spec, self._means
        self._folder.mkdir(mode=0o700, parents=True)
        try:
            packages = self._fetch()
        except ApiError as error:
            # Whoever starts the program in a container fetches its packages too.
            return JobEnd(EndKind.FAILED, error.message, self._replicas[0].name)
        with contextlib.ExitStack() as taken:
            gpus = self._take_gpus(taken)
            if gpus is None:
                return JobEnd(EndKind.CANCELLED)
            ports = means.ports.take(plan.ports_needed(spec))
            taken.callback(means.ports.give_back, ports)
            restarts = 0
            while True:
                end = self._attempt(packages, gpus, ports)
                if end.signal is None or not spec.restart_on_worker_restart or restarts == _RESTARTS:
                    return end
                restarts += 1
                self._say(
                    f"{end.replica} was ended by {_signal_name(end.signal)}, so every replica starts anew "
                    f"(restart {restarts} of at most {_RESTARTS}): with fresh folders, and with what the "
                    "job has written to Cloud Storage."
                )

    def _fetch(self) -> dict[str, Path]:
        """The packages of every pool on this machine, by URI."""
        fetched: dict[str, Path] = {}
        for replica in self._replicas:
            program = replica.pool.program
            for uri in program.package_uris if isinstance(program, PackageProgram) else ():
                if uri in fetched or self._cancelled.is_set():
                    continue
                # Its own name tells pip what it is; the folder keeps two of one name apart.
                folder = self._folder / "packages" / str(len(fetched))
                folder.mkdir(parents=True)
                fetched[uri] = folder / uri.rpartition("/")[2]
                self._means.fetch(uri, fetched[uri])
        return fetched

    def _take_gpus(self, taken: contextlib.ExitStack) -> list[tuple[str, ...]] | None:
        """The GPUs of each replica, by rank; None when the job was cancelled while it waited for them."""
        counts = [replica.pool.accelerator_count for replica in self._replicas]
        for name in dict.fromkeys(replica.pool.accelerator_type for replica in self._replicas):
            if name in RETIRED:
                self._say(f"{name} {RETIRED[name]}. The local Vertex AI accepts it, Google Cloud does not.")
        if not any(counts):
            return [()] * len(counts)
        gpus = self._means.gpus.take(
            counts, self._cancelled, waiting=lambda: self._say("The job waits for GPUs that other jobs have.")
        )
        if gpus is None:
            return None
        taken.callback(self._means.gpus.give_back, gpus)
        for replica, mine in zip(self._replicas, gpus, strict=True):
            asked = replica.pool.accelerator_count
            if len(mine) < asked:
                self._say(
                    f"{replica.name} asks for {asked} {replica.pool.accelerator_type}, and this machine has "
                    f"{self._means.gpus.count() or 'no GPU'}: it runs on "
                    f"{f'{len(mine)} GPU' if mine else 'the CPU'}."
                )
        return gpus

    def _attempt(
        self, packages: Mapping[str, Path], gpus: Sequence[Sequence[str]], ports: Sequence[int]
    ) -> JobEnd:
        """Start every replica and wait for the job's end, or for that of one replica which was killed."""
        isolation = self._means.mount.isolation()
        if not isolation.has_gcs:
            self._say("/gcs is not there on this machine: gs:// is.")
        prepared = []
        for replica in self._replicas:
            if self._cancelled.is_set():
                break
            # What an earlier attempt reported is not this one's.
            metrics = new_metric_file(self._logs, replica.name) if self._spec.trial_id else None
            # A template of trials is prepared in the same way, in a folder of its own.
            prepare = functools.partial(
                self._settings, replica=replica, packages=packages, gpus=gpus, ports=ports, metrics=metrics
            )
            try:
                prepared.append((replica, prepare(self._folder / replica.name), prepare))
            except InstallCancelled:
                return JobEnd(EndKind.CANCELLED)
            except InstallFailed as error:
                return JobEnd(EndKind.FAILED, str(error), replica.name)
        if self._cancelled.is_set():
            return JobEnd(EndKind.CANCELLED)
        self._group = group = ReplicaGroup(self._means.patience, self._awake)
        try:
            for replica, settings, prepare in prepared:
                process = self._start_keeper(replica, isolation, settings, gpus[replica.rank], prepare)
                group.add(replica, ReplicaProcess(replica.name, process, settings))
            end = self._watch(group)
            self._wind_up(group, end)
        finally:
            self._group = None
            group.close()
            for replica in self._replicas:
                self._logs.seal(replica.name)
        for name, exit_ in group.exits().items():
            if exit_.lost_lines:
                self._say(f"{exit_.lost_lines} lines of {name}'s log found no room on the disk and are lost.")
        return end

    def _start_keeper(
        self,
        replica: plan.Replica,
        isolation: Isolation,
        settings: keeper.Settings,
        gpus: Sequence[str],
        prepare: Callable[[Path], keeper.Settings],
    ) -> KeeperProcess:
        """Start the keeper of a replica; of a trial, where that can be, with TensorFlow imported already."""
        spec, program, forked = self._spec, replica.pool.program, None
        is_trial = spec.trial_id and spec.family and len(self._replicas) == 1
        if is_trial and not gpus and isinstance(program, PackageProgram):
            packages = (program.image_uri, *program.package_uris)
            forked = self._means.templates.start_keeper(
                Wanted(spec.family, packages, settings, isolation, prepare, self._say, self._cancelled)
            )
        return forked or start_keeper(isolation, settings)

    def _settings(
        self,
        folder: Path,
        *,
        replica: plan.Replica,
        packages: Mapping[str, Path],
        gpus: Sequence[Sequence[str]],
        ports: Sequence[int],
        metrics: Path | None,
    ) -> keeper.Settings:
        """Make the folders of a replica, below a new one, and all that its keeper needs to know."""
        means = self._means
        contract = plan.contract_env(self._spec, replica, ports, metric_file=metrics)
        replica = plan.resolved(replica, contract)
        program = replica.pool.program
        _remove(folder)
        folders = plan.Folders(folder / "home", folder / "tmp", folder / "work")
        for path in (folders.home, folders.temporary, folders.program):
            path.mkdir(parents=True)
        _link_downloads(folders.home / ".keras")
        uris = program.package_uris if isinstance(program, PackageProgram) else ()
        given = plan.Given(
            contract,
            means.google_env(self._spec.project),
            gpus[replica.rank] or (() if has_driver() else None),
            folders,
            means.mount.folder,
            metrics and metrics.parent,
        )
        runnable = programs.prepared(
            replica,
            means.environments,
            [packages[uri] for uri in uris if uri in packages],
            given,
            say=self._say_once,
            cancelled=self._cancelled,
        )
        if replica.index == 0 and (ignored := plan.overridden(replica, runnable.env)):
            self._say_once(
                f"{replica.name}: {', '.join(ignored)} of env is not taken, for Vertex AI sets it."
            )
        log = self._logs.path(replica.name)
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        isolation = means.mount.isolation()
        if metrics is not None and (isolation.mounts or isolation.binds):
            means.reports.hold()
        return {
            "command": list(runnable.command),
            "env": dict(runnable.env),
            "at_the_end": list(runnable.at_the_end),
            "folder": str(folders.program),
            "log": str(log),
            "after": self._logs.last_time(replica.name),
            "log_limit": means.log_limit,
            "first": isolation.first,
            "gcs": str(means.mount.folder) if isolation.mounts else None,
            "mounts": [] if metrics is None else [[str(metrics.parent), plan.HYPERTUNE]],
            "lingers": False,
        }

    def _watch(self, group: ReplicaGroup) -> JobEnd:
        """Wait until it is decided how the job ends."""
        told = False
        while True:
            if self._cancelled.is_set():
                return JobEnd(EndKind.CANCELLED)
            end = group.decided()
            if not told and (group.all_started or (end and not group.failed_to_start)):
                told = True
                if self._spec.timeout is not None and self._deadline == float("inf"):
                    self._deadline = time.monotonic() + self._spec.timeout
                self._tell(self._watcher.running)
            if end:
                return self._explained(end)
            if time.monotonic() >= self._deadline:
                message = f"The job ran longer than its timeout of {self._spec.timeout:g} s, and was ended."
                self._say(message)
                return JobEnd(EndKind.TIMED_OUT, message)
            group.poll(self._deadline)

    def _explained(self, end: JobEnd) -> JobEnd:
        if end.kind is not EndKind.FAILED or (end.exit_code is None and end.signal is None):
            return end
        status = str(end.exit_code) if end.signal is None else f"{end.signal}({_signal_name(end.signal)})"
        reason = "Error"
        if end.signal == signal.SIGKILL:
            reason = "Killed, by somebody or by the system, which does so where memory runs out"
        message = (
            f"The replica {end.replica} exited with a non-zero status of {status}. "
            f"Termination reason: {reason}. To find out more about why your job exited please check "
            f"the logs: vertexkit jobs logs {self._spec.job_id}"
        )
        return JobEnd(EndKind.FAILED, message, end.replica, end.exit_code, end.signal)

    def _wind_up(self, group: ReplicaGroup, end: JobEnd) -> None:
        """End every replica that is left, patiently."""
        patience = self._means.patience
        if end.kind is EndKind.SUCCEEDED:
            succeeded = time.monotonic()
            while group.is_training and not self._cancelled.is_set():
                deadline = succeeded + (patience.evaluating if group.is_evaluating else patience.closing)
                if time.monotonic() >= deadline:
                    break
                group.poll(deadline)
        group.end(patience.stopping if self._stopped else patience.grace, lambda: self._stopped)

    def _tell(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception:
            _log.exception("who watches job %s could not be told", self._spec.job_id)

    def _say_once(self, text: str) -> None:
        """What holds for every replica is said of the first."""
        if text not in self._said:
            self._said.add(text)
            self._say(text)

    def _say(self, text: str) -> None:
        self._logs.append(SERVICE, text)


def metric_file(logs: JobLogs, replica: str) -> Path | None:
    """Where a replica of a trial reports its metrics, as cloudml-hypertune writes them; None for nowhere yet.

    Each attempt of the job has a file of its own, and this is that of the latest.
    """
    path = logs.path(replica)
    attempts = [int(folder.suffix[1:]) for folder in path.parent.glob(f"{path.stem}.hypertune.*")]
    return _metrics_of(path, max(attempts)) if attempts else None


def new_metric_file(logs: JobLogs, replica: str) -> Path:
    """The metric file of another attempt, in a new folder."""
    latest = metric_file(logs, replica)
    file = _metrics_of(logs.path(replica), 1 if latest is None else int(latest.parent.suffix[1:]) + 1)
    file.parent.mkdir(mode=0o700, parents=True)
    return file


def _metrics_of(log: Path, attempt: int) -> Path:
    return log.with_name(f"{log.stem}.hypertune.{attempt}") / "output.metrics"


def _link_downloads(keras: Path) -> None:
    """Have what Keras downloads once, data and weights, serve every job; its settings are the user's own."""
    ours = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    keras.mkdir()
    for name in ("datasets", "models"):
        with contextlib.suppress(OSError):
            (ours / name).mkdir(parents=True, exist_ok=True)
        (keras / name).symlink_to((ours / name).absolute())


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _remove(folder: Path) -> None:
    """Remove a folder, also where a program has taken its own rights away."""

    def unlock(remove: Callable[[str], object], path: str, _error: object) -> None:
        with contextlib.suppress(OSError):
            Path(path).parent.chmod(0o700)
            if Path(path).is_dir():
                Path(path).chmod(0o700)
                shutil.rmtree(path, ignore_errors=True)
            else:
                remove(path)

    if folder.exists():
        shutil.rmtree(folder, onerror=unlock)
