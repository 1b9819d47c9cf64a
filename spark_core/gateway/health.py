"""How each backend is, told from what all processes saw of it, without asking it now."""

from __future__ import annotations

from typing import Final, Literal

from .admission import PoolState
from .table import Sightings

__all__ = ["State", "state_of"]

State = Literal["ok", "busy", "degraded", "down", "disabled", "unknown"]

#: Seconds that a sighting says something about the present.
RECENT: Final = 30.0


def state_of(seen: Sightings, pool: PoolState, now: float) -> State:
    """How a backend is at the time *now*.

    ``down`` takes no connections. ``busy`` takes them and works, or has as much to do as it
    can, even if its health check does not get through: a GPU that works is no outage.
    ``degraded`` takes connections, has nothing to do, and still fails its health check.
    Behind a closed door a backend is ``busy`` whatever is seen: it was taken away on purpose.
    """
    if pool.closed:
        return "busy"
    newest = max(seen)
    if now - newest > RECENT and not pool.in_flight:
        return "unknown"
    if seen.down > max(seen.up, seen.worked):
        return "down"
    if seen.unwell > seen.well:
        working = pool.in_flight > 0 or now - seen.worked < RECENT
        return "busy" if working else "degraded"
    return "busy" if pool.full or pool.waiting else "ok"
