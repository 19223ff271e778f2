"""The child of a replica's parent in a distributed Keras Tuner search, and what it has of that parent.

The child executes the parent's own command once more. Between the two is a pair of sockets: there the child
says that all is well, and the parent that it may leave; where it closes, the other side is gone.

Standard library only, as in the parent (``keras_tuner_supervisor``).
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping

CHIEF = "chief"
"""The id of the chief's tuner: Keras Tuner looks for this word."""
HANG_SECONDS = 300.0
"""How long one answer of the chief may take: beyond it, the chief hangs."""

_TIE = "KERAS_TUNER_CLUSTER_TIE"
_TUNER_ID = "KERAS_TUNER_CLUSTER_TUNER_ID"
_LEAVE = b"leave\n"
_BEAT = b"."


class EndError(Exception):
    """The end of this replica."""

    def __init__(self, status: int, reason: str = "") -> None:
        super().__init__(reason)
        self.status = status


class Tie:
    """What a child has of its parent.

    Attributes:
        leave: Set once the chief may leave.

    Args:
        connection: To the parent; None where there is none.
    """

    def __init__(self, connection: socket.socket | None = None) -> None:
        self.leave = threading.Event()
        self._connection = connection

    def beat(self) -> None:
        """Tell the parent that all is well. From the first time on, it expects that again and again."""
        if self._connection is not None:
            with contextlib.suppress(OSError):  # it has not read the last ones yet, or is gone
                self._connection.send(_BEAT, socket.MSG_DONTWAIT)

    def heed(self) -> None:
        """Do what the parent says; ends this process with it."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                while self._connection.recv(len(_LEAVE)):
                    self.leave.set()
        # The parent is gone: there is nobody left to end this process.
        os._exit(1)


def this_child() -> tuple[str, Tie] | None:
    """Where this process is a parent's child: its tuner's id, and its tie to the parent."""
    number = os.environ.pop(_TIE, None)
    if number is None:
        return None
    os.set_inheritable(int(number), False)
    tie = Tie(socket.socket(fileno=int(number)))
    threading.Thread(target=tie.heed, daemon=True).start()
    return os.environ.pop(_TUNER_ID), tie


class Child:
    """The program, executed once more; started again after it was killed."""

    def __init__(self, tuner_id: str, variables: Mapping[str, str], max_restarts: int) -> None:
        self.tuner_id = tuner_id
        self._variables = variables
        # What the chief knows of running trials is gone with it.
        self._max_restarts = 0 if tuner_id == CHIEF else max_restarts
        self._restarts = 0
        self._has_left = False
        self._process: subprocess.Popen[bytes] | None = None
        self._tie: socket.socket | None = None
        self._beat = float("inf")
        """When it last said that all is well; never before it has begun to."""

    def start(self) -> None:
        """Execute the command of this process, with a connection that says so and that ends with it."""
        self._tie, theirs = socket.socketpair()
        added = {_TIE: str(theirs.fileno()), _TUNER_ID: self.tuner_id}
        # The very same command: interpreter, its options, script or module, arguments.
        command = [sys.executable, *sys.orig_argv[1:]]
        with theirs:
            self._process = subprocess.Popen(
                command, env={**os.environ, **self._variables, **added}, pass_fds=[theirs.fileno()]
            )
        self._beat = float("inf")

    def poll(self) -> int | None:
        """Its exit status: 0, or what the replica is to exit with; None while it runs, or runs again.

        Raises:
            EndError: It failed.
        """
        if self._process is None or self._tie is None:
            return None
        status = self._process.poll()
        if status is None:
            self._listen(self._tie)
            return None
        self._tie.close()
        self._process = self._tie = None
        if status == 0:
            return 0
        # A program that was executed by a shell says with 128 + n that it was killed.
        number = -status if status < 0 else status - 128
        if number not in signal.valid_signals():
            raise EndError(status, f"the process of {self.tuner_id} exited with status {status}")
        killed = f"the process of {self.tuner_id} was killed by {signal_name(number)}"
        if self._restarts == self._max_restarts:
            raise EndError(128 + number, killed + f", after {self._restarts} restarts" * (self._restarts > 0))
        self._restarts += 1
        say(f"{killed}; it is started again.")
        self.start()
        return None

    def leave(self) -> None:
        """Tell it that all others are done; what it does then may take its time."""
        self._has_left = True
        if self._tie is not None:
            with contextlib.suppress(OSError):
                self._tie.send(_LEAVE)

    def _listen(self, tie: socket.socket) -> None:
        """Hear whether all is well.

        Raises:
            EndError: It has not said so for long.
        """
        now = time.monotonic()
        # Nothing to hear yet; or the child has just died, which poll() finds out and says why.
        with contextlib.suppress(OSError):
            if tie.recv(4096, socket.MSG_DONTWAIT):
                self._beat = now
        silent = now - self._beat
        if silent > HANG_SECONDS and not self._has_left:
            if self._process is not None:
                self._process.kill()  # it may be stopped, and would hear nothing else
            raise EndError(
                1, f"the process of {self.tuner_id} hangs: it has answered nobody for {silent:.0f} s"
            )

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process is not None:
            self._process.terminate()

    def wait(self, deadline: float) -> None:
        """Wait for its end, until the deadline at most."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def signal_name(number: int) -> str:
    """What a signal is called."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def say(text: str) -> None:
    """Tell whoever reads the replica's log."""
    print(f"Keras Tuner cluster: {text}", file=sys.stderr, flush=True)
