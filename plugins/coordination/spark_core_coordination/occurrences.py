"""When something is planned: the grammar, and the times that it means. All times are UTC.

===================================  ===========================================================
``every 15m``, ``every 2h``          as long after the last time; which times is not known
``daily 03:00,15:30``                at these times of every day
``cron 0 3 * * 1-5``                 minute, hour, day, month and weekday (0 is Sunday) all match
``2030-01-01T03:00:00+01:00``        once; a time without a zone is UTC
===================================  ===========================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime, timedelta
from typing import Final, TypeAlias

from spark_core import schedules
from spark_core.schedules import Cron, Daily, Every

__all__ = ["Cron", "Daily", "Every", "Once", "When", "Window", "occurrences", "parse", "windows"]

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class Once:
    """At one moment."""

    at: datetime


When: TypeAlias = Every | Daily | Cron | Once


def parse(text: str) -> When:
    """What *text* means.

    :raises ValueError: it is not of the grammar, or never happens.
    """
    if text.startswith(("every ", "daily ", "cron ")):
        return schedules.parse(text)
    return _once(text)


def _once(text: str) -> Once:
    try:
        at = datetime.fromisoformat(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            "it must be like 'every 15m', 'daily 03:00,15:30', 'cron 0 3 * * 1-5' or an ISO time"
        ) from None
    if at.year == MAXYEAR:  # it could not end
        raise ValueError("this is too far away")
    return Once(at)


# ---------------------------------------------------------------------------------------- times


@dataclass(frozen=True)
class Window:
    """A time span, without its end."""

    start: datetime
    end: datetime

    def overlap(self, other: Window) -> datetime | None:
        """When both have begun and neither has ended, first; None if never."""
        start = max(self.start, other.start)
        return start if start < min(self.end, other.end) else None


def occurrences(when: Daily | Cron | Once, start: datetime, end: datetime) -> Iterator[datetime]:
    """The moments of *when* from *start* until before *end*, in order."""
    if isinstance(when, Once):
        if start <= when.at < end:
            yield when.at
        return
    day = start.date()
    while day <= end.date():
        for moment in when.on(day):
            at = datetime.combine(day, moment, UTC)
            if start <= at < end:
                yield at
        day += _DAY


def windows(when: When, duration: timedelta, span: Window) -> list[Window]:
    """The parts of *span* in which what *when* begins and lasts for *duration* may go on.

    Those of an interval are unknown, so they are the whole of it.
    """
    if isinstance(when, Every):
        return [span]
    found: list[Window] = []
    for at in occurrences(when, span.start - duration, span.end):
        window = Window(max(at, span.start), min(at + duration, span.end))
        if found and found[-1].end >= window.start:
            window = Window(found.pop().start, window.end)
        if window.start < window.end:
            found.append(window)
    return found
