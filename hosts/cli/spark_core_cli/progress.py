"""How far long work is: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from spark_core.operations import Operation, Progress
from spark_core.pace import Pace

from .output import tell

__all__ = ["ProgressLines", "shown"]

#: Seconds between two lines.
INTERVAL = 10.0


class ProgressLines:
    """Writes a line on standard error, at most every ten seconds; short work writes none."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = clock() + INTERVAL
        self._pace = Pace(clock)

    def update(
        self, phase: str, *, done: int = 0, total: int | None = None, unit: str = "items"
    ) -> None:
        """Write the line, if it is time."""
        rate, left = self._pace.of(phase, done, total)
        if (now := self._clock()) < self._next:
            return
        self._next = now + INTERVAL
        fast = "" if rate is None else f", {rate:.1f}/s"
        soon = "" if left is None else f", {timedelta(seconds=round(left))} left"
        tell(f"{phase}: {done}{'' if total is None else f' of {total}'} {unit}{fast}{soon}")


@contextmanager
def shown(operation: Operation) -> Iterator[Progress | None]:
    """What *operation* tells its progress to while the block runs."""
    if not operation.reports_progress:
        yield None
    elif operation.streams or not sys.stderr.isatty():
        # The events of a stream are lines already, and would break a bar.
        yield ProgressLines()
    else:
        from .terminal import bar  # rich, only where somebody looks

        with bar() as progress:
            yield progress
