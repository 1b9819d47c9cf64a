"""The swaps in the state: at most one runs on a host, and all leave their receipts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..clock import Clock
from ..errors import Conflict, LeaseLost, NotFound
from ..references import resolved
from ..state import Lease, Leases, State
from ..state.times import aware
from .models import Outcome, Phase, Step, Swap, SwapEvent

if TYPE_CHECKING:
    from sqlalchemy import Connection, TableClause

    from .guards import SwapGuard

__all__ = ["SwapHistory", "SwapRuns", "running_anywhere"]

#: Lines of one swap's log that are kept: what crashes in a loop writes for ever.
LINES = 5000


class SwapRuns(Conflict):
    """Another swap runs: ``running`` is which."""

    def __init__(self, running: Swap) -> None:
        self.running = running
        super().__init__(
            f"a swap to {running.model or 'nothing'} is running ({running.phase})",
            hint=f"follow it, and see it done: spark swaps events {running.id}",
        )


class SwapHistory:
    """Writes, finds and lists swaps."""

    def __init__(self, state: State, leases: Leases, clock: Clock) -> None:
        self._state = state
        self._leases = leases
        self._clock = clock

    # --------------------------------------------------------------------------------- writing

    async def admit(
        self, swap: Swap, guards: Sequence[SwapGuard] = (), token: str | None = None
    ) -> None:
        """Let *swap* run, if every guard allows it with *token* and no other runs.

        :raises Locked: a guard forbids it.
        :raises Forbidden: the token is wrong.
        :raises SwapRuns: another runs on its host.
        """
        import sqlalchemy as sa

        def transaction(connection: Connection) -> None:
            for guard in guards:
                resolved(guard.check)(connection, token, self._clock.now())
            if running := _running(connection, swap.host):
                raise SwapRuns(running)
            swap.steps = [Step(phase=swap.phase, at=swap.created_at)]
            row = {"id": swap.id, "host": swap.host, "model": swap.model}
            insert = _swaps().insert().values(**row, created_at=swap.created_at, swap=_json(swap))
            try:
                connection.execute(insert)
            except sa.exc.IntegrityError:  # it was admitted between the look and the insert
                raise Conflict("another swap began at the same moment") from None
            self._add_event(connection, swap, "phase", swap.phase)

        await self._state.write(transaction)

    async def save(self, swap: Swap, lease: Lease, note: str = "") -> None:
        """Write down how far *swap* is, which is news.

        :raises LeaseLost: it is somebody else's now.
        """

        def transaction(connection: Connection) -> None:
            self._leases.check(connection, lease)
            before = _one(connection, swap.id)
            swap.cancel = before.cancel  # somebody else may have set it
            if (before.phase, before.back) != (swap.phase, swap.back):
                swap.steps.append(Step(phase=swap.phase, at=self._clock.now(), back=swap.back))
                data = {"back": swap.back, "expected_s": swap.expected_s}
                self._add_event(connection, swap, "phase", swap.phase, data)
            if note:
                self._add_event(connection, swap, "note", note)
            self._put(connection, swap)

        await self._state.write(transaction)

    async def end(self, swap: Swap, outcome: Outcome, lease: Lease) -> None:
        """*swap* ended so.

        :raises LeaseLost: it is somebody else's now.
        """
        import sqlalchemy as sa

        swap.outcome, swap.ended_at = outcome, self._clock.now()
        swap.took_s = (swap.ended_at - swap.created_at).total_seconds()

        def transaction(connection: Connection) -> None:
            self._leases.check(connection, lease)
            data = swap.model_dump(mode="json", include={"outcome", "failure", "serving", "took_s"})
            self._add_event(connection, swap, "end", outcome, data)
            newest = connection.execute(sa.select(sa.func.max(_swaps().c.ended))).scalar() or 0
            self._put(connection, swap, outcome=outcome.value, ended=newest + 1)

        await self._state.write(transaction)

    async def call_off(self, swap_id: str) -> Swap:
        """Note that *swap_id* is to be called off; who drives it heeds that.

        :raises NotFound: there is no such swap.
        :raises Conflict: it ended already.
        """

        def transaction(connection: Connection) -> Swap:
            swap = _one(connection, swap_id)
            if swap.outcome is not None:
                raise Conflict(f"swap {swap_id} ended already: {swap.outcome}")
            swap.cancel = True
            self._put(connection, swap)
            return swap

        return await self._state.write(transaction)

    async def log(self, swap: Swap, lines: Sequence[str]) -> None:
        """Add *lines* to the log of *swap*; beyond so many they are left out."""
        import sqlalchemy as sa

        def transaction(connection: Connection) -> None:
            events = _events()
            mine = sa.and_(events.c.swap == swap.id, events.c.kind == "log")
            count = sa.select(sa.func.count()).select_from(events).where(mine)
            room = LINES - (connection.execute(count).scalar() or 0)
            for line in lines[: max(room, 0)]:
                self._add_event(connection, swap, "log", line[:2000])

        await self._state.write(transaction)

    def _put(self, connection: Connection, swap: Swap, **more: Any) -> None:
        swaps = _swaps()
        update = swaps.update().where(swaps.c.id == swap.id)
        connection.execute(update.values(swap=_json(swap), **more))

    def _add_event(
        self, connection: Connection, swap: Swap, kind: str, text: str, data: Any = None
    ) -> None:
        row = {"swap": swap.id, "kind": kind, "text": text, "data": json.dumps(data or {})}
        connection.execute(_events().insert().values(at=self._clock.now(), **row))

    # --------------------------------------------------------------------------------- looking

    async def running(self, host: str) -> Swap | None:
        """The swap that runs on *host*, if one does."""
        return await self._state.read(lambda c: _running(c, host))

    async def find(self, swap_id: str) -> Swap:
        """The swap of that id.

        :raises NotFound: there is none.
        """
        return await self._state.read(lambda c: _one(c, swap_id))

    async def newest(self, *, limit: int = 20, host: str | None = None) -> Sequence[Swap]:
        """The newest first."""
        swaps = _swaps()
        query = swaps.select().order_by(swaps.c.number.desc()).limit(limit)
        if host is not None:
            query = query.where(swaps.c.host == host)
        rows = await self._state.read(lambda c: c.execute(query).all())
        return [Swap.model_validate_json(row.swap) for row in rows]

    async def newest_change(self, host: str) -> Swap | None:
        """The newest swap of *host* that changed what is loaded, and ended with it at work."""
        swaps = _swaps()
        good = swaps.c.outcome.in_([Outcome.READY.value, Outcome.ROLLED_BACK.value])
        query = swaps.select().where(swaps.c.host == host, good)
        query = query.order_by(swaps.c.number.desc()).limit(1)
        row = await self._state.read(lambda c: c.execute(query).first())
        return Swap.model_validate_json(row.swap) if row else None

    async def ended_after(self, cursor: int, *, limit: int = 100) -> Sequence[tuple[int, Swap]]:
        """Those that ended after *cursor*, which each gives for the next time, in that order."""
        swaps = _swaps()
        query = swaps.select().where(swaps.c.ended > cursor).order_by(swaps.c.ended).limit(limit)
        rows = await self._state.read(lambda c: c.execute(query).all())
        return [(row.ended, Swap.model_validate_json(row.swap)) for row in rows]

    async def events(
        self, swap_id: str, after: int = 0, *, limit: int = 500
    ) -> Sequence[SwapEvent]:
        """What happened in a swap after the event *after*."""
        events = _events()
        query = (
            events.select()
            .where(events.c.swap == swap_id, events.c.id > after)
            .order_by(events.c.id)
            .limit(limit)
        )
        rows = await self._state.read(lambda c: c.execute(query).mappings().all())
        return [_event(dict(row)) for row in rows]

    async def expected_s(self, model: str | None, phase: Phase = Phase.READY) -> float | None:
        """Seconds to *phase* in the median of the last five swaps to *model* that got there."""
        taken = [swap.seconds_to(phase) for swap in await self.ready(model, 5)]
        known = sorted(seconds for seconds in taken if seconds)
        return known[len(known) // 2] if known else None

    async def measured(self, model: str) -> dict[str, int]:
        """What *model* took of each machine's memory when it was last made ready, in bytes."""
        memory = [each for swap in await self.ready(model, 1) for each in swap.memory.items()]
        return {
            name: max(m.empty - m.after, 0)
            for name, m in memory
            if m.empty is not None and m.after is not None
        }

    async def holds(self, lease: Lease) -> bool:
        """Whether *lease* is still the newest of its name."""
        try:
            await self._state.read(lambda c: self._leases.check(c, lease))
        except LeaseLost:
            return False
        return True

    async def ready(self, model: str | None, limit: int) -> Sequence[Swap]:
        """The newest *limit* swaps to *model* that made it ready; not those that found it so."""
        swaps = _swaps()
        made = swaps.c.swap.contains(f'"phase":"{Phase.STOPPED}"')  # one of the steps
        query = (
            swaps.select()
            .where(swaps.c.model == model, swaps.c.outcome == Outcome.READY.value, made)
            .order_by(swaps.c.number.desc())
            .limit(limit)
        )
        rows = await self._state.read(lambda c: c.execute(query).all())
        return [Swap.model_validate_json(row.swap) for row in rows]


def running_anywhere(connection: Connection) -> Swap | None:
    """Within a transaction: a swap that runs, on whichever host."""
    swaps = _swaps()
    row = connection.execute(swaps.select().where(swaps.c.outcome.is_(None))).first()
    return Swap.model_validate_json(row.swap) if row else None


def _running(connection: Connection, host: str) -> Swap | None:
    swaps = _swaps()
    query = swaps.select().where(swaps.c.host == host, swaps.c.outcome.is_(None))
    row = connection.execute(query).first()
    return Swap.model_validate_json(row.swap) if row else None


def _one(connection: Connection, swap_id: str) -> Swap:
    swaps = _swaps()
    row = connection.execute(swaps.select().where(swaps.c.id == swap_id)).first()
    if row is None:
        raise NotFound(f"there is no swap {swap_id!r}")
    return Swap.model_validate_json(row.swap)


def _event(row: dict[str, Any]) -> SwapEvent:
    return SwapEvent.model_validate(
        {**row, "at": aware(row["at"]), "data": json.loads(row["data"])}
    )


def _json(swap: Swap) -> str:
    return swap.model_dump_json()


def _swaps() -> TableClause:
    import sqlalchemy as sa

    names = ("number", "id", "host", "model", "outcome", "ended", "swap")
    created = sa.column("created_at", sa.DateTime(timezone=True))
    return sa.table("swaps", *map(sa.column, names), created)


def _events() -> TableClause:
    import sqlalchemy as sa

    names = ("id", "swap", "kind", "text", "data")
    return sa.table("swap_events", *map(sa.column, names), sa.column("at", sa.DateTime(True)))
