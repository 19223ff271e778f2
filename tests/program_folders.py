"""Folders of training programs, and what of them is in their wheels."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

Write = Callable[[dict[str, str]], Path]


def writer(folder: Path) -> Write:
    """``writer(folder)({"train.py": ...})``: writes files there; the folder."""

    def files(content: dict[str, str]) -> Path:
        for name, text in content.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return folder

    return files


def names(wheel: Path | None) -> set[str]:
    """The user's files in a wheel."""
    assert wheel is not None
    found = zipfile.ZipFile(wheel).namelist()
    return {name for name in found if not name.startswith("trainer_scripts/") and ".dist-info/" not in name}
