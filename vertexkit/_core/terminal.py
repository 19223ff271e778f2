"""The one live display of the terminal, shared by everything that shows progress at a time.

A terminal has one cursor: two displays that each move it would write over each other. So all rows
of the process, from whatever thread, go to one rich ``Progress``, which starts with the first row
and stops with the last. Imported only when something is shown, because it imports rich.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

_lock = threading.Lock()
_progress: _Display | None = None
_open_rows = 0


class LiveRow:
    """One line of the display: a bar when the total is known, else a spinner."""

    def __init__(self, description: str, total: int | None, unit: str, amount: Callable[..., str]) -> None:
        self._progress = _acquire()
        self._task = self._progress.add_task(
            _plain(description), total=total, unit=unit, amount=amount, mark="", note=""
        )

    def advance(self, n: int) -> None:
        """Count ``n`` more units."""
        self._progress.advance(self._task, n)

    def describe(self, text: str, note: str = "") -> None:
        """Change the words, and those behind the amount."""
        self._progress.update(self._task, description=_plain(text), note=note)

    def close(self, failed: bool) -> None:
        """Leave the line as it ended, and the display with it when it was the last one."""
        self._progress.update(self._task, mark="[red]✗[/]" if failed else "[green]✓[/]")
        self._progress.stop_task(self._task)
        _release()


class LiveBlock:
    """Several lines below the rows, which change as a whole.

    Args:
        render: Makes what is shown, each time that the display is drawn, from any thread.
    """

    def __init__(self, render: Callable[[Console], RenderableType]) -> None:
        _acquire().blocks.append(render)

    def close(self) -> None:
        """Leave it as it ended, and the display with it when it was the last one."""
        _release()


class _Display(Progress):
    """Rows, and what is shown below them."""

    def __init__(self, *columns: ProgressColumn, **options: Any) -> None:
        # Drawn from the first moment on.
        self.blocks: list[Callable[[Console], RenderableType]] = []
        super().__init__(*columns, **options)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        for render in [*self.blocks]:
            yield render(self.console)


def _acquire() -> _Display:
    """The running display, started when there is none."""
    global _open_rows, _progress  # noqa: PLW0603 - the terminal is one per process too
    with _lock:
        if _progress is None:
            _progress = _Display(
                _MarkColumn(),
                _Words("{task.description}", table_column=Column()),
                _BarWhenCounted(bar_width=24),
                _AmountColumn(table_column=Column(no_wrap=True)),
                TimeElapsedColumn(table_column=Column(no_wrap=True)),
                console=Console(stderr=True),
                refresh_per_second=8,
                # rich would send what the program prints to standard error, where the bar is: right
                # when both are the same terminal, wrong when the output goes to a file or a pipe.
                redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
            )
            _progress.start()
        _open_rows += 1
        return _progress


def _release() -> None:
    """Stop the display when its last row has closed."""
    global _open_rows, _progress  # noqa: PLW0603 - the terminal is one per process too
    with _lock:
        _open_rows -= 1
        if _open_rows == 0 and _progress is not None:
            try:
                _progress.stop()
            finally:
                _progress = None


def _plain(text: str) -> str:
    """``text`` with nothing that rich would read as markup: names of files may hold brackets."""
    from rich.markup import escape

    return escape(text)


class _MarkColumn(SpinnerColumn):
    """A spinner while the work goes on, then how it ended."""

    def render(self, task: Task) -> Any:
        mark = task.fields.get("mark")
        return Text.from_markup(mark) if mark else super().render(task)


class _Words(TextColumn):
    """Words that give way, where the terminal is narrow, before the amount does."""

    def render(self, task: Task) -> Text:
        text = super().render(task)
        text.no_wrap, text.overflow = True, "ellipsis"
        return text


class _BarWhenCounted(BarColumn):
    """A bar for rows with a total; a wait has nothing to fill it with."""

    def render(self, task: Task) -> Any:
        return Text("") if task.total is None else super().render(task)


class _AmountColumn(ProgressColumn):
    """``12.3 MB of 51.2 MB, 80.1 MB/s``, ``28/60 instances, 2 failed``."""

    def render(self, task: Task) -> Text:
        amount, unit = task.fields["amount"], task.fields["unit"]
        parts = []
        if task.total is not None:
            parts.append(amount(task.completed, unit, task.total))
        elif task.completed:
            parts.append(amount(task.completed, unit))
        speed = task.finished_speed or task.speed
        if unit == "bytes" and speed:
            parts.append(f"{amount(speed, unit)}/s")
        if task.fields["note"]:
            parts.append(task.fields["note"])
        return Text(", ".join(parts), style="progress.data.speed")
