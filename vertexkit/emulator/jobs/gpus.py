"""The GPUs of this machine, and who has them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

_DRIVER = Path("/proc/driver/nvidia")
_SMI_SECONDS = 30
_POLL_SECONDS = 0.1
_GPU = re.compile(r"GPU (\d+): .*\(UUID: (GPU-[0-9a-f-]+)\)")


def installed_gpus() -> tuple[str, ...]:
    """The GPUs that a process of ours may use, as CUDA_VISIBLE_DEVICES names them; empty for none."""
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return ()
    try:
        listed = subprocess.run([smi, "-L"], capture_output=True, text=True, timeout=_SMI_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    found = dict(_GPU.findall(listed.stdout))
    ours = os.environ.get("CUDA_VISIBLE_DEVICES")
    if ours is None:
        return tuple(found)
    named = [name.strip() for name in ours.split(",")]
    return tuple(
        name
        for name in named
        if name in found or any(uuid.startswith(name) for uuid in found.values() if name)
    )


def has_driver() -> bool:
    """Whether a program would see GPUs of this machine if nothing kept it from that."""
    return _DRIVER.exists() or shutil.which("nvidia-smi") is not None


class Gpus:
    """Hands out GPUs, none to two replicas at a time. From any thread.

    Args:
        find: Finds the GPUs of the machine; called when one is first asked for.
    """

    def __init__(self, find: Callable[[], Sequence[str]] = installed_gpus) -> None:
        self._find = find
        self._changed = threading.Condition()
        self._all: tuple[str, ...] | None = None
        self._free: list[str] = []

    def count(self) -> int:
        """How many the machine has."""
        with self._changed:
            return len(self._known())

    def take(
        self,
        counts: Sequence[int],
        cancelled: threading.Event,
        *,
        waiting: Callable[[], None] = lambda: None,
    ) -> list[tuple[str, ...]] | None:
        """GPUs for each replica of a job, all at once, so that no two jobs wait for each other's.

        Where the machine has not as many as are asked for, the last replicas get fewer or none; where others
        have them, this waits.

        Args:
            counts: How many each replica asks for.
            cancelled: Ends the waiting.
            waiting: Called once if it has to wait.

        Returns:
            For each replica, its GPUs; None if it was cancelled.
        """
        with self._changed:
            left = len(self._known())
            granted = []
            for count in counts:
                granted.append(min(count, left))
                left -= granted[-1]
            if len(self._free) < sum(granted):
                waiting()
            while len(self._free) < sum(granted):
                if cancelled.is_set():
                    return None
                self._changed.wait(_POLL_SECONDS)
            return [tuple(self._free.pop(0) for _ in range(count)) for count in granted]

    def give_back(self, taken: Sequence[Sequence[str]]) -> None:
        """Let others have them."""
        with self._changed:
            known = self._known()
            self._free = sorted({*self._free, *(gpu for some in taken for gpu in some)}, key=known.index)
            self._changed.notify_all()

    def _known(self) -> tuple[str, ...]:
        if self._all is None:
            self._all = tuple(self._find())
            self._free = list(self._all)
        return self._all
