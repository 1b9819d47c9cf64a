"""Whose turn it is, of those who wait.

Interactive requests go before batch. Within a class, callers take turns: next is whoever was
let in least recently, or never since they wait. No more than that is remembered of the past, so
that what a caller had before costs it one turn at most, and gives nobody a claim to make up for.
It holds for everything that shares a limit, such as the backends of one GPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from operator import attrgetter

from .table import Waiting

__all__ = ["in_turn", "newcomer", "served"]

#: Which limits those who wait for some pools compete for, one bit each.
Shared = Callable[[int], int]


def newcomer(grants: int) -> int:
    """The turn of a caller who did not wait before, when so many had been let in."""
    return 2 * grants


def served(grants: int) -> int:
    """The turn of a caller who was let in as the last of so many: after those who came since."""
    return 2 * grants + 1


def in_turn(line: Iterable[Waiting], shared: Shared) -> list[Waiting]:
    """*line* in the order in which they will be let in, if there is room for them all."""
    before = Counter[tuple[int, int, int]]()
    rounds = {}
    line = sorted(line, key=attrgetter("number"))
    for entry in line:
        whose = entry.caller, entry.priority, shared(entry.pools)
        rounds[entry.number] = before[whose]
        before[whose] += 1
    return sorted(line, key=lambda w: (w.priority, rounds[w.number], w.turn, w.number))
