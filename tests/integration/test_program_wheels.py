"""Wheels of training programs, built and run in processes, as a container does."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from program_folders import Write, names, writer

from vertexkit.errors import InvalidArgument
from vertexkit.packaging import understand


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write({"train.py": ...})``: files in a folder of the test's own; the folder."""
    return writer(tmp_path / "user")


def run(wheel: Path | None, module: str, *args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a module of a wheel as a job does, with nothing else of ours to be imported."""
    assert wheel is not None
    site = cwd / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    env = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-S", "-m", module, *args]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


def test_a_script_runs_as_it_does_by_itself(write: Write, tmp_path: Path) -> None:
    folder = write(
        {
            "train.py": "import sys, helpers\nfrom trainer_scripts import environment\n"
            "print(__name__, sys.argv[1:], helpers.VALUE, environment.__name__)\n",
            "helpers.py": "from lib.deep import VALUE\n",
            "lib/__init__.py": "",
            "lib/deep.py": "VALUE = 42\n",
            "lib/data.bin": "x",
            "unused.py": "",
            "notes.txt": "",
        }
    )
    program = understand(folder / "train.py")
    assert program.module == "vertexkit_program.train"
    assert program.description == "script train.py with helpers.py, lib"
    wheel = program.wheel(tmp_path)
    assert names(wheel) == {
        f"vertexkit_program/{name}"
        for name in (
            "__init__.py",
            "train.py",
            "helpers.py",
            "lib/__init__.py",
            "lib/deep.py",
            "lib/data.bin",
        )
    }
    ran = run(wheel, program.module, "--epochs=1", cwd=tmp_path)
    assert ran.stdout.split("\n")[0] == "__main__ ['--epochs=1'] 42 trainer_scripts.environment", ran.stderr


def test_a_script_may_start_processes_of_its_own(write: Write, tmp_path: Path) -> None:
    folder = write(
        {
            "train.py": "import multiprocessing as mp\nimport helpers\n"
            "def double(item): return helpers.Item(item.value * 2)\n"
            "if __name__ == '__main__':\n"
            "    with mp.get_context('spawn').Pool(1) as pool:\n"
            "        print(pool.map(double, [helpers.Item(21)])[0].value)\n",
            "helpers.py": "class Item:\n    def __init__(self, value): self.value = value\n",
        }
    )
    program = understand(folder / "train.py")
    ran = run(program.wheel(tmp_path), program.module, cwd=tmp_path)
    assert ran.stdout == "42\n", ran.stderr


def test_a_traceback_names_the_user_s_file_and_line(write: Write, tmp_path: Path) -> None:
    program = understand(write({"train.py": "\n\nraise RuntimeError('here')\n"}) / "train.py")
    ran = run(program.wheel(tmp_path), program.module, cwd=tmp_path)
    assert 'vertexkit_program/train.py", line 3' in ran.stderr


@pytest.mark.parametrize("name", ["my-train.py", "2nd.py", "class.py", "train.v2.py"])
def test_a_script_may_have_a_name_that_no_module_has(write: Write, tmp_path: Path, name: str) -> None:
    program = understand(write({name: "print('ran')\n"}) / name)
    assert run(program.wheel(tmp_path), program.module, cwd=tmp_path).stdout == "ran\n"


def test_a_neighbour_keeps_its_name_where_the_script_s_would_be_the_same(
    write: Write, tmp_path: Path
) -> None:
    folder = write(
        {"my-train.py": "import my_train\nprint(my_train.X)\n", "my_train.py": "X = 'neighbour'\n"}
    )
    program = understand(folder / "my-train.py")
    assert run(program.wheel(tmp_path), program.module, cwd=tmp_path).stdout == "neighbour\n"


def test_pip_installs_the_wheel_and_reads_its_requirements(write: Write, tmp_path: Path) -> None:
    program = understand(
        write({"train.py": ""}) / "train.py", requirements=["Scikit_Learn>=1.4", "tqdm; python_version<'3'"]
    )
    wheel = program.wheel(tmp_path)
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target"]
    done = subprocess.run([*command, str(tmp_path / "to"), str(wheel)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    metadata = (tmp_path / "to" / "vertexkit_program-1.0.dist-info" / "METADATA").read_text()
    assert "Requires-Dist: scikit-learn>=1.4\n" in metadata
    assert (tmp_path / "to" / "trainer_scripts" / "data" / "mnist_subset.npz").is_file()


def test_the_folder_of_a_package_is_sent_whole_and_its_main_is_run(write: Write, tmp_path: Path) -> None:
    write(
        {
            "pkg/__init__.py": "",
            "pkg/__main__.py": "from . import task\nimport beside\nprint(task.X, beside.Y)\n",
            "pkg/task.py": "X = 1\n",
            "pkg/sub/vocabulary.txt": "words",
            "pkg/.git/config": "",
            "pkg/.env": "SECRET=1",
            "pkg/__pycache__/task.cpython-311.pyc": "",
            "pkg/env/pyvenv.cfg": "",
            "pkg/env/lib/big.py": "",
            "beside.py": "Y = 2\n",
            "setup_notes.py": "",
        }
    )
    program = understand(tmp_path / "user" / "pkg")
    assert program.module == "pkg"
    wheel = program.wheel(tmp_path)
    assert names(wheel) == {
        *("pkg/__init__.py", "pkg/__main__.py", "pkg/task.py", "pkg/sub/vocabulary.txt", "beside.py")
    }
    assert run(wheel, "pkg", cwd=tmp_path).stdout == "1 2\n"


def test_a_package_with_a_module_of_it_is_run_as_that(write: Write, tmp_path: Path) -> None:
    folder = write({"pkg/__init__.py": "print('init')\n", "pkg/task.py": "print(__name__)\n"})
    program = understand(folder / "pkg", module="pkg.task")
    assert run(program.wheel(tmp_path), "pkg.task", cwd=tmp_path).stdout == "init\n__main__\n"


def test_a_link_inside_the_folder_keeps_its_own_name(write: Write, tmp_path: Path) -> None:
    folder = write({"train.py": "import helpers\nprint(helpers.X)\n", "lib/helpers_v2.py": "X = 2\n"})
    (folder / "helpers.py").symlink_to(folder / "lib" / "helpers_v2.py")
    program = understand(folder / "train.py")
    assert run(program.wheel(tmp_path), program.module, cwd=tmp_path).stdout == "2\n"


SOURCES = {
    "project/pyproject.toml": '[build-system]\nrequires = ["setuptools"]\n'
    'build-backend = "setuptools.build_meta"\n'
    '[project]\nname = "mine"\nversion = "2.5"\ndependencies = ["numpy"]\n',
    "project/src/mine/__init__.py": "",
    "project/src/mine/task.py": "import importlib.metadata as m\nprint(m.version('mine'))\n",
}


def test_a_source_folder_is_built_elsewhere_and_keeps_its_name_and_version(
    write: Write, tmp_path: Path
) -> None:
    folder = write(SOURCES) / "project"
    before = sorted(folder.rglob("*"))
    program = understand(folder, module="mine.task", requirements=["tqdm"])
    wheels = []
    for where in ("a", "b"):
        (tmp_path / where).mkdir()
        wheels.append(program.wheel(tmp_path / where))
    first, second = wheels
    assert first is not None
    assert second is not None
    assert first.name == "mine-2.5-py3-none-any.whl"
    assert first.read_bytes() == second.read_bytes()
    assert sorted(folder.rglob("*")) == before
    archive = zipfile.ZipFile(first)
    assert "trainer_scripts/environment.py" in archive.namelist()
    metadata = archive.read("mine-2.5.dist-info/METADATA").decode()
    assert "Requires-Dist: numpy\n" in metadata
    assert "Requires-Dist: tqdm" in metadata
    assert run(first, "mine.task", cwd=tmp_path).stdout == "2.5\n"
    # A wheel is a program too, and gets the same.
    again = understand(first, module="mine.task")
    (tmp_path / "c").mkdir()
    assert again.wheel(tmp_path / "c").read_bytes() == first.read_bytes()  # type: ignore[union-attr]
    with pytest.raises(InvalidArgument, match=r"it has mine\.task"):
        understand(first, module="mine.tsak")


def test_a_source_distribution_is_built(write: Write, tmp_path: Path) -> None:
    folder = write({"setup.py": "from setuptools import setup\nsetup(name='old', py_modules=['old'])\n"})
    (folder / "old.py").write_text("print('old')\n")
    with tarfile.open(tmp_path / "old-0.0.tar.gz", "w:gz") as archive:
        archive.add(folder, "old-0.0")
    program = understand(tmp_path / "old-0.0.tar.gz", module="old")
    assert run(program.wheel(tmp_path), "old", cwd=tmp_path).stdout == "old\n"


def test_a_source_folder_that_does_not_build_is_refused_with_what_the_build_said(
    write: Write, tmp_path: Path
) -> None:
    folder = write({"setup.py": "raise SystemExit('no compiler here')\n"})
    with pytest.raises(InvalidArgument, match="no module is given"):
        understand(folder)
    with pytest.raises(InvalidArgument, match="no compiler here"):
        understand(folder, module="x").wheel(tmp_path)
    assert not list(tmp_path.glob("*.whl"))


def test_a_module_that_the_built_package_lacks_is_refused(write: Write, tmp_path: Path) -> None:
    folder = write(SOURCES) / "project"
    with pytest.raises(InvalidArgument, match=r"it has mine\.task"):
        understand(folder, module="mine.tusk").wheel(tmp_path)


def test_what_earlier_builds_left_and_what_is_hidden_is_not_built(write: Write, tmp_path: Path) -> None:
    folder = write(SOURCES) / "project"
    listing = "import os, sys\nfrom setuptools import setup\n"
    listing += (
        "sys.stderr.write(' '.join(sorted(os.path.join(d, f) for d, _, fs in os.walk('.') for f in fs)))\n"
    )
    write(
        {
            "project/setup.py": f"{listing}raise SystemExit(1)\n",
            "project/build/old.py": "",
            "project/src/mine/build/kept.py": "",
            "project/.git/config": "",
            "project/.cache/x": "",
            "project/env/pyvenv.cfg": "",
        }
    )
    with pytest.raises(InvalidArgument) as caught:
        understand(folder, module="mine.task").wheel(tmp_path)
    said = str(caught.value)
    assert "./src/mine/build/kept.py" in said
    for name in ("./build/", ".git", ".cache", "pyvenv.cfg"):
        assert name not in said
