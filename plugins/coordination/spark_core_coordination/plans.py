"""What other programs plan: written down, shown, and never executed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final

from spark_core.clock import Clock
from spark_core.errors import Conflict, NotFound
from spark_core.state import State
from spark_core.state.times import aware

from .locks import Lock, pass_gate
from .occurrences import Every, Once, When, Window, occurrences, parse, windows
from .tables import table

if TYPE_CHECKING:
    from sqlalchemy import Connection, TableClause

__all__ = ["HORIZON", "Clash", "Plan", "Plans", "clashes", "next_time"]

#: How far ahead plans that come again are compared.
HORIZON: Final = timedelta(days=7)

#: So many are enough for one cluster, and few enough to compare each with each.
MOST: Final = 200


@dataclass(frozen=True)
class Plan:
    """What *owner* plans under a *name*: *when*, for how long, and with which model, if any."""

    owner: str
    name: str
    when: str
    model: str | None
    duration_s: float
    updated_at: datetime

    @cached_property
    def times(self) -> When:
        """What ``when`` means."""
        return parse(self.when)

    @property
    def duration(self) -> timedelta:
        """How long it takes."""
        return timedelta(seconds=self.duration_s)

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"


class Plans:
    """Writes down, lists and forgets plans."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def put(
        self, owner: str, name: str, when: str, *, model: str | None, duration_s: float
    ) -> Plan:
        """Write a plan down, instead of the one that *owner* had under that *name*.

        :raises Conflict: there are too many.
        """
        plan = Plan(owner, name, when, model, duration_s, self._clock.now())

        table = _plans()
        replaced = table.update().where(table.c.owner == owner, table.c.name == name)

        def transaction(connection: Connection) -> None:
            pass_gate(connection)  # one after another: two first comers must not clash
            if not connection.execute(replaced.values(asdict(plan))).rowcount:
                _check_room(connection)
                connection.execute(table.insert().values(asdict(plan)))

        await self._state.write(transaction)
        return plan

    async def remove(self, owner: str, name: str) -> None:
        """Forget a plan.

        :raises NotFound: *owner* has none under that *name*.
        """
        table = _plans()
        delete = table.delete().where(table.c.owner == owner, table.c.name == name)
        if not await self._state.write(lambda c: c.execute(delete).rowcount):
            raise NotFound(f"{owner!r} has no plan {name!r}")

    async def all(self) -> Sequence[Plan]:
        """Every plan, by owner and name."""
        table = _plans()
        query = table.select().order_by(table.c.owner, table.c.name)
        rows = await self._state.read(lambda c: c.execute(query).mappings().all())
        return [Plan(**{**row, "updated_at": aware(row["updated_at"])}) for row in rows]


def next_time(plan: Plan, now: datetime) -> datetime | None:
    """When it happens next; None where that is not known, or never within the next weeks."""
    if isinstance(plan.times, Every):
        return None
    if isinstance(plan.times, Once):
        return plan.times.at if plan.times.at >= now else None
    return next(occurrences(plan.times, now, now + 4 * HORIZON), None)


# ------------------------------------------------------------------------------------- clashes


@dataclass(frozen=True)
class Clash:
    """A plan that meets another one, or the reservation, first at some moment."""

    plan: Plan
    other: Plan | Lock
    at: datetime


def clashes(plans: Sequence[Plan], lock: Lock | None, now: datetime) -> Iterator[Clash]:
    """Plans that want different models at the same time, and those that meet *lock*.

    A plan does not meet the reservation of its own owner.
    """
    if lock is not None:
        reserved = Window(now, lock.expires_at)
        for plan in plans:
            if plan.owner != lock.holder and (found := _going_on(plan, reserved)):
                yield Clash(plan, lock, found[0].start)
    ahead = {id(plan): _going_on(plan, Window(now, now + HORIZON)) for plan in plans}
    for one, other in itertools.combinations(plans, 2):
        if one.model is None or other.model is None or one.model == other.model:
            continue
        pair = (ahead[id(one)], ahead[id(other)])
        if (single := _once(one, other, now)) is not None:
            pair = (_going_on(one, single), _going_on(other, single))
        if at := _first_overlap(*pair):
            yield Clash(one, other, at)
            yield Clash(other, one, at)


def _once(one: Plan, other: Plan, now: datetime) -> Window | None:
    """The time of what happens once, if either does: it may lie beyond the horizon."""
    for plan in (one, other):
        if isinstance(plan.times, Once):
            return Window(max(plan.times.at, now), plan.times.at + plan.duration)
    return None


def _going_on(plan: Plan, span: Window) -> list[Window]:
    return windows(plan.times, plan.duration, span)


def _first_overlap(ones: Iterable[Window], others: Iterable[Window]) -> datetime | None:
    first, second = iter(ones), iter(others)
    one, other = next(first, None), next(second, None)
    while one is not None and other is not None:
        if at := one.overlap(other):
            return at
        if one.end <= other.end:
            one = next(first, None)
        else:
            other = next(second, None)
    return None


def _check_room(connection: Connection) -> None:
    import sqlalchemy as sa

    count = connection.execute(sa.select(sa.func.count()).select_from(_plans())).scalar_one()
    if count >= MOST:
        raise Conflict(f"there are {count} plans already", hint="remove one")


def _plans() -> TableClause:
    columns = ("owner", "name", "when", "model", "duration_s")
    return table("plans", *columns, moments=("updated_at",))
