"""Looks for what would make a program fail in a job: imports of what is not there, files that stay here."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vertexkit.distributions import distribution_of, import_names
from vertexkit.errors import Finding
from vertexkit.program_files import ProgramFiles, Source
from vertexkit.program_imports import Import
from vertexkit.requirements import Requirements

__all__ = ["check_files"]

_ARGUMENT: Final = "program"
# An image may have an older Python, where these were still there, or a newer one.
_STANDARD: Final = frozenset(sys.stdlib_module_names) | {
    "__main__",
    *("asynchat", "asyncore", "distutils", "imp", "smtpd", "cgi", "cgitb", "crypt", "imghdr", "pipes"),
    *("sndhdr", "telnetlib", "uu", "xdrlib"),
}
_READERS: Final = {
    *("read_csv", "read_excel", "read_feather", "read_json", "read_parquet", "read_pickle", "read_table"),
    *("genfromtxt", "imread", "load", "load_model", "load_weights", "loadtxt", "open"),
    *("CsvDataset", "FixedLengthRecordDataset", "TextLineDataset", "TFRecordDataset"),
}


def check_files(found: ProgramFiles, asked: Requirements, provided: frozenset[str] | None) -> list[Finding]:
    """What a program will look for in its job, and not find there.

    Args:
        found: The program's files.
        asked: What pip installs beside it.
        provided: Top-level names that the image lets one import; None when the image is not known.

    Returns:
        What is wrong and what would do. Imports are checked only where the image is known; where one of the
        requirements might have the missing module under another name, that is a warning.
    """
    findings = [*_check_vertexkit(found, asked), *_check_trainer_scripts(found)]
    if provided is not None:
        findings += _check_imports(found, asked, provided)
    return [*findings, *_check_data(found)]


def _required(found: ProgramFiles) -> Iterator[tuple[Source, Import]]:
    """The first import of every module that the program needs, and has not itself."""
    seen = set()
    for source, imported in found.outside:
        if imported.required and imported.top not in seen:
            seen.add(imported.top)
            yield source, imported


def _check_vertexkit(found: ProgramFiles, asked: Requirements) -> Iterator[Finding]:
    for source, imported in _required(found):
        if imported.top == "vertexkit" and "vertexkit" not in asked.names:
            yield Finding(
                _ARGUMENT,
                str(source.path),
                f"imports vertexkit in line {imported.line}, which a training container does not have",
                "use trainer_scripts.environment, which travels with it, or requirements=['vertexkit']",
            )


def _check_trainer_scripts(found: ProgramFiles) -> Iterator[Finding]:
    """Modules of a folder of that name of the user's own, in whose place ours travels."""
    shipped = Path(__file__).resolve().parents[1] / "trainer_scripts"
    for source, imported in found.outside:
        if imported.top != shipped.name:
            continue
        inner = imported.module.split(".")[1:2] or imported.names
        for name in inner:
            if not (shipped / f"{name}.py").is_file() and name != "*":
                known = sorted(path.stem for path in shipped.glob("*.py") if path.stem != "__init__")
                yield Finding(
                    _ARGUMENT,
                    str(source.path),
                    f"imports trainer_scripts.{name} in line {imported.line}, which the trainer_scripts that "
                    "travel with every program do not have",
                    f"it has {', '.join(known)}; call a package of your own otherwise",
                )


def _check_imports(found: ProgramFiles, asked: Requirements, provided: frozenset[str]) -> Iterator[Finding]:
    known = _STANDARD | provided | {"trainer_scripts", "vertexkit"}
    missing = [(source, imported) for source, imported in _required(found) if imported.top not in known]
    if not missing:
        return
    installed, is_all = import_names(asked.names)
    for source, imported in missing:
        if imported.top in installed:
            continue
        doubt = "" if is_all else ", unless a requirement has it under another name"
        yield Finding(
            _ARGUMENT,
            str(source.path),
            f"imports {imported.top} in line {imported.line}, which is neither in the image nor in the "
            f"requirements{doubt}",
            f"add requirements=[{distribution_of(imported.top)!r}], or put it beside the program if it is "
            "yours",
            warning=not is_all,
        )


def _check_data(found: ProgramFiles) -> Iterator[Finding]:
    """Files of this machine that the program reads by a name written in it."""
    seen = set()
    for source in found.sources:
        folder = source.path.parent
        for node in ast.walk(source.tree):
            name = _read_by_name(node)
            beside = _beside_itself(node)
            if name in seen or beside in seen:
                continue
            if beside is not None:
                # What lies in a package travels with it.
                own = source.name.rpartition("/")[0]
                travels = f"{own}/{beside}".lstrip("/") in found.files
                stays = not travels and _is_here(beside, folder)
            else:
                stays = name is not None and (_is_here(name, folder) or _is_here(name, Path()))
            if stays:
                seen.add(beside or name)
                yield Finding(
                    _ARGUMENT,
                    str(source.path),
                    f"reads {beside or name!r} in line {getattr(node, 'lineno', 1)}, a file of this machine "
                    "that does not travel with it",
                    "upload it to the bucket, and let the program read it from gs://",
                    warning=True,
                )


def _read_by_name(node: ast.AST) -> str | None:
    """What ``open("name")`` and its like read."""
    if not isinstance(node, ast.Call) or not node.args or not _text(node.args[0]):
        return None
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name not in _READERS:
        return None
    mode = node.args[1] if len(node.args) > 1 else None
    mode = next((word.value for word in node.keywords if word.arg == "mode"), mode)
    if name == "open" and mode is not None and not (_text(mode) or "").startswith("r"):
        return None
    return _text(node.args[0])


def _beside_itself(node: ast.AST) -> str | None:
    """The name in ``Path(__file__).parent / "name"``, and in the same written with ``os.path.join``."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        start, name = ast.unparse(node.left), _text(node.right)
        direct = start.endswith(".parent") and start.count(".parent") == 1
    elif isinstance(node, ast.Call) and len(node.args) == 2 and ast.unparse(node.func) == "os.path.join":
        start, name = ast.unparse(node.args[0]), _text(node.args[1])
        direct = start.count("dirname(") == 1
    else:
        return None
    return name if name and direct and "__file__" in start else None


def _text(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _is_here(name: str, folder: Path) -> bool:
    if not name or "://" in name or name.startswith(("/gcs/", "/dev/", "/proc/", "/tmp/")):  # noqa: S108
        return False
    try:
        return (folder / name).is_file()
    except (OSError, ValueError):
        return False
