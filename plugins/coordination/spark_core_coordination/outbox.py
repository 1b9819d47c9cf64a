"""The outbox: what receivers are to be told, in the state until they took it.

An event is written down together with how far its source was read, in one transaction, and its
key is unique: so each is there once, whoever is killed and however many look at the source.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from spark_core.clock import Clock
from spark_core.errors import NotFound
from spark_core.state import State
from spark_core.state.times import aware

from .locks import pass_gate
from .settings import Webhook
from .sources import Happening, Source
from .tables import table

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Select, TableClause

__all__ = ["DEAD", "PENDING", "Delivery", "Outbox"]

PENDING: Final = "pending"
DELIVERED: Final = "delivered"
DEAD: Final = "dead"

#: How long before the first look it may have happened that receivers are told.
RECENT: Final = timedelta(minutes=10)

#: How long what was taken, or given up, is kept.
KEPT: Final = timedelta(days=30)


@dataclass(frozen=True)
class Delivery:
    """An event on its way to a receiver. Its ``id`` is the same however often it is sent."""

    id: str
    receiver: str
    state: str
    attempts: int
    begun_at: datetime
    due_at: datetime
    ended_at: datetime | None
    error: str
    kind: str
    at: datetime
    data: dict[str, Any]


class Outbox:
    """Takes events in, and keeps account of their deliveries."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    # ------------------------------------------------------------------------------ taking in

    async def collect(
        self, source: Source, webhooks: Sequence[Webhook], *, since: datetime | None = None
    ) -> bool:
        """Take in what is new in *source*, for those of *webhooks* that want it.

        What happened before *since* is told to nobody. Gives whether there may be more.
        """
        before = await self._position(source)
        happenings, after = await source.read(before)
        if after == before and await self._has(happenings):
            return False

        def transaction(connection: Connection) -> None:
            pass_gate(connection)
            if _position(connection, source) == before:  # else another process was faster
                _put_position(connection, source, after)
                for happening in happenings:
                    old = since is not None and happening.at < since
                    self._take(connection, happening, () if old else webhooks)
                self._tidy(connection)

        await self._state.write(transaction)
        return bool(happenings)

    async def catch_up(self, source: Source, webhooks: Sequence[Webhook] = ()) -> None:
        """Read a source to its end that was never looked at.

        *webhooks* are told what happened just before, as this may be a first start: whoever
        configures receivers should not have to wait until somebody looks.
        """
        since = self._clock.now() - RECENT
        if await self._position(source) is None:
            while await self.collect(source, webhooks, since=since):
                pass

    async def forget(self) -> None:
        """Forget how far all sources were read: there is nobody to tell."""
        await self._state.write(lambda c: c.execute(_cursors().delete()))

    async def _position(self, source: Source) -> str | None:
        return await self._state.read(lambda c: _position(c, source))

    async def _has(self, happenings: Sequence[Happening]) -> bool:
        """Whether all of *happenings* were taken in already."""
        keys = {happening.key for happening in happenings}
        return len(keys) == await self._state.read(lambda c: len(_known(c, keys)))

    def _take(self, connection: Connection, happening: Happening, told: Sequence[Webhook]) -> None:
        if _known(connection, {happening.key}):
            return
        values = {"key": happening.key, "kind": happening.kind.value, "at": happening.at}
        data = json.dumps(happening.data, ensure_ascii=False, separators=(",", ":"))
        events, now = _events(), self._clock.now()
        insert = events.insert().values(**values, data=data).returning(events.c.id)
        event = connection.execute(insert).scalar_one()
        fresh = {"event": event, "attempts": 0, "error": "", "begun_at": now, "due_at": now}
        for webhook in told:
            if happening.kind in webhook.events:
                names = {"id": f"msg_{secrets.token_hex(16)}", "receiver": webhook.called}
                row = {**names, **fresh, "state": PENDING}
                connection.execute(_deliveries().insert().values(row))

    def _tidy(self, connection: Connection) -> None:
        import sqlalchemy as sa

        deliveries, events, before = _deliveries(), _events(), self._clock.now() - KEPT
        connection.execute(deliveries.delete().where(deliveries.c.ended_at < before))
        left = sa.select(deliveries.c.event).where(deliveries.c.event == events.c.id).exists()
        connection.execute(events.delete().where(events.c.at < before, ~left))

    # ------------------------------------------------------------------------------ delivering

    async def next(self, receiver: str) -> Delivery | None:
        """The oldest delivery to *receiver* that is not over, if it is due."""
        query = _query(_deliveries().c.receiver == receiver, _deliveries().c.state == PENDING)
        row = await self._state.read(lambda c: c.execute(query.limit(1)).mappings().first())
        delivery = _delivery(row) if row is not None else None
        return delivery if delivery and delivery.due_at <= self._clock.now() else None

    async def delivered(self, delivery: Delivery) -> None:
        """The receiver took it."""
        await self._end(delivery.id, PENDING, state=DELIVERED, attempts=delivery.attempts + 1)

    async def failed(self, delivery: Delivery, error: str, due_at: datetime) -> None:
        """The receiver did not take it; it is due again at *due_at*."""
        values = {"attempts": delivery.attempts + 1, "error": error[:200], "due_at": due_at}
        await self._update(delivery.id, PENDING, **values)

    async def give_up(self, delivery: Delivery, error: str) -> None:
        """The receiver did not take it, and is not asked again."""
        values = {"attempts": delivery.attempts + 1, "error": error[:200]}
        await self._end(delivery.id, PENDING, state=DEAD, **values)

    async def give_up_others(self, receivers: Iterable[str]) -> None:
        """Give up what is for somebody else than *receivers*, who are all there are."""
        deliveries = _deliveries()
        others = deliveries.c.receiver.not_in(list(receivers))
        update = deliveries.update().where(deliveries.c.state == PENDING, others)
        error = "there is no receiver of this name any more"
        values = {"state": DEAD, "error": error, "ended_at": self._clock.now()}
        await self._state.write(lambda c: c.execute(update.values(values)))

    # ------------------------------------------------------------------------------- the dead

    async def dead(self, *, limit: int = 100) -> Sequence[Delivery]:
        """Those that were given up, the oldest first."""
        query = _query(_deliveries().c.state == DEAD).limit(limit)
        rows = await self._state.read(lambda c: c.execute(query).mappings().all())
        return [_delivery(row) for row in rows]

    async def retry(self, delivery_id: str) -> None:
        """Send one again that was given up.

        :raises NotFound: there is none of that id.
        """
        now = self._clock.now()
        values = {"state": PENDING, "attempts": 0, "begun_at": now, "due_at": now}
        await self._of_the_dead(delivery_id, **values, ended_at=None)

    async def drop(self, delivery_id: str) -> None:
        """Forget one that was given up.

        :raises NotFound: there is none of that id.
        """
        await self._of_the_dead(delivery_id, state="dropped", ended_at=self._clock.now())

    async def counts(self) -> dict[tuple[str, str], int]:
        """How many deliveries there are of each receiver and state."""
        import sqlalchemy as sa

        columns = (_deliveries().c.receiver, _deliveries().c.state)
        query = sa.select(*columns, sa.func.count()).group_by(*columns)
        rows = await self._state.read(lambda c: c.execute(query).all())
        return {(row[0], row[1]): row[2] for row in rows}

    async def _of_the_dead(self, delivery_id: str, **values: Any) -> None:
        if not await self._update(delivery_id, DEAD, **values):
            raise NotFound(f"no delivery {delivery_id!r} was given up")

    async def _end(self, delivery_id: str, state_now: str, **values: Any) -> None:
        await self._update(delivery_id, state_now, ended_at=self._clock.now(), **values)

    async def _update(self, delivery_id: str, state_now: str, **values: Any) -> int:
        deliveries = _deliveries()
        mine = (deliveries.c.id == delivery_id, deliveries.c.state == state_now)
        update = deliveries.update().where(*mine).values(**values)
        return await self._state.write(lambda c: c.execute(update).rowcount)


# --------------------------------------------------------------------------------------- rows


def _position(connection: Connection, source: Source) -> str | None:
    cursors = _cursors()
    query = cursors.select().where(cursors.c.source == source.name)
    row = connection.execute(query).first()
    return None if row is None else str(row.position)


def _put_position(connection: Connection, source: Source, position: str) -> None:
    cursors = _cursors()
    mine = cursors.update().where(cursors.c.source == source.name)
    if not connection.execute(mine.values(position=position)).rowcount:
        connection.execute(cursors.insert().values(source=source.name, position=position))


def _known(connection: Connection, keys: set[str]) -> set[str]:
    import sqlalchemy as sa

    query = sa.select(_events().c.key).where(_events().c.key.in_(keys))
    return set(connection.execute(query).scalars())


def _query(*conditions: ColumnElement[bool]) -> Select[Any]:
    import sqlalchemy as sa

    deliveries, events = _deliveries(), _events()
    columns = [c for c in deliveries.c if c.name not in ("number", "event")]
    query = sa.select(*columns, events.c.kind, events.c.at, events.c.data)
    query = query.join_from(deliveries, events, deliveries.c.event == events.c.id)
    return query.where(*conditions).order_by(deliveries.c.number)


def _delivery(row: Any) -> Delivery:
    moments = {name: aware(row[name]) for name in ("begun_at", "due_at", "at")}
    ended_at = row["ended_at"] and aware(row["ended_at"])
    return Delivery(**{**row, **moments, "ended_at": ended_at, "data": json.loads(row["data"])})


def _cursors() -> TableClause:
    return table("cursors", "source", "position")


def _events() -> TableClause:
    return table("events", "id", "key", "kind", "data", moments=("at",))


def _deliveries() -> TableClause:
    columns = ("number", "id", "event", "receiver", "state", "attempts", "error")
    return table("deliveries", *columns, moments=("begun_at", "due_at", "ended_at"))
