"""Understands what a user names as a training program, and makes the wheel that a job installs.

A container installs the package and runs ``python -m module``. A script therefore becomes a module of a
package of its own, ``vertexkit_program``, which lets its neighbours be imported as beside
``python script.py``. ``trainer_scripts`` travels in every wheel.
"""

from __future__ import annotations

import difflib
import keyword
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vertexkit._core.names import is_gcs_uri, parse_gcs_uri
from vertexkit.errors import Finding, InvalidArgument
from vertexkit.program_files import ProgramFiles, gathered
from vertexkit.requirements import Requirements, read_requirements
from vertexkit.wheel_file import Entry, write_wheel

if TYPE_CHECKING:
    from vertexkit.program_files import Source

__all__ = ["Program", "understand"]

_PROGRAM: Final = "vertexkit_program"
_PACKAGED: Final = "trainer_scripts"
_BUILT: Final = (".whl", ".tar.gz")
_FILES: Final = (".py", ".ipynb", ".whl", ".gz")
_INIT: Final = b'''"""A training script and its neighbours, which it imports as beside `python script.py`."""

import sys

sys.path.insert(0, __path__[0])
'''
_KINDS: Final = (
    "give a script ('train.py'), the folder of a package, a source folder with a pyproject.toml, "
    "a wheel or .tar.gz (local or gs://), or 'trainer_scripts.NAME'"
)


@dataclass(frozen=True)
class _Beside:
    """What a program finds in the job beside itself."""

    asked: Requirements
    provided: frozenset[str] | None
    """Names that the image lets one import; None when it is not known."""


@dataclass(frozen=True)
class Program:
    """What the user named as a program, understood. Nothing is written or sent yet."""

    description: str
    """What it is, for people: ``script train.py with helpers.py``."""
    module: str
    """What ``python -m`` runs in the job."""
    requirements: tuple[str, ...]
    """What pip installs beside it, as PEP 508 writes it."""
    findings: tuple[Finding, ...]
    """What is wrong with it; to be given to `vertexkit.preflight.require`."""
    uri: str | None = None
    """The ``gs://`` package that was given; None for a program of this machine."""
    sources: tuple[Source, ...] = field(default=(), compare=False, repr=False)
    """The module that is run, and those of the program that it imports; empty where they are not known."""
    _write: Callable[[Path], Path | None] = field(default=lambda _: None, compare=False, repr=False)

    def wheel(self, folder: Path) -> Path | None:
        """Write the wheel that the job is to install. The same files make the same bytes.

        Args:
            folder: Where to.

        Returns:
            The wheel. For a package that was given as ``gs://`` URI it holds no more than the
            requirements, and is to be installed beside ``uri``; None where there are none either.

        Raises:
            InvalidArgument: A file cannot be read any more, or a source folder cannot be built.
        """
        try:
            return self._write(folder)
        except OSError as error:
            raise InvalidArgument(
                "program", str(error.filename), f"cannot be read: {error.strerror or error}"
            ) from None
        except ValueError as error:
            if isinstance(error, InvalidArgument):
                raise
            # A name that is no UTF-8, or has a backslash in it.
            raise InvalidArgument("program", self.description, f"cannot be packed: {error}") from None


def understand(
    program: str | os.PathLike[str],
    *,
    module: str | None = None,
    requirements: Sequence[str] | str | os.PathLike[str] | None = None,
    provided: frozenset[str] | None = None,
) -> Program:
    """Understand what a user names as a program, and look for what would make it fail.

    Args:
        program: A script (with the modules beside it that it imports), ``"trainer_scripts.NAME"``, the folder
            of a package, a source folder with ``pyproject.toml`` or ``setup.py``, a wheel or a source
            distribution, local or ``gs://``.
        module: What ``python -m`` is to run; for a script it is known, for the folder of a package with a
            ``__main__.py`` it is the package.
        requirements: What pip is to install: a list, or the path of a ``requirements.txt``.
        provided: Top-level names that the image lets one import; None when the image is not known, which
            leaves the imports unchecked.

    Raises:
        InvalidArgument: There is no such program, or ``module`` does not go with it.
    """
    try:
        given = os.fspath(program)
    except TypeError:
        given = None
    if not isinstance(given, str) or not given:
        raise InvalidArgument("program", program, "is no program", remedy=_KINDS)
    if module is not None and (not isinstance(module, str) or not _is_module(module)):
        raise InvalidArgument("module", module, "is no name of a module", remedy="write 'package.module'")
    asked = read_requirements(requirements)
    beside = _Beside(asked, provided)
    if is_gcs_uri(given):
        return _remote(given, module, asked)
    if re.fullmatch(rf"{_PACKAGED}(\.\w+)+", given):
        return _packaged(given, module, beside)
    path = _path(given)
    if path.is_dir():
        return _folder(path, module, beside)
    if not path.exists():
        raise _nothing_there(given)
    if not path.is_file():
        raise InvalidArgument("program", given, "is neither a file nor a folder", remedy=_KINDS)
    if path.name.endswith(_BUILT):
        return _built(path, module, asked)
    if path.suffix == ".ipynb":
        raise InvalidArgument(
            "program",
            given,
            "is a notebook, and a job runs a script",
            remedy=f"run `jupyter nbconvert --to script {path.name}`, and give {path.stem}.py",
        )
    if path.suffix != ".py":
        raise InvalidArgument("program", given, "is no Python script", remedy=_KINDS)
    return _script(path, module, beside)


def _script(path: Path, module: str | None, beside: _Beside) -> Program:
    if module is not None:
        raise InvalidArgument(
            "module", module, "is given with a script, which is run itself", remedy="leave it out"
        )
    # Python looks for a script's neighbours where the script is, not where a link to it is.
    path = path.resolve()
    if path.name == "__init__.py":
        raise InvalidArgument("program", str(path), "is a package", remedy=f"give its folder: {path.parent}")
    found = _gathered(path.parent, path)
    stem = re.sub(r"\W", "_", path.stem)
    stem = f"_{stem}" if keyword.iskeyword(stem) or stem[:1].isdigit() else stem
    while stem != path.stem and f"{stem}.py" in found.files:
        stem += "_"
    names = {name: f"{stem}.py" if name == path.name else name for name in found.files}
    entries = [Entry(f"{_PROGRAM}/{names[name]}", file) for name, file in found.files.items()]
    neighbours = sorted({name.partition("/")[0] for name in found.files} - {path.name})
    company = f" with {', '.join(neighbours)}" if neighbours else ""
    return _of_files(
        f"script {path.name}{company}",
        f"{_PROGRAM}.{stem}",
        found,
        [Entry(f"{_PROGRAM}/__init__.py", _INIT), *entries],
        beside,
    )


def _packaged(name: str, module: str | None, beside: _Beside) -> Program:
    if module is not None:
        raise InvalidArgument(
            "module", module, "is given with a module of trainer_scripts", remedy="leave it out"
        )
    root = Path(__file__).resolve().parents[1]
    main = _main_file(root, name)
    if main is None:
        known = sorted(path.stem for path in (root / _PACKAGED).glob("*.py") if _is_program(path))
        raise InvalidArgument(
            "program", name, "is no module of trainer_scripts", remedy=f"there are: {', '.join(known)}"
        )
    found = _gathered(root, main, package=_PACKAGED)
    return _of_files(f"module {name}", name, found, [], beside)


def _folder(path: Path, module: str | None, beside: _Beside) -> Program:
    from vertexkit.package_build import is_source_folder

    given, path = path, path.resolve()
    if is_source_folder(path):
        return _source(path, module, beside.asked)
    if not (path / "__init__.py").is_file():
        raise InvalidArgument(
            "program",
            str(given),
            "is neither a package (no __init__.py) nor a source folder (no pyproject.toml or setup.py)",
            remedy="give the script in it that is to be run, or add the file",
        )
    if (path.parent / "__init__.py").is_file():
        raise InvalidArgument(
            "program",
            str(given),
            "is a package inside another one",
            remedy=f"give the outer one, {path.parent.name}, and module='{path.parent.name}.{path.name}...'",
        )
    if not _is_module(path.name) or "." in path.name:
        raise InvalidArgument("program", str(given), "has a name that no package can have: rename it")
    name = module or path.name
    main = _main_file(path.parent, name) if name.partition(".")[0] == path.name else None
    if main is None:
        raise _no_main(path, module)
    found = _gathered(path.parent, main)
    return _of_files(f"package {path.name}, module {name}", name, found, _entries(found), beside)


def _of_files(
    description: str,
    module: str,
    found: ProgramFiles,
    entries: Sequence[Entry],
    beside: _Beside,
) -> Program:
    from vertexkit.program_checks import check_files

    asked = beside.asked

    def write(folder: Path) -> Path:
        # A package of that name of the user's own stays as it is.
        is_own = any(entry.name.startswith(f"{_PACKAGED}/") for entry in entries)
        added = [] if is_own else list(_trainer_scripts())
        return write_wheel(folder, _PROGRAM, [*entries, *added], asked.texts)

    return Program(
        description=description,
        module=module,
        requirements=asked.texts,
        findings=(*found.findings, *asked.findings, *check_files(found, asked, beside.provided)),
        sources=tuple(found.sources),
        _write=write,
    )


def _source(path: Path, module: str | None, asked: Requirements) -> Program:
    from vertexkit.package_build import built_wheel

    if module is None:
        raise _module_needed(str(path), "a source folder")
    description = f"source folder {path.name}, module {module}"
    return _of_wheel(description, lambda folder: built_wheel(path, folder), module, asked)


def _built(path: Path, module: str | None, asked: Requirements) -> Program:
    from vertexkit.package_build import built_wheel
    from vertexkit.wheel_file import wheel_modules

    if module is None:
        raise _module_needed(str(path), "a built package")
    if path.suffix == ".whl":
        try:
            modules = wheel_modules(path)
        except ValueError as error:
            raise InvalidArgument("program", str(path), str(error)) from None
        _check_has(modules, module, str(path))
        return _of_wheel(f"wheel {path.name}, module {module}", lambda _: path, module, asked)
    description = f"source distribution {path.name}, module {module}"
    return _of_wheel(description, lambda folder: built_wheel(path, folder), module, asked)


def _of_wheel(description: str, make: Callable[[Path], Path], module: str, asked: Requirements) -> Program:
    def write(folder: Path) -> Path:
        import tempfile

        from vertexkit.wheel_file import extended_wheel, wheel_modules

        with tempfile.TemporaryDirectory(prefix="vertexkit-build-") as scratch:
            wheel = make(Path(scratch))
            try:
                modules = wheel_modules(wheel)
                _check_has(modules, module, wheel.name)
                added = [] if _PACKAGED in modules else list(_trainer_scripts())
                return extended_wheel(wheel, folder, added, asked.texts)
            except ValueError as error:
                if isinstance(error, InvalidArgument):
                    raise
                raise InvalidArgument("program", wheel.name, str(error)) from None

    return Program(description, module, asked.texts, asked.findings, _write=write)


def _remote(uri: str, module: str | None, asked: Requirements) -> Program:
    try:
        name = parse_gcs_uri(uri).name
    except ValueError as error:
        raise InvalidArgument("program", uri, str(error)) from None
    if not name.endswith(_BUILT):
        raise InvalidArgument(
            "program",
            uri,
            "is neither a wheel nor a .tar.gz, as a package in a bucket is",
            remedy="download it, and give the local file or folder",
        )
    if module is None:
        raise _module_needed(uri, "a built package")

    def write(folder: Path) -> Path | None:
        if not asked.texts:
            return None
        return write_wheel(folder, f"{_PROGRAM}_requirements", [], asked.texts)

    return Program(f"package {uri}, module {module}", module, asked.texts, asked.findings, uri, _write=write)


def _gathered(root: Path, main: Path, *, package: str | None = None) -> ProgramFiles:
    try:
        return gathered(root, main, package=package)
    except OSError as error:
        raise InvalidArgument(
            "program", str(error.filename), f"cannot be read: {error.strerror or error}"
        ) from None


def _entries(found: ProgramFiles) -> list[Entry]:
    return [Entry(name, file) for name, file in found.files.items()]


def _trainer_scripts() -> Iterator[Entry]:
    """The package that every program may import, with its data."""
    folder = Path(__file__).resolve().parents[1] / _PACKAGED
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder.parent)
        if path.is_file() and "__pycache__" not in inside.parts and not path.name.startswith("."):
            yield Entry(inside.as_posix(), path)


def _main_file(root: Path, module: str) -> Path | None:
    """The file that ``python -m module`` runs."""
    path = root.joinpath(*module.split("."))
    if (path / "__init__.py").is_file():
        return path / "__main__.py" if (path / "__main__.py").is_file() else None
    return path.with_name(f"{path.name}.py") if path.with_name(f"{path.name}.py").is_file() else None


def _is_program(path: Path) -> bool:
    """Whether a module is one to run, rather than to import."""
    return b'if __name__ == "__main__"' in path.read_bytes()


def _check_has(modules: frozenset[str], module: str, package: str) -> None:
    if f"{module}.__main__" in modules:
        return
    is_package = any(name.startswith(f"{module}.") for name in modules)
    if module in modules and not is_package:
        return
    problem = "is a package without __main__.py" if is_package else "is not in the package"
    close = difflib.get_close_matches(module, modules, n=3, cutoff=0.4) or sorted(modules)[:3]
    raise InvalidArgument(
        "module", module, f"{problem} {package}", remedy=f"it has {', '.join(close) or 'no module'}"
    )


def _no_main(package: Path, module: str | None) -> InvalidArgument:
    known = sorted(
        ".".join(path.relative_to(package.parent).with_suffix("").parts)
        for path in package.rglob("*.py")
        if not path.name.startswith("_")
    )
    if module is None:
        remedy = f"give module=, such as {known[0]!r}" if known else "add a __main__.py"
        return InvalidArgument(
            "program", str(package), "is a package without __main__.py, and no module is given", remedy=remedy
        )
    close = difflib.get_close_matches(f"{package.name}.{module}", known, n=1, cutoff=0.5) or known[:3]
    return InvalidArgument(
        "module",
        module,
        f"is no module of the package {package.name} that can be run",
        remedy=f"it has {', '.join(close)}" if close else "add a __main__.py",
    )


def _module_needed(given: str, kind: str) -> InvalidArgument:
    return InvalidArgument(
        "program", given, f"is {kind}, and no module is given", remedy="give module='package.module'"
    )


def _nothing_there(given: str) -> InvalidArgument:
    path = _path(given)
    folder = path.parent
    names = [other.name for other in folder.iterdir()] if folder.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
    if close:
        return InvalidArgument(
            "program", given, "does not exist", remedy=f"there is {str(folder / close[0])!r}"
        )
    if _is_module(given) and "." in given and path.suffix not in _FILES:
        remedy = f"give the folder of the package {given.partition('.')[0]}, and module={given!r}"
        return InvalidArgument("program", given, "is no file", remedy=remedy)
    return InvalidArgument("program", given, "does not exist", remedy=_KINDS)


def _path(given: str) -> Path:
    try:
        return Path(given).expanduser()
    except RuntimeError:  # "~nobody"
        return Path(given)


def _is_module(name: str) -> bool:
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in name.split("."))
