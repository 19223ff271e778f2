"""Errors: what every one of the tree can do, whoever raised it."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vertexkit import errors
from vertexkit.errors import Finding, VertexkitError

GIVEN: dict[str, Any] = {
    "message": "it failed",
    "service_message": "the service's words",
    "resource": "projects/p/locations/l/endpoints/1",
    "remedy": "do something else",
    "argument": "replicas",
    "value": (5, 1),
    "problem": "the greatest is below the least",
    "findings": [Finding("name", "", "is empty", "give one"), Finding("machine", "x", "is unknown")],
    "failures": {"a.txt": "it is a folder", "b.txt": "it is gone"},
    "log_tail": ["one line", "another"],
    "instances": range(3, 9),
    "job": "projects/p/locations/l/customJobs/1",
    "replica": "workerpool0-0",
    "exit_code": 1,
    "signal": None,
    "last_lines": ("one line", "another"),
}
"""A value for every parameter that an error of the tree takes."""


def tree(kind: type[VertexkitError] = VertexkitError) -> Iterator[type[VertexkitError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


def made(kind: type[VertexkitError]) -> VertexkitError:
    parameters = inspect.signature(kind).parameters.values()
    positional = [GIVEN[p.name] for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    return kind(*positional, **{p.name: GIVEN[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY})


def test_the_tree_is_all_public() -> None:
    assert {kind.__name__ for kind in tree()} == set(errors.__all__) - {"Finding"}


@pytest.mark.parametrize("kind", sorted(set(tree()), key=repr))
@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_an_error_comes_out_of_another_process_as_it_went_in(
    kind: type[VertexkitError], again: Callable[[VertexkitError], VertexkitError]
) -> None:
    error = made(kind)
    error.add_note("seen on the way")
    other = again(error)
    assert type(other) is kind
    assert str(other) == str(error)
    assert other.args == error.args
    assert other.__dict__ == error.__dict__
    assert other.__notes__ == ["seen on the way"]
    for parameter in inspect.signature(kind).parameters:
        assert getattr(other, parameter, None) == getattr(error, parameter, None)


def spoken() -> Iterator[tuple[str, str, str]]:
    """Where each literal problem and remedy is, which of them it is, and what it says."""
    package = Path(errors.__file__).parent
    for file in sorted(package.rglob("*.py")):
        # The local Vertex AI speaks in the service's own words.
        if "emulator" in file.relative_to(package).parts:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            if isinstance(node.func, ast.Name) and node.func.id in ("InvalidArgument", "Finding"):
                given |= dict(zip(("argument", "value", "problem", "remedy"), node.args, strict=False))
            for of in ("problem", "remedy"):
                for text in texts(given.get(of)):
                    yield f"{file.relative_to(package)}:{node.lineno}", of, text


def texts(node: ast.expr | None) -> Iterator[str]:
    """The text of a literal, or the texts of one that depends; a placeholder stands for what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from texts(node.body)
        yield from texts(node.orelse)


def test_problems_and_remedies_are_clauses_in_lower_case_without_a_full_stop() -> None:
    said = list(spoken())
    assert len(said) > 100
    wrong = [one for one in said if one[2][:1].isupper() or one[2].endswith((".", "!", "?"))]
    assert wrong == []
