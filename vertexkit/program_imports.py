"""Reads off the source of a program what it imports, without running it."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Import", "SourceProblem", "imports_of", "parsed"]

_FORGIVING = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


class SourceProblem(Exception):
    """A source that does not compile.

    Attributes:
        line: Where, counted from 1; None when that is not known.
        text: That line, without the space around it; None likewise.
    """

    def __init__(self, problem: str, line: int | None = None, text: str | None = None) -> None:
        super().__init__(problem)
        self.line = line
        self.text = text


@dataclass(frozen=True)
class Import:
    """One import statement's module."""

    module: str
    """``helpers``, ``package.module``; after a relative import what follows the dots, perhaps nothing."""
    names: tuple[str, ...]
    """What is taken from it, which may be modules too: ``from package import names``."""
    level: int
    """Dots of a relative import; 0 for an absolute one."""
    line: int
    required: bool
    """Whether the program cannot do without: it is no type checker's, and no failure of it is caught."""

    @property
    def top(self) -> str:
        """The first part of the module's name."""
        return self.module.partition(".")[0]


def parsed(source: bytes, name: str) -> ast.Module:
    """Compile a source, as Python will in the job.

    Args:
        source: The bytes of the file.
        name: What to call it.

    Raises:
        SourceProblem: It does not compile.
    """
    try:
        with warnings.catch_warnings():
            # Warnings of the user's code are for the run.
            warnings.simplefilter("ignore")
            tree = ast.parse(source, name)
            compile(tree, name, "exec", dont_inherit=True)
    except SyntaxError as error:
        text = None if error.text is None else error.text.strip()
        raise SourceProblem(error.msg, error.lineno, text) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise SourceProblem(str(error) or type(error).__name__) from None
    return tree


def imports_of(tree: ast.Module) -> list[Import]:
    """Everything that a module imports, also in its functions, in the order of its lines."""
    return list(_imports(tree.body, required=True))


def _imports(nodes: list[ast.stmt], *, required: bool) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), 0, node.lineno, required)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            yield Import(node.module or "", names, node.level, node.lineno, required)
        elif isinstance(node, ast.Try | ast.TryStar):
            tried = required and not any(map(_forgives, node.handlers))
            yield from _imports(node.body, required=tried)
            # What stands in for a failed import may be missing too: one of the two will do.
            for handler in node.handlers:
                yield from _imports(handler.body, required=required and not _forgives(handler))
            yield from _imports([*node.orelse, *node.finalbody], required=required)
        elif isinstance(node, ast.If):
            # Which branch runs is not known (a platform, a version, a flag); a type checker's never does.
            yield from _imports(node.body, required=required and _always(node.test))
            yield from _imports(node.orelse, required=required and _is_typing(node.test))
        else:
            for _, value in ast.iter_fields(node):
                blocks = value if isinstance(value, list) else []
                statements = [item for item in blocks if isinstance(item, ast.stmt)]
                yield from _imports(statements, required=required)
                for item in blocks:
                    if isinstance(item, ast.match_case):
                        yield from _imports(item.body, required=False)


def _forgives(handler: ast.ExceptHandler) -> bool:
    """Whether it catches a failed import."""
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(ast.unparse(kind).rpartition(".")[2] in _FORGIVING for kind in kinds)


def _is_typing(test: ast.expr) -> bool:
    return ast.unparse(test).rpartition(".")[2] == "TYPE_CHECKING"


def _always(test: ast.expr) -> bool:
    """Whether a condition holds in a job: ``__name__ == "__main__"``."""
    return ast.unparse(test) in {"__name__ == '__main__'", "'__main__' == __name__", "True"}
