"""Text of others made safe for a terminal: what a program printed may hold anything."""

from __future__ import annotations

import re

_ESCAPES = re.compile(
    r"""
    (?:\x1b\[|\x9b)[0-?]*[ -/]*(?:[@-~]|\Z)                   # CSI: colours, moves, erasing
    | (?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])                 # OSC, DCS and their like: titles, links, ...
      [^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|\Z|(?=\x1b))
    | \x1b[ -/]*[0-~]?                                        # what else an ESC begins
    """,
    re.VERBOSE,
)
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def printable(line: str) -> str:
    """A line without what a terminal would obey: escape sequences and control characters, but for tabs.

    Args:
        line: A line of text. Of what it has written over itself with carriage returns, as progress bars
            do, the last is left.
    """
    if _CONTROLS.search(line) is None:
        return line
    if "\r" in line:
        line = next((part for part in reversed(line.split("\r")) if part.strip()), "")
    return _CONTROLS.sub("", _ESCAPES.sub("", line))
