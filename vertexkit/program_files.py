"""Which files of the user's a program needs: what it imports from its own folder, and that alone.

Nothing is run: the imports are read off the sources. A module that is imported is taken along; so is all of
a package one of whose modules is, with the data in it.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from vertexkit.errors import Finding
from vertexkit.program_imports import Import, SourceProblem, imports_of, parsed
from vertexkit.progress import amount

__all__ = ["DATA_LIMIT", "ProgramFiles", "Source", "gathered"]

DATA_LIMIT: Final = 100_000_000
"""Bytes of files, other than code, that travel with a program."""
_INSTALLED: Final = {"site-packages", "dist-packages"}
# A container has none of the one, and the other travels with every program.
_NEVER_NEIGHBOURS: Final = {"vertexkit", "trainer_scripts"}
_SWEEPINGS: Final = {"__pycache__", "node_modules", "__pypackages__"}
_ARGUMENT: Final = "program"


@dataclass(frozen=True)
class Source:
    """One module that the program runs or imports."""

    name: str
    """Its file's path in the program's folder: ``helpers.py``, ``mypkg/task.py``."""
    path: Path
    tree: ast.Module = field(repr=False)
    imports: tuple[Import, ...] = field(repr=False)


@dataclass
class ProgramFiles:
    """What travels, and what was found on the way."""

    root: Path
    """The folder that the program's imports are looked for in, resolved."""
    alone: str | None = None
    """The only package of it that is looked at; None for all that is in it."""
    files: dict[str, Path] = field(default_factory=dict)
    """What travels, by path in ``root``, with ``/``."""
    sources: list[Source] = field(default_factory=list)
    """The modules that are reached from the first one, which comes first."""
    outside: list[tuple[Source, Import]] = field(default_factory=list)
    """The imports that are not in the folder: of Python, the image, a requirement, or of nothing."""
    findings: list[Finding] = field(default_factory=list)


def gathered(root: Path, main: Path, *, package: str | None = None) -> ProgramFiles:
    """Find what a program needs of its folder.

    Args:
        root: The folder, resolved: the script's, or the one around a package.
        main: The file that is run, in that folder.
        package: A package that stands alone: what lies beside it in the folder is not looked at.

    Raises:
        OSError: A file cannot be read.
    """
    if root.name in _INSTALLED and package is None:
        package = main.relative_to(root).parts[0]
    found = ProgramFiles(root, package)
    around = [folder / "__init__.py" for folder in main.parents if folder.is_relative_to(root)]
    waiting = [main, *(path for path in around if path.parent != root and path.is_file())]
    seen = set(waiting)
    while waiting:
        path = waiting.pop(0)
        source = _read(path, found)
        _take(path, found)
        if source is None:
            continue
        for imported in source.imports:
            reached = _reached(source, imported, found)
            for file in reached:
                if file not in seen and file.suffix == ".py":
                    seen.add(file)
                    waiting.append(file)
            if not reached:
                found.outside.append((source, imported))
    return found


def _read(path: Path, found: ProgramFiles) -> Source | None:
    name = path.relative_to(found.root).as_posix()
    try:
        tree = parsed(path.read_bytes(), path.name)
    except SourceProblem as problem:
        where = name if problem.line is None else f"{name}, line {problem.line}"
        shown = f": {problem.text!r}" if problem.text else ""
        found.findings.append(Finding(_ARGUMENT, str(path), f"does not compile ({where}): {problem}{shown}"))
        return None
    source = Source(name, path, tree, tuple(imports_of(tree)))
    found.sources.append(source)
    return source


def _take(path: Path, found: ProgramFiles) -> None:
    """Take a module along, with the whole of the package that it is in."""
    inside = path.relative_to(found.root)
    top = found.root / inside.parts[0]
    if len(inside.parts) > 1 and (top / "__init__.py").is_file():
        if f"{top.name}/__init__.py" not in found.files:
            _sweep(top, found)
    else:
        found.files[inside.as_posix()] = path


def _reached(source: Source, imported: Import, found: ProgramFiles) -> list[Path]:
    """The files of the folder that an import runs."""
    if imported.level:
        package = PurePosixPath(source.name).parents
        if imported.level >= len(package):
            found.findings.append(
                Finding(
                    _ARGUMENT,
                    str(source.path),
                    f"has a relative import in line {imported.line} that leads out of its package",
                    "a script has none: give the package's folder, and module='package.module'",
                )
            )
            return [source.path]
        base = [*package[imported.level - 1].parts]
    else:
        base = []
    parts = [*base, *(imported.module.split(".") if imported.module else [])]
    files, whole = _resolved(parts, found)
    if whole:
        for name in imported.names:
            files += _resolved([*parts, name], found)[0]
    if imported.level and not files:
        return [source.path]  # a package without __init__.py, of which nothing needs to be looked at
    return list(dict.fromkeys(files))


def _resolved(parts: list[str], found: ProgramFiles) -> tuple[list[Path], bool]:
    """The files that importing ``a.b.c`` runs, as Python looks for them, and whether that is all of them."""
    files: list[Path] = []
    folder = found.root
    top = parts[0] if parts else ""
    if top != found.alone and (found.alone is not None or top in _NEVER_NEIGHBOURS):
        return files, False
    for index, part in enumerate(parts):
        candidates = (folder / part / "__init__.py", folder / f"{part}.py")
        file = next((candidate for candidate in candidates if candidate.is_file()), None)
        if file is None and not (folder / part).is_dir():
            return files, False
        if file is not None:
            if not file.resolve().is_relative_to(found.root):
                _refuse_link(file, found)
                return files, False
            files.append(file)
            if file.name != "__init__.py" or file.parent != folder / part:
                return files, index == len(parts) - 1
        folder = folder / part
    return files, True


def _refuse_link(file: Path, found: ProgramFiles) -> None:
    finding = Finding(
        _ARGUMENT,
        str(file),
        "is imported by the program, and is a link that leads out of its folder",
        "put the file itself there",
    )
    if finding not in found.findings:
        found.findings.append(finding)


def _sweep(package: Path, found: ProgramFiles) -> None:
    """Take a package's files, but for what is no part of a program, and tell what is left out."""
    data: dict[str, int] = {}
    for path, size in _walk(package, found):
        name = path.relative_to(found.root).as_posix()
        found.files[name] = path
        if path.suffix != ".py":
            data[name] = size
    left: dict[str, int] = {}
    total = sum(data.values())
    for name, size in sorted(data.items(), key=lambda item: (-item[1], item[0])):
        if total <= DATA_LIMIT:
            break
        total -= size
        left[name] = size
        del found.files[name]
    if left:
        names = ", ".join([*left][:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
        found.findings.append(
            Finding(
                _ARGUMENT,
                str(package),
                f"holds too much data to travel with the code; left out: {names} "
                f"({amount(sum(left.values()), 'bytes')})",
                "upload it to the bucket, and let the program read it from gs://",
                warning=True,
            )
        )


def _walk(package: Path, found: ProgramFiles) -> Iterator[tuple[Path, int]]:
    for folder, names, files in os.walk(package):
        here = Path(folder)
        links = [name for name in names if (here / name).is_symlink() and _belongs(here / name)]
        names[:] = sorted(name for name in names if name not in links and _belongs(here / name))
        for name in sorted([*files, *links]):
            path = here / name
            if name.startswith(".") or name.endswith((".pyc", ".pyo")):
                continue
            if path.is_symlink() and (path.is_dir() or not path.resolve().is_relative_to(package)):
                found.findings.append(
                    Finding(
                        _ARGUMENT,
                        str(path),
                        "is a link to a folder, or out of the package, and is left out",
                        "put the files themselves there if the program needs them",
                        warning=True,
                    )
                )
            elif path.is_file():
                yield path, path.stat().st_size


def _belongs(folder: Path) -> bool:
    """Whether a folder is a part of a program: no cache, repository or virtual environment."""
    return not (
        folder.name.startswith(".")
        or folder.name in _SWEEPINGS
        or folder.name.endswith(".egg-info")
        or (folder / "pyvenv.cfg").is_file()
    )
