"""The packages of a job: wheels are read and unpacked here, source distributions built into wheels."""

from __future__ import annotations

import email.parser
import hashlib
import stat
import tarfile
import tempfile
import threading
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from packaging.requirements import InvalidRequirement, Requirement

from vertexkit.emulator.jobs.interpreters import Base, make_interpreter
from vertexkit.emulator.jobs.pip_process import InstallFailed, run_pip

__all__ = ["Wheel", "build_wheel", "read_wheel", "unpack"]


@dataclass(frozen=True)
class Wheel:
    """A wheel, as its metadata describes it."""

    path: Path
    requires: tuple[str, ...]
    """Its requirements, with their markers."""
    unpackable: bool
    """Whether installing it is unpacking it: pure Python, and nothing that belongs elsewhere."""


def read_wheel(path: Path) -> Wheel:
    """Read what a wheel says of itself.

    Raises:
        InstallFailed: It is not a wheel.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            (metadata,) = (
                name for name in names if name.endswith(".dist-info/METADATA") and name.count("/") == 1
            )
            about = email.parser.BytesHeaderParser().parsebytes(archive.read(metadata))
            form = email.parser.BytesHeaderParser().parsebytes(
                archive.read(metadata.removesuffix("METADATA") + "WHEEL")
            )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InstallFailed(f"{path.name} could not be installed: it is not a wheel ({error}).") from error
    elsewhere = any(name.partition("/")[0].endswith(".data") for name in names)
    pure = form.get("Root-Is-Purelib", "").strip().lower() == "true" and all(
        tag.strip().endswith("-none-any") for tag in form.get_all("Tag", [])
    )
    return Wheel(path, tuple(about.get_all("Requires-Dist", [])), pure and not elsewhere)


def unpack(wheel: Wheel, folder: Path) -> None:
    """Unpack a wheel into a folder of packages.

    Raises:
        InstallFailed: An entry would be written outside the folder, or the archive is damaged.
    """
    try:
        with zipfile.ZipFile(wheel.path) as archive:
            for entry in archive.infolist():
                _check_inside(entry.filename, wheel.path)
            archive.extractall(folder)  # noqa: S202, the names have been checked
    except (OSError, zipfile.BadZipFile, zipfile.LargeZipFile, RuntimeError) as error:
        raise InstallFailed(f"{wheel.path.name} could not be installed: {error}.") from error


def build_wheel(
    sdist: Path,
    base: Base,
    cache: Path,
    say: Callable[[str], None],
    cancelled: threading.Event,
    *,
    settings: Mapping[str, str],
) -> Path:
    """The wheel of a source distribution, built once for all that have the same content.

    Args:
        sdist: A ``.tar.gz`` or ``.zip`` with a setup.py or pyproject.toml.
        base: The packages that building may use.
        cache: Where built wheels are kept.
        say: Is told that it is built.
        cancelled: Ends the building.
        settings: Variables of pip's that the job has.

    Raises:
        InstallCancelled: ``cancelled`` was set.
        InstallFailed: It is not a source distribution, or could not be built.
    """
    kept = cache / "wheels"
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=kept) as temporary:
        sources = Path(temporary, "sources")
        sources.mkdir()
        try:
            _extract(sdist, sources)
        except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError, RuntimeError) as error:
            raise InstallFailed(f"{sdist.name} could not be installed: {error}.") from error
        root = _root_of(sources, sdist)
        done = kept / _content_key(root, base)
        if not done.is_dir():
            say(f"Building {sdist.name}.")
            interpreter = make_interpreter(Path(temporary, "python"), base.folders)
            isolation = [] if _needs_more_than(base, root) else ["--no-build-isolation"]
            built = Path(temporary, "built")
            arguments = ["wheel", "--no-deps", *isolation, "--wheel-dir", str(built), str(root)]
            run_pip(interpreter, arguments, sdist.name, cancelled, settings=settings)
            try:
                built.rename(done)
            except OSError:
                # Another job was quicker.
                if not done.is_dir():
                    raise
    return next(done.glob("*.whl"))


def _extract(sdist: Path, folder: Path) -> None:
    if zipfile.is_zipfile(sdist):
        with zipfile.ZipFile(sdist) as archive:
            for entry in archive.infolist():
                _check_inside(entry.filename, sdist)
                if stat.S_ISLNK(entry.external_attr >> 16):
                    raise InstallFailed(f"{sdist.name} could not be installed: {entry.filename} is a link.")
            archive.extractall(folder)  # noqa: S202, the names have been checked
        return
    with tarfile.open(sdist) as tar:
        # Refuses what leaves the folder, links that do, and devices.
        tar.extractall(folder, filter="data")


def _root_of(sources: Path, sdist: Path) -> Path:
    """The folder that the sources are in: by convention the only one at the top."""
    entries = list(sources.iterdir())
    root = entries[0] if len(entries) == 1 and entries[0].is_dir() else sources
    if not (root / "setup.py").is_file() and not (root / "pyproject.toml").is_file():
        raise InstallFailed(
            f"{sdist.name} could not be installed: it has neither a setup.py nor a pyproject.toml. Make it "
            "with `python -m build`, or give the folder of the package."
        )
    return root


def _content_key(root: Path, base: Base) -> str:
    """Of the files' names and content: an archive made again has other times in it."""
    digest = hashlib.sha256(base.key.encode())
    for file in sorted(file for file in root.rglob("*") if file.is_file()):
        name = file.relative_to(root).as_posix().encode()
        digest.update(b"%d %b %d " % (len(name), name, file.stat().st_size))
        with file.open("rb") as content:
            _add(content, digest)
    return digest.hexdigest()[:24]


def _add(content: IO[bytes], digest: hashlib._Hash) -> None:
    while block := content.read(1 << 20):
        digest.update(block)


def _needs_more_than(base: Base, root: Path) -> bool:
    """Whether building it takes packages that are not installed."""
    return any(
        (version := base.version(needed.name)) is None
        or not needed.specifier.contains(version, prereleases=True)
        for needed in _build_requirements(root)
    )


def _build_requirements(root: Path) -> Iterator[Requirement]:
    try:
        settings = tomllib.loads((root / "pyproject.toml").read_text())
        lines = settings.get("build-system", {}).get("requires", ["setuptools"])
        yield from (Requirement(line) for line in lines)
    except FileNotFoundError:
        yield Requirement("setuptools")
    except (tomllib.TOMLDecodeError, InvalidRequirement, UnicodeDecodeError, TypeError, AttributeError):
        # pip says what is wrong with it.
        return


def _check_inside(name: str, archive: Path) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise InstallFailed(
            f"{archive.name} could not be installed: its entry {name!r} would be written outside its folder."
        )
