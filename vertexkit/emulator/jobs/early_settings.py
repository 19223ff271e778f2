"""What a program sets before it imports TensorFlow, read off its source: TensorFlow looks at it on import.

A template that has TensorFlow imported serves a program only if it was imported as the program would have it.
What is read here decides which template that is; a program that sets such variables in a way that cannot be
read off gets none. (One that slips through starts anew by itself: ``template_trial.py``.)
"""

from __future__ import annotations

import ast
import functools
import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vertexkit.emulator.jobs.template_trial import FRAMEWORKS, READ_ON_IMPORT

__all__ = ["early_settings"]

_CHANGES: Final = frozenset({"update", "setdefault", "pop", "popitem", "clear"})


def early_settings(module: str, folders: Sequence[Path], given: Collection[str]) -> dict[str, str] | None:
    """The variables that a program sets before it imports TensorFlow, of those that matter then.

    Args:
        module: What is run.
        folders: Where the program's own files are, as on ``sys.path``.
        given: Names of variables that it is started with.

    Returns:
        The variables; None for a program that does not import TensorFlow, as far as can be seen, or whose
        settings cannot be read off: they are made under a condition, in a function, in another module.
    """
    settings: dict[str, str] = {}
    imports_tensorflow = False
    waiting, seen = [module, f"{module}.__main__"], set[Path]()
    for name in waiting:
        file = _file(name, folders)
        if file is None or file in seen:
            continue
        is_first = not seen
        seen.add(file)
        try:
            read = _read(file.read_bytes(), name if file.stem == "__init__" else name.rpartition(".")[0])
        except (OSError, SyntaxError, ValueError):
            return None
        imports = read.imports
        waiting += [one.name for one in imports]
        frameworks = [one for one in imports if one.name.partition(".")[0] in FRAMEWORKS]
        imports_tensorflow |= bool(frameworks)
        # A module of the program's own may import it.
        own = [one for one in imports if _file(one.name, folders) is not None]
        first_line = min((one.line for one in (*frameworks, *own)), default=0)
        for change in read.changes:
            if change.name is not None and not change.name.startswith(READ_ON_IMPORT):
                continue
            if not is_first or change.name is None or change.value is None or change.line > first_line:
                return None
            if not (change.is_default and (change.name in given or change.name in settings)):
                settings[change.name] = change.value
    return settings if imports_tensorflow else None


@dataclass(frozen=True)
class _Import:
    line: int
    name: str


@dataclass(frozen=True)
class _Change:
    """A change of the environment; what cannot be read off is None."""

    line: int
    name: str | None = None
    value: str | None = None
    is_default: bool = False


@dataclass(frozen=True)
class _Read:
    """What is read off a module."""

    imports: tuple[_Import, ...]
    changes: tuple[_Change, ...]


@functools.lru_cache(maxsize=256)
def _read(source: bytes, package: str) -> _Read:
    """Every trial of a search has the same modules, and to parse them takes tens of milliseconds.

    Raises:
        SyntaxError, ValueError: It is no module.
    """
    tree = ast.parse(source)
    return _Read(tuple(_imports(tree, package)), tuple(_changes(tree)))


def _file(module: str, folders: Sequence[Path]) -> Path | None:
    """The source of one of the program's own modules."""
    path = module.replace(".", "/")
    files = (folder / name for folder in folders for name in (f"{path}/__init__.py", f"{path}.py"))
    return next((file for file in files if file.is_file()), None)


def _imports(tree: ast.Module, package: str) -> Iterator[_Import]:
    """What is imported anywhere in a module; each package on the way is one too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = parts[: len(parts) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{start}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield from (_Import(node.lineno, one) for one in itertools.accumulate(name.split("."), _joined))


def _joined(package: str, name: str) -> str:
    return f"{package}.{name}"


def _changes(tree: ast.Module) -> Iterator[_Change]:
    """Every change of ``os.environ`` in a module; its value only where it is made whatever happens."""
    plain = {id(node): node for node in tree.body}
    for node in ast.walk(tree):
        for target in _targets(node):
            if isinstance(target, ast.Subscript) and _is_environ(target.value):
                name, value = _text(target.slice), None
                if id(node) in plain and isinstance(node, ast.Assign):
                    value = _text(node.value)
                yield _Change(target.lineno, name, value)
            elif _is_environ(target):
                yield _Change(target.lineno)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            call, arguments = node.func, [_text(one) for one in node.args]
            if call.attr in ("putenv", "unsetenv"):
                yield _Change(node.lineno)
            elif call.attr in _CHANGES and _is_environ(call.value):
                is_plain = any(isinstance(one, ast.Expr) and one.value is node for one in tree.body)
                if call.attr == "setdefault" and len(arguments) == 2:
                    value = arguments[1] if is_plain else None
                    yield _Change(node.lineno, arguments[0], value, is_default=True)
                else:
                    named = call.attr == "pop" and arguments
                    yield _Change(node.lineno, arguments[0] if named else None)


def _targets(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Assign | ast.Delete):
        return node.targets
    return [node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign) else []


def _is_environ(node: ast.expr) -> bool:
    return (isinstance(node, ast.Attribute) and node.attr == "environ") or (
        isinstance(node, ast.Name) and node.id == "environ"
    )


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
