"""A parameter of a search as one writes it on a command line: ``learning_rate=log:1e-3..10``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import click

from vertexkit.errors import InvalidArgument
from vertexkit.spaces import Categorical, Discrete, Double, Integer, Parameter, Scale

_KINDS = ("double", "integer", "categorical", "discrete")
_SCALES = get_args(Scale)
_WAYS = (
    "write NAME=[SCALE:]LEAST..GREATEST, NAME=[SCALE:]NUMBER,NUMBER,... or NAME=TEXT,TEXT,..., such as "
    "learning_rate=log:1e-3..10, n_hidden=1..10, batch_size=16,32,64 or optimizer=sgd,adam"
)


def parse_space(texts: tuple[str, ...]) -> dict[str, Parameter]:
    """The space that several ``--space`` options make.

    Raises:
        click.UsageError: One cannot be understood.
    """
    space: dict[str, Parameter] = {}
    for text in texts:
        name, equals, rest = text.partition("=")
        if not equals or not name or not rest:
            raise click.UsageError(f"--space {text}: {_WAYS}.")
        if name in space:
            raise click.UsageError(f"--space {text}: {name} is given twice.")
        try:
            space[name] = _parameter(rest)
        except InvalidArgument as error:
            raise click.UsageError(f"--space {text}: {error}") from None
        except ValueError:
            raise click.UsageError(f"--space {text}: {_WAYS}.") from None
    return space


def _parameter(text: str) -> Parameter:
    kind, text = _prefix(text, _KINDS)
    found, text = _prefix(text, _SCALES)
    scale: Any = found or "linear"
    least, dots, greatest = text.partition("..")
    if dots:
        if kind == "integer" or (kind is None and _is(int, least) and _is(int, greatest)):
            return Integer(int(least), int(greatest), scale)
        if kind in (None, "double"):
            return Double(float(least), float(greatest), scale)
        raise ValueError(text)
    values = text.split(",")
    if kind == "categorical" or (kind is None and not all(_is(float, value) for value in values)):
        if found is not None:
            raise ValueError(text)
        return Categorical(values)
    if kind in (None, "discrete"):
        whole = all(_is(int, value) for value in values)
        return Discrete([int(value) if whole else float(value) for value in values], scale)
    raise ValueError(text)


def _prefix(text: str, known: tuple[str, ...]) -> tuple[str | None, str]:
    word, colon, rest = text.partition(":")
    return (word, rest) if colon and word in known else (None, text)


def _is(kind: Callable[[str], object], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True
