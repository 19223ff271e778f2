"""The wheel: what it holds, and that it works where it is the only copy of vertexkit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what git tracks, so that nothing else can slip in."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, tracked.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    (built,) = out.glob("*.whl")
    return built


def test_it_holds_both_packages_the_types_and_the_data_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "vertexkit/__init__.py",
        "vertexkit/py.typed",
        "vertexkit/emulator/server.py",
        "trainer_scripts/__init__.py",
        "trainer_scripts/data/mnist_subset.npz",
        "trainer_scripts/data/README.md",
    } <= names
    sources = {
        str(path.relative_to(ROOT))
        for name in ("vertexkit", "trainer_scripts")
        for path in (ROOT / name).rglob("*.py")
    }
    assert {name for name in names if name.endswith(".py")} == sources
    assert {name.split("/")[0].split("-")[0] for name in names} == {"vertexkit", "trainer_scripts"}


def test_installed_alone_it_runs_and_finds_its_data(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "venv"
    venv.create(target, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(target)}))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            "--target",
            str(site),
            str(wheel),
        ],
        check=True,
    )
    # The dependencies of this environment, after the wheel: nothing is downloaded. addsitedir is not used,
    # for it would run the hook that makes the checkout importable.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    program = (
        "import importlib.resources, pathlib, vertexkit, trainer_scripts\n"
        "here = pathlib.Path.cwd() / 'venv'\n"
        "assert pathlib.Path(vertexkit.__file__).is_relative_to(here), vertexkit.__file__\n"
        "data = importlib.resources.files(trainer_scripts) / 'data' / 'mnist_subset.npz'\n"
        "assert data.is_file() and pathlib.Path(str(data)).is_relative_to(here)\n"
        "print(vertexkit.__version__, vertexkit.connect.__name__)\n"
    )
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    python = target / "bin" / "python"
    shown = subprocess.run([python, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert shown.stdout.split() == ["0.1.0", "connect"], shown.stderr
    checked = subprocess.run(
        [python, "-m", "vertexkit", "check", "--machine", "n1-standard-2"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr
