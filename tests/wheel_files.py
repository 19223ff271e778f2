"""Wheels and source distributions, written for the tests that install them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_wheel(
    folder: Path,
    name: str = "program",
    version: str = "1.0",
    *,
    files: Mapping[str, str | bytes] | None = None,
    requires: Sequence[str] = (),
    tag: str = "py3-none-any",
) -> Path:
    """A wheel; pure Python, whatever its tag says."""
    path = folder / f"{name.replace('-', '_')}-{version}-{tag}.whl"
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Requires-Dist: {line}" for line in requires]
    pure = "true" if tag.endswith("-none-any") else "false"
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in (files or {f"{name.replace('-', '_')}.py": f"VERSION = {version!r}\n"}).items():
            archive.writestr(file, content)
        archive.writestr(f"{info}/METADATA", "\n".join(metadata) + "\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: {pure}\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def write_sdist(
    folder: Path, name: str = "trainer", version: str = "0.1", *, files: Mapping[str, str], time: float = 0
) -> Path:
    """A source distribution, all of whose files are of one time."""
    path = folder / f"{name}-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for file, content in files.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{file}")
            entry.size, entry.mtime = len(content.encode()), int(time)
            archive.addfile(entry, io.BytesIO(content.encode()))
    return path


SETUP_PY = """
from setuptools import find_packages, setup

setup(name="trainer", version="0.1", packages=find_packages(), install_requires={requires!r})
"""
