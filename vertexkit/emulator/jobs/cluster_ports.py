"""Ports that the replicas of a job can bind, each given to one job at a time."""

from __future__ import annotations

import contextlib
import errno
import itertools
import random
import socket
import threading
from collections.abc import Iterable
from pathlib import Path

_LOWEST, _HIGHEST = 10_000, 32_767
_HIGHEST_OF_ALL = 65_535
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


class ClusterPorts:
    """The ports that have been given out. From any thread.

    A port is free for the replica to bind, so nothing of ours can listen on it. That other emulators on
    this machine leave it alone is told by a socket of its name, which the system closes when we end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given: dict[int, socket.socket | None] = {}

    def take(self, count: int) -> list[int]:
        """So many ports that are free on every address of this machine.

        Raises:
            OSError: There are not so many.
        """
        with self._lock:
            taken: list[int] = []
            for port in _candidates():
                if len(taken) == count:
                    break
                if port not in self._given and self._reserve(port):
                    taken.append(port)
            if len(taken) == count:
                return taken
        self.give_back(taken)
        raise OSError(errno.EADDRINUSE, f"there are no {count} free ports on this machine")

    def give_back(self, ports: Iterable[int]) -> None:
        """Let others have them."""
        with self._lock:
            for port in ports:
                name = self._given.pop(port, None)
                if name is not None:
                    name.close()

    def _reserve(self, port: int) -> bool:
        name = None
        try:
            with socket.socket() as tried:
                tried.bind(("", port))
            # Names that begin with a NUL are Linux's: they are in no file system, and end with their socket.
            if _EPHEMERAL.exists():
                name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                name.bind(f"\0vertexkit-port-{port}")
        except OSError:
            if name is not None:
                name.close()
            return False
        self._given[port] = name
        return True


def _candidates() -> Iterable[int]:
    """Ports below those that the system gives to outgoing connections, which would take one unasked."""
    lowest, highest = _LOWEST, _HIGHEST
    with contextlib.suppress(OSError, ValueError):
        first, last = map(int, _EPHEMERAL.read_text().split())
        highest = first - 1
        if highest - lowest < 1000:
            lowest, highest = last + 1, _HIGHEST_OF_ALL
        if highest - lowest < 1000:
            lowest, highest = first, last
    # Not always the same ones: a port that was in use a moment ago may have connections that linger.
    first = random.randint(lowest, highest)  # noqa: S311 (no secret)
    return itertools.chain(range(first, highest + 1), range(lowest, first))
