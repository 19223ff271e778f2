import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vertexkit.emulator.data_dir import DataDir
from vertexkit.errors import EmulatorFailed


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders go in a test."""
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    return place


def test_a_temporary_folder_goes_with_the_emulator(temporary: Path) -> None:
    with DataDir(None) as made:
        assert stat.S_IMODE(made.path.stat().st_mode) == 0o700
        assert stat.S_IMODE(made.work.stat().st_mode) == 0o700
        (made.path / "x").touch()
    assert list(temporary.iterdir()) == []


def test_a_given_folder_is_made_private_and_stays(tmp_path: Path, temporary: Path) -> None:
    folder = tmp_path / "deep" / "data"
    folder.mkdir(parents=True, mode=0o755)
    with DataDir(folder) as made:
        assert made.path == folder
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "x").touch()
        assert folder not in made.work.parents
    assert (folder / "x").exists()
    assert list(temporary.iterdir()) == []


def test_a_folder_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path, temporary: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o755)
    (home / ".profile").touch()
    with pytest.raises(EmulatorFailed, match="holds something else") as refused:
        DataDir(home)
    assert str(home / "vertexkit-data") in str(refused.value.remedy)
    assert stat.S_IMODE(home.stat().st_mode) == 0o755
    assert [path.name for path in home.iterdir()] == [".profile"]
    assert list(temporary.iterdir()) == []


def test_a_folder_that_an_emulator_used_is_used_again(tmp_path: Path) -> None:
    with DataDir(tmp_path / "data") as first:
        (first.path / "vertex.sqlite").touch()
    with DataDir(tmp_path / "data") as second:
        assert (second.path / "vertex.sqlite").exists()


def test_a_folder_in_use_is_refused_naming_the_process(tmp_path: Path, temporary: Path) -> None:
    with DataDir(tmp_path / "data"):
        with pytest.raises(EmulatorFailed, match=f"in use by another emulator .process {os.getpid()}"):
            DataDir(tmp_path / "data")
        assert len(list(temporary.iterdir())) == 1
    with DataDir(tmp_path / "data"):
        pass


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, temporary: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmulatorFailed, match="cannot be used"):
        DataDir(tmp_path / "file" / "data")
    assert list(temporary.iterdir()) == []


def test_the_lock_of_a_killed_process_is_gone_with_it(tmp_path: Path) -> None:
    holder = (
        "import os, signal, sys, pathlib\n"
        "from vertexkit.emulator.data_dir import DataDir\n"
        "made = DataDir(pathlib.Path(sys.argv[1]))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", holder, str(tmp_path / "data")])
    assert killed.returncode == -9
    with DataDir(tmp_path / "data"):
        pass


def test_what_a_killed_emulator_left_is_removed_by_the_next(temporary: Path) -> None:
    left = temporary / "vertexkit-killed"
    (left / "data").mkdir(parents=True)
    (left / "emulator.lock").touch()
    os.utime(left / "emulator.lock", (0, 0))
    fresh = temporary / "vertexkit-starting"
    fresh.mkdir()
    (fresh / "emulator.lock").touch()
    with DataDir(None) as running:
        os.utime(running.work.parent / "emulator.lock", (0, 0))
        with DataDir(None):
            assert not left.exists()
            assert fresh.exists(), "it may not have locked its folder yet"
            assert running.path.exists(), "it is in use"


def test_sockets_that_a_killed_engine_left_are_removed_by_the_next_emulator(
    tmp_path: Path, temporary: Path
) -> None:
    holder = (
        "import asyncio, os, pathlib, signal, sys, tempfile\n"
        "from vertexkit.emulator.serving import ServingEngine\n"
        "tempfile.tempdir = sys.argv[1]\n"
        "ServingEngine(pathlib.Path(sys.argv[2]), asyncio.new_event_loop())\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    too_long = tmp_path / ("x" * 100)
    killed = subprocess.run([sys.executable, "-c", holder, str(temporary), str(too_long)])
    assert killed.returncode == -9
    (left,) = temporary.iterdir()
    os.utime(left / "emulator.lock", (0, 0))
    with DataDir(None):
        assert not left.exists()
