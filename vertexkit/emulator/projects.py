"""Projects: any name is one, and each has a number, as in Google Cloud.

Requests name a project by id or by number; answers, and everything stored, by number.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

_DIGITS = 12
_REMEMBERED = 4096

_ids: dict[str, str] = {}


@lru_cache(maxsize=_REMEMBERED)
def project_number(project: str) -> str:
    """The number of a project: 12 digits that depend on nothing but its id.

    Args:
        project: Project id, or a number, which stays itself.
    """
    if project.isascii() and project.isdigit():
        return project
    hashed = int.from_bytes(hashlib.sha256(project.encode()).digest()[:8], "big")
    lowest: int = 10 ** (_DIGITS - 1)
    number = str(lowest + hashed % (9 * lowest))
    if len(_ids) < _REMEMBERED:
        _ids[number] = project
    return number


def project_id(project: str) -> str:
    """The id of a project.

    Args:
        project: Its id, or its number. The id behind a number is known once it has been used here;
            until then the number stands for it, which is as good everywhere.
    """
    return _ids.get(project, project)
