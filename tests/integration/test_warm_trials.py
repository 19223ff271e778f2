"""Trials forked from a template: none can tell that it was not started as a program of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import descendants, is_alive, left_alive
from jobs_engine import IMAGE
from waiting import until
from warm_trials import DOES, Trials

from vertexkit.emulator.jobs import gcs_mount
from vertexkit.emulator.jobs.engine import JobsEngine
from vertexkit.emulator.jobs.logs import LogLine
from vertexkit.emulator.jobs.types import EndKind

# All that a program can see of what it runs in, before it imports TensorFlow and after that.
LOOKS = """
import gc, json, os, sys

def look():
    import signal, site, threading
    main = sys.modules["__main__"]
    own = sys.prefix, "keeper", "template", "log_writer"
    with open("/proc/self/comm") as file:
        called = file.read()
    files = [fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
    return {
        "argv": sys.argv, "orig_argv": sys.orig_argv, "path": sys.path, "flags": list(sys.flags),
        "xoptions": sys._xoptions, "warnoptions": sys.warnoptions,
        "executable": [sys.executable, sys._base_executable, sys.prefix, sys.exec_prefix, sys.base_prefix],
        "environ": dict(os.environ), "cwd": os.getcwd(), "files": sorted(files),
        "pids": [os.getpid(), os.getppid(), os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()],
        "umask": os.umask(0o022),
        "called": called,
        "signals": {str(one): str(signal.getsignal(one)) for one in signal.Signals},
        "mask": [str(one) for one in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
        "wakeup": signal.set_wakeup_fd(-1),
        "main": {name: str(one) for name, one in vars(main).items() if "__" in name and "built" not in name},
        "names": sorted(name for name in vars(main) if name[:2] != "__"),
        "streams": [
            [str(one), one.errors, one.line_buffering, one.write_through, one.fileno(), one.isatty()]
            for one in (sys.stdin, sys.stdout, sys.stderr)
        ],
        "site": [site.PREFIXES, site.ENABLE_USER_SITE, site.USER_SITE, site.USER_BASE],
        "thread": [threading.current_thread().name, threading.main_thread() is threading.current_thread(),
                   threading.active_count(), threading.Thread().name],
        "hooks": [sys.excepthook is sys.__excepthook__, sys.stdout is sys.__stdout__, str(sys.gettrace())],
        "limits": [sys.getrecursionlimit(), sys.getswitchinterval(), gc.isenabled(), gc.get_threshold()],
        "own": sorted(name for name, one in sys.modules.items()
                      if str(getattr(one, "__file__", name)).startswith(own) and name != "__mp_main__"),
        "frameworks": [name for name in ("tensorflow", "keras", "tf_keras") if name in sys.modules],
    }

before, modules = look(), len(sys.modules)
import tensorflow as tf
import tempfile, matplotlib, multiprocessing
after = look()
keras = __import__("keras")
config = sys.modules.get("keras.src.backend.config") or sys.modules["tf_keras.src.backend_config"]
after["of_keras"] = [getattr(config, "_KERAS_DIR", None), keras.__name__, str(keras.__spec__)]
after["of_tensorflow"] = [str(tf.__spec__), tf.keras.Sequential.__module__]
after["finders"] = [str(getattr(one, "__name__", type(one).__name__)) for one in sys.meta_path]
after["folders"] = [tempfile.gettempdir(), matplotlib.get_configdir(), multiprocessing.process.ORIGINAL_DIR]
print(modules > 1500, file=sys.stderr)
text = json.dumps([before, after], sort_keys=True, default=str)
print(text.replace(os.path.dirname(os.getcwd()), "ROOT"))
"""

WAYS = ["exit", "text", "at once", "raise", "interrupt", "signal", "syntax", "ends", "processes", "unknown"]


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Trials:
    folder = tmp_path_factory.mktemp("trials")
    return Trials(folder, folder / "cache")


_others: set[int] = set()


@pytest.fixture(scope="module", autouse=True)
def others() -> None:
    """What runs before these tests is not theirs, such as the emulator that other tests share."""
    _others.update(descendants(os.getpid()))


@pytest.fixture(scope="module", params=["namespaces", "nothing"])
def engine(
    request: pytest.FixtureRequest, trials: Trials, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[JobsEngine]:
    """One engine with namespaces, and one without: a template takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "nothing":
            patch.setattr(gcs_mount.GcsMount, "_choose", lambda self: gcs_mount.BY_NOTHING)
        with trials.engine(tmp_path_factory.mktemp(request.param)) as one:
            yield one
        assert not left_alive(below())


def below() -> set[int]:
    # The command that lists them is below as well, and has ended by then.
    return {one for one in descendants(os.getpid()) - _others if is_alive(one)}


def told(lines: list[LogLine]) -> dict[str, list[str]]:
    """What was printed, by stream; their order is not that of what printed them."""
    return {
        severity: [line.text for line in lines if line.severity == severity] for severity in ("INFO", "ERROR")
    }


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("image", [IMAGE, IMAGE.replace("2-17", "2-12")], ids=["keras 3", "keras 2"])
def test_a_trial_cannot_tell_what_started_it(trials: Trials, tmp_path: Path, image: str) -> None:
    with trials.engine(tmp_path) as engine:
        found = {}
        for family in ("family", ""):
            end, lines = trials.run(engine, LOOKS, "--rate=1", "a b", family=family, image=image)
            assert end.kind is EndKind.SUCCEEDED, told(lines)
            *noise, is_forked = told(lines)["ERROR"]
            assert is_forked == str(bool(family)), "it is forked if it can be, and only then"
            found[family] = (json.loads(told(lines)["INFO"][0]), len(noise))
        (forked, forked_noise), (alone, alone_noise) = found.values()
        for one, other in zip(forked, alone, strict=True):
            for name in other:
                assert without_job(one[name]) == without_job(other[name]), name
        assert forked_noise == alone_noise


def without_job(value: Any) -> Any:
    """A value without what differs between any two jobs."""
    text = json.dumps(value)
    for number in ("1", "2", "3", "4"):
        text = text.replace(f"jobs/{number}/", "jobs/N/")
        for name in ("CLOUD_ML_JOB_ID", "CLOUD_ML_TRIAL_ID", "trial"):
            text = text.replace(f'{name}": "{number}"', name).replace(f'{name}\\": \\"{number}\\"', name)
    return re.sub(r"127\.0\.0\.1:\d+|0x[0-9a-f]+", "", text)


@pytest.mark.slow
def test_trials_end_in_every_way_as_they_do_alone(engine: JobsEngine, trials: Trials) -> None:
    for way in WAYS:
        (end, lines), (alone, alone_lines) = (
            trials.run(engine, DOES, way, family=family) for family in ("family", "")
        )
        assert (end.kind, end.exit_code, end.signal) == (alone.kind, alone.exit_code, alone.signal), way
        expected = {
            stream: [re.sub(r"jobs/\d+/", "", text) for text in texts]
            for stream, texts in told(alone_lines).items()
        }
        found = {
            stream: [re.sub(r"jobs/\d+/", "", text) for text in texts]
            for stream, texts in told(lines).items()
        }
        assert found == expected, way


def test_what_a_trial_leaves_open_is_written_when_it_ends(
    engine: JobsEngine, trials: Trials, tmp_path: Path
) -> None:
    for family in ("family", ""):
        folder = tmp_path / f"of {family}"
        folder.mkdir()
        end, lines = trials.run(engine, DOES, "unclosed", str(folder), family=family)
        assert end.exit_code == 0
        assert told(lines)["INFO"] == ["done", "the same True", "gone"]
        assert (folder / "text").read_text() == "not closed"
        assert (folder / "kept").read_text() == "in a module"
        (summaries,) = (folder / "summaries").iterdir()
        assert summaries.stat().st_size > 200, "three steps"


def test_no_two_trials_draw_the_same(engine: JobsEngine, trials: Trials) -> None:
    drawn = [told(trials.run(engine, DOES, "chance")[1])["INFO"] for _ in range(2)]
    numbers = [line.replace("[", "").replace("]", "").split() for (line,) in drawn]
    assert len(numbers[0]) == 3 and not set(numbers[0]) & set(numbers[1])


def test_a_cancelled_trial_leaves_nothing_and_the_template_is_there_for_the_next(
    engine: JobsEngine, trials: Trials
) -> None:
    trials.run(engine, DOES, "exit")
    before = below()
    job_id, watched = trials.start(engine, DOES, "sleep")
    until(lambda: trials.is_up(engine, job_id), 60)
    assert len(below() - before) >= 4, "warden, keeper, program, its daemon"
    began = time.monotonic()
    engine.cancel(job_id)
    assert watched.until_ended().kind is EndKind.CANCELLED
    assert time.monotonic() - began < 8
    assert not left_alive(below() - before, 1)
    assert trials.run(engine, DOES, "exit")[0].exit_code == 3


def test_nothing_of_a_trial_is_left_not_even_a_zombie(engine: JobsEngine, trials: Trials) -> None:
    trials.run(engine, DOES, "exit")
    until(lambda: not [pid for pid in descendants(os.getpid()) - _others if is_zombie(pid)], 5)


@pytest.mark.parametrize("who", ["program", "keeper", "warden"])
def test_what_is_killed_of_a_trial_ends_all_of_it(engine: JobsEngine, trials: Trials, who: str) -> None:
    trials.run(engine, DOES, "exit")
    before = below()
    # Without namespaces, nobody is left to know whose a daemon was when its warden has gone.
    job_id, watched = trials.start(engine, DOES, "sleep", *(["alone"] if who == "warden" else []))
    until(lambda: trials.is_up(engine, job_id), 60)
    (warden,) = engine._runs[job_id].keepers()
    (keeper,) = (pid for pid in below() if parent_of(pid) == warden)
    # The daemon is a child of the keeper's as well, and younger.
    program = min(pid for pid in below() if parent_of(pid) == keeper)
    os.kill({"warden": warden, "keeper": keeper, "program": program}[who], signal.SIGKILL)
    end = watched.until_ended()
    assert (end.kind, end.signal) == (EndKind.FAILED, signal.SIGKILL)
    assert not left_alive(below() - before, 5)


@pytest.mark.slow
def test_a_program_gets_the_keras_that_it_asks_for_however_it_asks(tmp_path: Path, trials: Trials) -> None:
    rest = "import tensorflow as tf\nprint(tf.keras.Sequential.__module__.partition('.')[0])\n"
    openly = 'import os\nprint("begun")\nos.environ["TF_USE_LEGACY_KERAS"] = "1"\n' + rest
    secretly = "import os\nprint(\"begun\")\nexec(\"os.environ['TF_USE_LEGACY_KERAS'] = '1'\")\n" + rest
    with trials.engine(tmp_path) as engine:
        for source, begun in ((openly, 1), (secretly, 2)):
            end, lines = trials.run(engine, source, family=str(begun))
            assert end.kind is EndKind.SUCCEEDED
            # What sets it in a way that cannot be seen is started twice, which is how it gets what it wants.
            assert told(lines)["INFO"] == ["begun"] * begun + ["tf_keras"]
            engine.end_family(str(begun))
        until(lambda: not engine._means.templates._running)
        assert not left_alive(below())


def test_a_running_trial_outlives_its_template_however_that_ends(
    engine: JobsEngine, trials: Trials, tmp_path: Path
) -> None:
    trials.run(engine, DOES, "exit")
    (made,) = engine._means.templates._running
    before = below()
    first, first_watched = trials.start(engine, DOES, "sleep", "alone", "ends", str(tmp_path / "end"))
    until(lambda: trials.is_up(engine, first), 60)
    (warden,) = engine._runs[first].keepers()
    os.kill(parent_of(warden), signal.SIGKILL)
    # The next one finds it gone, and has a new one made.
    assert trials.run(engine, DOES, "exit")[0].exit_code == 3
    assert trials.run(engine, DOES, "exit")[0].exit_code == 3
    second, second_watched = trials.start(engine, DOES, "sleep", "alone", "ends", str(tmp_path / "end"))
    until(lambda: trials.is_up(engine, second), 60)
    engine.end_family("family")
    engine.end_family("family")
    assert first_watched.end is None and second_watched.end is None
    (tmp_path / "end").touch()
    assert first_watched.until_ended().kind is EndKind.SUCCEEDED
    assert second_watched.until_ended().kind is EndKind.SUCCEEDED
    until(lambda: not engine._means.templates._running)
    assert made not in engine._means.templates._running
    assert not left_alive(below() - before)


@pytest.mark.parametrize("namespaces", ["True", "False"])
def test_neither_template_nor_trial_survives_the_emulator(tmp_path: Path, namespaces: str) -> None:
    owner = Path(__file__).parents[1] / "faults" / "owns_warm_trial.py"
    with subprocess.Popen(
        [sys.executable, str(owner), str(tmp_path), namespaces],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(owner.parents[1])},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        below_it = descendants(process.pid) - {process.pid}
        assert len(below_it) >= 5
        process.kill()
    assert not left_alive(below_it)
