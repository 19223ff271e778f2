"""Errors: what every one of the tree can do, whoever raised it."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable, Iterator
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
