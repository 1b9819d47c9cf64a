"""The grammar of schedules, and the moments that it means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_core.schedules import (
    Cron,
    Daily,
    Every,
    due,
    following,
    is_due,
    is_valid,
    missed,
    parse,
    zone,
)

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)  # a Tuesday
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
PRAGUE = ZoneInfo("Europe/Prague")  # the clock is put on at 02:00 and back at 03:00


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


# ---------------------------------------------------------------------------------- the grammar


@pytest.mark.parametrize(
    "text", ["every 15m", "every 1h", "every 0m", "daily 07:00,13:00", "cron 0 3 * * 1-5"]
)
def test_what_is_of_the_grammar(text: str) -> None:
    assert is_valid(text)


def test_extra_whitespace_returns_none() -> None:
    """A space more is not of the grammar."""
    assert not any(map(is_valid, ["every  15m", " every 15m", "every 15m ", "daily 07:00, 13:00"]))


def test_negative_not_matched() -> None:
    assert not is_valid("every -5m")


def test_e21_a_newline_at_the_end_is_refused() -> None:
    texts = ["every 15m\n", "daily 07:00\n", "cron * * * * *\n"]
    assert not any(map(is_valid, texts))


@pytest.mark.parametrize(
    "text", ["", "every 5s", "every m", "daily 7:00", "daily 24:00", "daily", "cron * * * *",
             "cron 60 * * * *", "cron */0 * * * *", "cron 0 0 30 2 *", "every ٥m", "hourly"],
)  # fmt: skip
def test_what_is_not_of_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)


@given(st.text(max_size=30))
def test_any_text_is_understood_or_refused(text: str) -> None:
    assert is_valid(text) in (True, False)


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "/etc/localtime", "../zone", "Europe", "a\0b"]
)
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        zone(name)


def test_utc_is_known_everywhere() -> None:
    assert zone("UTC") is UTC


# ------------------------------------------------------------------------ the original's rules


def test_every_0m_is_always_due() -> None:
    assert is_due("every 0m", NOON, NOON)


def test_synced_exactly_15min_ago_every_15m_is_due() -> None:
    assert is_due("every 15m", NOON - 15 * MINUTE, NOON)
    assert not is_due("every 15m", NOON - 15 * MINUTE + timedelta(microseconds=1), NOON)


def test_daily_synced_at_exactly_target_not_due_again() -> None:
    assert not is_due("daily 12:00", NOON, NOON + HOUR)


def test_daily_never_synced_before_target_still_due() -> None:
    assert is_due("daily 23:00", None, NOON)


def test_daily_is_due_from_its_time_on() -> None:
    assert is_due("daily 12:00", NOON - HOUR, NOON)
    assert not is_due("daily 12:00", NOON - HOUR, NOON - MINUTE)


def test_multi_time_between_slots_not_due() -> None:
    assert not is_due("daily 07:00,13:00", at("2030-01-01T07:00Z"), NOON)


def test_naive_last_sync_treated_as_utc() -> None:
    assert is_due("every 1h", datetime(2030, 1, 1, 11), NOON)
    assert not is_due("every 1h", "2030-01-01T11:30:00", NOON)


def test_last_sync_in_future_not_due() -> None:
    assert not is_due("every 15m", NOON + HOUR, NOON)
    assert not is_due("every 0m", NOON + HOUR, NOON)
    assert not is_due("daily 12:00", NOON + HOUR, NOON)


@pytest.mark.parametrize("last", ["0001-01-01T00:00:00", "0001-01-01T00:00:00+14:00"])
@pytest.mark.parametrize("text", ["every 15m", "daily 07:00", "cron 0 0 29 2 *"])
def test_what_was_done_at_the_beginning_of_the_calendar_is_due(text: str, last: str) -> None:
    """It is the zero of other programs' clocks."""
    assert is_due(text, last, NOON)
    assert not is_due(text, "9999-12-31T23:59:59-14:00", NOON)


@pytest.mark.parametrize("last", [None, "", "yesterday"])
def test_unknown_schedule_never_synced_returns_true(last: str | None) -> None:
    """What was never done, or nobody knows when, is due even without a valid schedule."""
    assert is_due("whenever", last, NOON)


def test_unknown_schedule_synced_returns_false(caplog: pytest.LogCaptureFixture) -> None:
    """An invalid schedule is warned of, and nothing is done."""
    assert not is_due("whenever", NOON - DAY, NOON)
    assert "whenever" in caplog.text


def test_e11_a_daily_time_missed_across_midnight_is_not_lost() -> None:
    """Down from 23:00 to 00:10: the time 23:30 has come all the same."""
    assert is_due("daily 23:30", at("2030-01-01T22:59Z"), at("2030-01-02T00:10Z"))


def test_cron_takes_day_and_weekday_both() -> None:
    """Day of the month and weekday must both match, and Sunday is 0."""
    sunday = following(parse("cron 0 0 13 * 0"), NOON)
    assert (sunday.day, sunday.weekday()) == (13, 6)


# --------------------------------------------------------------------------------- the moments


def test_an_interval_keeps_its_pace() -> None:
    """A start that comes late moves none of the next ones."""
    assert due(parse("every 15m"), NOON, NOON + 17 * MINUTE) == NOON + 15 * MINUTE


def test_of_those_that_were_missed_only_the_newest_is_due() -> None:
    last = NOON - 3 * DAY
    assert due(parse("daily 07:00"), last, NOON) == at("2030-01-01T07:00Z")
    assert due(parse("every 1h"), last, NOON + MINUTE) == NOON
    assert due(parse("cron 30 * * * *"), last, NOON) == at("2030-01-01T11:30Z")


@pytest.mark.parametrize(
    ("text", "count"), [("daily 07:00", 2), ("every 1h", 66), ("cron 0 */6 * * *", 10)]
)
def test_those_before_the_newest_are_counted(text: str, count: int) -> None:
    last = at("2029-12-29T13:00Z")
    newest = at("2030-01-01T07:00Z") if "cron" not in text else at("2030-01-01T06:00Z")
    newest = newest + HOUR if "every" in text else newest
    assert missed(parse(text), last, newest) == count


def test_counting_what_was_missed_ends() -> None:
    assert missed(parse("cron * * * * *"), NOON - 3650 * DAY, NOON) == 10_000


schedules = st.one_of(
    st.builds(Every, st.timedeltas(MINUTE, 3 * DAY)),
    st.builds(lambda times: Daily(tuple(sorted(times))), st.sets(st.times(), min_size=1)),
    st.sampled_from(["cron */7 * * * *", "cron 0 3 * * 1-5", "cron 30 2 29 2 *"]).map(parse),
)
moments = st.datetimes(datetime(2024, 1, 1), datetime(2034, 1, 1), timezones=st.just(UTC))
zones = st.sampled_from([UTC, PRAGUE, ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Asia/Kathmandu")])


@given(schedules, moments, zones)
def test_what_follows_is_due_then_and_not_before(
    schedule: Every | Daily | Cron, last: datetime, zone: ZoneInfo
) -> None:
    """The moment that follows is the first at which something is due."""
    first = following(schedule, last, zone)
    assert due(schedule, last, first, zone) == first
    assert due(schedule, last, first - timedelta(microseconds=1), zone) is None
    assert missed(schedule, last, first, zone) == 0


# --------------------------------------------------------------------- clocks that are put on


def fires(text: str, start: str, end: str) -> list[str]:
    """When *text* comes from *start* until *end* in Prague, as its clocks show it."""
    schedule, moment, found = parse(text), at(start) - timedelta(seconds=1), list[str]()
    while (moment := following(schedule, moment, PRAGUE)) <= at(end):
        found.append(moment.astimezone(PRAGUE).isoformat(timespec="minutes"))
    return found


def test_a_zones_time_is_followed_in_summer_and_winter() -> None:
    assert fires("daily 07:00", "2030-01-15T00:00Z", "2030-01-15T23:00Z") == [
        "2030-01-15T07:00+01:00"
    ]
    assert fires("daily 07:00", "2030-07-15T00:00Z", "2030-07-15T20:00Z") == [
        "2030-07-15T07:00+02:00"
    ]


def test_a_time_that_is_left_out_comes_as_much_later() -> None:
    spring = ("2030-03-31T00:00Z", "2030-03-31T20:00Z")
    assert fires("daily 02:30", *spring) == ["2030-03-31T03:30+02:00"]
    assert fires("cron 30 2 * * *", *spring) == ["2030-03-31T03:30+02:00"]


def test_a_time_that_comes_twice_counts_once() -> None:
    autumn = ("2030-10-26T23:00Z", "2030-10-27T20:00Z")
    assert fires("daily 02:30", *autumn) == ["2030-10-27T02:30+02:00"]
    assert fires("cron 30 2 * * *", *autumn) == ["2030-10-27T02:30+02:00"]


def test_a_cron_of_every_hour_goes_on_as_if_nothing_had_happened() -> None:
    """It comes every half hour, also where 02:00 to 03:00 comes twice or not at all."""
    for start in ("2030-10-26T22:00Z", "2030-03-30T22:00Z"):
        end = (at(start) + 6 * HOUR).isoformat()
        came = [datetime.fromisoformat(text) for text in fires("cron */30 * * * *", start, end)]
        assert came == [at(start) + number * 30 * MINUTE for number in range(13)]


def test_a_cron_of_every_hour_keeps_its_minutes_where_clocks_go_by_half_an_hour() -> None:
    """Lord Howe leaves out 02:00 to 02:30: no other minute comes in place of what is left out."""
    howe, now = ZoneInfo("Australia/Lord_Howe"), at("2030-10-05T15:00Z")
    shown = []
    for _ in range(4):
        now = following(parse("cron */20 * * * *"), now, howe)
        shown.append(f"{now.astimezone(howe):%H:%M}")
    assert shown == ["01:40", "02:40", "03:00", "03:20"]


def test_an_interval_knows_no_clocks() -> None:
    assert following(parse("every 24h"), at("2030-03-30T12:00Z"), PRAGUE) == at("2030-03-31T12:00Z")
