"""A replica that runs: its keeper's process, and what the keeper says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import IO, Protocol

from vertexkit.emulator.jobs import keeper
from vertexkit.emulator.jobs.gcs_mount import Isolation

_KILLED = 128
_END_SECONDS = 10.0
_DIAGNOSTIC_BYTES = 4096


@dataclass(frozen=True)
class ReplicaExit:
    """How a replica's program ended."""

    time_ns: int
    exit_code: int | None
    """None where it ended by a signal."""
    signal: int | None
    lost_lines: int = 0
    """Lines of its log that found no room, and are not spoken of in it."""

    @property
    def is_success(self) -> bool:
        """Whether it exited with 0."""
        return self.exit_code == 0


class KeeperProcess(Protocol):
    """A process that runs a keeper, or keeps one."""

    @property
    def pid(self) -> int:
        """The process that everything is below."""

    @property
    def stdin(self) -> IO[bytes] | None:
        """The pipe of orders."""

    @property
    def stdout(self) -> IO[bytes] | None:
        """The pipe of what the keeper says."""

    def kill(self) -> None:
        """End it, and what it keeps."""

    def wait(self) -> int:
        """Wait for its end; its exit code, or minus the signal."""


def start_keeper(isolation: Isolation, settings: keeper.Settings) -> subprocess.Popen[bytes]:
    """Start the process of a keeper.

    Raises:
        OSError: It could not be started.
    """
    # A group and a session of its own: Ctrl-C in the emulator's terminal is not for it.
    return subprocess.Popen(
        isolation.keeper_command(mounts=settings["mounts"]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"LANG": "C.UTF-8", "PATH": os.environ.get("PATH", os.defpath)},
        start_new_session=True,
    )


class ReplicaProcess:
    """One replica, running. Belongs to the thread that started it.

    Attributes:
        name: ``workerpool0-0``.
        started: Whether its program has been started.
        failure: Why its program could not be started; empty if nothing is known against it.
        exit: How it ended; None while it runs.

    Args:
        name: ``workerpool0-0``.
        process: Its keeper's, just started.
        settings: For its keeper.
    """

    def __init__(self, name: str, process: KeeperProcess, settings: keeper.Settings) -> None:
        self.name = name
        self.started = False
        self.failure = ""
        self.exit: ReplicaExit | None = None
        self._program = 0
        self._said = b""
        self._unknown = ""
        self._process = process
        self._at_the_end = settings["at_the_end"]
        self._env = settings["env"]
        with contextlib.suppress(BrokenPipeError):
            # One that has ended already says why on the other pipe.
            self._orders.write(json.dumps(settings).encode() + b"\n")
            self._orders.flush()

    def fileno(self) -> int:
        """The pipe of what the keeper says; to be read when something is there."""
        return self._answers.fileno()

    @property
    def pid(self) -> int:
        """The process that the program is below."""
        return self._process.pid

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is left."""
        return self.exit is not None or bool(self.failure)

    def read(self) -> None:
        """Take what the keeper says; blocks if there is nothing."""
        data = os.read(self.fileno(), 65536)
        if not data:
            self._keeper_gone()
            return
        *lines, self._said = (self._said + data).split(b"\n")
        for line in lines:
            self._hear(line.decode(errors="replace"))

    def ask(self) -> None:
        """Ask the program to end: SIGTERM to its group."""
        self._order(b"T")

    def make(self) -> None:
        """End everything of it."""
        self._order(b"K")

    def kill(self) -> None:
        """End the keeper itself, where it does not do what it is told."""
        self._process.kill()

    def close(self) -> None:
        """Let go of a replica that is over."""
        for pipe in (self._orders, self._answers):
            with contextlib.suppress(OSError):
                pipe.close()
        self._process.wait()

    @property
    def _orders(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _answers(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _order(self, letter: bytes) -> None:
        with contextlib.suppress(OSError):
            self._orders.write(letter)
            self._orders.flush()

    def _hear(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "started":
            self.started = True
            self._program = int(rest)
        elif word == "ended":
            status, time_ns, lost = map(int, rest.split())
            code = os.waitstatus_to_exitcode(status)
            self.exit = ReplicaExit(
                int(time_ns), code if code >= 0 else None, -code if code < 0 else None, lost
            )
        elif word == "failed":
            self.failure = rest
        else:
            self._unknown = (self._unknown + line + "\n")[-_DIAGNOSTIC_BYTES:]

    def _keeper_gone(self) -> None:
        """The keeper's pipe has closed: it has ended, as it should or not."""
        returncode = self._process.wait()
        if self.is_over:
            return
        if not self.started:
            self.failure = self._unknown.strip() or f"its keeper ended with {returncode}"
            return
        # It was killed, and the program with it: by the namespace, or by the signal that a parent's death is.
        number = -returncode if returncode < 0 else returncode - _KILLED
        self.exit = ReplicaExit(time.time_ns(), None, number if number > 0 else signal.SIGKILL)
        if self._program:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._program, signal.SIGKILL)
        if self._at_the_end:
            # As the keeper would have done.
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(
                    self._at_the_end,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    env=self._env,
                    timeout=_END_SECONDS,
                    check=False,
                )
