"""Who has called vertexkit: warnings are shown with the user's line, however deep they come from."""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["stack_level"]

_PACKAGE: Final = f"{__name__.partition('.')[0]}."


def stack_level() -> int:
    """The ``stacklevel`` with which its caller warns of the first line that is not vertexkit's own."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    return level
