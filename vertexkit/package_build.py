"""Builds a wheel from sources that have a build system of their own, as pip does."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any, Final

from vertexkit.errors import InvalidArgument
from vertexkit.program_files import DATA_LIMIT
from vertexkit.progress import amount

__all__ = ["built_wheel", "is_source_folder"]

_SECONDS: Final = 600
_LINES: Final = 20
_SWEEPINGS: Final = {"__pycache__", "node_modules", "venv"}
# At the top they are what earlier builds have left; further in they are packages like any other.
_OUTPUTS: Final = {"build", "dist"}
_FROM_GIT: Final = (
    "setuptools_scm",
    "setuptools-scm",
    "hatch-vcs",
    "hatch_vcs",
    "versioningit",
    "dunamai",
    "pbr",
)


def is_source_folder(folder: Path) -> bool:
    """Whether a folder has a build system: a ``setup.py``, or a ``pyproject.toml`` for more than tools."""
    if (folder / "setup.py").is_file():
        return True
    described = _pyproject(folder)
    return "project" in described or "build-system" in described


def built_wheel(source: Path, folder: Path) -> Path:
    """Build the wheel of a source folder or source distribution, in a copy of it.

    Args:
        source: The folder, or the ``.tar.gz``.
        folder: Where to put the wheel: an empty folder.

    Raises:
        InvalidArgument: It cannot be built; the message ends with what the build said last.
    """
    with tempfile.TemporaryDirectory(prefix="vertexkit-source-") as scratch:
        copy, described = source, {}
        if source.is_dir():
            copy = Path(scratch) / source.name
            described = _pyproject(source)
            _copy(source, copy, with_git=_is_versioned_by_git(described))
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(folder)]
        options = ["--disable-pip-version-check", "--no-input", "--quiet"]
        # What the build needs is downloaded only when it is not here.
        if _is_satisfied(described):
            options.append("--no-build-isolation")
        try:
            status, output = _run([*command, *options, str(copy)], Path(scratch))
        except subprocess.TimeoutExpired:
            raise InvalidArgument(
                "program", str(source), f"was not built after {_SECONDS} s", remedy="give a built wheel"
            ) from None
    wheels = list(folder.glob("*.whl"))
    if status or len(wheels) != 1:
        said = output.decode("utf-8", "replace").splitlines()[-_LINES:]
        raise InvalidArgument(
            "program",
            str(source),
            "\n".join(["could not be built; the build said last:", *(f"  | {line}" for line in said)]),
            remedy="see that `pip wheel --no-deps .` works in it, or give a built wheel",
        )
    return wheels[0]


def _run(command: list[str], folder: Path) -> tuple[int, bytes]:
    """Run a build, with all that it starts; its exit status, and what it printed."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env={**os.environ, "SOURCE_DATE_EPOCH": "315532800", "PYTHONDONTWRITEBYTECODE": "1"},
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=_SECONDS)
    except BaseException:  # Ctrl-C ends the build too
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return process.returncode, output


def _copy(source: Path, copy: Path, *, with_git: bool) -> None:
    """Copy what may belong to the sources: a build writes into its folder."""

    def ignored(parent: str, names: list[str]) -> set[str]:
        return {name for name in names if not _belongs(Path(parent), name, source, with_git=with_git)}

    size = 0
    for parent, names, files in os.walk(source):
        left = ignored(parent, [*names, *files])
        names[:] = [name for name in names if name not in left]
        size += sum((Path(parent) / name).lstat().st_size for name in files if name not in left)
    if size > 10 * DATA_LIMIT:
        raise InvalidArgument(
            "program",
            str(source),
            f"holds {amount(size, 'bytes')}, which is too much for a program",
            remedy="keep the data elsewhere, or give a built wheel",
        )
    shutil.copytree(source, copy, ignore=ignored, symlinks=True)


def _belongs(parent: Path, name: str, source: Path, *, with_git: bool) -> bool:
    """Whether a file or folder may be a part of the sources."""
    if name == ".git":
        return with_git
    path = parent / name
    return not (
        name in _SWEEPINGS
        or name.endswith(".egg-info")
        or (parent == source and name in _OUTPUTS)
        or (path.is_dir() and (name.startswith(".") or (path / "pyvenv.cfg").is_file()))
    )


def _is_versioned_by_git(described: dict[str, Any]) -> bool:
    """Whether the build asks git for the version."""
    return any(name in str(described.get("build-system", {})) for name in _FROM_GIT)


def _pyproject(folder: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidArgument(
            "program", str(folder), f"has a pyproject.toml that is wrong: {error}"
        ) from None


def _is_satisfied(described: dict[str, Any]) -> bool:
    """Whether everything that a build asks for is installed here."""
    from packaging.requirements import InvalidRequirement, Requirement

    asked = described.get("build-system", {}).get("requires", ["setuptools"])
    try:
        for requirement in map(Requirement, asked):
            if requirement.marker is None or requirement.marker.evaluate():
                version = importlib.metadata.version(requirement.name)
                if not requirement.specifier.contains(version, prereleases=True):
                    return False
    except (InvalidRequirement, TypeError, importlib.metadata.PackageNotFoundError):
        return False
    return True
