"""What is said of the source of a batch prediction that has been looked at."""

from __future__ import annotations

from vertexkit.batch_source import Understood


def good(understood: Understood) -> Understood:
    """The source itself, of which nothing is said."""
    assert [str(found) for found in understood.findings] == []
    return understood


def told(understood: Understood, *, warnings: bool = False) -> str:
    """What is wrong with it, or what it is warned of: a line each."""
    return "\n".join(str(found) for found in understood.findings if found.warning == warnings)
