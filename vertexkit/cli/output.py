"""Writes results: a table for people, tab-separated lines for pipes, JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from vertexkit.errors import Finding

_Command = TypeVar("_Command", bound=Callable[..., Any])


def json_option(command: _Command) -> _Command:
    """Add ``--json``, which reaches the command as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def show_rows(columns: Sequence[str], rows: Iterable[Sequence[object]], *, as_json: bool, empty: str) -> None:
    """Print rows, one resource each.

    On a terminal they are a table under its headings; elsewhere tab-separated lines without headings,
    so that ``cut`` and ``while read`` can be used on them; with ``as_json`` a list of objects.

    Args:
        columns: Headings; in lower case with underscores they are the keys of the JSON objects.
        rows: Values, in the order of the headings.
        as_json: Whether to print JSON.
        empty: What to tell people, on standard error, when there is no row.
    """
    listed = [list(row) for row in rows]
    if as_json:
        keys = [column.lower().replace(" ", "_") for column in columns]
        click.echo(json.dumps([dict(zip(keys, row, strict=True)) for row in listed], default=_plain))
    elif not listed:
        click.echo(empty, err=True)
    elif sys.stdout.isatty():
        _table(columns, listed)
    else:
        for row in listed:
            click.echo("\t".join(_text(value) for value in row))


def show_record(record: Mapping[str, object], *, as_json: bool) -> None:
    """Print one resource: its fields one a line, or a JSON object."""
    if as_json:
        click.echo(json.dumps(dict(record), default=_plain))
        return
    width = max(map(len, record)) + 2
    for key, value in record.items():
        if sys.stdout.isatty():
            click.echo(f"{click.style(key.ljust(width), bold=True)}{_text(value)}")
        else:
            click.echo(f"{key}\t{_text(value)}")


def show_findings(findings: Sequence[Finding], *, as_json: bool) -> int:
    """Print what a check has found.

    Returns:
        The exit status: 1 when something would be refused.
    """
    from vertexkit.preflight import is_refused

    show_rows(
        ["Severity", "Argument", "Value", "Problem", "Remedy"],
        (
            (
                "warning" if found.warning else "error",
                found.argument,
                found.value,
                found.problem,
                found.remedy,
            )
            for found in findings
        ),
        as_json=as_json,
        empty="Nothing was found wrong.",
    )
    return int(is_refused(findings))


def confirmed(question: str, *, yes: bool) -> bool:
    """Whether to go on with something that cannot be undone.

    Args:
        question: What to ask on a terminal.
        yes: Whether ``--yes`` was given, so that nobody need be asked.

    Raises:
        click.UsageError: There is no terminal to ask on, and ``--yes`` was not given.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask on: confirm with --yes.")
    if click.confirm(question, err=True):
        return True
    click.echo("Nothing was deleted.", err=True)
    return False


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Names are shown as they are, though they hold what rich would take for markup.
        table.add_row(*(_escaped(_text(value)) for value in row))
    Console().print(table)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_text(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(map(_text, value))
    # A tab or line break in a display name would break the line that a script reads.
    return " ".join(str(value).split()) if any(char in str(value) for char in "\t\r\n") else str(value)


def _plain(value: object) -> object:
    """What ``json`` cannot write by itself."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (tuple, set, frozenset)):
        return list(value)
    return str(value)
