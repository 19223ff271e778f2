"""Watches over the processes of a distributed Keras Tuner search, which Keras Tuner itself does not.

Every replica has a parent, the process that Vertex AI started, which executes the program once more as its
child (``keras_tuner_child``); the child holds the tuner. The parents keep to these rules:

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
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from types import FrameType

from trainer_scripts.environment import Environment
from trainer_scripts.keras_tuner_child import Child, EndError, say, signal_name

SILENCE_SECONDS = 30.0
"""After so long without a sign of life, a machine is taken for lost."""
ABSENCE_SECONDS = 60.0
"""How long the chief waits, once all others are done, for a worker that never came."""

_GRACE_SECONDS = 20.0  # from SIGTERM to SIGKILL
_BEAT_SECONDS = 2.0
_POLL_SECONDS = 0.1

_Heard = queue.Queue[tuple[str, str | socket.socket | None]]


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
        except EndError as end:
            self.end(end)
            return end.status

    def end(self, end: EndError) -> None:
        """Tell all, and leave no process behind."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if str(end):
            say(f"The search ends: {end}.")
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
        raise EndError(128 + number, f"{self.children[0].tuner_id} was sent {signal_name(number)}")

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
        say(f"{name} has joined.")
        del self._absent[name]
        self._busy.add(name)

    def hear(self, name: str, message: str | None) -> None:
        if message == _DONE:
            self._busy.discard(name)
            self.links.pop(name).close()
        elif message is not None:
            raise EndError(1, message)
        elif name in self._busy:
            # Whoever watches over this job sees the worker's own end first: it may start all anew.
            time.sleep(1)
            raise EndError(1, f"{name} ({_workers(self.environment)[name]}) is gone")

    def finished(self, child: Child) -> None:
        if child is not self._chief:
            self._busy.discard(child.tuner_id)
        elif self._leaving:
            raise EndError(0)
        else:
            raise EndError(1, "the chief's program ended before its workers were done")

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
                say(f"Never seen: {', '.join(self._absent)}. The search ended without.")
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
            raise EndError(1, f"{self._name} cannot listen on port {port}: {error}") from None
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
            raise EndError(1, message)
        if self._is_done:
            raise EndError(0)
        raise EndError(1, f"{name} is gone")

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
