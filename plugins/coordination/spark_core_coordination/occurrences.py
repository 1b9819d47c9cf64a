"""When something is planned: the grammar, and the times that it means. All times are UTC.

===================================  ===========================================================
``every 15m``, ``every 2h``          as long after the last time; which times is not known
``daily 03:00,15:30``                at these times of every day
``cron 0 3 * * 1-5``                 minute, hour, day, month and weekday (0 is Sunday) all match
``2030-01-01T03:00:00+01:00``        once; a time without a zone is UTC
===================================  ===========================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, date, datetime, time, timedelta
from typing import Final, TypeAlias

__all__ = ["Cron", "Daily", "Every", "Once", "When", "Window", "occurrences", "parse", "windows"]

_DAY: Final = timedelta(days=1)

#: Days after which the calendar comes again, with its weekdays and its leap days.
_CALENDAR: Final = 28 * 366


@dataclass(frozen=True)
class Every:
    """As long after the last time."""

    pause: timedelta


@dataclass(frozen=True)
class Daily:
    """At these times of every day."""

    times: tuple[time, ...]

    def on(self, day: date) -> tuple[time, ...]:
        """Its times on *day*."""
        return self.times


@dataclass(frozen=True)
class Cron:
    """At these times of the days that match."""

    times: tuple[time, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    def on(self, day: date) -> tuple[time, ...]:
        """Its times on *day*, in order."""
        matches = day.day in self.days and day.month in self.months
        return self.times if matches and day.isoweekday() % 7 in self.weekdays else ()


@dataclass(frozen=True)
class Once:
    """At one moment."""

    at: datetime


When: TypeAlias = Every | Daily | Cron | Once


def parse(text: str) -> When:
    """What *text* means.

    :raises ValueError: it is not of the grammar, or never happens.
    """
    if found := re.fullmatch(r"every ([0-9]{1,6})([mh])", text):
        count, unit = int(found[1]), timedelta(hours=1) if found[2] == "h" else timedelta(minutes=1)
        return Every(count * unit)
    if found := re.fullmatch(r"daily ([0-9]{2}:[0-9]{2}(?:,[0-9]{2}:[0-9]{2})*)", text):
        return Daily(tuple(sorted({_time(part) for part in found[1].split(",")})))
    if text.startswith("cron "):
        return _cron(text.removeprefix("cron ").split(" "))
    return _once(text)


def _time(text: str) -> time:
    try:
        return time(int(text[:2]), int(text[3:]))
    except ValueError:
        raise ValueError(f"{text} is no time of a day") from None


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


# ----------------------------------------------------------------------------------------- cron

_FIELDS: Final = (
    ("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 6),
)  # fmt: skip


def _cron(texts: list[str]) -> Cron:
    if len(texts) != len(_FIELDS):
        raise ValueError("cron takes five fields: minute, hour, day, month, weekday")
    fields = zip(texts, _FIELDS, strict=True)
    minutes, hours, days, months, weekdays = (_field(text, *field) for text, field in fields)
    times = tuple(time(hour, minute) for hour in sorted(hours) for minute in sorted(minutes))
    cron = Cron(times, days, months, weekdays)
    leap = date(2024, 1, 1)
    if not any(cron.on(leap + number * _DAY) for number in range(_CALENDAR)):
        raise ValueError("this never happens")
    return cron


def _field(text: str, name: str, low: int, high: int) -> frozenset[int]:
    return frozenset(n for part in text.split(",") for n in _part(part, name, low, high))


def _part(text: str, name: str, low: int, high: int) -> range:
    found = re.fullmatch(r"(?:\*|([0-9]{1,2})(?:-([0-9]{1,2}))?)(?:/([0-9]{1,2}))?", text)
    if found is None:
        raise ValueError(f"{text!r} is no {name}")
    first, last, step = (int(group) if group else None for group in found.groups())
    if first is not None:
        # `5/10` is every tenth from the fifth on, as elsewhere.
        low, high = first, last if last is not None else first if step is None else high
        if not _bounds(name)[0] <= low <= high <= _bounds(name)[1]:
            raise ValueError(f"{text!r} is no {name}: {_bounds(name)[0]} to {_bounds(name)[1]}")
    if step == 0:
        raise ValueError(f"{text!r} takes no step")
    return range(low, high + 1, step or 1)


def _bounds(name: str) -> tuple[int, int]:
    return next((low, high) for field, low, high in _FIELDS if field == name)


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
