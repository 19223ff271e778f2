"""A parameter of a search as one writes it on a command line: ``learning_rate=log:1e-3..10``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, get_args

import click

from vertexkit.errors import Finding, InvalidArgument
from vertexkit.preflight import finding_of
from vertexkit.spaces import Categorical, Discrete, Double, Integer, Parameter, Scale

_KINDS = ("double", "integer", "categorical", "discrete")
_SCALES = get_args(Scale)
_RANGE: Final = re.compile(r"(?:Double|Integer)\(([^,()]+), ([^,()]+)(?:, scale='(\w+)')?\)")
_QUOTE: Final = "'"
_BETWEEN: Final = f"{_QUOTE}?, {_QUOTE}?"
_LIST: Final = re.compile(r"(Discrete|Categorical)\(\[([^\]]*)\](?:, scale='(\w+)')?\)")
_WAYS = (
    "write NAME=[SCALE:]LEAST..GREATEST, NAME=[SCALE:]NUMBER,NUMBER,... or NAME=TEXT,TEXT,..., such as "
    "learning_rate=log:1e-3..10, n_hidden=1..10, batch_size=16,32,64 or optimizer=sgd,adam"
)


def parse_space(
    texts: tuple[str, ...], types: Callable[[], Mapping[str, type[int] | type[float]]] = dict
) -> dict[str, Parameter]:
    """The space that several ``--space`` options make.

    A range between whole numbers that is of no kind is of all numbers where the program takes them by
    ``type=float``. Where that is not known, it is of whole ones, and standard error is told.

    Args:
        texts: What the options say.
        types: Gives the types by which the program takes numbers; called when that matters.

    Raises:
        click.UsageError: One cannot be understood.
    """
    space: dict[str, Parameter] = {}
    bare = []
    for text in texts:
        name, equals, rest = text.partition("=")
        if not equals or not name or not rest:
            raise click.UsageError(f"--space {text}: {_WAYS}.")
        if name in space:
            raise click.UsageError(f"--space {text}: {name} is given twice.")
        try:
            space[name] = _parameter(rest)
        except InvalidArgument as error:
            raise click.UsageError(f"--space {text}: {finding_in_options(finding_of(error))}") from None
        except ValueError:
            raise click.UsageError(f"--space {text}: {_WAYS}.") from None
        if isinstance(space[name], Integer) and not rest.startswith("integer:"):
            bare.append((name, rest))
    known = types() if bare else {}
    for name, rest in bare:
        if known.get(name) is float:
            space[name] = _parameter(f"double:{rest}")
        elif name not in known:
            message = f"--space {name}={rest}: whole numbers only; double:{rest} is of all numbers between."
            click.echo(message, err=True)
    return space


def finding_in_options(found: Finding) -> Finding:
    """What was found, of parameters as they are written on a command line."""
    argument = re.sub(r"^space\['(.*)'\]$", r"--space \1", found.argument)
    value = in_options(repr(found.value)) if isinstance(found.value, Parameter) else found.value
    remedy = None if found.remedy is None else in_options(found.remedy)
    return replace(found, argument=argument, value=value, remedy=remedy)


def in_options(text: str) -> str:
    """A text with parameters as they are written on a command line: ``1..10`` for ``Integer(1, 10)``."""

    def spread(found: re.Match[str]) -> str:
        least, greatest, scale = found.groups()
        return f"{f'{scale}:' if scale else ''}{least}..{greatest}"

    def listed(found: re.Match[str]) -> str:
        kind, values, scale = found.groups()
        if values == "...":
            return f"{kind.lower()}:VALUE,VALUE,..."
        return f"{f'{scale}:' if scale else ''}{re.sub(_BETWEEN, ',', values.strip(_QUOTE))}"

    return _LIST.sub(listed, _RANGE.sub(spread, text)).replace("scale='linear'", "no scale")


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
