"""The grammar of times, and the moments that it means."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spark_core_coordination.occurrences import (
    Cron,
    Daily,
    Every,
    Once,
    Window,
    occurrences,
    parse,
    windows,
)

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)  # a Tuesday
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("every 15m", Every(15 * MINUTE)),
        ("every 2h", Every(2 * HOUR)),
        ("every 0m", Every(timedelta(0))),
        ("daily 03:00", Daily((time(3),))),
        ("daily 15:30,03:00,03:00", Daily((time(3), time(15, 30)))),
        ("2030-01-01T12:00:00", Once(NOON)),
        ("2030-01-01T13:00:00+01:00", Once(NOON)),
        ("2030-01-01 12:00Z", Once(NOON)),
    ],
)
def test_what_the_grammar_means(text: str, means: object) -> None:
    assert parse(text) == means


@pytest.mark.parametrize(
    "text",
    [
        "", "every", "every m", "every -1m", "every 1.5h", "every 5s", "every  5m", " every 5m",
        "every 5m\n", "every 5m ", "every 5M", "every ٥m", "every 10000000m", "Every 5m",
        "daily", "daily 3:00", "daily 24:00", "daily 03:60", "daily 03:00, 04:00", "daily 03:00,",
        "daily 03:00\n", "daily ٠٣:٠٠", "hourly", "tomorrow",
        "cron", "cron * * * *", "cron * * * * * *", "cron 60 * * * *", "cron * 24 * * *",
        "cron * * 0 * *", "cron * * 32 * *", "cron * * * 13 *", "cron * * * * 7",
        "cron */0 * * * *", "cron 5-1 * * * *", "cron -1 * * * *", "cron a * * * *",
        "cron * * * * *\n", "cron *  * * * *", "cron 0 0 30 2 *", "cron 0 0 31 2,4,6 *",
        "2030-13-01T00:00", "2030-01-01T12:00:00+25:00", "9999-12-31T23:00",
        "0001-01-01T00:00+01:00",
    ],
)  # fmt: skip
def test_e21_whatever_is_not_of_the_grammar_is_refused(text: str) -> None:
    """Not a space more or less, no other digits, no newline at its end."""
    with pytest.raises(ValueError, match=r"."):
        parse(text)


@given(st.text(max_size=40))
def test_no_text_does_anything_but_fit_or_not(text: str) -> None:
    with suppress(ValueError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("daily 03:00,15:30", NOON + 3.5 * HOUR),
        ("daily 12:00", NOON),
        ("daily 11:59", NOON + DAY - MINUTE),
        ("cron 0 3 * * 1-5", NOON + 15 * HOUR),
        ("cron */20 * * * *", NOON),
        ("cron 5/20 * * * *", NOON + 5 * MINUTE),
        ("cron 0 0 * * 0", NOON + 4.5 * DAY),
        ("cron 0 0 29 2 *", datetime(2032, 2, 29, tzinfo=UTC)),
        ("cron 0 0 1 1 0", datetime(2034, 1, 1, tzinfo=UTC)),
        ("cron 0 0 13 * 5", datetime(2030, 9, 13, tzinfo=UTC)),  # day and weekday, both
        ("2030-01-01T12:00", NOON),
    ],
)
def test_the_next_time(text: str, first: datetime) -> None:
    when = parse(text)
    assert not isinstance(when, Every)
    assert next(occurrences(when, NOON, NOON + 3000 * DAY)) == first


def test_what_happened_once_does_not_happen_again() -> None:
    assert list(occurrences(Once(NOON), NOON + MINUTE, NOON + 3000 * DAY)) == []


# ---------------------------------------------------------------------------------- properties

FIELDS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]


@st.composite
def crons(draw: st.DrawFn) -> tuple[str, list[set[int]]]:
    """A cron expression, and the numbers of each of its fields."""
    texts, numbers = [], []
    for low, high in FIELDS:
        kind = draw(st.sampled_from(["*", "*/", "-", ","]))
        a, b = sorted((draw(st.integers(low, high)), draw(st.integers(low, high))))
        step = draw(st.integers(1, 30))
        text, found = {
            "*": ("*", range(low, high + 1)),
            "*/": (f"*/{step}", range(low, high + 1, step)),
            "-": (f"{a}-{b}/{step}", range(a, b + 1, step)),
            ",": (f"{b},{a}", (a, b)),
        }[kind]
        texts.append(text)
        numbers.append(set(found))
    return "cron " + " ".join(texts), numbers


@given(crons())
def test_a_cron_expression_means_every_minute_that_matches(drawn) -> None:
    text, (minutes, hours, days, months, weekdays) = drawn
    expected = [
        at
        for at in (NOON + n * MINUTE for n in range(3 * 24 * 60))
        if at.minute in minutes
        and at.hour in hours
        and at.day in days
        and at.month in months
        and at.isoweekday() % 7 in weekdays
    ]
    with suppress(ValueError):  # what never happens is refused
        when = parse(text)
        assert isinstance(when, Cron)
        assert list(occurrences(when, NOON, NOON + 3 * DAY)) == expected
        return
    assert expected == []


@given(crons())
def test_whether_a_cron_expression_is_refused_depends_on_its_days_alone(drawn) -> None:
    text, (_, _, days, months, weekdays) = drawn
    matching = (NOON + n * DAY for n in range(40 * 366))
    happens = any(
        d.day in days and d.month in months and d.isoweekday() % 7 in weekdays for d in matching
    )
    if happens:
        parse(text)
    else:
        with pytest.raises(ValueError, match="this never happens"):
            parse(text)


@given(
    text=st.one_of(
        st.lists(st.times(), min_size=1, max_size=4).map(
            lambda times: "daily " + ",".join(f"{t:%H:%M}" for t in times)
        ),
        st.integers(-3000, 6000).map(lambda n: (NOON + n * MINUTE).isoformat()),
    ),
    length=st.integers(1, 3000),
)
def test_windows_are_apart_in_order_and_hold_each_minute_in_which_it_goes_on(
    text: str, length: int
) -> None:
    when, duration = parse(text), length * MINUTE
    assert not isinstance(when, Every)
    span = Window(NOON, NOON + 2 * DAY)
    found = windows(when, duration, span)
    for one, other in pairwise(found):
        assert one.end < other.start
    begun = list(occurrences(when, NOON - duration, span.end))
    for minute in (NOON + n * MINUTE for n in range(0, 2 * 24 * 60, 7)):
        goes_on = any(at <= minute < at + duration for at in begun)
        assert any(w.start <= minute < w.end for w in found) is goes_on
