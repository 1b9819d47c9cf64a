"""How a backend is, told from what was seen of it."""

from __future__ import annotations

import pytest

from spark_core.gateway.admission import PoolState
from spark_core.gateway.health import State, state_of
from spark_core.gateway.table import Sightings

NOW = 1_000_000.0


def seen(**ago: float) -> Sightings:
    """Each thing was seen so many seconds ago; what is not named, never."""
    return Sightings(
        **{name: NOW - ago[name] if name in ago else 0.0 for name in Sightings._fields}
    )


def doing(in_flight: int = 0, waiting: int = 0) -> PoolState:
    return PoolState("one", 4, in_flight, waiting, 1.0, full=in_flight >= 4)


@pytest.mark.parametrize(
    ("state", "sightings", "pool"),
    [
        ("ok", seen(up=0.1, well=5), doing()),
        ("ok", seen(up=0.1, well=5), doing(in_flight=3)),
        ("ok", seen(up=0.1), doing()),
        ("ok", seen(up=0.1, down=0.3, well=5), doing()),
        ("busy", seen(up=0.1, well=5), doing(in_flight=4)),
        ("busy", seen(up=0.1, well=5), doing(in_flight=4, waiting=7)),
        ("degraded", seen(up=0.1, well=15, unwell=5), doing()),
        ("down", seen(up=0.3, down=0.1, well=5), doing()),
        ("down", seen(up=0.3, down=0.1), doing(in_flight=4)),
        ("unknown", seen(), doing()),
        ("unknown", seen(up=60, well=60), doing()),
    ],
)
def test_the_state_follows_from_what_was_seen_last(
    state: State, sightings: Sightings, pool: PoolState
) -> None:
    assert state_of(sightings, pool, NOW) == state


@pytest.mark.parametrize(
    "pool", [doing(in_flight=1), doing(in_flight=4), doing(in_flight=4, waiting=2)]
)
def test_e2_a_health_check_that_fails_under_load_is_busy_and_not_down(pool: PoolState) -> None:
    assert state_of(seen(up=0.1, well=15, unwell=5), pool, NOW) == "busy"


def test_e2_a_backend_that_worked_just_now_is_busy_when_its_health_check_fails() -> None:
    assert state_of(seen(up=0.1, well=15, unwell=5, worked=2), doing(), NOW) == "busy"


def test_a_backend_whose_door_is_closed_is_busy_whatever_is_seen() -> None:
    pool = PoolState("one", 4, 0, 0, 1.0, full=True, closed=True)
    assert state_of(seen(down=0.1, up=10), pool, NOW) == "busy"
    assert state_of(seen(), pool, NOW) == "busy"


def test_a_request_that_was_answered_after_a_failed_connection_says_it_is_up() -> None:
    assert state_of(seen(down=0.2, worked=0.1), doing(), NOW) == "ok"
