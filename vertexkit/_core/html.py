"""How notebooks show a thing: what it is, and a table of facts about it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape


def described(title: str, facts: Mapping[str, str]) -> str:
    """HTML for ``_repr_html_``; what is empty is left out.

    Args:
        title: What it is.
        facts: What is known of it, by what to call that.
    """
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(fact)}</td></tr>" for name, fact in facts.items() if fact
    )
    return f"<b>{escape(title)}</b><table>{rows}</table>"
