"""Prints what was measured: one small table with a title."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["show"]


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print *rows* under *columns*, the first column to the left, the others to the right."""
    table = [tuple(columns), *(tuple(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    print(f"\n{title}\n", flush=True)
    for row in table:
        head, *tail = zip(row, widths, strict=True)
        cells = [head[0].ljust(head[1]), *(cell.rjust(width) for cell, width in tail)]
        print("  ".join(cells).rstrip(), flush=True)
