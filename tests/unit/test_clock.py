"""The clock: one meaning of now."""

from __future__ import annotations

from datetime import timedelta

from spark_core.clock import Clock, SystemClock


def test_the_systems_clock_tells_utc() -> None:
    """Its times are aware, in UTC, and do not go back within a test."""
    clock = SystemClock()
    assert isinstance(clock, Clock)
    assert clock.now().utcoffset() == timedelta(0)
    assert clock.now() <= clock.now()
