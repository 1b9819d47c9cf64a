"""What only a terminal can show, with rich: imported when there is one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

__all__ = ["Bar", "bar", "print_table"]


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print *rows* under *columns*; what is too long for the terminal's width is cut."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(Text(column), no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


class _Done(ProgressColumn):
    """``1200/5000 records``"""

    def render(self, task: Task) -> Text:
        total = f"/{task.total:.0f}" if task.total is not None else ""
        return Text(f"{task.completed:.0f}{total} {task.fields['unit']}")


class _Rate(ProgressColumn):
    """``85.2/s``"""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "", style="dim")


class Bar:
    """The progress of an operation, a bar for each of its phases."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._phases: dict[str, TaskID] = {}

    def update(
        self, phase: str, *, done: int = 0, total: int | None = None, unit: str = "items"
    ) -> None:
        """Move the bar of *phase*."""
        if phase not in self._phases:
            self._phases[phase] = self._progress.add_task(phase, total=total, unit=unit)
        self._progress.update(self._phases[phase], completed=done, total=total, unit=unit)


@contextmanager
def bar() -> Iterator[Bar]:
    """Show a progress bar on standard error while the block runs."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _Done(),
        _Rate(),
        TimeRemainingColumn(),
    )
    # Standard output may be a pipe: what is written there must not be drawn over the bar.
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as progress:
        yield Bar(progress)
