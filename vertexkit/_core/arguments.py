"""Whether arguments are of their types, where Python would find out too late, or never.

What their values may be is checked elsewhere (``preflight.py``).
"""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Sequence

from vertexkit.errors import InvalidArgument
from vertexkit.types import Machine

__all__ = ["machine_of", "own_integers", "path", "replicas_of", "seconds", "text", "texts"]


def text(argument: str, value: object) -> str:
    """Text, or None for none.

    Raises:
        InvalidArgument: It is something else.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidArgument(argument, value, "is no text")
    return value


def texts(argument: str, values: object) -> tuple[str, ...]:
    """Several texts.

    Raises:
        InvalidArgument: They are something else, or one text, whose letters would be meant.
    """
    if not isinstance(values, Sequence | set | frozenset) or isinstance(values, str | bytes):
        raise InvalidArgument(argument, values, "is no list of texts", remedy=f"write {argument}=[...]")
    wrong = next((value for value in values if not isinstance(value, str)), None)
    if wrong is not None or None in values:
        raise InvalidArgument(argument, values, f"holds {wrong!r}, which is no text")
    return tuple(values)


def path(argument: str, value: object) -> str:
    """A path, or a URI.

    Raises:
        InvalidArgument: It is something else.
    """
    try:
        found = os.fspath(value)  # type: ignore[call-overload]  # raises what is no path
    except TypeError:
        found = None
    if not isinstance(found, str):
        raise InvalidArgument(
            argument, value, "is no path", remedy="give a local folder, or the gs:// URI of one"
        )
    return found


def seconds(argument: str, value: object) -> float:
    """A time to wait.

    Raises:
        InvalidArgument: It is no number above 0.
    """
    # Written so that a NaN is refused.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InvalidArgument(argument, value, "is no number of seconds above 0")
    return float(value)


def machine_of(value: object) -> Machine:
    """A machine, of which the name of its type may be given alone.

    Raises:
        InvalidArgument: It is neither.
    """
    if value is None:
        return Machine()
    if isinstance(value, str):
        return Machine(value)
    if not isinstance(value, Machine):
        raise InvalidArgument(
            "machine", value, "is no machine", remedy='give a Machine, or the name of a type: "n1-standard-2"'
        )
    return value


def own_integers(request: object, *names: str) -> None:
    """Have numpy's integers among the fields of a frozen dataclass be Python's own, as JSON has them.

    Args:
        request: The dataclass; call this in its ``__post_init__``.
        names: The fields: each may hold a tuple or a list of them too, or anything else, which stays.
    """
    for name in names:
        object.__setattr__(request, name, _own_integer(getattr(request, name)))


def _own_integer(value: object) -> object:
    if isinstance(value, tuple | list):
        return type(value)(map(_own_integer, value))
    return int(value) if isinstance(value, numbers.Integral) and not isinstance(value, int) else value


def replicas_of(value: object) -> tuple[int, int]:
    """The least and the greatest number of replicas, of which one number may stand for both.

    Raises:
        InvalidArgument: It is neither.
    """
    value = _own_integer(value)
    pair = (value, value) if isinstance(value, int) else value
    if (
        not isinstance(pair, tuple | list)
        or len(pair) != 2
        or any(isinstance(count, bool) or not isinstance(count, int) for count in pair)
    ):
        raise InvalidArgument(
            "replicas", value, "is neither a whole number nor two", remedy="give (least, greatest)"
        )
    return pair[0], pair[1]
