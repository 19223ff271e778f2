"""Python interpreters with packages in layers: a job's own, then its requirements', then the emulator's own.

The packages of the environment that the emulator runs in stand for those of the image. They are seen through
a folder of links, in which vertexkit and trainer_scripts are left out: a container has neither.
"""

from __future__ import annotations

import contextlib
import ensurepip
import hashlib
import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import site
import sys
import sysconfig
import tempfile
import venv
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vertexkit.emulator.jobs.pip_settings import pip_conf

__all__ = ["Base", "Interpreter", "base_packages", "make_interpreter"]

_HIDDEN: Final = frozenset({"vertexkit", "trainer_scripts", "__pycache__"})

# Changes when what is made for a base does.
_FORM: Final = 2

# Read by `site` as the interpreter starts. "include-system-site-packages" in pyvenv.cfg is what lets
# `pip install --user` work; the packages of the Python that the emulator's environment was made from are not
# the image's, so those folders are taken out again. A user's own packages come before the layers below.
_LAYERS_MODULE = """\
import os
import site
import sys

site.PREFIXES.clear()
if not sys.flags.no_user_site and os.path.isdir(site.getusersitepackages()):
    site.addsitedir(site.getusersitepackages())
for folder in {folders!r}:
    site.addsitedir(folder)
{rest}"""


@dataclass(frozen=True)
class Interpreter:
    """A Python of its own."""

    folder: Path

    @property
    def bin(self) -> Path:
        """Holds ``python``, ``python3`` and ``pip``."""
        return self.folder / "bin"

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.bin / "python3"

    @property
    def site(self) -> Path:
        """Where its own packages are."""
        return Path(sysconfig.get_path("purelib", "venv", vars={"base": str(self.folder)}))


@dataclass(frozen=True)
class Base:
    """The packages of the emulator's environment, as jobs see them."""

    key: str
    """Changes when a package is installed, removed or changed for another version."""
    folders: tuple[Path, ...]
    """Folders of links to them."""
    bin: Path
    """Holds their commands (``tensorboard``, ``torchrun``), each run by the ``python3`` of who calls it."""

    def version(self, package: str) -> str | None:
        """The version of a package; None when a job does not have it."""
        found = self.distribution(package)
        return None if found is None else found.version

    def distribution(self, package: str) -> importlib.metadata.Distribution | None:
        """What is known of an installed package; None when a job does not have it."""
        found = importlib.metadata.distributions(name=package, path=[str(folder) for folder in self.folders])
        return next(iter(found), None)


def base_packages(cache: Path) -> Base:
    """The packages of the environment that this process runs in, linked to from ``cache``."""
    folders = _site_folders()
    listings = [sorted(entry.name for entry in Path(folder).iterdir()) for folder in folders]
    described = repr((_FORM, sys.version, sys.prefix, list(zip(folders, listings, strict=True))))
    key = hashlib.sha256(described.encode()).hexdigest()[:16]
    target = cache / "base" / key
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
        hidden = _hidden_names(folders)
        if not any(name.startswith("pip-") for names in listings for name in names):
            _unpack_pip(made / "pip")
        for number, (folder, names) in enumerate(zip(folders, listings, strict=True)):
            links = made / str(number)
            links.mkdir()
            for name in names:
                if name not in hidden and not _leads_to_vertexkit(Path(folder) / name):
                    (links / name).symlink_to(Path(folder) / name)
        (made / "bin").mkdir()
        for script in _commands():
            _write_script(made / "bin" / script.name, "python3", shlex.quote(str(script)))
        try:
            made.rename(target)
        except OSError:
            # Another process was quicker.
            shutil.rmtree(made)
            if not target.is_dir():
                raise
    pip = (target / "pip",) if (target / "pip").is_dir() else ()
    return Base(key, (*(target / str(number) for number in range(len(folders))), *pip), target / "bin")


def make_interpreter(
    folder: Path,
    layers: Sequence[Path],
    *,
    legacy_keras: bool = False,
    scripts: Path | None = None,
    commands: Path | None = None,
) -> Interpreter:
    """Make an interpreter in a new folder, in a few milliseconds.

    Args:
        folder: Where to make it.
        layers: Folders of packages that it sees below its own, first ones first.
        legacy_keras: Whether ``import keras`` is to mean tf_keras.
        scripts: Folder of commands, written in Python, that it is to have too.
        commands: Folder of commands that run by any interpreter's name, to have as well.

    Returns:
        The interpreter; ``pip install`` of its pip installs into ``folder``, from where ours would.
    """
    venv.EnvBuilder(system_site_packages=True, symlinks=True).create(folder)
    made = Interpreter(folder)
    settings = folder / "pip.conf"
    # There may be a password in the address of an index.
    settings.touch(0o600)
    settings.write_text(pip_conf(os.environ))
    rest = ""
    if legacy_keras:
        source = Path(__file__).parent / "legacy_keras" / "keras_is_tf_keras.py"
        shutil.copyfile(source, made.site / source.name)
        rest = f"import {source.stem}\n"
    module = _LAYERS_MODULE.format(folders=[str(layer) for layer in layers], rest=rest)
    (made.site / "_job_layers.py").write_text(module)
    (made.site / "_job_layers.pth").write_text("import _job_layers\n")
    minor = f"pip{sys.version_info.major}.{sys.version_info.minor}"
    for name in ("pip", "pip3", minor):
        _write_script(made.bin / name, str(made.python), "-m pip")
    if scripts is not None:
        for script in sorted(scripts.iterdir()):
            target = made.bin / script.name
            if script.is_file() and not target.exists() and _is_python(script):
                _write_script(target, str(made.python), shlex.quote(str(script)))
    if commands is not None:
        for command in commands.iterdir():
            target = made.bin / command.name
            if not target.exists():
                # pip puts a new file in place of it, and does not write to where it leads.
                target.symlink_to(command)
    return made


def _write_script(target: Path, python: str, what: str) -> None:
    # A shell finds the interpreter, whatever spaces and length its path has.
    target.write_text(f'#!/bin/sh\nexec {shlex.quote(python)} {what} "$@"\n')
    target.chmod(0o755)


def _commands() -> Iterator[Path]:
    """The commands of this environment, but for vertexkit's; those of the system are on every PATH."""
    if sys.prefix == sys.base_prefix:
        return
    for script in sorted(Path(sysconfig.get_path("scripts")).iterdir()):
        if script.is_file() and script.name not in _HIDDEN and _is_python(script):
            yield script


def _is_python(script: Path) -> bool:
    with script.open("rb") as file:
        head = file.read(512)
    return head.startswith(b"#!") and b"python" in head and not script.name.startswith(("python", "pip"))


def _unpack_pip(folder: Path) -> None:
    """The pip that comes with Python, for environments that were made without one."""
    for wheel in Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)


def _site_folders() -> list[str]:
    known = set(site.getsitepackages())
    if site.ENABLE_USER_SITE:
        known.add(site.getusersitepackages())
    return [folder for folder in dict.fromkeys(sys.path) if folder in known and Path(folder).is_dir()]


def _hidden_names(folders: Sequence[str]) -> frozenset[str]:
    """Entries of the folders that are vertexkit's, however it was installed."""
    return _HIDDEN | {
        file.parts[0]
        for distribution in importlib.metadata.distributions(name="vertexkit", path=list(folders))
        for file in distribution.files or ()
        if file.parts[0] != ".."
    }


def _leads_to_vertexkit(entry: Path) -> bool:
    """Whether it is a .pth file that puts the folder of this very vertexkit on the path."""
    if entry.suffix != ".pth":
        return False
    spec = importlib.util.find_spec("vertexkit")
    if spec is None or spec.origin is None:
        return False
    source = Path(spec.origin).parent.parent
    return any(_is_folder(line, source) for line in _lines(entry))


def _lines(file: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):
        yield from file.read_text(errors="replace").splitlines()


def _is_folder(line: str, folder: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return bool(line.strip()) and not line.startswith("import") and Path(line.strip()).samefile(folder)
    return False
