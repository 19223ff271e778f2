"""Trials of programs with TensorFlow on a jobs engine, forked from a template or not."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

from jobs_engine import IMAGE, Watched, job, jobs_engine

from vertexkit.emulator.jobs.engine import JobsEngine
from vertexkit.emulator.jobs.environments import Environments
from vertexkit.emulator.jobs.logs import LogLine
from vertexkit.emulator.jobs.types import JobEnd, JobSpec, PackageProgram, WorkerPool
from vertexkit.packaging import understand

# One thing after the other, by argument.
DOES = """
import atexit, logging, os, signal, subprocess, sys, threading, time

def in_a_process(number):
    return number * number

def fails():
    return {}["missing"]

if __name__ == "__main__":
    what = sys.argv[1]
    if what == "exit":
        sys.exit(3)
    if what == "text":
        sys.exit("that is why")
    if what == "at once":
        sys.stdout.write("unfinished")
        os._exit(4)
    if what == "raise":
        try:
            fails()
        except KeyError as error:
            raise ValueError("no good") from error
    if what == "interrupt":
        raise KeyboardInterrupt
    if what == "signal":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "syntax":
        exec("def (")
    if what == "ends":
        atexit.register(print, "at the end")
        threading.Thread(target=lambda: (time.sleep(0.3), print("thread"))).start()
        logging.getLogger("mine").warning("logged")
        sys.excepthook = lambda *_: print("hook")
        print("no end of line", end="")
        raise RuntimeError
    if what == "processes":
        import concurrent.futures, multiprocessing
        for method in ("spawn", "fork"):
            context = multiprocessing.get_context(method)
            with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
                print(method, list(pool.map(in_a_process, [2, 3])))
        code = "import sys; print(sys.prefix == sys.argv[1], sys.path[1:])"
        asked = [sys.executable, "-c", code, sys.prefix]
        print(subprocess.run(asked, capture_output=True, text=True).stdout)
    if what == "unclosed":
        import tensorflow as tf
        class Says:
            def __del__(self):
                print("gone", flush=True)
        says = Says()
        text = open(sys.argv[2] + "/text", "w")
        text.write("not closed")
        import weakref
        class Gone:
            pass
        tf.dead = weakref.proxy(Gone())
        class Imports:
            def __init__(self):
                self.itself = self
            def __del__(self):
                import tensorflow
                print("the same", tensorflow is tf, flush=True)
        # It is collected once all these functions have been called.
        atexit.register(Imports)
        tf.kept = open(sys.argv[2] + "/kept", "w")
        tf.kept.write("in a module")
        tf.summary.create_file_writer(sys.argv[2] + "/summaries").set_as_default()
        for step in range(3):
            tf.summary.scalar("loss", 1.0, step=step)
    if what == "chance":
        import random, numpy, tensorflow as tf
        print(random.random(), numpy.random.rand(), tf.random.uniform([1]).numpy())
        sys.exit(0)
    if what == "sleep":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if "alone" not in sys.argv and os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            time.sleep(600)
        time.sleep(0.1)
        print("up", flush=True)
        while "ends" not in sys.argv or not os.path.exists(sys.argv[-1]):
            time.sleep(0.05)
    print("done")
"""


class Trials:
    """Trials of one program, forked or not."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self._folder = folder
        self._wheels: dict[str, Path] = {}
        self._options: dict[str, Any] = {
            "environments": Environments(cache),
            "fetch": lambda uri, file: shutil.copy(self._wheels[uri], file),
        }
        self._count = 0

    def engine(self, folder: Path) -> contextlib.AbstractContextManager[JobsEngine]:
        """An engine that runs them."""
        return jobs_engine(folder, **self._options)

    def is_up(self, engine: JobsEngine, job_id: str) -> bool:
        """Whether a trial has said so."""
        logs = engine.logs(job_id)
        return logs is not None and any(
            line.text == "up" for line in logs.forward(replicas=["workerpool0-0"])
        )

    def start(
        self, engine: JobsEngine, source: str, *args: str, family: str = "family", **more: Any
    ) -> tuple[str, Watched]:
        """Begin one; its job."""
        self._count += 1
        spec = self.spec(source, *args, family=family, job_id=str(self._count), **more)
        watched = Watched()
        engine.start(spec, watched)
        return spec.job_id, watched

    def run(self, engine: JobsEngine, source: str, *args: str, **more: Any) -> tuple[JobEnd, list[LogLine]]:
        """One to its end, and what it printed."""
        job_id, watched = self.start(engine, source, *args, **more)
        end = watched.until_ended(150)
        logs = engine.logs(job_id)
        assert logs is not None
        return end, list(logs.forward(replicas=["workerpool0-0"]))

    def spec(self, source: str, *args: str, family: str, job_id: str, **more: Any) -> JobSpec:
        """The job of one."""
        name = f"program_{abs(hash(source))}"
        if f"gs://b/{name}" not in self._wheels:
            folder = self._folder / name
            folder.mkdir()
            (folder / "trial.py").write_text(source)
            wheel = understand(folder / "trial.py").wheel(folder)
            assert wheel is not None
            self._wheels[f"gs://b/{name}"] = wheel
            self._wheels[f"gs://b/{name}/{wheel.name}"] = wheel
        wheel = self._wheels[f"gs://b/{name}"]
        program = PackageProgram(
            more.pop("image", IMAGE), (f"gs://b/{name}/{wheel.name}",), "vertexkit_program.trial"
        )
        pool = WorkerPool(program, args, env=more.pop("env", {"TF_CPP_MIN_LOG_LEVEL": "1"}))
        return job(pool, job_id=job_id, trial_id=job_id, family=family, **more)
