"""Leases: at most one holder at a time, over all processes and hosts.

Each time a lease changes hands its fencing number grows. A holder that slept through its time
to live finds out when it renews or checks, and must do nothing more.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..clock import Clock
from ..errors import LeaseHeld, LeaseLost, SparkError
from .database import State
from .times import aware

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row, TableClause, TextClause

__all__ = ["Lease", "Leases"]

#: The part of its time to live for which a lease that cannot be renewed is still used.
_LAST = 0.75


@dataclass(frozen=True)
class Lease:
    """A lease as its holder has it. ``fence`` is higher than that of every holder before."""

    name: str
    holder: str
    fence: int
    expires_at: datetime


class Leases:
    """Takes, renews and gives back leases."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def acquire(self, name: str, ttl: float, *, holder: str | None = None) -> Lease:
        """Take the lease *name* for *ttl* seconds.

        *holder* tells people who has it; by default this process on this host.

        :raises LeaseHeld: somebody has it.
        """
        who = holder or f"{socket.gethostname()} process {os.getpid()}"
        return await self._state.write(lambda c: self._acquire(c, name, who[:200], ttl))

    def _acquire(self, connection: Connection, name: str, holder: str, ttl: float) -> Lease:
        now = self._clock.now()
        connection.execute(_add_unheld(), {"name": name, "expires_at": now})
        row = _row(connection, name)
        assert row is not None  # just added, if it was not there
        if aware(row.expires_at) > now:
            until = aware(row.expires_at).isoformat(timespec="seconds")
            raise LeaseHeld(f"{name} is held by {row.holder} until {until}")
        lease = Lease(name, holder, row.fence + 1, now + timedelta(seconds=ttl))
        _put(connection, lease)
        return lease

    async def renew(self, lease: Lease, ttl: float) -> Lease:
        """Hold *lease* for another *ttl* seconds from now.

        :raises LeaseLost: somebody else took it meanwhile.
        """

        def transaction(connection: Connection) -> Lease:
            self.check(connection, lease)
            renewed = replace(lease, expires_at=self._clock.now() + timedelta(seconds=ttl))
            _put(connection, renewed)
            return renewed

        return await self._state.write(transaction)

    async def release(self, lease: Lease) -> None:
        """Give *lease* back; one that was lost stays lost.

        Its fence goes up, so that a renewal which was still under way comes too late.
        """

        def transaction(connection: Connection) -> None:
            self.check(connection, lease)
            _put(connection, replace(lease, fence=lease.fence + 1, expires_at=self._clock.now()))

        with suppress(LeaseLost):
            await self._state.write(transaction)

    async def current(self, name: str) -> Lease | None:
        """The lease *name* if somebody holds it now."""
        row = await self._state.read(lambda c: _row(c, name, lock=False))
        if row is None or aware(row.expires_at) <= self._clock.now():
            return None
        return Lease(name, row.holder, row.fence, aware(row.expires_at))

    def check(self, connection: Connection, lease: Lease) -> None:
        """Within a transaction: fail unless *lease* is still the newest of its name.

        Whoever writes under a lease checks it in the same transaction; a later holder is
        then never overwritten by an earlier one.

        :raises LeaseLost: somebody else took it.
        """
        row = _row(connection, lease.name)
        if row is None or row.fence != lease.fence:
            raise LeaseLost(f"{lease.name} is now held by {row.holder if row else 'nobody'}")

    @asynccontextmanager
    async def hold(
        self,
        name: str,
        ttl: float = 30.0,
        *,
        holder: str | None = None,
        until: Callable[[float], None] = lambda moment: None,
    ) -> AsyncIterator[Lease]:
        """Hold a lease for as long as the block runs, renewing it on the way.

        *until* is told, each time it is renewed, up to which time of the event loop the block
        may go on: whoever was put to sleep can see it before anything else happens.

        :raises LeaseHeld: somebody has it.
        :raises LeaseLost: it was lost; the block was cancelled where it stood.
        """
        end = asyncio.get_running_loop().time() + ttl * _LAST
        lease = await self.acquire(name, ttl, holder=holder)
        until(end)
        try:
            async with asyncio.timeout_at(end) as lost:
                renewing = asyncio.create_task(self._keep(lease, ttl, lost, until))
                try:
                    yield lease
                finally:
                    renewing.cancel()
                    await asyncio.wait([renewing])
        except TimeoutError:
            if not lost.expired():
                raise
            raise LeaseLost(f"{name} could not be renewed in time") from None
        finally:
            with suppress(SparkError):
                await self.release(lease)

    async def _keep(
        self, lease: Lease, ttl: float, lost: asyncio.Timeout, until: Callable[[float], None]
    ) -> None:
        """Renew four times per time to live, and put off the end of the block each time.

        Where renewing fails, or hangs, the block ends before the lease does.
        """
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(ttl / 4)
            end = loop.time() + ttl * _LAST
            try:
                await self.renew(lease, ttl)
            except LeaseLost:
                end = loop.time()
            except SparkError:
                continue  # the database may come back before the lease runs out
            if lost.expired():
                return
            lost.reschedule(end)
            until(end)


def _table() -> TableClause:
    import sqlalchemy as sa

    moment = sa.column("expires_at", sa.DateTime(timezone=True))
    return sa.table("leases", sa.column("name"), sa.column("holder"), sa.column("fence"), moment)


def _row(connection: Connection, name: str, *, lock: bool = True) -> Row[Any] | None:
    table = _table()
    query = table.select().where(table.c.name == name)
    return connection.execute(query.with_for_update() if lock else query).first()


def _put(connection: Connection, lease: Lease) -> None:
    table = _table()
    values = {"holder": lease.holder, "fence": lease.fence, "expires_at": lease.expires_at}
    connection.execute(table.update().where(table.c.name == lease.name).values(values))


def _add_unheld() -> TextClause:
    """Adds a lease that nobody holds, unless there is one: two first comers must not clash."""
    import sqlalchemy as sa

    statement = sa.text(
        "INSERT INTO leases (name, holder, fence, expires_at) "
        "VALUES (:name, '', 0, :expires_at) ON CONFLICT (name) DO NOTHING"
    )
    return statement.bindparams(sa.bindparam("expires_at", type_=sa.DateTime(timezone=True)))
