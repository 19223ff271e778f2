"""How much memory is left, by what the system says."""

import os
import subprocess
import sys

import pytest

from vertexkit.emulator.jobs import template
from vertexkit.emulator.jobs.memory import available_memory, memory_below

GIB = 2**30


@pytest.fixture
def machine(tmp_path):
    """A machine's /proc and /sys/fs/cgroup: 8 GiB are free, and there are no limits."""

    def write(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    write("proc/meminfo", f"MemTotal: 16777216 kB\nMemAvailable: {8 * 2**20} kB\n")
    write("proc/self/cgroup", "")

    def measure():
        return available_memory(proc=tmp_path / "proc", cgroups=tmp_path / "cgroup")

    return write, measure


def test_what_the_machine_has_free_is_what_is_left_without_limits(machine):
    _, measure = machine
    assert measure() == 8 * GIB


@pytest.mark.parametrize("group", ["a/b", "not/there"])
def test_the_limit_of_a_control_group_counts_without_what_can_be_taken_back(machine, group):
    write, measure = machine
    write("proc/self/cgroup", f"0::/{group}\n")
    place = "cgroup/a/" if group == "a/b" else "cgroup/"
    write("cgroup/a/b/memory.max", "max\n")
    write("cgroup/a/b/memory.current", "0\n")
    write("cgroup/a/b/memory.stat", "inactive_file 0\n")
    write(f"{place}memory.max", f"{4 * GIB}\n")
    write(f"{place}memory.current", f"{3 * GIB}\n")
    write(f"{place}memory.stat", f"anon 1\ninactive_file {GIB}\n")
    assert measure() == 2 * GIB


def test_the_first_version_of_control_groups_is_understood(machine):
    write, measure = machine
    write("proc/self/cgroup", "5:cpu:/x\n4:memory:/x\n0::/\n")
    write("cgroup/memory/x/memory.limit_in_bytes", f"{2 * GIB}\n")
    write("cgroup/memory/x/memory.usage_in_bytes", f"{3 * GIB}\n")
    write("cgroup/memory/x/memory.stat", "total_inactive_file 0\n")
    assert measure() == 0


def test_nothing_is_known_where_there_is_no_proc(tmp_path):
    assert available_memory(proc=tmp_path, cgroups=tmp_path) is None


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_what_a_process_and_its_children_take_is_counted():
    hold = "import sys; held = bytearray(64 * 2**20); print(1, flush=True); sys.stdin.read()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline()
        taken = memory_below({"it": process.pid, "gone": 2**22 + 1})
        process.stdin.close()
    assert 64 * 2**20 < taken["it"] < 200 * 2**20
    assert taken["gone"] == 0
    assert memory_below({"me": os.getpid()})["me"] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_what_keeps_a_forked_trial_is_passed_over_and_the_trial_is_not():
    hold = "import sys; held = bytearray(64 * 2**20); print(1, flush=True); sys.stdin.read()"
    ward = f"open('/proc/self/comm', 'w').write({template.NAME!r})"
    code = f"{ward}; import subprocess, sys; mine = bytearray(256 * 2**20); "
    code += f"subprocess.run([sys.executable, '-c', {hold!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline()
        taken = memory_below({"it": process.pid})
        process.stdin.close()
    assert 64 * 2**20 < taken["it"] < 128 * 2**20
