"""Patterns over paths inside a folder, as pathlib writes them: ``*.pb``, ``**/*``, ``logs/**``."""

from __future__ import annotations

import re
from functools import lru_cache

from vertexkit.errors import InvalidArgument


@lru_cache(maxsize=64)
def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression over whole paths with ``/``.

    ``*`` and ``?`` match within one name, ``[abc]`` and ``[!abc]`` one character, ``**`` any number of
    folders. Unlike in a shell, ``*`` also matches names that start with a dot: a transfer that left
    files out silently would lose them. (``glob.translate`` does this, from Python 3.13.)

    Args:
        pattern: The pattern; ``**`` stands for a whole name.

    Raises:
        InvalidArgument: It makes no sense.
    """
    if not isinstance(pattern, str) or not pattern or pattern.startswith("/"):
        raise InvalidArgument(
            "pattern",
            pattern,
            "is not a pattern over paths inside the folder",
            remedy="give one like '**/*.pb'",
        )
    expression = ""
    parts = pattern.split("/")
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            expression += ".+" if last else "(?:[^/]+/)*"
        else:
            expression += _one_name(part) + ("" if last else "/")
    try:
        return re.compile(expression, re.DOTALL)
    except re.error as error:
        raise InvalidArgument("pattern", pattern, f"is not a pattern: {error}") from None


def matches(pattern: str, path: str) -> bool:
    """Whether the whole of ``path`` matches."""
    return pattern == "**/*" or compiled(pattern).fullmatch(path) is not None


def _one_name(part: str) -> str:
    """A regular expression for one name of a path."""
    expression, position = "", 0
    while position < len(part):
        char = part[position]
        position += 1
        if char == "*":
            expression += "[^/]*"
        elif char == "?":
            expression += "[^/]"
        elif char == "[" and (end := part.find("]", position + 1)) > 0:
            inside = part[position:end].replace("\\", r"\\").replace("[", r"\[").replace("&&", r"\&\&")
            negated = inside.startswith("!")
            expression += (
                f"(?!/)[{'^' if negated else ''}{inside.removeprefix('!').replace('^', chr(92) + '^')}]"
            )
            position = end + 1
        else:
            expression += re.escape(char)
    return expression
