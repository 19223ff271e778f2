"""Which names a file system takes for one and the same: macOS's, as a rule, ``a`` and ``A``.

To Cloud Storage they are different names. So that no object takes the place of another, only one of the
spellings that the file system confuses gets a plain path.
"""

from __future__ import annotations

import os
import tempfile
import unicodedata
from pathlib import Path
from typing import NamedTuple


class Spelling(NamedTuple):
    """What a file system does not tell apart."""

    ignores_case: bool = False
    ignores_form: bool = False
    """Whether it takes an accented letter for the letter followed by its accent."""

    def is_first(self, name: str) -> bool:
        """Whether, of all the spellings that the file system confuses, this is the one with a plain path."""
        if self.ignores_case and name.casefold() != name:
            return False
        return not self.ignores_form or unicodedata.is_normalized("NFC", name)


TELLS_ALL_APART = Spelling()


def probed(folder: Path) -> Spelling:
    """The spelling of the file system that a folder is in, found by trying."""
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        for name in ("a", "\u00e9"):
            Path(inside, name).touch()
        return Spelling(
            ignores_case=os.path.lexists(f"{inside}/A"), ignores_form=os.path.lexists(f"{inside}/e\u0301")
        )
