"""Jobs' Python environments, by real interpreters and a real pip; the package index is a folder of wheels."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from wheel_files import SETUP_PY, write_sdist, write_wheel

from vertexkit.emulator.jobs.environments import (
    Environment,
    Environments,
    InstallCancelled,
    InstallFailed,
)
from vertexkit.training_images import parse_training_image, training_image

KERAS_2_PROGRAM = """
import keras
import tf_keras
from keras.layers import Dense
import keras.src.engine.sequential
import tensorflow as tf
assert tf.keras.__version__ == keras.__version__
import tensorflow.keras
assert tf.keras.__version__ == keras.__version__
from tensorflow.keras.layers import Dense as through_tensorflow

assert keras is tf_keras
assert keras.layers is tf_keras.layers
assert keras.src is tf_keras.src
assert through_tensorflow is Dense
assert tf.keras.Model is keras.Model
assert tf_keras.__spec__.name == "tf_keras"
try:
    import keras.no_such_module
except ModuleNotFoundError as error:
    assert error.name == "keras.no_such_module"

import keras_tuner

def build(parameters):
    model = keras.Sequential([Dense(parameters.Int("units", 1, 3), input_shape=(2,))])
    model.compile("sgd", "mse")
    return model

tuner = keras_tuner.RandomSearch(build, objective="loss", max_trials=1, directory="search")
tuner.search(tf.zeros((4, 2)), tf.zeros((4, 1)), epochs=1, verbose=0)
assert isinstance(tuner.get_best_models()[0], tf_keras.Model)
print("Keras", keras.__version__)
"""

Prepare = Callable[..., Environment]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip finds packages."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "a home"
    folder.mkdir()
    return folder


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def prepare(tmp_path: Path, index: Path, home: Path, said: list[str]) -> Prepare:
    """Prepares an environment in ``home``."""
    environments = Environments(tmp_path / "cache")

    def prepared(
        *packages: Path,
        version: str = "2.17",
        where: Path = home,
        cancelled: threading.Event | None = None,
        **pip_settings: str,
    ) -> Environment:
        image = parse_training_image(training_image(version=version))
        assert image is not None
        return environments.prepare(
            image,
            packages,
            home=where,
            pip_settings=pip_settings,
            say=said.append,
            cancelled=cancelled or threading.Event(),
        )

    return prepared


def run(environment: Environment, home: Path, command: str) -> str:
    """What a shell command prints with the environment of a job."""
    path = f"{environment.bin}:/usr/bin:/bin"
    done = subprocess.run(
        ["sh", "-c", command],
        env={"HOME": str(home), "PATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", **environment.env},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_of(folder: Path) -> set[str]:
    """Files below a folder, but for what Python compiles as it imports."""
    return {str(path) for path in folder.rglob("*") if "__pycache__" not in path.parts}


def test_a_program_sees_the_images_packages_and_its_own_but_nothing_of_vertexkit(
    tmp_path: Path, prepare: Prepare, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent.parent))
    code = """
import importlib.util, json, sys
names = "numpy tensorflow vertexkit trainer_scripts program".split()
print(json.dumps({"found": [n for n in names if importlib.util.find_spec(n)], "prefix": sys.prefix}))
"""
    made = prepare(write_wheel(tmp_path, files={"program/__init__.py": "", "program/task.py": code}))

    shown = json.loads(run(made, home, "python3 -m program.task"))

    assert shown["found"] == ["numpy", "tensorflow", "program"]
    assert Path(shown["prefix"]).is_relative_to(home)


def test_trainer_scripts_come_from_the_package_that_brings_them(
    tmp_path: Path, prepare: Prepare, home: Path
) -> None:
    made = prepare(write_wheel(tmp_path, files={"trainer_scripts/__init__.py": "NAME = 'brought'\n"}))

    assert run(made, home, "python -c 'import trainer_scripts as t; print(t.NAME)'") == "brought\n"


def test_preparing_without_requirements_takes_no_time(tmp_path: Path, prepare: Prepare) -> None:
    wheel = write_wheel(tmp_path)
    prepare(wheel)

    def seconds() -> float:
        # Of this thread's own work: whatever else the machine does meanwhile is not counted.
        started = time.thread_time()
        prepare(wheel)
        return time.thread_time() - started

    assert min(seconds() for _ in range(10)) < 0.05


def test_requirements_are_installed_once_for_every_set_of_them(
    tmp_path: Path, prepare: Prepare, index: Path, home: Path, said: list[str]
) -> None:
    write_wheel(index, "needed", "1.2", requires=["needed-too"])
    write_wheel(index, "needed-too", "0.3")
    wheel = write_wheel(tmp_path, requires=["needed>=1", "numpy"])
    before = files_of(Path(sys.prefix) / "bin")

    made = prepare(wheel)
    print_both = "python3 -c 'import needed, needed_too; print(needed.VERSION, needed_too.VERSION)'"

    assert run(made, home, print_both) == "1.2 0.3\n"
    assert said[0] == "Installing needed>=1."
    assert said[1].startswith("Installed in ")
    # Without the index: it is there already.
    shutil.rmtree(index)
    said.clear()
    again = prepare(wheel)
    assert run(again, home, print_both) == "1.2 0.3\n"
    assert said == []
    assert files_of(Path(sys.prefix) / "bin") == before


def test_a_requirement_of_another_version_than_is_installed_here_is_had(
    tmp_path: Path, prepare: Prepare, index: Path, home: Path, said: list[str]
) -> None:
    write_wheel(index, "tabulate-of-tests", "1.0")
    write_wheel(index, "six", "0.1", files={"six.py": "OWN = True\n"})
    made = prepare(write_wheel(tmp_path, requires=["six==0.1", "tabulate-of-tests"]))

    assert run(made, home, "python3 -c 'import six; print(six.OWN)'") == "True\n"
    assert any("six 0.1 (not 1." in line for line in said)


def test_what_a_job_installs_itself_stays_in_its_home(
    tmp_path: Path, prepare: Prepare, index: Path, home: Path
) -> None:
    write_wheel(index, "plain", "1.0")
    write_wheel(index, "of-the-user", "1.0")
    write_wheel(index, "six", "0.1", files={"six.py": "OWN = True\n"})
    write_wheel(index, "required", "1.0")
    made = prepare(write_wheel(tmp_path, requires=["required"]))
    cached = files_of(tmp_path / "cache")

    run(made, home, "pip install plain && pip3 install --user of-the-user six==0.1")
    shown = run(
        made,
        home,
        "python3 -c 'import plain, of_the_user as u, six; print(plain.__file__, u.__file__, six.__file__)'",
    )

    assert shown.count(str(home)) == 3
    assert files_of(tmp_path / "cache") == cached


def test_the_commands_of_the_images_packages_are_there(tmp_path: Path, prepare: Prepare, home: Path) -> None:
    made = prepare(write_wheel(tmp_path))

    # Run by the job's own Python, so that what the job installs counts.
    assert run(made, home, "tensorboard --version 2>/dev/null").count(".") == 2
    script = (made.bin / "tensorboard").read_text()
    assert script.startswith("#!/bin/sh\nexec python3 ")
    assert not (made.bin / "vertexkit").exists()


def test_the_way_to_the_index_is_in_pips_own_settings_and_not_in_the_jobs_variables(
    tmp_path: Path, prepare: Prepare, home: Path
) -> None:
    made = prepare(write_wheel(tmp_path))

    assert not [name for name in made.env if name.startswith("PIP_")]
    settings = made.bin.parent / "pip.conf"
    assert settings.stat().st_mode & 0o777 == 0o600
    assert f"find-links = {tmp_path / 'index'}" in settings.read_text()


def test_a_source_distribution_is_built_and_installed_with_its_requirements(
    tmp_path: Path, prepare: Prepare, index: Path, home: Path, said: list[str]
) -> None:
    write_wheel(index, "needed", "1.2")
    files = {
        "setup.py": SETUP_PY.format(requires=["needed"]),
        "trainer/__init__.py": "",
        "trainer/task.py": "import needed\nprint('trained with', needed.VERSION)\n",
    }

    made = prepare(write_sdist(tmp_path, files=files))
    prepare(write_sdist(tmp_path, files=files, time=1e9))

    assert run(made, home, "python3 -m trainer.task") == "trained with 1.2\n"
    assert sum(line.startswith("Building") for line in said) == 1


def test_where_the_emulators_environment_has_no_pip_that_of_python_installs(
    tmp_path: Path, prepare: Prepare, index: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    monkeypatch.setattr("vertexkit.emulator.jobs.interpreters._site_folders", lambda: [str(packages)])
    write_wheel(index, "needed", "1.2")
    made = prepare(write_wheel(tmp_path, requires=["needed"]))

    assert run(made, home, "python3 -c 'import needed; print(needed.VERSION)'") == "1.2\n"
    assert run(made, home, "pip --version").startswith("pip ")


def test_a_source_distribution_that_does_not_build_says_why(tmp_path: Path, prepare: Prepare) -> None:
    sdist = write_sdist(tmp_path, files={"setup.py": "raise SystemExit('no compiler here')\n"})

    with pytest.raises(InstallFailed, match=r"(?s)trainer.*no compiler here"):
        prepare(sdist)


def test_a_package_that_does_not_exist_is_named_and_nothing_is_left(
    tmp_path: Path, prepare: Prepare, home: Path
) -> None:
    wheel = write_wheel(tmp_path, requires=["no-such-package-of-vertexkit"])

    with pytest.raises(InstallFailed, match=r"no-such-package-of-vertexkit .* no such package"):
        prepare(wheel)

    assert list(home.iterdir()) == []
    assert not [entry for entry in (tmp_path / "cache" / "layers").iterdir() if entry.is_dir()]


def test_without_a_network_the_package_and_the_network_are_named(
    tmp_path: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    # Nothing listens on the discard port.
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")

    with pytest.raises(InstallFailed, match=r"some-package .* cannot be reached. Check the network"):
        prepare(write_wheel(tmp_path, requires=["some-package"]))


def test_a_job_may_name_an_index_of_its_own(tmp_path: Path, prepare: Prepare, index: Path) -> None:
    (tmp_path / "private").mkdir()
    write_wheel(tmp_path / "private", "of-ours", "1.0")
    wheel = write_wheel(tmp_path, requires=["of-ours"])
    with pytest.raises(InstallFailed, match="of-ours"):
        prepare(wheel)

    made = prepare(wheel, PIP_FIND_LINKS=str(tmp_path / "private"))

    assert run(made, made.bin.parent, "python3 -c 'import of_ours'") == ""


def test_jobs_that_start_together_install_together(
    tmp_path: Path, prepare: Prepare, index: Path, said: list[str]
) -> None:
    write_wheel(index, "needed", "1.2")
    wheel = write_wheel(tmp_path, requires=["needed"])
    homes = [tmp_path / f"home-{number}" for number in range(4)]
    for home in homes:
        home.mkdir()

    with ThreadPoolExecutor() as pool:
        made = list(pool.map(lambda home: prepare(wheel, where=home), homes))

    assert sum(line.startswith("Installing") for line in said) == 1
    for environment, home in zip(made, homes, strict=True):
        assert run(environment, home, "python3 -c 'import needed; print(needed.VERSION)'") == "1.2\n"


SLOW_SETUP = """
import os, time
open({marker!r}, "w").write(str(os.getpid()))
time.sleep(600)
"""


def wait_for(marker: Path) -> int:
    """The process that writes its id into a file."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if marker.is_file() and (text := marker.read_text()):
            return int(text)
        time.sleep(0.02)
    raise AssertionError("pip did not get as far as to run setup.py")


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/stat").exists():
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_cancelling_ends_pip_with_all_that_it_has_started(
    tmp_path: Path, prepare: Prepare, home: Path
) -> None:
    marker, cancelled = tmp_path / "pid", threading.Event()
    sdist = write_sdist(tmp_path, files={"setup.py": SLOW_SETUP.format(marker=str(marker))})

    with ThreadPoolExecutor() as pool:
        preparing = pool.submit(prepare, sdist, cancelled=cancelled)
        pid = wait_for(marker)
        cancelled.set()
        with pytest.raises(InstallCancelled):
            preparing.result(timeout=10)

    wait_until_gone(pid)
    assert list(home.iterdir()) == []
    assert list((tmp_path / "cache" / "wheels").iterdir()) == []


PREPARE = """
import sys, threading
from pathlib import Path
from vertexkit.emulator.jobs.environments import Environments
from vertexkit.training_images import parse_training_image, training_image
cache, home, package = map(Path, sys.argv[1:])
image = parse_training_image(training_image())
Environments(cache).prepare(
    image, [package], home=home, pip_settings={}, say=print, cancelled=threading.Event()
)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_pip_does_not_survive_an_emulator_that_is_killed_and_the_next_starts_anew(
    tmp_path: Path, prepare: Prepare, index: Path, home: Path
) -> None:
    marker = tmp_path / "pid"
    backend = "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    files = {"pyproject.toml": backend, "backend.py": SLOW_SETUP.format(marker=str(marker))}
    write_sdist(index, "needed", "1.0", files=files)
    wheel = write_wheel(tmp_path, requires=["needed"])
    command = [sys.executable, "-c", PREPARE, str(tmp_path / "cache"), str(home), str(wheel)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as emulator:
        pid = wait_for(marker)
        emulator.send_signal(signal.SIGKILL)
    wait_until_gone(pid)

    (index / "needed-1.0.tar.gz").unlink()
    write_wheel(index, "needed", "1.0")
    made = prepare(wheel)

    assert run(made, home, "python3 -c 'import needed; print(needed.VERSION)'") == "1.0\n"


def test_with_an_image_of_keras_2_every_way_to_keras_leads_to_it(
    tmp_path: Path, prepare: Prepare, home: Path
) -> None:
    wheel = write_wheel(tmp_path, files={"program/__init__.py": "", "program/task.py": KERAS_2_PROGRAM})
    made = prepare(wheel, version="2.15")

    assert run(made, home, "python3 -m program.task").splitlines()[-1].startswith("Keras 2.")


def test_old_generated_code_of_a_requirement_can_be_imported(
    tmp_path: Path, prepare: Prepare, index: Path, home: Path
) -> None:
    code = """
from google.protobuf import descriptor as _descriptor
DESCRIPTOR = _descriptor.FileDescriptor(name='old.proto', package='old', syntax='proto3', serialized_pb=b'')
FIELD = _descriptor.FieldDescriptor(
    name='x', full_name='old.X.x', index=0, number=1, type=5, cpp_type=1, label=1, has_default_value=False,
    default_value=0, message_type=None, enum_type=None, containing_type=None, is_extension=False,
    extension_scope=None, file=DESCRIPTOR)
"""
    write_wheel(index, "old-service", files={"old_service/__init__.py": "", "old_service/x_pb2.py": code})
    made = prepare(write_wheel(tmp_path, requires=["old-service"]))

    assert run(made, home, "python3 -c 'from old_service import x_pb2; print(x_pb2.FIELD.name)'") == "x\n"
    # That variable is what makes it work.
    bare = Environment(made.bin, {})
    with pytest.raises(AssertionError, match="Descriptors cannot be created directly"):
        run(bare, home, "python3 -c 'from old_service import x_pb2'")
