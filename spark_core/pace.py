"""How fast long work goes, and how long it will still take."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Pace"]

#: Seconds of a phase before which its rate says nothing.
SETTLED = 1.0


class Pace:
    """Watches one piece of work, phase by phase."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._phase: str | None = None
        self._began, self._first = 0.0, 0

    def of(self, phase: str, done: int, total: int | None) -> tuple[float | None, float | None]:
        """Items a second since *phase* began, and the seconds left; ``None`` if nobody can say."""
        now = self._clock()
        if phase != self._phase or done < self._first:
            self._phase, self._began, self._first = phase, now, done
        since, gained = now - self._began, done - self._first
        if since < SETTLED or not gained:
            return None, None
        rate = gained / since
        left = None if total is None else round(max(0, total - done) / rate, 1)
        return round(rate, 2), left
