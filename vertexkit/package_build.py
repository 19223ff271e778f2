"""Builds a wheel from sources that have a build system of their own, as pip does."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
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
_SWEEPINGS: Final = (".*", "__pycache__", "*.egg-info", "node_modules", "venv", "build", "dist")


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
            _copy(source, copy)
            described = _pyproject(source)
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(folder)]
        options = ["--disable-pip-version-check", "--no-input", "--quiet"]
        # What the build needs is downloaded only when it is not here.
        if _is_satisfied(described):
            options.append("--no-build-isolation")
        try:
            finished = subprocess.run(
                [*command, *options, str(copy)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=scratch,
                timeout=_SECONDS,
                check=False,
                env={**os.environ, "SOURCE_DATE_EPOCH": "315532800", "PYTHONDONTWRITEBYTECODE": "1"},
            )
        except subprocess.TimeoutExpired:
            raise InvalidArgument(
                "program", str(source), f"was not built after {_SECONDS} s", remedy="give a built wheel"
            ) from None
    wheels = list(folder.glob("*.whl"))
    if finished.returncode or len(wheels) != 1:
        said = finished.stdout.decode("utf-8", "replace").splitlines()[-_LINES:]
        raise InvalidArgument(
            "program",
            str(source),
            "\n".join(["could not be built; the build said last:", *(f"  | {line}" for line in said)]),
            remedy="see that `pip wheel --no-deps .` works in it, or give a built wheel",
        )
    return wheels[0]


def _copy(source: Path, copy: Path) -> None:
    """Copy what may belong to the sources: a build writes into its folder."""
    ignored = shutil.ignore_patterns(*_SWEEPINGS)
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
