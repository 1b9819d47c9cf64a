"""A clock that stands still until it is told to go on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["ManualClock"]


class ManualClock:
    """A :class:`spark_core.clock.Clock` for tests: it starts at a fixed moment."""

    def __init__(self, start: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> None:
        self._now = start

    def now(self) -> datetime:
        """The moment it stands at, aware, in UTC."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Go on by *seconds*."""
        self._now += timedelta(seconds=seconds)
