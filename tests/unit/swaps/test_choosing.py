"""Which model is there: nobody waits for ever, and nothing is swapped to and fro."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_core.swaps.choosing import Situation, choose, due, patient
from spark_core.swaps.models import Outcome, Swap
from spark_core.swaps.settings import SwapSettings, Timeslot

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)  # a Tuesday
SETTINGS = SwapSettings(max_wait_s=300, min_residency_s=120, idle_s=600)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def situation(**more: Any) -> Situation:
    """Model a is loaded for an hour, and works."""
    usual = {"loaded": "a", "loaded_at": ago(3600), "busy": True, "worked_at": NOW}
    return Situation(now=NOW, **{**usual, **more})


def chosen(**more: Any) -> str | None:
    found = choose(situation(**more), SETTINGS)
    return found[0] if found else None


def test_a_model_that_works_stays_for_a_while() -> None:
    assert chosen(wanted={"b": ago(60)}) is None


def test_a_model_that_has_nothing_to_do_goes_at_once() -> None:
    assert chosen(wanted={"b": ago(1)}, busy=False, worked_at=ago(3)) == "b"


def test_traffic_that_never_stops_does_not_starve_another_model() -> None:
    assert chosen(wanted={"b": ago(300)}) == "b"


def test_the_swap_begins_so_early_that_the_wait_keeps_its_bound() -> None:
    assert chosen(wanted={"b": ago(180)}, expected_s=120) == "b"
    assert chosen(wanted={"b": ago(179)}, expected_s=120) is None


def test_a_model_has_its_time_before_it_goes() -> None:
    assert chosen(wanted={"b": ago(900)}, loaded_at=ago(119)) is None
    assert chosen(wanted={"b": ago(900)}, loaded_at=ago(120)) == "b"


def test_who_waits_longest_is_next() -> None:
    assert chosen(wanted={"c": ago(400), "b": ago(350)}) == "c"


def test_a_wish_for_what_is_loaded_is_none() -> None:
    assert chosen(wanted={"a": ago(400), "b": ago(10)}) is None


def test_the_default_returns_after_the_idle_time() -> None:
    assert chosen(default="d", busy=False, worked_at=ago(599)) is None
    assert chosen(default="d", busy=False, worked_at=ago(600)) == "d"
    assert chosen(default="a", busy=False, worked_at=ago(600)) is None


def test_nothing_is_loaded_on_an_empty_machine_but_the_default() -> None:
    assert chosen(loaded=None, default="d") == "d"
    assert chosen(loaded=None) is None


def test_the_timetable_waits_for_a_pause_in_the_work_but_not_for_ever() -> None:
    assert chosen(due="t", due_since=ago(10)) is None
    assert chosen(due="t", due_since=ago(10), busy=False, worked_at=ago(5)) == "t"
    assert chosen(due="t", due_since=ago(301)) == "t"


def test_what_is_due_is_not_sent_away_by_the_default() -> None:
    assert chosen(loaded="t", due="t", default="d", busy=False, worked_at=ago(9000)) is None


@given(st.floats(0, 5000), st.floats(0, 5000), st.booleans(), st.floats(0, 400), st.floats(0, 100))
def test_no_wish_is_older_than_its_bound(
    wanted: float, stays: float, busy: bool, expected: float, idle: float
) -> None:
    """Whatever else is true: after max_wait and the residency, it is its turn."""
    model = chosen(
        wanted={"b": ago(wanted)}, loaded_at=ago(stays), busy=busy, expected_s=expected,
        worked_at=ago(idle),
    )  # fmt: skip
    if wanted + expected >= SETTINGS.max_wait_s and stays >= SETTINGS.min_residency_s:
        assert model == "b"


# --------------------------------------------------------------------------------- the timetable


def slot(begins: str, ends: str, days: tuple[str, ...] = ()) -> Timeslot:
    return Timeslot.model_validate(
        {"model": "t", "from": begins, "to": ends, **({"days": days} if days else {})}
    )


@pytest.mark.parametrize(
    ("begins", "ends", "days", "is_due"),
    [
        ("11:00", "13:00", (), True),
        ("12:00", "13:00", (), True),
        ("11:00", "12:00", (), False),
        ("22:00", "12:30", (), True),  # since yesterday
        ("22:00", "12:30", ("mon",), True),  # yesterday was one
        ("22:00", "12:30", ("tue",), False),
        ("11:00", "13:00", ("wed", "thu"), False),
    ],
)
def test_a_slot_goes_from_its_beginning_to_before_its_end(begins, ends, days, is_due) -> None:
    assert (due([slot(begins, ends, days)], "UTC", NOW)[0] == "t") is is_due


def test_a_slot_is_in_its_own_time_zone() -> None:
    """Noon UTC is one o'clock in Prague."""
    assert due([slot("13:00", "14:00")], "Europe/Prague", NOW) == ("t", NOW)


# ---------------------------------------------------------------------------------- trying again


def failed(model: str, seconds: float) -> Swap:
    return Swap(
        id="x", host="h", model=model, outcome=Outcome.ROLLED_BACK, created_at=ago(seconds + 60),
        ended_at=ago(seconds),
    )  # fmt: skip


def test_what_failed_is_tried_again_later_and_later() -> None:
    assert not patient([failed("b", 59)], "b", NOW)
    assert patient([failed("b", 60)], "b", NOW)
    assert not patient([failed("b", 119), failed("b", 300)], "b", NOW)
    assert patient([failed("b", 120), failed("b", 300)], "b", NOW)


def test_another_model_may_be_tried_at_once() -> None:
    assert patient([failed("b", 1)], "c", NOW)
