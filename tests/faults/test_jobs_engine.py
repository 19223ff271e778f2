"""Jobs that go wrong: nothing hangs, no process is left, and each says what happened."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import descendants, is_alive, left_alive
from jobs_engine import IMAGE, RunningInterpreter, Watched, job, jobs_engine, lines, pool, run
from waiting import until

from vertexkit.emulator.errors import ApiError, Code
from vertexkit.emulator.jobs import gcs_mount
from vertexkit.emulator.jobs.pip_process import InstallCancelled, InstallFailed
from vertexkit.emulator.jobs.types import ContainerProgram, EndKind, JobSpec, PackageProgram, WorkerPool

OWNER = Path(__file__).with_name("owns_jobs_engine.py")
SLEEP = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = """
    import os, signal, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        # A daemon, as they are made: its own session, and nobody's child.
        os.setsid()
        if os.fork():
            os._exit(0)
        print("daemon", flush=True)
        time.sleep(600)
    time.sleep(0.1)
    print("up", flush=True)
    while True:
        time.sleep(1)
"""


@pytest.fixture(params=["namespaces", "nothing"])
def kept_apart(request, monkeypatch):
    """With namespaces where there are some, and without."""
    if request.param == "nothing":
        monkeypatch.setattr(gcs_mount.GcsMount, "_choose", lambda self: gcs_mount.BY_NOTHING)
    return request.param


_others: set[int] = set()


@pytest.fixture(autouse=True)
def others():
    """What runs before a test is not the engine's, such as the emulator that other tests share."""
    _others.clear()
    _others.update(descendants(os.getpid()))


@pytest.fixture
def engine(tmp_path):
    with jobs_engine(tmp_path) as one:
        yield one


def below(pid=None):
    # The command that lists them is below as well, and has ended by then.
    found = descendants(os.getpid() if pid is None else pid) - _others
    return {one for one in found if is_alive(one)}


def programs_below():
    """Process ids of the programs of jobs (not their keepers), by what is in their command."""
    found = {}
    for pid in below():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            env = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        rank = next((value for value in env if value.startswith(b"RANK=")), None)
        if b"-c" in command and rank is not None:
            found[int(rank[5:])] = pid
    return found


def started(engine, spec, replicas):
    watched = Watched()
    engine.start(spec, watched)
    watched.until_running()
    until(lambda: all("up" in lines(engine, replica=name) for name in replicas))
    return watched


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_replica_fails_the_job_and_is_named(engine, kept_apart, rank, tmp_path):
    watched = started(engine, job(pool(SLEEP), pool(SLEEP)), ["workerpool0-0", "workerpool1-0"])
    mine = below()
    os.kill(programs_below()[rank], signal.SIGKILL)
    end = watched.until_ended()
    assert (end.kind, end.replica, end.signal) == (EndKind.FAILED, f"workerpool{rank}-0", signal.SIGKILL)
    assert f"workerpool{rank}-0 exited with a non-zero status of 9(SIGKILL)" in end.message
    assert not left_alive(mine, 1)
    assert list((tmp_path / "work" / "jobs").iterdir()) == []


def test_a_killed_keeper_takes_its_program_along(engine, kept_apart):
    watched = started(engine, job(pool(SLEEP), pool(SLEEP)), ["workerpool0-0", "workerpool1-0"])
    mine = below()
    parent = int(Path(f"/proc/{programs_below()[1]}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)
    end = watched.until_ended()
    assert (end.kind, end.replica, end.signal) == (EndKind.FAILED, "workerpool1-0", signal.SIGKILL)
    assert not left_alive(mine, 5)


def test_the_replica_that_fell_first_is_blamed_not_those_that_it_took_along(engine):
    follows = """
        import os, socket, sys, time
        port = int(os.environ["MASTER_PORT"])
        if os.environ["RANK"] == "1":
            server = socket.create_server(("127.0.0.1", port))
            print("up", flush=True)
            server.accept()[0].recv(1)
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", port))
                break
            except OSError:
                time.sleep(0.01)
        print("up", flush=True)
        connection.recv(1)
        sys.exit(4)
    """
    watched = started(engine, job(pool(follows), pool(follows)), ["workerpool0-0", "workerpool1-0"])
    os.kill(programs_below()[1], signal.SIGKILL)
    end = watched.until_ended()
    assert (end.replica, end.signal, end.exit_code) == ("workerpool1-0", signal.SIGKILL, None)


def test_the_whole_job_starts_anew_when_a_replica_was_killed_and_that_is_asked_for(engine, tmp_path):
    code = """
        import os, pathlib, sys, time
        marker = pathlib.Path(os.environ["MARKER"])
        again = marker.exists()
        print("again" if again else "up", os.environ["RANK"], len(os.listdir(".")), flush=True)
        pathlib.Path("left").touch()
        if again:
            sys.exit(0)
        time.sleep(600)
    """
    marker = tmp_path / "marker"
    one = pool(code, env={"MARKER": str(marker)})
    watched = Watched()
    engine.start(job(one, one, restart_on_worker_restart=True), watched)
    until(lambda: lines(engine) and lines(engine, replica="workerpool1-0"))
    marker.touch()
    os.kill(programs_below()[1], signal.SIGKILL)
    end = watched.until_ended()
    assert (end.kind, watched.runs) == (EndKind.SUCCEEDED, 2)
    assert lines(engine) == ["up 0 0", "again 0 0"]
    assert lines(engine, replica="workerpool1-0") == ["up 1 0", "again 1 0"]
    (said,) = [line for line in lines(engine, replica="service") if "anew" in line]
    assert "workerpool1-0" in said and "SIGKILL" in said and "1 of at most 3" in said


def test_a_job_starts_anew_three_times_at_most(engine):
    suicide = "import os, signal; print('up', flush=True); os.kill(os.getpid(), signal.SIGSEGV)"
    watched = Watched()
    engine.start(job(pool(suicide), restart_on_worker_restart=True), watched)
    end = watched.until_ended()
    assert (end.kind, end.signal) == (EndKind.FAILED, signal.SIGSEGV)
    assert "11(SIGSEGV)" in end.message
    assert lines(engine) == ["up"] * 4


def test_a_chief_that_is_done_before_the_others_have_started_was_running_all_the_same(engine):
    watched = Watched()
    engine.start(job(pool("pass"), pool("raise SystemExit(2)", count=6)), watched)
    end = watched.until_ended()
    assert watched.runs == 1
    assert end.kind is EndKind.SUCCEEDED or "non-zero status of 2" in end.message


def test_an_exit_code_fails_the_job_at_once_and_is_never_a_reason_to_start_anew(engine):
    watched = Watched()
    began = time.monotonic()
    engine.start(job(pool(SLEEP), pool("raise SystemExit(3)"), restart_on_worker_restart=True), watched)
    end = watched.until_ended()
    assert time.monotonic() - began < 5
    assert (end.kind, end.replica, end.exit_code, watched.runs) == (EndKind.FAILED, "workerpool1-0", 3, 1)
    assert "The replica workerpool1-0 exited with a non-zero status of 3." in end.message
    assert "vertexkit jobs logs 1" in end.message


def test_a_worker_that_is_still_at_it_is_ended_when_the_chief_has_succeeded(engine):
    asked = "import signal; signal.signal(15, lambda *_: (print('asked', flush=True), exit(1)));" + SLEEP
    assert run(engine, job(pool("import time; time.sleep(0.5)"), pool(asked))).kind is EndKind.SUCCEEDED
    assert lines(engine, replica="workerpool1-0") == ["up", "asked"]


def test_what_ignores_sigterm_and_what_it_forked_is_killed(engine, kept_apart):
    watched = started(engine, job(pool(STUBBORN)), ["workerpool0-0"])
    until(lambda: "daemon" in lines(engine))
    mine = below()
    asked = time.monotonic()
    engine.cancel("1")
    engine.cancel("1")
    assert watched.until_ended().kind is EndKind.CANCELLED
    assert 0.9 < time.monotonic() - asked < 6, "it has its grace period, and no more"
    assert not left_alive(mine, 1)


def test_a_grandchild_does_not_outlive_a_program_that_succeeds(engine, kept_apart):
    code = """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            time.sleep(600)
        print("done")
    """
    began = time.monotonic()
    assert run(engine, job(pool(code))).kind is EndKind.SUCCEEDED
    assert time.monotonic() - began < 5, "nobody waits for its end of the pipe"
    assert not below()


def test_cancel_asks_first(engine):
    code = """
        import signal, sys, time
        def save(*_):
            print("saved", flush=True)
            sys.exit(0)
        signal.signal(signal.SIGTERM, save)
        print("up", flush=True)
        time.sleep(600)
    """
    watched = started(engine, job(pool(code)), ["workerpool0-0"])
    engine.cancel("1")
    assert watched.until_ended().kind is EndKind.CANCELLED
    assert lines(engine) == ["up", "saved"]


def test_a_job_that_is_being_prepared_can_be_cancelled(tmp_path):
    preparing = threading.Event()

    def wait(cancelled):
        preparing.set()
        assert cancelled.wait(10)
        raise InstallCancelled

    with jobs_engine(tmp_path, environments=RunningInterpreter(wait)) as engine:
        watched = Watched()
        engine.start(job(pool(SLEEP)), watched)
        assert preparing.wait(5)
        engine.cancel("1")
        assert watched.until_ended(5).kind is EndKind.CANCELLED
        assert watched.runs == 0
        assert list((tmp_path / "work" / "jobs").iterdir()) == []


def test_a_job_of_many_replicas_is_not_prepared_to_the_last_when_it_is_cancelled(tmp_path):
    prepared = []

    def prepare(cancelled):
        prepared.append(1)
        engine.cancel("1")

    with jobs_engine(tmp_path, environments=RunningInterpreter(prepare)) as engine:
        assert run(engine, job(pool(SLEEP), pool(SLEEP, count=50))).kind is EndKind.CANCELLED
    assert len(prepared) == 1


def test_a_package_that_cannot_be_installed_fails_the_job_in_its_own_words(tmp_path):
    def fail(cancelled):
        raise InstallFailed("nonesuch==1 cannot be installed: no network")

    with jobs_engine(tmp_path, environments=RunningInterpreter(fail)) as engine:
        end = run(engine, job(pool(SLEEP)))
        assert (end.kind, end.replica) == (EndKind.FAILED, "workerpool0-0")
        assert end.message == "nonesuch==1 cannot be installed: no network"
        assert end.message in lines(engine, replica="service")


def test_a_package_that_is_not_there_fails_the_job_and_is_named(tmp_path):
    def fetch(uri, file):
        raise ApiError(Code.NOT_FOUND, f"{uri}: No such object")

    with jobs_engine(tmp_path, fetch=fetch) as engine:
        end = run(engine, job(WorkerPool(PackageProgram(IMAGE, ("gs://b/p-1.tar.gz",), "p.task"))))
        assert (end.kind, end.replica) == (EndKind.FAILED, "workerpool0-0")
        assert end.message == "gs://b/p-1.tar.gz: No such object"


@pytest.fixture
def docker(tmp_path, monkeypatch):
    """What docker's command was asked; it stands in for a Docker engine too, whose containers never end."""
    command, said = tmp_path / "bin" / "docker", tmp_path / "said"
    command.parent.mkdir()
    command.write_text(
        f'#!/bin/sh\necho "$@" >> {said}\n'
        'case $1 in version) echo 28;; run) echo "up $AIP_MODEL_DIR $MINE"; trap "" TERM; sleep 600;; esac\n'
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    return said


CONTAINER = WorkerPool(
    ContainerProgram("europe-docker.pkg.dev/p/r/image:1", ("train", "--now")), ("--a=1",), {"MINE": "x y"}
)


def name_of_container(ran):
    (name,) = [word.removeprefix("--name=") for word in ran.split() if word.startswith("--name=")]
    return name


def test_a_container_is_ended_by_its_name_for_killing_dockers_command_does_not(tmp_path, docker):
    with jobs_engine(tmp_path) as engine:
        watched = started(engine, job(CONTAINER, base_output_uri="gs://b/out"), [])
        until(lambda: lines(engine) == ["up gs://b/out/model/ x y"])
        engine.cancel("1")
        assert watched.until_ended().kind is EndKind.CANCELLED
    _, ran, killed = docker.read_text().splitlines()
    assert ran.startswith("run ") and ran.endswith(
        "--entrypoint=train europe-docker.pkg.dev/p/r/image:1 --now --a=1"
    )
    assert killed == f"kill {name_of_container(ran)}"
    assert f"source={tmp_path / 'data' / 'gcs'},target=/gcs" in ran
    assert "x y" not in ran, "values are not in the command, which everybody can read"


def test_a_container_does_not_outlive_its_keeper_either(engine, docker, kept_apart):
    watched = started(engine, job(CONTAINER), [])
    until(lambda: lines(engine))
    keepers = [pid for pid in below() if b"keeper.main()" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    for pid in keepers:
        os.kill(pid, signal.SIGKILL)
    assert watched.until_ended().signal == signal.SIGKILL
    _, ran, killed = docker.read_text().splitlines()
    assert killed == f"kill {name_of_container(ran)}"


def test_a_timeout_ends_a_job_as_a_cancel_does(engine):
    began = time.monotonic()
    end = run(engine, job(pool(SLEEP), timeout=0.5))
    assert end.kind is EndKind.TIMED_OUT
    assert "timeout of 0.5 s" in end.message
    assert time.monotonic() - began < 5


def test_a_command_that_is_not_there_fails_the_job_and_is_named(engine):
    end = run(engine, job(WorkerPool(ContainerProgram(IMAGE, ("no-such-command",)))))
    assert end.kind is EndKind.FAILED
    assert "workerpool0-0 could not be started: no-such-command: No such file or directory" in end.message


def test_a_job_that_cannot_run_here_is_refused_before_anything_is_made(engine, tmp_path):
    mine = "europe-docker.pkg.dev/p/r/image:1"
    refused = [
        (job(WorkerPool(ContainerProgram(mine, ("run",)))), mine),
        (job(WorkerPool(PackageProgram(mine, (), "m"))), mine),
        (job(pool(SLEEP), job_id="../x"), "../x"),
        (job(None, pool(SLEEP)), "first worker pool"),
        (job(pool(SLEEP, count=2)), "first worker pool"),
        (job(*[pool(SLEEP)] * 5), "at most 4"),
        (job(pool(SLEEP, "a\0b")), "NUL"),
        (job(pool(SLEEP, env={"A=B": "c"})), "A=B"),
    ]
    for spec, named in refused:
        assert isinstance(spec, JobSpec)
        with pytest.raises(ApiError, match=named.replace(".", r"\.")):
            engine.start(spec, Watched())
    assert list((tmp_path / "data" / "jobs").iterdir()) == []


def test_binary_output_progress_bars_and_half_lines_are_kept(engine):
    code = """
        import os, sys
        out = lambda data: os.write(1, data)
        out(bytes(range(256)).replace(b"\\r", b"") + b"\\n")
        for step in range(50):
            out(b"\\rstep %d" % step)
        out(b"\\n")
        out(b"windows\\r\\n\\n")
        out(b"x" * 600_000 + b"\\n")
        out("ü".encode() * 200_000 + b"\\n")
        out(b"half a line")
    """
    assert run(engine, job(pool(code))).kind is EndKind.SUCCEEDED
    found = lines(engine)
    assert found[0].endswith("\t") and found[1].startswith("\x0b") and found[1].endswith("\\xfe\\xff")
    assert found[2:5] == ["step 49", "windows", ""]
    assert "".join(found[5:8]) == "x" * 600_000 and max(map(len, found)) <= 256 * 1024
    assert found[8:10] == ["ü" * 131_072, "ü" * (200_000 - 131_072)]
    assert found[10:] == ["half a line"]


def test_a_flood_is_cut_off_at_the_limit_and_the_program_goes_on(tmp_path):
    code = """
        import sys
        for number in range(200_000):
            sys.stdout.write("flood %d\\n" % number)
        print("the end", flush=True)
    """
    with jobs_engine(tmp_path, log_limit=100_000) as engine:
        assert run(engine, job(pool(code))).kind is EndKind.SUCCEEDED
        found = lines(engine)
        assert found[:2] == ["flood 0", "flood 1"]
        kept = sum(line.startswith("flood") for line in found)
        assert "reached its limit" in found[kept]
        assert f"{200_001 - kept} lines were left out here" in found[-1]
        assert len(found) == kept + 2
        assert engine.logs("1").path("workerpool0-0").stat().st_size < 101_000


def test_a_full_disk_loses_lines_says_so_and_leaves_the_program_alone(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    disk = tmp_path / "data"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(disk)])
    if mounted.returncode != 0:
        pytest.skip("mounting is not for us here")
    try:
        code = """
            import os, sys, time
            for number in range(20_000):
                print("a line that takes some room, number", number)
            sys.stdout.flush()
            open(os.environ["FULL"], "w").close()
            while os.path.exists(os.environ["FULL"]):
                time.sleep(0.02)
            print("there is room again", flush=True)
        """
        filler, full = disk / "filler", tmp_path / "full"
        filler.write_bytes(b"x" * 300_000)
        with jobs_engine(tmp_path) as engine:
            watched = Watched()
            engine.start(job(pool(code, env={"FULL": str(full)})), watched)
            until(full.exists)
            time.sleep(0.2)
            filler.unlink()
            full.unlink()
            assert watched.until_ended().kind is EndKind.SUCCEEDED
            found = lines(engine)
            kept = sum(line.startswith("a line") for line in found)
            assert 0 < kept < 20_000
            assert found[kept:] == [
                f"vertexkit: {20_000 - kept} lines were left out here: they could not be written "
                "(No space left on device)",
                "there is room again",
            ]
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_log_that_may_not_grow_is_reported_in_the_services_own(engine):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The keeper inherits it; what the service says is less than that.
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        end = run(engine, job(pool("for n in range(10_000): print('line', n)")))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert end.kind is EndKind.SUCCEEDED
    kept = len(lines(engine))
    assert 100 < kept < 1_000
    assert (
        f"{10_000 - kept} lines of workerpool0-0's log found no room" in lines(engine, replica="service")[-1]
    )


def test_closing_the_engine_ends_every_job_and_tells_nobody(tmp_path, kept_apart):
    with jobs_engine(tmp_path) as engine:
        watched = started(engine, job(pool(STUBBORN), pool(SLEEP)), ["workerpool0-0", "workerpool1-0"])
        mine = below()
        assert len(mine) >= 5
        began = time.monotonic()
        engine.close()
        assert time.monotonic() - began < 5
        assert not left_alive(mine, 0.5)
        assert watched.end is None
        with pytest.raises(ApiError, match="being stopped"):
            engine.start(job(pool(SLEEP)), Watched())
    assert not any(thread.name.startswith("job-") for thread in threading.enumerate())


@pytest.mark.parametrize("without_namespaces", [False, True])
def test_no_process_survives_the_owner_of_the_engine(tmp_path, without_namespaces):
    owner = subprocess.Popen(
        [sys.executable, str(OWNER), str(tmp_path), str(without_namespaces), STUBBORN],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(OWNER.parents[1])},
    )
    try:
        assert owner.stdout.readline() == "running\n"
        log = tmp_path / "data" / "jobs" / "1" / "logs" / "workerpool0-0.log"
        until(lambda: log.exists() and b"daemon" in log.read_bytes() and b"up" in log.read_bytes())
        mine = below(owner.pid)
        assert len(mine) >= 6, "two replicas: a keeper, a program and a daemon each"
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()
    assert not left_alive(mine, 5)
