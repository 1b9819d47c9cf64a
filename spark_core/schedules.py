"""When something is to be done: the grammar, and the moments that it means.

==============================  ============================================================
``every 15m``, ``every 2h``     as long after the last time; at once where there was none
``daily 07:00,13:00``           at these times of every day
``cron 0 3 * * 1-5``            minute, hour, day, month and weekday (0 is Sunday) all match
==============================  ============================================================

Nothing else is of it, not even a space or a line's end more. Times are those of a zone, by
default UTC. Where its clock is put on, a time that is left out comes as much later; where it
is put back, a time that comes twice counts once, the first time: only a ``cron`` with every
hour goes on as if nothing had happened.
"""

from __future__ import annotations

import logging
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

__all__ = [
    "Cron",
    "Daily",
    "Every",
    "Schedule",
    "due",
    "following",
    "is_due",
    "is_valid",
    "missed",
    "parse",
    "zone",
]

_DAY: Final = timedelta(days=1)

#: Days after which the calendar comes again, with its weekdays and its leap days.
_CALENDAR: Final = 28 * 366

#: What was done longer ago than this was done as long ago as this: calendars begin somewhere.
_LONGEST_AGO: Final = timedelta(days=400 * 365)

#: Fire times that were missed are counted up to here.
_MOST_MISSED: Final = 10_000

log = logging.getLogger(__name__)


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


Schedule: TypeAlias = Every | Daily | Cron


# ---------------------------------------------------------------------------------- the grammar


def parse(text: str) -> Schedule:
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
    raise ValueError("it must be like 'every 15m', 'daily 03:00,15:30' or 'cron 0 3 * * 1-5'")


def is_valid(text: str) -> bool:
    """Whether *text* is of the grammar."""
    try:
        parse(text)
    except ValueError:
        return False
    return True


def zone(name: str) -> tzinfo:
    """The time zone called *name*, such as ``Europe/Prague``.

    :raises ValueError: this machine knows no such zone.
    """
    if name == "UTC":  # which also a machine without a list of zones knows
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone that this machine knows") from None


def _time(text: str) -> time:
    try:
        return time(int(text[:2]), int(text[3:]))
    except ValueError:
        raise ValueError(f"{text} is no time of a day") from None


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
    start, end = low, high
    if first is not None:
        # `5/10` is every tenth from the fifth on, as elsewhere.
        start, end = first, last if last is not None else first if step is None else high
    if not low <= start <= end <= high:
        raise ValueError(f"{text!r} is no {name}: {low} to {high}")
    if step == 0:
        raise ValueError(f"{text!r} takes no step")
    return range(start, end + 1, step or 1)


# ---------------------------------------------------------------------------------- the moments


def due(schedule: Schedule, last: datetime, now: datetime, zone: tzinfo = UTC) -> datetime | None:
    """The newest moment of *schedule* after *last* that has come; None if there is none.

    However many were missed, also before midnight, it is only the newest.
    """
    if isinstance(schedule, Every):
        if not schedule.pause:
            return now if last <= now else None
        times = (now - last) // schedule.pause
        return last + times * schedule.pause if times > 0 else None
    last = max(last, now - _LONGEST_AGO)
    # What follows is known from the last time on: there is nothing to look for on most days.
    if last >= now or _following(schedule, last, zone) > now:
        return None
    return next(_back(schedule, last, now, zone), None)


def following(schedule: Schedule, last: datetime, zone: tzinfo = UTC) -> datetime:
    """The first moment of *schedule* after *last*.

    :raises OverflowError: it is after the end of the calendar.
    """
    if isinstance(schedule, Every):
        return last + schedule.pause
    return _following(schedule, last, zone)


@lru_cache(maxsize=4096)
def _following(schedule: Daily | Cron, last: datetime, zone: tzinfo) -> datetime:
    # A moment of the day before may come after midnight, where a clock is put on there.
    day = last.astimezone(zone).date() - _DAY
    while True:
        moments = _moments(schedule, day, zone)
        place = bisect_right(moments, last)
        if place < len(moments):
            return moments[place]
        day += _DAY


def missed(schedule: Schedule, last: datetime, fire: datetime, zone: tzinfo = UTC) -> int:
    """How many moments of *schedule* lie between *last* and *fire*, up to ten thousand."""
    if isinstance(schedule, Every):
        between = (fire - last) // schedule.pause - 1 if schedule.pause else 0
        return max(0, min(between, _MOST_MISSED))
    count = -1
    for _ in _back(schedule, last, fire, zone):
        count += 1
        if count == _MOST_MISSED:
            break
    return max(0, count)


def is_due(text: str, last: datetime | str | None, now: datetime, zone: tzinfo = UTC) -> bool:
    """Whether what has the schedule *text* and was done *last* is to be done.

    What was never done is, or when it was cannot be understood, whatever its schedule. Else
    what has an invalid schedule is not. A *last* without a zone is UTC.
    """
    moment = _moment(last)
    if moment is None:
        return True
    try:
        return due(parse(text), moment, now, zone) is not None
    except ValueError as error:
        log.warning("schedule %r is not followed: %s", text[:100], error)
        return False


def _moment(last: datetime | str | None) -> datetime | None:
    if isinstance(last, str):
        try:
            last = datetime.fromisoformat(last)
        except ValueError:
            return None
    if last is None:
        return None
    return last.replace(tzinfo=UTC) if last.tzinfo is None else last


def _back(
    schedule: Daily | Cron, last: datetime, now: datetime, zone: tzinfo
) -> Iterator[datetime]:
    """The moments after *last* until *now*, the newest first."""
    day, end = now.astimezone(zone).date(), last.astimezone(zone).date() - _DAY
    while day >= end:
        moments = _moments(schedule, day, zone)
        for moment in reversed(moments[: bisect_right(moments, now)]):
            if moment <= last:
                return
            yield moment
        day -= _DAY


@lru_cache(maxsize=1024)
def _moments(schedule: Daily | Cron, day: date, zone: tzinfo) -> tuple[datetime, ...]:
    """When the times of *schedule* are on *day*, in UTC and in order."""
    shown = [datetime.combine(day, moment, zone) for moment in schedule.on(day)]
    if len({moment.hour for moment in shown}) == 24 and isinstance(schedule, Cron):
        both = (moment.replace(fold=fold) for moment in shown for fold in (0, 1))
        shown = [moment for moment in both if _exists(moment)]
    return tuple(sorted({moment.astimezone(UTC) for moment in shown}))


def _exists(moment: datetime) -> bool:
    """Whether a clock of its zone ever shows *moment*."""
    back = moment.astimezone(UTC).astimezone(moment.tzinfo)
    return back.replace(tzinfo=None) == moment.replace(tzinfo=None)
