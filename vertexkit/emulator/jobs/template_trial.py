"""How a process that was forked from a template becomes a trial, which cannot tell that it was.

What ``python -m MODULE`` does before it runs the module is done here again, with the trial's own
environment: its paths, its ``site``. TensorFlow stays out of sight until the program imports it; what
importing it prints is printed then. A program that has changed by then what TensorFlow reads on import is
executed anew, as a process of its own, and imports it itself.

As a trial ends, what the template has imported stays as it is: the interpreter would take it apart object by
object, and have the kernel copy all the memory of it for that.
"""

# As in keeper.py.
# ruff: noqa: PTH109, PTH119, PTH120, PTH123, PTH208

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import importlib.machinery
import importlib.util
import io
import itertools
import os
import re
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    if __package__:
        from vertexkit.emulator.jobs.keeper import Settings

READ_ON_IMPORT = (
    *(
        "TF_",
        "KERAS_",
        "XLA_",
        "AUTOGRAPH_",
        "CUDA_",
        "NVIDIA_",
        "ONEDNN_",
        "DNNL_",
        "MLIR_",
        "TPU_",
        "ABSL_",
    ),
    *(
        "OMP_",
        "MKL_",
        "OPENBLAS_",
        "GOTO_",
        "KMP_",
        "NPY_",
        "NUMPY_",
        "PROTOCOL_BUFFERS_",
        "GRPC_",
        "MALLOC_",
    ),
)
"""How the variables begin that TensorFlow, Keras and what they import read when they are imported."""

FRAMEWORKS = ("tensorflow", "keras", "tf_keras")
_LIBRARIES = ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2")
# What the interpreter looks at itself as it ends.
_ENDED = ("sys", "builtins", "__main__")
# As TensorFlow begins what it logs: the time, and where absl does it the thread.
_TIMES = re.compile(rb"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6})(?=: [IWEF] )", re.MULTILINE)
_ABSL_TIMES = re.compile(rb"^([IWEF]0000 00:00:)\d+\.\d{6} +\d+(?= )", re.MULTILINE)


class Imported:
    """What a template has imported.

    Attributes:
        env: The environment that it was imported with.
        packages: Top-level names of the modules there are, but for the template's own.
        files: Open files that importing has left behind.
        printed: What importing has printed, by the file that it was printed to.
        set: Variables that importing has set.
        threads: How many threads it has numbered.
    """

    def __init__(
        self, env: Mapping[str, str], files: Sequence[int], printed: Mapping[int, bytes], left: _Left
    ) -> None:
        self.env = env
        self.files = {fd for fd in open_files() if fd not in files}
        self.root = os.path.dirname(os.getcwd())
        # Now, for to look at all of them in a trial has the kernel copy the memory that they are in.
        self._own = set(self._own_modules())
        self.packages = sorted({name.partition(".")[0] for name in sys.modules} - self._own)
        self.printed = printed
        others = {*self._own, *_ENDED}
        left.modules = {name: one for name, one in sys.modules.items() if name not in others}
        self.set = {name: value for name, value in os.environ.items() if env.get(name) != value}
        self.threads = _next_thread() - 1
        self._moved = list(self._texts())
        self._remembered = list(self._cells())
        # With -I, there is nothing of the environment in it, and with -S nothing of the site.
        asked = [sys.executable, "-I", "-S", "-c", "import sys; print(*sys.path, sep='\\n')"]
        self._path = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
        with open("/proc/self/environ", "rb") as file:
            given = {entry.partition(b"=")[0] for entry in file.read().split(b"\0")}
        # What Python adds as it starts in a locale that it does not like.
        self._added = {name: value for name, value in env.items() if os.fsencode(name) not in given}

    def give_to(self, root: str, env: Mapping[str, str], command: Sequence[str]) -> None:
        """Make this process what the command's would be, up to where it runs the module."""
        for place, text in self._moved:
            place.__dict__[text] = place.__dict__[text].replace(self.root, root)
        for cell in self._remembered:
            cell.cell_contents = cell.cell_contents.replace(self.root, root)
        os.environ.clear()
        os.environ.update({**env, **self._added})
        sys.meta_path[:] = [one for one in sys.meta_path if type(one).__module__ not in self._own]
        for name in (*self._own, "site"):
            sys.modules.pop(name, None)
        for path in [path for path in sys.path_importer_cache if self.root in path]:
            del sys.path_importer_cache[path]
        importlib.invalidate_caches()
        sys.executable, _, _, *args = command
        sys.orig_argv[:], sys.argv[:] = command, ["-m", *args]
        sys.prefix, sys.exec_prefix = sys.base_prefix, sys.base_exec_prefix
        given_path = env.get("PYTHONPATH", "")
        sys.path[:] = [*(given_path.split(os.pathsep) if given_path else ()), *self._path]
        self._hide(env)
        # Finds the environment by the executable, and reads what there is about it, as at the start.
        importlib.import_module("site")
        if not sys.flags.safe_path:
            sys.path.insert(0, os.getcwd())
        _start_anew()

    def _hide(self, env: Mapping[str, str]) -> None:
        modules = {name: sys.modules.pop(name) for name in FRAMEWORKS if name in sys.modules}
        sys.meta_path.insert(0, _Hidden(modules, self, {**env, **self._added}))

    def _own_modules(self) -> Iterator[str]:
        """What the template's environment has of its own, which the trial's has as well."""
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None)).startswith(self.root):
                yield name

    def _texts(self) -> Iterator[tuple[types.ModuleType, str]]:
        """Where a module has kept one of the template's paths."""
        for module in list(sys.modules.values()):
            for name, value in list(getattr(module, "__dict__", {}).items()):
                if type(value) is str and self.root in value and not name.startswith("__"):
                    yield module, name

    def _cells(self) -> Iterator[types.CellType]:
        """Where a function remembers one of the template's paths, as what it gave the first time."""
        for module in list(sys.modules.values()):
            for value in list(getattr(module, "__dict__", {}).values()):
                for cell in (isinstance(value, types.FunctionType) and value.__closure__) or ():
                    with contextlib.suppress(ValueError):  # it is empty
                        if type(cell.cell_contents) is str and self.root in cell.cell_contents:
                            yield cell


def import_tensorflow() -> Imported:
    """Import what the environment has; nothing is printed now."""
    env, files_before, left = dict(os.environ), open_files(), _Left()
    # Before anything that is imported registers something, and so called after all of that.
    atexit.register(left.leave)
    printed: dict[int, bytes] = {}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        files = {1: out, 2: err}
        kept = {fd: os.dup(fd) for fd in files}
        for fd, file in files.items():
            os.dup2(file.fileno(), fd)
        # Named, for those that are not are counted.
        loading = threading.Thread(target=_load_libraries, name="libraries")
        loading.start()
        try:
            # These are imported when they are first used. Which Keras it is depends on the environment.
            tensorflow: Any = importlib.import_module("tensorflow")
            _ = tensorflow.keras.Sequential, tensorflow.summary.scalar
            with contextlib.suppress(ImportError):
                importlib.import_module("tensorboard.summary")
        finally:
            loading.join()
            sys.stdout.flush()
            sys.stderr.flush()
            for fd, file in files.items():
                os.dup2(kept[fd], fd)
                os.close(kept[fd])
                file.seek(0)
                printed[fd] = file.read()
    # Else it would remember the template's folder, or what importing has drawn.
    tempfile.tempdir = None
    return Imported(env, files_before, printed, left)


def _load_libraries() -> None:
    """Have TensorFlow's libraries loaded while Python imports the modules that need none of them yet."""
    found = importlib.util.find_spec("tensorflow")
    for folder in (found and found.submodule_search_locations) or ():
        for name in _LIBRARIES:
            with contextlib.suppress(OSError):
                ctypes.CDLL(f"{folder}/{name}")


class _Left:
    """What the interpreter does not take apart as it ends: what was imported here.

    Attributes:
        modules: By name.
    """

    def __init__(self) -> None:
        self.modules: dict[str, types.ModuleType] = {}

    def leave(self) -> None:
        """Have it there for ever; all else goes as always.

        What a program has put into one of these modules stays as well, so what waits to be written to plain
        files is written now, and what waits in TensorFlow's default writer of summaries.
        """
        summaries = sys.modules.get("tensorflow.python.ops.summary_ops_v2")
        writer: Any = getattr(getattr(summaries, "_summary_state", None), "writer", None)
        if writer is not None:
            # Whatever it says is too late: as it is taken apart it says nothing either.
            with contextlib.suppress(Exception):
                writer.flush()
        for name, module in self.modules.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.modules))
        # A thread that goes on, or a __del__, may import one: not a second time.
        sys.meta_path.insert(0, self)
        # Those of the trial only, for what was there before it is frozen. A proxy is asked for nothing.
        for one in gc.get_objects():
            if issubclass(type(one), (io.BufferedWriter, io.BufferedRandom, io.TextIOWrapper)):
                with contextlib.suppress(Exception):
                    one.flush()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Of a module that was imported here."""
        if fullname not in self.modules:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)  # type: ignore[arg-type]

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """The module that is there."""
        return self.modules[spec.name]

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing: it has been run."""


class _Hidden:
    """Finds the modules that are there already when they are first imported."""

    def __init__(
        self,
        modules: Mapping[str, types.ModuleType],
        imported: Imported,
        env: Mapping[str, str],
    ) -> None:
        self._modules = modules
        self._imported = imported
        self._env = env
        self._specs = {name: module.__spec__ for name, module in modules.items()}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """As the module's own spec, but for its loader; None for any other module."""
        known = self._specs.get(fullname)
        if known is None:
            return None
        spec = importlib.machinery.ModuleSpec(fullname, self, origin=known.origin)  # type: ignore[arg-type]
        spec.submodule_search_locations = known.submodule_search_locations
        spec.has_location = known.has_location
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """The module that is there."""
        return self._modules[spec.name]

    def exec_module(self, module: types.ModuleType) -> None:
        """Show all of them, set and print what importing them sets and prints."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            if _read_on_import(os.environ) != _read_on_import(self._imported.env):
                sys.stdout.flush()
                sys.stderr.flush()
                os.execve(sys.executable, sys.orig_argv, dict(self._env))  # noqa: S606
            for name, one in self._modules.items():
                sys.modules.setdefault(name, one)
            os.environ.update(self._imported.set)
            _number_threads(_next_thread() + self._imported.threads)
            for fd, text in self._imported.printed.items():
                _print(fd, text)
        for name, one in self._modules.items():
            if one is module:
                module.__spec__ = self._specs[name]


class Trial:
    """A process that is to run a trial's module, and nothing else any more.

    Args:
        settings: What its keeper was told.
        imported: What there is.
    """

    def __init__(self, settings: Settings, imported: Imported) -> None:
        self._settings = settings
        self._imported = imported

    def run(self) -> None:
        """Run the module as ``python -m`` would. The process is to end as this returns, or raises."""
        settings = self._settings
        for fd in open_files():
            if fd > 2 and fd not in self._imported.files:
                os.close(fd)
        # The kernel's name of this process, which is its keeper's as yet.
        with open("/proc/self/comm", "w") as file:
            file.write(os.path.basename(settings["command"][0]))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_IGN)
        self._imported.give_to(os.path.dirname(settings["folder"]), settings["env"], settings["command"])
        gc.enable()
        sys.modules["__main__"].__dict__.clear()
        # A new one: what is frozen is never collected, with all that it refers to, such as open files.
        sys.modules["__main__"] = types.ModuleType("__main__")
        sys.modules["__main__"].__dict__.update(
            {
                "__name__": "__main__",
                "__doc__": None,
                "__package__": None,
                "__loader__": importlib.machinery.BuiltinImporter,
                "__spec__": None,
                "__annotations__": {},
                "__builtins__": sys.modules["builtins"],
            }
        )
        try:
            runpy._run_module_as_main(settings["command"][2])  # type: ignore[attr-defined]
        except SystemExit:
            raise
        except BaseException as error:
            _show(error)
            if isinstance(error, KeyboardInterrupt):
                # Makes the interpreter end itself by SIGINT, and say nothing more.
                sys.excepthook = lambda *_: None
                raise
            sys.exit(1)


def _show(error: BaseException) -> None:
    """Say of an error what the interpreter says, in whose view the module is run by nobody."""
    trace = error.__traceback__
    if trace is not None:
        # The first is this module's.
        trace = trace.tb_next
    error.__traceback__ = trace
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
    sys.excepthook(type(error), error, trace)


def _start_anew() -> None:
    """Draw again what importing has drawn by chance, and start what counts from the start of the process."""
    import logging
    import multiprocessing.process

    import numpy

    numpy.random.seed()
    _number_threads(1)
    processes: Any = multiprocessing.process
    processes.current_process()._config["authkey"] = processes.AuthenticationString(os.urandom(32))
    counts: Any = logging
    counts._startTime = time.time() if isinstance(counts._startTime, float) else time.time_ns()


def _next_thread() -> int:
    counts: Any = threading
    return int(counts._counter())


def _number_threads(first: int) -> None:
    counts: Any = threading
    counts._counter = itertools.count(first).__next__


def _print(fd: int, text: bytes) -> None:
    """Print what importing has printed, as of now and of this process."""
    now = time.time()
    local = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now)).encode() + b".%06d" % (now % 1 * 1e6)
    text = _TIMES.sub(local, text)
    text = _ABSL_TIMES.sub(rb"\g<1>%.6f %7d" % (now, os.getpid()), text)
    stream: Any = {1: sys.stdout, 2: sys.stderr}[fd]
    stream.flush()
    while text:
        text = text[os.write(fd, text) :]


def _read_on_import(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(READ_ON_IMPORT)}


def open_files() -> list[int]:
    """Every open file of this process."""
    # What listed them is among them, and closed by now.
    return [fd for fd in map(int, os.listdir("/proc/self/fd")) if _is_open(fd)]


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
