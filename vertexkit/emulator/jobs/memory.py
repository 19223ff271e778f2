"""How much memory this machine has left, and how much the processes of jobs take.

Source: https://docs.kernel.org/filesystems/proc.html and https://docs.kernel.org/admin-guide/cgroup-v2.html.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from vertexkit.emulator.jobs import template

_WARD: Final = template.NAME.encode()
_PROC: Final = Path("/proc")
_CGROUPS: Final = Path("/sys/fs/cgroup")
# By version: the files of the limit, of what is used, and the name of what can be taken back of that.
_FILES: Final = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


def available_memory(*, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int | None:
    """Bytes that this process and its children can still take, also by its control groups' limits.

    Args:
        proc: The ``/proc`` to read.
        cgroups: The ``/sys/fs/cgroup`` to read.

    Returns:
        The bytes; None where nothing says so.
    """
    found = [] if (free := _of_the_machine(proc)) is None else [free]
    found += _of_the_groups(proc, cgroups)
    return max(0, min(found)) if found else None


def memory_below(pids: Mapping[str, int]) -> dict[str, int]:
    """Bytes that processes take, with everything below them; what several share counts in parts.

    Wardens and keepers that are forked from a template are passed over: nearly all of theirs is shared, which
    takes the kernel as long to find as what the programs take.

    Args:
        pids: A process each, by any name.

    Returns:
        Bytes by name; 0 for a process that has gone.
    """
    children: dict[int, list[int]] = {}
    passed_over = set()
    for pid, parent, called in _processes():
        children.setdefault(parent, []).append(pid)
        if called == _WARD:
            passed_over.add(pid)
    return {
        name: sum(_used(one) for one in _below(pid, children) if one not in passed_over)
        for name, pid in pids.items()
    }


def _of_the_machine(proc: Path) -> int | None:
    try:
        lines = (proc / "meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _of_the_groups(proc: Path, cgroups: Path) -> Iterator[int]:
    """What each limit leaves, of the group of this process and of those that it is in."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            version, root = 2, cgroups
        elif "memory" in controllers.split(","):
            version, root = 1, cgroups / "memory"
        else:
            continue
        folder = root / path.lstrip("/")
        # In a container, the path may be that outside of it: then its own group is the root.
        folders = [folder, *folder.parents] if folder.is_dir() else [root]
        for one in folders:
            if one == root.parent:
                break
            left = _left_in(one, version)
            if left is not None:
                yield left


def _left_in(folder: Path, version: int) -> int | None:
    limit_file, used_file, inactive = _FILES[version]
    try:
        limit, used = (folder / limit_file).read_text().strip(), int((folder / used_file).read_text())
        stat = (folder / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return None
    if limit == "max":
        return None
    cached = next((int(line.split()[1]) for line in stat if line.split()[0] == inactive), 0)
    return int(limit) - (used - cached)


def _processes() -> Iterator[tuple[int, int, bytes]]:
    """Every process of this machine, with its parent, and what the kernel calls it."""
    try:
        names = os.listdir(_PROC)  # noqa: PTH208 (once a second, over every process)
    except OSError:
        return
    for name in names:
        if name.isdigit():
            try:
                stat = (_PROC / name / "stat").read_bytes()
            except OSError:
                continue
            before, _, after = stat.rpartition(b")")
            yield int(name), int(after.split()[1]), before.partition(b"(")[2]


def _below(pid: int, children: Mapping[int, list[int]]) -> Iterator[int]:
    yield pid
    for child in children.get(pid, ()):
        yield from _below(child, children)


def _used(pid: int) -> int:
    """The proportional set size; where it may not be read, what is resident."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_bytes().splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(b"Pss:")), 0)
    except (OSError, ValueError):
        pass
    try:
        resident = int((_PROC / str(pid) / "statm").read_bytes().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return resident * os.sysconf("SC_PAGE_SIZE")
