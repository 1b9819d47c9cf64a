"""Models on demand: who waits for a model that is not loaded, and since when."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from ..clock import Clock
from ..errors import NotFound, SparkError, Unavailable
from ..gateway.admission import Busy
from ..state import State
from ..state.times import aware
from .catalog import CatalogModel
from .driving import Swaps
from .models import Outcome, Swap
from .readiness import key_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, TableClause

__all__ = ["Demand", "WishList", "open_demand", "open_wish_list"]

#: Seconds between two looks whether the model is there.
LOOK: Final = 1.0

#: Seconds that a wish counts after nobody waits for it any more: who was told to come again has
#: this time to do so, and does not begin to wait anew.
KEPT: Final = 90.0

KEEP: Final = timedelta(seconds=KEPT)

#: Seconds that a swap is expected to take where none was ever made.
UNKNOWN: Final = 120.0


class WishList:
    """Who wants which model, in the state: a wish of each process for each model."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._process = secrets.token_hex(8)

    async def keep(self, model: str) -> None:
        """This process wants *model*, now as before."""
        now, wishes = self._clock.now(), _table()
        name = f"{self._process}:{model}"[:200]

        def transaction(connection: Connection) -> None:
            # One that nobody came back for is none: who comes now begins to wait.
            connection.execute(wishes.delete().where(wishes.c.seen <= now - KEEP))
            update = wishes.update().where(wishes.c.id == name).values(seen=now)
            if not connection.execute(update).rowcount:
                row = {"id": name, "model": model, "since": now, "seen": now}
                connection.execute(wishes.insert().values(row))

        await self._state.write(transaction)

    async def drop(self, model: str) -> None:
        """This process does not want *model* any more."""
        wishes = _table()
        delete = wishes.delete().where(wishes.c.id == f"{self._process}:{model}"[:200])
        await self._state.write(lambda c: c.execute(delete))

    async def fulfilled(self, model: str) -> None:
        """*model* is there: nobody has to wait for it."""
        wishes = _table()
        delete = wishes.delete().where(wishes.c.model == model)
        await self._state.write(lambda c: c.execute(delete))

    async def oldest(self) -> Mapping[str, datetime]:
        """Since when each model is wanted; the one that is wanted longest comes first."""
        wishes = _table()
        live = wishes.c.seen > self._clock.now() - KEEP
        query = wishes.select().where(live).order_by(wishes.c.since)
        rows = await self._state.read(lambda c: c.execute(query).all())
        since: dict[str, datetime] = {}
        for row in rows:
            since.setdefault(row.model, aware(row.since))
        return since


class Demand:
    """:class:`~spark_core.gateway.demand.OnDemand` out of the catalog.

    However many requests of this process wait for a model, one task asks for all of them.
    """

    def __init__(self, swaps: Swaps, wishes: WishList, clock: Clock) -> None:
        self._swaps = swaps
        self._wishes = wishes
        self._clock = clock
        self._waiting: dict[str, _Waiting] = {}

    async def models(self) -> Sequence[str]:
        """The names of all models that can be had on demand."""
        if self._swaps.host is None:
            return ()
        catalog = self._swaps.catalog.models.values()
        return [name for m in catalog if m.on_demand != "never" for name in m.names]

    async def wanted(self, model: str, *, wait_s: float) -> None:
        """Wait until *model* is served, for at most *wait_s* seconds.

        :raises NotFound: the catalog does not have it, or it is not to be had on demand.
        :raises Busy: it is not to be waited for, or did not come in time.
        :raises Unavailable: it could not be loaded.
        """
        entry = self._swaps.catalog.find(model)
        if model not in entry.names:
            raise NotFound(f"callers know the model {model!r} as {entry.names[0]!r}")
        if await self.is_served(entry):
            return
        if entry.on_demand == "never" or self._swaps.host is None:
            raise NotFound(
                f"the model {entry.names[0]!r} is not loaded, and not to be had on demand",
                hint="somebody has to swap to it: POST /api/swap",
            )
        if entry.on_demand == "reject":
            await self._wishes.keep(entry.name)
            raise await self._busy(entry, "it is not loaded yet")
        await self._wait(entry, wait_s)

    async def _wait(self, entry: CatalogModel, seconds: float) -> None:
        waiting = self._waiting.get(entry.name)
        if waiting is None or waiting.task.done():
            waiting = self._waiting[entry.name] = _Waiting(self, entry)
        waiting.count += 1
        in_time = False
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(waiting.task)
            in_time = True
        except TimeoutError:
            in_time = True  # who was told to come again keeps its place
            raise await self._busy(entry, "it did not come in time") from None
        finally:
            waiting.count -= 1
            if not waiting.count and not waiting.task.done():
                waiting.task.cancel()
                if not in_time:
                    await self._wishes.drop(entry.name)

    async def _watch(self, entry: CatalogModel) -> None:
        began = self._clock.now()
        while True:
            await self._wishes.keep(entry.name)
            if await self.is_served(entry):
                await self._wishes.fulfilled(entry.name)
                return
            if failed := await self._failed_since(entry, began):
                await self._wishes.fulfilled(entry.name)
                why = failed.failure.message if failed.failure else str(failed.outcome)
                raise Unavailable(
                    f"the model {entry.names[0]!r} could not be loaded: {why}", retry_after=60
                )
            await asyncio.sleep(LOOK)

    async def is_served(self, entry: CatalogModel) -> bool:
        """Whether *entry* is up, and no swap is about to take it away."""
        if self._swaps.host is None:
            return False
        parts = self._swaps.parts
        if await self._swaps.history.running(parts.host.name) is not None:
            return False
        return entry.names[0] in await parts.models.listed(key_of(entry))

    async def _failed_since(self, entry: CatalogModel, began: datetime) -> Swap | None:
        newest = await self._swaps.history.newest(limit=1)
        if not newest or newest[0].model != entry.name or newest[0].created_at < began:
            return None
        good = newest[0].outcome in (None, Outcome.READY)
        return None if good else newest[0]

    async def _busy(self, entry: CatalogModel, why: str) -> Busy:
        """What is told to who does not get it now: the place among models, and the seconds."""
        before = [*await self._wishes.oldest()]
        position = before.index(entry.name) + 1 if entry.name in before else len(before) + 1
        seconds = await self._swaps.history.expected_s(entry.name) or UNKNOWN
        with suppress(SparkError):
            running = await self._swaps.history.running(self._swaps.parts.host.name)
            if running is not None and running.model == entry.name:
                gone = (self._clock.now() - running.created_at).total_seconds()
                seconds = max(seconds - gone, 1.0)
        expected = seconds * position
        return Busy(
            f"{entry.names[0]}: {why} (position {position}, about {expected:.0f} s)",
            position=position,
            expected_s=expected,
        )

    async def aclose(self) -> None:
        """Wait for nothing any more."""
        for waiting in self._waiting.values():
            waiting.task.cancel()
        tasks = [waiting.task for waiting in self._waiting.values()]
        await asyncio.gather(*tasks, return_exceptions=True)


class _Waiting:
    """Everybody here who waits for one model."""

    def __init__(self, demand: Demand, entry: CatalogModel) -> None:
        self.count = 0
        self.task = asyncio.create_task(demand._watch(entry), name=f"waiting for {entry.name}")


@asynccontextmanager
async def open_wish_list(state: State, clock: Clock) -> AsyncIterator[WishList]:
    """The wishes in the state."""
    yield WishList(state, clock)


@asynccontextmanager
async def open_demand(swaps: Swaps, wishes: WishList, clock: Clock) -> AsyncIterator[Demand]:
    """What loads models because requests want them."""
    demand = Demand(swaps, wishes, clock)
    try:
        yield demand
    finally:
        await demand.aclose()


def _table() -> TableClause:
    import sqlalchemy as sa

    moments = (sa.column(name, sa.DateTime(timezone=True)) for name in ("since", "seen"))
    return sa.table("swap_wishes", sa.column("id"), sa.column("model"), *moments)
