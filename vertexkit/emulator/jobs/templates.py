"""Trials that start with TensorFlow imported: the templates that they are forked from, one a family."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import select
import shutil
import signal
import socket
import struct
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vertexkit.emulator.jobs import keeper, template
from vertexkit.emulator.jobs.early_settings import early_settings
from vertexkit.emulator.jobs.gcs_mount import Isolation
from vertexkit.emulator.jobs.logs import JobLogs
from vertexkit.emulator.jobs.replica_process import ReplicaProcess, start_keeper

__all__ = ["ForkedKeeper", "Templates", "Wanted"]

# What importing TensorFlow may take on a machine that has much else to do.
_IMPORT_SECONDS = 180.0
_FORK_SECONDS = 30.0
_POLL_SECONDS = 0.05
# A family whose template has gone so often gets no other.
_LIVES = 3
# What Vertex AI tells each replica: nothing looks at it while TensorFlow is imported.
_OF_EACH = ("AIP_", "CLOUD_ML_", "CLUSTER_SPEC", "TF_CONFIG", "RANK", "WORLD_SIZE", "MASTER_")
_CREDENTIALS = struct.Struct("3i")
_SCM_CREDENTIALS = 2
_LOG = "template"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """A trial that is to be started: one replica, a module of packages, without GPUs."""

    family: str
    packages: tuple[str, ...]
    """What its environment is made of: the image, and the URIs of its packages."""
    settings: keeper.Settings
    """For its keeper; ``command`` is ``python3 -m MODULE ...``."""
    isolation: Isolation
    prepare: Callable[[Path], keeper.Settings]
    """Makes below a new folder what the trial's own has: the settings of one that would run there."""
    say: Callable[[str], None]
    """Takes lines for the trial's log."""
    cancelled: threading.Event

    @property
    def module(self) -> str:
        """What is run."""
        return self.settings["command"][2]

    @property
    def site(self) -> Path:
        """The folder of the packages that only this trial's environment has."""
        base = Path(self.settings["command"][0]).parent.parent
        return Path(sysconfig.get_path("purelib", "venv", vars={"base": str(base)}))


class Templates:
    """The templates of an engine. From any thread.

    Args:
        folder: For their working folders.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._lives: dict[str, int] = {}
        self._templates: dict[str, _Template] = {}
        self._running: set[_Template] = set()
        """All, with those that only keep what was forked from them."""
        self._closed = False

    def start_keeper(self, wanted: Wanted) -> ForkedKeeper | None:
        """Start the keeper of a trial, forked from the template of its family; waits for that to be there.

        Returns:
            The keeper; None where the trial has to be started as a program of its own.
        """
        env, isolation = wanted.settings["env"], wanted.isolation
        is_kept_apart = isolation.mounts or not isolation.first
        # What else is on the path may stand before what a template has imported.
        if sys.platform != "linux" or not is_kept_apart or env.get("PYTHONPATH"):
            return None
        early = early_settings(wanted.module, [wanted.site], env)
        if early is None:
            return None
        made = self._template(wanted, early)
        if made is None:
            return None
        is_there = made.wait(wanted.cancelled)
        if wanted.cancelled.is_set() or (is_there and not made.fits(wanted, early)):
            return None
        forked = made.fork() if is_there else None
        if forked is None:
            with self._lock:
                if self._templates.get(wanted.family) is made:
                    del self._templates[wanted.family]
            made.end()
        return forked

    def end(self, family: str) -> None:
        """End the template of a family, if there is one; its trials go on."""
        with self._lock:
            self._lives.pop(family, None)
            made = self._templates.pop(family, None)
        if made is not None:
            made.end()

    def close(self) -> None:
        """End every template, and every trial that was forked from one."""
        with self._lock:
            self._closed = True
            running = list(self._running)
            self._templates.clear()
        for made in running:
            made.kill()
        for made in running:
            made.join()

    def _template(self, wanted: Wanted, early: Mapping[str, str]) -> _Template | None:
        """The template of a family, perhaps not ready yet; None where it gets none any more."""
        with self._lock:
            made = self._templates.get(wanted.family)
            lives = self._lives.get(wanted.family, _LIVES)
            # One that has been cancelled may be the last of a family that has ended.
            if made is None and lives > 0 and not self._closed and not wanted.cancelled.is_set():
                self._lives[wanted.family] = lives - 1
                made = _Template(self._folder / str(next(self._numbers)), wanted, early, self._over)
                self._templates[wanted.family] = made
                self._running.add(made)
            return made

    def _over(self, made: _Template) -> None:
        with self._lock:
            self._running.discard(made)


class _Template:
    """One template: its process, followed by a thread of its own.

    Args:
        root: A new folder for it.
        wanted: A trial that it is for.
        early: What it has in its environment beside the trial's variables.
        over: Called when nothing of it is left, nor of what was forked from it.
    """

    def __init__(
        self, root: Path, wanted: Wanted, early: Mapping[str, str], over: Callable[[_Template], None]
    ) -> None:
        self._root = root
        self._early = early
        self._kind = _kind(wanted)
        self._over = over
        # Set when it is known whether it can be forked.
        self._known = threading.Event()
        self._packages: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: ReplicaProcess | None = None
        self._is_ending = False
        self._thread = threading.Thread(target=self._live, args=(wanted,), daemon=True)
        self._thread.start()

    def wait(self, cancelled: threading.Event) -> bool:
        """Wait until TensorFlow is imported; whether it is, and nobody has cancelled."""
        while not self._known.wait(_POLL_SECONDS):
            if cancelled.is_set():
                return False
        return self._control is not None

    def fits(self, wanted: Wanted, early: Mapping[str, str]) -> bool:
        """Whether a trial has the same environment, and no module of its own in place of an imported one."""
        own = {entry.name.partition(".")[0] for entry in wanted.site.iterdir()}
        return (_kind(wanted), early) == (self._kind, self._early) and not own & self._packages

    def fork(self) -> ForkedKeeper | None:
        """Fork a keeper; None where the template has gone."""
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        ours.settimeout(_FORK_SECONDS)
        orders, answers = os.pipe(), os.pipe()
        forked = ForkedKeeper(ours, os.fdopen(orders[1], "wb"), os.fdopen(answers[0], "rb"))
        try:
            with self._lock:
                if self._control is None:
                    raise ConnectionError
                socket.send_fds(self._control, [b"f"], [orders[0], answers[1], theirs.fileno()])
        except OSError:
            pass
        finally:
            theirs.close()
            os.close(orders[0])
            os.close(answers[1])
        if forked.is_there():
            return forked
        forked.stdin.close()
        forked.stdout.close()
        return None

    def end(self) -> None:
        """End the template; what was forked from it goes on."""
        self._order(ReplicaProcess.ask)

    def kill(self) -> None:
        """End it, and what was forked from it."""
        self._order(ReplicaProcess.make)

    def join(self) -> None:
        """Wait until nothing of it is left."""
        self._thread.join()

    def _order(self, order: Callable[[ReplicaProcess], None]) -> None:
        with self._lock:
            self._is_ending = True
            if self._control is not None:
                self._control.close()
                self._control = None
            if self._process is not None:
                order(self._process)

    def _live(self, wanted: Wanted) -> None:
        began = time.monotonic()
        process = None
        try:
            with socket.socket(socket.AF_UNIX) as listener:
                process = self._start(wanted, listener)
                self._packages = self._become_ready(process, listener)
            _log.info("a template is ready after %.1f s", time.monotonic() - began)
        except Exception as error:
            if not self._is_ending and not wanted.cancelled.is_set():
                wanted.say(f"TensorFlow is not imported ahead of the trials, each imports it itself: {error}")
            if process is not None:
                process.make()
        self._known.set()
        if process is not None:
            while not process.is_over:
                process.read()
            with self._lock:
                self._process = None
                if self._control is not None:
                    self._control.close()
                    self._control = None
            process.close()
        shutil.rmtree(self._root, ignore_errors=True)
        self._over(self)

    def _start(self, wanted: Wanted, listener: socket.socket) -> ReplicaProcess:
        settings = wanted.prepare(self._root)
        work = Path(settings["folder"])
        with _short(work) as folder:
            listener.bind(f"{folder}/{template.SOCKET}")
        listener.listen(1)
        namespaces = ["--namespaces"] if wanted.isolation.first else []
        env = {name: value for name, value in settings["env"].items() if not name.startswith(_OF_EACH)}
        settings |= {
            "command": [*template.command(settings["command"][0]), *namespaces],
            "env": {**env, **self._early},
            "log": str(JobLogs(self._root).path(_LOG)),
            "mounts": [],
            "lingers": True,
        }
        process = ReplicaProcess("template", start_keeper(wanted.isolation, settings), settings)
        with self._lock:
            self._process = process
            if self._is_ending:
                process.make()
        return process

    def _become_ready(self, process: ReplicaProcess, listener: socket.socket) -> frozenset[str]:
        """Wait until it says that it has imported TensorFlow, and the names of what it has imported."""
        deadline = time.monotonic() + _IMPORT_SECONDS
        while True:
            timeout = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([process.fileno(), listener.fileno()], [], [], timeout)
            if not ready:
                raise TimeoutError(f"it took more than {_IMPORT_SECONDS:g} s")
            if listener.fileno() in ready:
                break
            process.read()
            # Its keeper stays for what it may have forked.
            if process.is_over:
                raise RuntimeError(process.failure or self._last_words())
        control, _ = listener.accept()
        with control.makefile("rb") as said:
            packages = frozenset(json.loads(said.readline()))
        with self._lock:
            if self._is_ending:
                control.close()
            else:
                self._control = control
        return packages

    def _last_words(self) -> str:
        return next((line.text for line in JobLogs(self._root).backward()), "it has ended")


class ForkedKeeper:
    """The keeper of a trial that was forked from a template; as a process that was started for it.

    Args:
        connection: To its warden.
        orders: The pipe of orders to it.
        answers: The pipe of what it says.
    """

    def __init__(self, connection: socket.socket, orders: IO[bytes], answers: IO[bytes]) -> None:
        self.stdin = orders
        self.stdout = answers
        self.pid = 0
        self._connection = connection
        self._returncode: int | None = None

    def is_there(self) -> bool:
        """Whether it has been forked; waits for that."""
        try:
            said, sent, _, _ = self._connection.recvmsg(1, socket.CMSG_SPACE(_CREDENTIALS.size))
        except OSError:
            said, sent = b"", []
        if said != template.KEPT:
            self._connection.close()
            return False
        # The number that the warden has here, whatever it has in its namespace.
        self.pid = next(_CREDENTIALS.unpack(data)[0] for _, kind, data in sent if kind == _SCM_CREDENTIALS)
        self._connection.settimeout(None)
        return True

    def kill(self) -> None:
        """End it, and what it keeps."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)

    def wait(self) -> int:
        """Wait for its end; its exit code, or minus the signal."""
        if self._returncode is None:
            said = b""
            with self._connection:
                while len(said) < template.STATUS.size:
                    data = self._connection.recv(template.STATUS.size - len(said))
                    if not data:
                        # Its warden was killed, and it was with that.
                        self._returncode = -signal.SIGKILL
                        return self._returncode
                    said += data
            self._returncode = os.waitstatus_to_exitcode(template.STATUS.unpack(said)[0])
        return self._returncode


def _kind(wanted: Wanted) -> tuple[object, ...]:
    """What trials have in common that one template can serve."""
    root = str(Path(wanted.settings["folder"]).parent)
    env = {name: value.replace(root, "") for name, value in wanted.settings["env"].items()}
    shared = tuple(sorted(item for item in env.items() if not item[0].startswith(_OF_EACH)))
    return wanted.packages, wanted.isolation, shared


@contextlib.contextmanager
def _short(folder: Path) -> Iterator[str]:
    """A path of a folder that is short enough for the address of a socket."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
