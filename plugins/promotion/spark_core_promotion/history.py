"""Promotions in the state: at most one runs, and all leave their receipts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from spark_core.clock import Clock
from spark_core.errors import Conflict, LeaseLost, Locked, NotFound
from spark_core.references import resolved
from spark_core.state import Lease, Leases, State
from spark_core.state.times import aware
from spark_core.swaps.guards import SwapGuard
from spark_core.swaps.history import running_anywhere

from .models import Event, Outcome, Phase, Promotion, Step
from .settings import Plan
from .telling import told

if TYPE_CHECKING:
    from sqlalchemy import Connection, TableClause

__all__ = ["History", "guard"]

#: Lines of the logs of each phase that are kept, and characters of each; of a longer one so much
#: is looked at: a secret that is cut in two is still one.
LINES = 2000
LINE = 500
LONGEST = 4000


class History:
    """Writes and finds promotions."""

    def __init__(
        self, state: State, leases: Leases, clock: Clock, guards: Sequence[SwapGuard]
    ) -> None:
        self._state = state
        self._leases = leases
        self._clock = clock
        self._guards = guards

    # --------------------------------------------------------------------------------- writing

    async def admit(self, promotion: Promotion, token: str | None) -> None:
        """Let *promotion* run, a new one.

        :raises Locked: a guard forbids it, or another one runs.
        :raises Forbidden: the token is wrong.
        :raises Conflict: a swap runs.
        """
        import sqlalchemy as sa

        def transaction(connection: Connection) -> None:
            self._allow(connection, token)
            promotion.steps = [Step(phase=promotion.phase, at=self._clock.now())]
            row = {"id": promotion.id, "plan": promotion.plan, "running": 1}
            try:
                connection.execute(_promotions().insert().values(**row, promotion=_json(promotion)))
            except sa.exc.IntegrityError:  # it was admitted between the look and the insert
                raise Conflict("another promotion began at the same moment") from None
            self._tell(connection, promotion, "phase", promotion.phase)

        await self._state.write(transaction)

    async def admit_again(
        self, known: Promotion, token: str | None, note: str, *, back: bool
    ) -> Promotion:
        """Let one that ended go on, or be taken back, if nobody did anything since it was *known*.

        :raises Locked: a guard forbids it, or another one runs.
        :raises Forbidden: the token is wrong.
        :raises Conflict: a swap runs, or somebody did something.
        """

        def transaction(connection: Connection) -> Promotion:
            self._allow(connection, token)
            if self._newest_touching(connection, known.plan) != known:
                raise Conflict(
                    f"somebody else went on with {known.plan} meanwhile",
                    hint=f"see: spark promote status {known.plan}",
                )
            promotion = known.model_copy(update={"outcome": None, "ended_at": None})
            if back:
                promotion.back = promotion.asked_back = True
            self._put(connection, promotion, running=1)
            self._tell(connection, promotion, "note", note)
            return promotion

        return await self._state.write(transaction)

    def _allow(self, connection: Connection, token: str | None) -> None:
        for each in self._guards:
            resolved(each.check)(connection, token, self._clock.now())
        guard(connection, token, self._clock.now())  # also where nobody registered it
        if swap := running_anywhere(connection):
            raise Conflict(
                f"a swap to {swap.model or 'nothing'} is running",
                hint=f"wait for it: spark swaps events {swap.id}",
            )

    async def save(self, promotion: Promotion, lease: Lease, note: str = "") -> None:
        """Write down how far *promotion* is.

        :raises LeaseLost: it is somebody else's now.
        """

        def transaction(connection: Connection) -> None:
            self._leases.check(connection, lease)
            self._put(connection, promotion)
            if note:
                self._tell(connection, promotion, "note", note)

        await self._state.write(transaction)

    async def reach(self, promotion: Promotion, phase: Phase, lease: Lease) -> None:
        """Write down that *promotion* reached *phase*.

        :raises LeaseLost: it is somebody else's now.
        """
        reached = promotion.model_copy(update={"phase": phase})
        reached.steps = [*promotion.steps, Step(phase=phase, at=self._clock.now())]

        def transaction(connection: Connection) -> None:
            self._leases.check(connection, lease)
            self._put(connection, reached)
            self._tell(connection, promotion, "phase", phase)

        await self._state.write(transaction)
        promotion.phase, promotion.steps = reached.phase, reached.steps

    async def end(self, promotion: Promotion, outcome: Outcome, lease: Lease) -> None:
        """*promotion* ended so.

        :raises LeaseLost: it is somebody else's now.
        """
        promotion.outcome, promotion.ended_at = outcome, self._clock.now()
        promotion.took_s = (promotion.ended_at - promotion.created_at).total_seconds()

        def transaction(connection: Connection) -> None:
            self._leases.check(connection, lease)
            self._put(connection, promotion, running=None)
            self._tell(connection, promotion, "end", outcome)

        await self._state.write(transaction)

    async def log(self, promotion: Promotion, lines: Sequence[str]) -> None:
        """Add *lines* to the log of *promotion*; beyond so many in a phase they are left out."""
        import sqlalchemy as sa

        def transaction(connection: Connection) -> None:
            events = _events()
            mine = events.c.promotion == promotion.id
            phase = sa.select(sa.func.max(events.c.id)).where(mine, events.c.kind == "phase")
            count = sa.select(sa.func.count()).select_from(events)
            count = count.where(mine, events.c.id > phase.scalar_subquery())
            room = LINES - (connection.execute(count).scalar() or 0)
            for line in lines[: max(room, 0)]:
                self._tell(connection, promotion, "log", line)

        await self._state.write(transaction)

    def _put(self, connection: Connection, promotion: Promotion, **more: Any) -> None:
        table = _promotions()
        update = table.update().where(table.c.id == promotion.id)
        connection.execute(update.values(promotion=_json(promotion), **more))

    def _tell(self, connection: Connection, promotion: Promotion, kind: str, text: str) -> None:
        text = told(text[:LONGEST])[:LINE] if kind == "log" else told(text)
        row = {"promotion": promotion.id, "kind": kind, "text": text}
        connection.execute(_events().insert().values(at=self._clock.now(), **row))

    # --------------------------------------------------------------------------------- looking

    async def holds(self, lease: Lease) -> bool:
        """Whether *lease* is still the newest of its name."""
        try:
            await self._state.read(lambda c: self._leases.check(c, lease))
        except LeaseLost:
            return False
        return True

    async def find(self, id: str) -> Promotion:
        """The promotion of that id.

        :raises NotFound: there is none.
        """
        table = _promotions()
        query = table.select().where(table.c.id == id)
        row = await self._state.read(lambda c: c.execute(query).first())
        if row is None:
            raise NotFound(f"there is no promotion {id!r}")
        return _read(row.promotion)

    async def newest(self, plan: str) -> Promotion | None:
        """The newest of *plan*."""
        table = _promotions()
        query = table.select().where(table.c.plan == plan).order_by(table.c.number.desc())
        rows = await self._state.read(lambda c: c.execute(query.limit(1)).all())
        return _read(rows[0].promotion) if rows else None

    async def newest_touching(self, plan: str, before: str = "") -> Promotion | None:
        """The newest of *plan* that changed something, or may; *before* does not count."""
        return await self._state.read(lambda c: self._newest_touching(c, plan, before))

    def _newest_touching(
        self, connection: Connection, plan: str, before: str = ""
    ) -> Promotion | None:
        table = _promotions()
        mine = (table.c.plan == plan) & (table.c.id != before)
        query = table.select().where(mine).order_by(table.c.number.desc())
        found = (_read(row.promotion) for row in connection.execute(query))
        return next((each for each in found if not _changed_nothing(each)), None)

    async def events(self, id: str, after: int = 0) -> Sequence[Event]:
        """What happened in a promotion after the event *after*."""
        events = _events()
        query = events.select().where(events.c.promotion == id, events.c.id > after)
        query = query.order_by(events.c.id)
        rows = await self._state.read(lambda c: c.execute(query).all())
        return [Event(id=r.id, at=aware(r.at), kind=r.kind, text=r.text) for r in rows]


def guard(connection: Connection, token: str | None, now: datetime) -> None:
    """Whether a swap, or another promotion, may begin: see :class:`SwapGuard`.

    :raises Locked: a promotion runs. Whoever died working on it has not ended it.
    """
    import sqlalchemy as sa

    # Swaps and promotions queue here, so neither misses the other's beginning.
    connection.execute(sa.table("promotion_gate", sa.column("id")).select().with_for_update())
    table = _promotions()
    row = connection.execute(table.select().where(table.c.running == 1)).first()
    if row is not None:
        raise Locked(
            f"a server binary is being promoted ({row.plan})",
            holder=f"promotion {row.id}",
            hint=f"see how far it is: spark promote status {row.plan}; if nobody works on it any "
            f"more, go on with: spark promote {row.plan}",
        )


def _changed_nothing(promotion: Promotion) -> bool:
    """Whether it ended so: it was refused, or taken back before there was anything to take back."""
    back = promotion.outcome is Outcome.ROLLED_BACK
    return promotion.outcome is Outcome.REFUSED or (back and not promotion.touched)


def _json(promotion: Promotion) -> str:
    # What is not shown to anybody is kept, too: whoever goes on needs the plan as it was then.
    shown = promotion.model_dump(mode="json")
    return json.dumps({**shown, "declared": promotion.declared.model_dump(mode="json")})


def _read(text: str) -> Promotion:
    read = json.loads(text)
    declared = Plan.model_validate(read.pop("declared"))
    return Promotion.model_validate({**read, "declared": declared})


def _promotions() -> TableClause:
    import sqlalchemy as sa

    return sa.table("promotions", *map(sa.column, ("number", "id", "plan", "running", "promotion")))


def _events() -> TableClause:
    import sqlalchemy as sa

    names = ("id", "promotion", "kind", "text")
    moment = sa.column("at", sa.DateTime(timezone=True))
    return sa.table("promotion_events", *map(sa.column, names), moment)
