"""Where events come from. Each source is asked again and again for what is new.

A *position* is how far a source was read; only the source itself understands it. It may tell of
an event twice: its ``key`` is always the same then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from spark_core.clock import Clock
from spark_core.gateway.outages import Outage, OutageLog
from spark_core.swaps.history import SwapHistory
from spark_core.swaps.models import Outcome, Swap

from .locks import LockEvent, Locks
from .settings import EventKind

__all__ = ["Happening", "LockSource", "OutageSource", "Source", "SwapSource"]


@dataclass(frozen=True)
class Happening:
    """Something that happened, as receivers are told it; there is nothing secret in ``data``."""

    key: str
    kind: EventKind
    at: datetime
    data: Mapping[str, Any]


class Source(Protocol):
    """Something that happens; ``name`` is its position's in the state."""

    name: str

    async def read(self, position: str | None) -> tuple[Sequence[Happening], str]:
        """What happened after *position*, in order, and the new position.

        None is the beginning. Where nothing is new, the position is the same.
        """
        ...


class LockSource:
    """What happens to reservations."""

    name = "locks"

    def __init__(self, locks: Locks) -> None:
        self._locks = locks

    async def read(self, position: str | None) -> tuple[Sequence[Happening], str]:
        """See :class:`Source`."""
        await self._locks.settle()
        position = position or "0"
        events = await self._locks.events_after(int(position))
        return [_of_lock(event) for event in events], str(events[-1].id) if events else position


def _of_lock(event: LockEvent) -> Happening:
    lock = event.lock
    data = {
        "lock": lock.id,
        "holder": lock.holder,
        "reason": lock.reason,
        "release_gpu": lock.release_gpu,
        "acquired_at": _text(lock.acquired_at),
        "expires_at": _text(lock.expires_at),
    }
    return Happening(f"lock-event-{event.id}", EventKind(f"lock_{event.kind}"), event.at, data)


class SwapSource:
    """Swaps that ended, each once."""

    name = "swaps"

    def __init__(self, history: SwapHistory) -> None:
        self._history = history

    async def read(self, position: str | None) -> tuple[Sequence[Happening], str]:
        """See :class:`Source`."""
        position = position or "0"
        ended = await self._history.ended_after(int(position))
        found = [_of_swap(swap) for _, swap in ended]
        return found, str(ended[-1][0]) if ended else position


#: All others ended without the model that was asked for.
_ENDINGS: Final = {
    Outcome.READY: EventKind.SWAP_COMPLETE,
    Outcome.ROLLED_BACK: EventKind.SWAP_ROLLED_BACK,
}


def _of_swap(swap: Swap) -> Happening:
    assert swap.outcome is not None
    assert swap.ended_at is not None
    data = {
        "swap": swap.id,
        "model": swap.model,
        "previous": swap.previous,
        "serving": swap.serving,
        "state": swap.outcome.value,
        "reason": swap.reason,
        "error": {"code": swap.failure.code, "message": swap.failure.message}
        if swap.failure
        else None,
        "started_at": _text(swap.created_at),
        "ended_at": _text(swap.ended_at),
    }
    kind = _ENDINGS.get(swap.outcome, EventKind.SWAP_FAILED)
    return Happening(f"swap-{swap.id}", kind, swap.ended_at, data)


class OutageSource:
    """Outages that began or ended since the last look.

    They are written down a little after they happened, so each look goes back further.
    """

    name = "outages"

    #: How long after its time an outage may be written down.
    LATE: Final = timedelta(minutes=10)

    def __init__(self, log: OutageLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock

    async def read(self, position: str | None) -> tuple[Sequence[Happening], str]:
        """See :class:`Source`."""
        now = self._clock.now()
        last = datetime.fromisoformat(position) if position else now
        since = last - 2 * self.LATE
        outages = await self._log.newest(limit=1000, since=since)
        found = [happening for outage in outages for happening in _of_outage(outage)]
        fresh = sorted((h for h in found if h.at >= since), key=lambda h: (h.at, h.key))
        # Seldom written, and never so late that one is missed.
        keep = position is not None and now - last < self.LATE
        return fresh, position if keep and position else _text(now)


def _of_outage(outage: Outage) -> Iterator[Happening]:
    data = {
        "outage": outage.id,
        "backend": outage.backend,
        "seen_by": outage.seen_by,
        "start": _text(outage.start),
    }
    yield Happening(f"outage-{outage.id}-began", EventKind.OUTAGE_BEGAN, outage.start, data)
    if outage.end is not None:
        ended = {**data, "end": _text(outage.end), "duration_s": outage.duration_s}
        yield Happening(f"outage-{outage.id}-ended", EventKind.OUTAGE_ENDED, outage.end, ended)


def _text(moment: datetime) -> str:
    return moment.isoformat()
