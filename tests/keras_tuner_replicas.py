"""Chief and workers of a Keras Tuner search by hand, each a process that is told by TF_CONFIG who it is."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECONDS = 240


class Replicas:
    """Chief and workers of one program, each told by TF_CONFIG who it is."""

    def __init__(self, folder: Path, command: list[str], workers: int = 2) -> None:
        self.folder, self.command = folder, command
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.names = ["chief", *(f"worker{index}" for index in range(workers))]
        with ExitStack() as held:
            addresses = [f"127.0.0.1:{_free_port(held)}" for _ in self.names]
        self.cluster = {"chief": addresses[:1], "worker": addresses[1:]}

    def start(self, *names: str) -> None:
        for name in names or self.names:
            kind = name.rstrip("0123456789")
            task = {"type": kind, "index": int(name.removeprefix(kind) or 0)}
            clean = {
                key: value
                for key, value in os.environ.items()
                if not key.startswith(("AIP_", "TF_", "CLUSTER_", "CLOUD_ML_", "RANK", "WORLD_SIZE", "KERAS"))
            }
            told = {"TF_CONFIG": json.dumps({"cluster": self.cluster, "task": task})}
            told |= {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
            with (self.folder / f"{name}.log").open("wb") as log:
                self.running[name] = subprocess.Popen(
                    [sys.executable, *self.command],
                    cwd=self.folder,
                    env=clean | told,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )

    def ends(self, seconds: float = SECONDS) -> dict[str, tuple[int, float]]:
        """The exit status of each, and when it ended, once all have."""
        ended: dict[str, tuple[int, float]] = {}
        until(lambda: self._note(ended), seconds, self.printed)
        return ended

    def succeed(self, seconds: float = SECONDS) -> dict[str, float]:
        """When each ended, all with success."""
        ended = self.ends(seconds)
        assert {status for status, _ in ended.values()} == {0}, self.printed()
        return {name: when for name, (_, when) in ended.items()}

    def fail(self, reason: str, *names: str, seconds: float = 10) -> None:
        """These end within seconds, none with success, and each gives the reason."""
        ended = self.ends(seconds)
        for name in names:
            assert ended[name][0] > 0, self.printed()
            assert reason in self.log(name), self.printed()

    def children(self, name: str) -> list[int]:
        """The processes that a replica's parent has."""
        pid = self.running[name].pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def kill(self, name: str) -> None:
        """End a replica's parent, as a lost machine does."""
        self.running[name].kill()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def printed(self) -> str:
        return "\n".join(f"{name}: {self.log(name)}" for name in self.running)

    def _note(self, ended: dict[str, tuple[int, float]]) -> bool:
        for name, process in self.running.items():
            status = process.poll()
            if status is not None and name not in ended:
                ended[name] = status, time.monotonic()
        return len(ended) == len(self.running)


def until(
    condition: Callable[[], object], seconds: float = SECONDS, printed: Callable[[], str] = str
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, printed()
        time.sleep(0.02)


def _free_port(held: ExitStack) -> int:
    """A port that no connection is given by chance, as long as nobody listens there yet."""
    listener = held.enter_context(socket.socket())
    while True:
        port = random.randrange(15_000, 30_000)
        with suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
