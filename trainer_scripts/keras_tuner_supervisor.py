"""Watches over the processes of a distributed Keras Tuner search, which Keras Tuner itself does not.

Every replica has a parent, the process that Vertex AI started, which executes the program once more as its
child; the child holds the tuner. The parents keep to these rules:

- A child that was killed is started again; the chief gives it the trial that it had (``keras_tuner_oracle``).
- A child that fails otherwise, or too often, ends its replica and with it the search.
- The chief leaves when the last worker has, not before.
- A chief that answers no worker any more is ended, and the search with it.
- Whatever ends, with whatever reason, is known to all within seconds: the chief's parent holds a connection
  to every other parent, at the address that the cluster has for it (the chief's own is Keras Tuner's).
- No child outlives its parent.

Standard library only: a parent takes 10 MB and starts at once.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from types import FrameType

from trainer_scripts.environment import Environment

CHIEF = "chief"
"""The id of the chief's tuner: Keras Tuner looks for this word."""
SILENCE_SECONDS = 30.0
"""After so long without a sign of life, a machine is taken for lost."""
ABSENCE_SECONDS = 60.0
"""How long the chief waits, once all others are done, for a worker that never came."""
HANG_SECONDS = 300.0
"""How long one answer of the chief may take: beyond it, the chief hangs."""

_TIE = "KERAS_TUNER_CLUSTER_TIE"
_TUNER_ID = "KERAS_TUNER_CLUSTER_TUNER_ID"
_LEAVE = b"leave\n"
_BEAT = b"."
_GRACE_SECONDS = 20.0  # from SIGTERM to SIGKILL
_BEAT_SECONDS = 2.0
_POLL_SECONDS = 0.1

_Heard = queue.Queue[tuple[str, str | socket.socket | None]]


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


def supervise(environment: Environment, programs: Mapping[str, Mapping[str, str]], max_restarts: int) -> int:
    """Run the programs of this replica, to the end of the search.

    Args:
        environment: Tells of the cluster.
        programs: What to execute: variables to add, by the tuner's id; of the replica itself first.
        max_restarts: How often a worker is started again after it was killed.

    Returns:
        The exit status of this replica.
    """
    children = [Child(tuner_id, variables, max_restarts) for tuner_id, variables in programs.items()]
    return (_ChiefParent if environment.is_chief else _WorkerParent)(environment, children).run()


def chief_address(environment: Environment) -> str:
    """``host:port`` of the replica that is the chief: worker 0 where no other is."""
    return (environment.cluster.get("chief") or environment.cluster["worker"])[0]


def split(address: str) -> tuple[str, int]:
    """Host and port; a host in brackets is an IPv6 address."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        sys.exit(f"The cluster's address {address!r} is not host:port.")
    return host.strip("[]"), int(port)


def connect(address: tuple[str, int]) -> socket.socket:
    """Connect to somebody.

    Raises:
        OSError: Nobody is there, or not within seconds.
    """
    connection = socket.create_connection(address, timeout=5)
    if connection.getsockname() == connection.getpeername():
        # On one machine, where nobody listens, the port may be the very one that it was given itself.
        connection.close()
        raise ConnectionRefusedError(f"nobody listens at {address}")
    return connection


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _EndError(Exception):
    """The end of this replica."""

    def __init__(self, status: int, reason: str = "") -> None:
        super().__init__(reason)
        self.status = status


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
            _EndError: It failed.
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
            raise _EndError(status, f"the process of {self.tuner_id} exited with status {status}")
        killed = f"the process of {self.tuner_id} was killed by {_name(number)}"
        if self._restarts == self._max_restarts:
            raise _EndError(
                128 + number, killed + f", after {self._restarts} restarts" * (self._restarts > 0)
            )
        self._restarts += 1
        _say(f"{killed}; it is started again.")
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
            _EndError: It has not said so for long.
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
            raise _EndError(
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


class _Link:
    """A connection between two parents. What is heard goes to a queue, None at its end."""

    def __init__(self, name: str, connection: socket.socket, heard: _Heard) -> None:
        self._name, self._connection, self._heard = name, connection, heard
        connection.settimeout(SILENCE_SECONDS)
        threading.Thread(target=self._read, daemon=True).start()

    def say(self, message: str = "") -> None:
        """Send a line; an empty one is a sign of life. The reader notices when there is nobody to hear it."""
        with contextlib.suppress(OSError):
            self._connection.sendall(message.replace("\n", " ").encode() + b"\n")

    def close(self) -> None:
        """Say no more; what was said still arrives."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)

    def _read(self) -> None:
        with self._connection, contextlib.suppress(OSError):
            for line in self._connection.makefile("r", encoding="utf-8", errors="replace"):
                if line.strip():
                    self._heard.put((self._name, line.strip()))
        self._heard.put((self._name, None))


class _Parent:
    """What the parents of chief and workers have in common."""

    def __init__(self, environment: Environment, children: list[Child]) -> None:
        self.environment = environment
        self.children = children
        self.links: dict[str, _Link] = {}
        self.heard: _Heard = queue.Queue()

    def run(self) -> int:
        """To the end of the search; the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._terminated)
        try:
            self.connect()
            for child in self.children:
                child.start()
            beat = time.monotonic()
            while True:
                with contextlib.suppress(queue.Empty):
                    name, message = self.heard.get(timeout=_POLL_SECONDS)
                    if isinstance(message, socket.socket):
                        self.links[name] = _Link(name, message, self.heard)
                        self.connected(name)
                    else:
                        self.hear(name, message)
                for child in self.children:
                    if child.poll() == 0:
                        self.finished(child)
                self.consider()
                if time.monotonic() >= beat:
                    beat = time.monotonic() + _BEAT_SECONDS
                    for link in list(self.links.values()):
                        link.say()
        except _EndError as end:
            self.end(end)
            return end.status

    def end(self, end: _EndError) -> None:
        """Tell all, and leave no process behind."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if str(end):
            _say(f"The search ends: {end}.")
            for link in list(self.links.values()):
                link.say(str(end))
        for link in list(self.links.values()):
            link.close()
        for child in self.children:
            child.terminate()
        deadline = time.monotonic() + _GRACE_SECONDS
        for child in self.children:
            child.wait(deadline)

    def _terminated(self, number: int, _: FrameType | None) -> None:
        raise _EndError(128 + number, f"{self.children[0].tuner_id} was sent {_name(number)}")

    def connect(self) -> None:
        """Begin to reach the other parents, or to be reached: their connections go to ``heard``."""
        raise NotImplementedError

    def connected(self, name: str) -> None:
        """There is a link to another parent."""
        raise NotImplementedError

    def hear(self, name: str, message: str | None) -> None:
        """Another parent said something, or is gone."""
        raise NotImplementedError

    def finished(self, child: Child) -> None:
        """A child ended with success."""
        raise NotImplementedError

    def consider(self) -> None:
        """Called every moment."""
        raise NotImplementedError


_DONE = "done"


class _ChiefParent(_Parent):
    """Reaches every worker, and lets the chief leave when all are done."""

    def connect(self) -> None:
        self._chief, *_ = self.children
        self._absent = dict(_workers(self.environment))
        self._busy = {child.tuner_id for child in self.children[1:]}
        self._leaving = False
        self._done_since = float("inf")
        for name, address in self._absent.items():
            threading.Thread(target=self._reach, args=(name, address), daemon=True).start()

    def _reach(self, name: str, address: str) -> None:
        """Connect to a worker, however slow it is to start."""
        greeting = _greeting(self.environment, name)
        while True:
            with contextlib.suppress(OSError):
                # Its name may be unknown until it runs; something else may answer in its place.
                connection = connect(split(address))
                # To hang up on a worker that is only slow would tell it that the chief is gone.
                connection.settimeout(SILENCE_SECONDS)
                connection.sendall(greeting)
                if _read_greeting(connection, greeting):
                    self.heard.put((name, connection))
                    return
                connection.close()
            time.sleep(0.2)

    def connected(self, name: str) -> None:
        _say(f"{name} has joined.")
        del self._absent[name]
        self._busy.add(name)

    def hear(self, name: str, message: str | None) -> None:
        if message == _DONE:
            self._busy.discard(name)
            self.links.pop(name).close()
        elif message is not None:
            raise _EndError(1, message)
        elif name in self._busy:
            # Whoever watches over this job sees the worker's own end first: it may start all anew.
            time.sleep(1)
            raise _EndError(1, f"{name} ({_workers(self.environment)[name]}) is gone")

    def finished(self, child: Child) -> None:
        if child is not self._chief:
            self._busy.discard(child.tuner_id)
        elif self._leaving:
            raise _EndError(0)
        else:
            raise _EndError(1, "the chief's program ended before its workers were done")

    def consider(self) -> None:
        if self._busy:
            self._done_since = float("inf")
            return
        now = time.monotonic()
        self._done_since = min(self._done_since, now)
        someone_came = len(self._absent) < len(_workers(self.environment)) or len(self.children) > 1
        patience = ABSENCE_SECONDS if someone_came else float("inf")
        if not self._leaving and (not self._absent or now - self._done_since > patience):
            if self._absent:
                _say(f"Never seen: {', '.join(self._absent)}. The search ended without.")
            self._leaving = True
            self._chief.leave()


class _WorkerParent(_Parent):
    """Is reached by the chief, and ends with it."""

    def connect(self) -> None:
        self._name = self.children[0].tuner_id
        self._chief = f"the chief ({chief_address(self.environment)})"
        self._is_done = False
        host, port = split(_workers(self.environment)[self._name])
        try:
            listener = socket.create_server((host if is_loopback(host) else "", port))
        except OSError as error:
            raise _EndError(1, f"{self._name} cannot listen on port {port}: {error}") from None
        threading.Thread(target=self._await_chief, args=(listener,), daemon=True).start()

    def _await_chief(self, listener: socket.socket) -> None:
        """Take the connection of the chief, and of nobody else."""
        greeting = _greeting(self.environment, self._name)
        with listener:
            while True:
                connection, _ = listener.accept()
                connection.settimeout(5)
                with contextlib.suppress(OSError):
                    if _read_greeting(connection, greeting):
                        connection.sendall(greeting)
                        self.heard.put((self._chief, connection))
                        return
                connection.close()

    def connected(self, name: str) -> None:
        if self._is_done:
            self.links[name].say(_DONE)

    def hear(self, name: str, message: str | None) -> None:
        if message is not None:
            raise _EndError(1, message)
        if self._is_done:
            raise _EndError(0)
        raise _EndError(1, f"{name} is gone")

    def finished(self, child: Child) -> None:
        self._is_done = True
        for link in self.links.values():
            link.say(_DONE)  # and the chief hangs up

    def consider(self) -> None:
        """Nothing: the chief decides."""


def _workers(environment: Environment) -> dict[str, str]:
    """Addresses of the workers, by the ids of their tuners."""
    addresses = {f"worker{index}": to for index, to in enumerate(environment.cluster.get("worker", ()))}
    return {name: to for name, to in addresses.items() if to != chief_address(environment)}


def _greeting(environment: Environment, name: str) -> bytes:
    """What tells the parents of one job from whatever else finds the port."""
    return f"keras_tuner_cluster {environment.job_id or '-'} {name}\n".encode()


def _read_greeting(connection: socket.socket, greeting: bytes) -> bool:
    """Whether this is what the other side says."""
    heard = b""
    while len(heard) < len(greeting) and (part := connection.recv(len(greeting) - len(heard))):
        heard += part
    return heard == greeting


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _say(text: str) -> None:
    print(f"Keras Tuner cluster: {text}", file=sys.stderr, flush=True)
