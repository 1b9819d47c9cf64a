"""The pace of long work."""

from __future__ import annotations

import pytest

from spark_core.pace import Pace


@pytest.fixture
def clock() -> list[float]:
    return [100.0]


@pytest.fixture
def pace(clock: list[float]) -> Pace:
    return Pace(lambda: clock[0])


def test_rate_and_time_left_are_those_of_the_phase(clock: list[float], pace: Pace) -> None:
    """What was done before it began does not count, nor does another phase."""
    assert pace.of("measuring", 0, 10) == (None, None)
    clock[0] += 50
    assert pace.of("indexing", 1000, 2000) == (None, None)
    clock[0] += 10
    assert pace.of("indexing", 1500, 2000) == (50.0, 10.0)
    clock[0] += 10
    assert pace.of("indexing", 2000, 2000) == (50.0, 0.0)


def test_what_nobody_can_say_is_not_said(clock: list[float], pace: Pace) -> None:
    """Without a total, in the first moment, and while nothing gets done."""
    pace.of("indexing", 0, None)
    clock[0] += 0.5
    assert pace.of("indexing", 10, 20) == (None, None)
    clock[0] += 1.5
    assert pace.of("indexing", 10, None) == (5.0, None)
    assert pace.of("indexing", 0, 20) == (None, None)
