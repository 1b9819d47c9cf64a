"""The reservation lock: at most one holder, over all processes and hosts.

Whoever shows the lock's token may swap models and end the reservation; the state holds nothing
but the token's SHA-256. A lock that nobody renews ends by itself.

Every change, and every swap that is admitted, first takes the one row of the *gate*: so they
come one after another on each database, and a lock cannot slip in between a swap's look at it
and that swap's beginning.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from spark_core.clock import Clock
from spark_core.errors import Conflict, Forbidden, Locked, NotFound
from spark_core.state import State
from spark_core.state.times import aware

from .tables import table

if TYPE_CHECKING:
    from sqlalchemy import Connection, TableClause

__all__ = ["Lock", "LockEvent", "Locks", "OnLoan", "guard", "on_loan", "pass_gate"]

T = TypeVar("T")


@dataclass(frozen=True)
class Lock:
    """A reservation. ``digest`` is the SHA-256 of its token, in hexadecimal."""

    id: int
    holder: str
    reason: str
    digest: str
    release_gpu: bool
    acquired_at: datetime
    expires_at: datetime

    def __str__(self) -> str:
        until = self.expires_at.isoformat(timespec="seconds")
        return f"{self.holder} until {until}" + (f" ({self.reason})" if self.reason else "")

    def fits(self, token: str | None) -> bool:
        """Whether *token* is this lock's; how long that takes tells nothing about either."""
        return token is not None and hmac.compare_digest(_digest(token), self.digest)


@dataclass(frozen=True)
class OnLoan:
    """Where the GPU is (see :class:`~spark_core_coordination.loans.Gpu`), for which lock, and why
    it is not where it should be, if that is known."""

    gpu: str
    lock: int | None = None
    error: str = ""


@dataclass(frozen=True)
class LockEvent:
    """What happened to a lock: it was ``acquired``, ``released``, ``forced``, or ``expired``."""

    id: int
    kind: str
    at: datetime
    lock: Lock


class Locks:
    """Takes, renews, shows and ends the reservation."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def acquire(
        self, holder: str, ttl_s: float, *, reason: str = "", release_gpu: bool = False
    ) -> tuple[Lock, str]:
        """Reserve for *ttl_s* seconds; gives the lock and its token, which nobody can get again.

        :raises Conflict: it is reserved.
        """
        token = secrets.token_urlsafe(32)

        def transaction(connection: Connection, now: datetime, held: Lock | None) -> Lock:
            if held is not None:
                raise Conflict(f"it is already reserved by {held}")
            until = now + timedelta(seconds=ttl_s)
            lock = Lock(0, holder, reason, _digest(token), release_gpu, now, until)
            lock = replace(lock, id=_insert(connection, lock))
            _tell(connection, lock, "acquired", now)
            return lock

        return await self._change(transaction), token

    async def renew(self, token: str | None, ttl_s: float) -> Lock:
        """Hold it for *ttl_s* seconds from now on.

        :raises NotFound: nothing is reserved.
        :raises Forbidden: it is not the lock's token.
        """

        def transaction(connection: Connection, now: datetime, held: Lock | None) -> Lock:
            lock = _opened(held, token)
            until = now + timedelta(seconds=ttl_s)
            _set(connection, lock, expires_at=until)
            return replace(lock, expires_at=until)

        return await self._change(transaction)

    async def release(self, token: str | None) -> Lock:
        """End the reservation.

        :raises NotFound: nothing is reserved.
        :raises Forbidden: it is not the lock's token.
        """
        return await self._change(
            lambda connection, now, held: _end(connection, _opened(held, token), "released", now)
        )

    async def force(self) -> Lock:
        """End the reservation without its token.

        :raises NotFound: nothing is reserved.
        """
        return await self._change(
            lambda connection, now, held: _end(connection, _any(held), "forced", now)
        )

    async def current(self) -> Lock | None:
        """The reservation that holds now."""
        held = await self._state.read(_newest)
        return held if held is not None and held.expires_at > self._clock.now() else None

    async def loan(self) -> OnLoan:
        """Where the GPU is."""
        query = _gate().select()
        row = await self._state.read(lambda c: c.execute(query).one())
        return OnLoan(row.gpu, row.lock, row.error)

    async def check(self, token: str | None) -> None:
        """See whether *token* is that of the reservation that holds now.

        :raises NotFound: nothing is reserved.
        :raises Forbidden: it is not the lock's token.
        """
        _opened(await self.current(), token)

    async def settle(self) -> None:
        """Write down that the lock has expired, where it has."""
        held = await self._state.read(_newest)
        if held is not None and held.expires_at <= self._clock.now():
            await self._change(lambda connection, now, held: None)

    async def events_after(self, cursor: int, *, limit: int = 100) -> Sequence[LockEvent]:
        """What happened to locks after the event *cursor*, in order."""
        return await self._state.read(lambda c: _events_after(c, cursor, limit))

    async def newest_event(self) -> int:
        """The id of the newest event, 0 where there is none."""
        import sqlalchemy as sa

        query = sa.select(sa.func.max(_events().c.id))
        return await self._state.read(lambda c: c.execute(query).scalar()) or 0

    async def _change(self, transaction: Callable[[Connection, datetime, Lock | None], T]) -> T:
        """Run *transaction* alone, given the time and the reservation that holds."""

        def run(connection: Connection) -> T:
            pass_gate(connection)
            now = self._clock.now()
            return transaction(connection, now, _held(connection, now))

        return await self._state.write(run)


def guard(connection: Connection, token: str | None, now: datetime) -> None:
    """Whether a swap may begin: see :class:`~spark_core.swaps.guards.SwapGuard`.

    :raises Locked: it is reserved, and no token was shown.
    :raises Forbidden: the token is not that of the reservation that holds. Neither is one whose
        reservation has ended: who shows it believes to be alone, and is not.
    """
    pass_gate(connection)
    held = _newest(connection)
    if held is not None and held.expires_at <= now:
        held = None
    if token is None and held is not None:
        raise Locked(
            f"it is reserved by {held}",
            holder=held.holder,
            expires_at=held.expires_at,
            hint="wait, or show the token that the reservation gave",
        )
    if token is not None and (held is None or not held.fits(token)):
        raise Forbidden(_WRONG if held else "the reservation of this token has ended")


_WRONG = "this is not the token of the reservation that holds now"


def pass_gate(connection: Connection) -> None:
    """Wait until no other transaction is past the gate, and keep the next one out."""
    connection.execute(_gate().select().with_for_update())


def on_loan(connection: Connection, loan: OnLoan) -> None:
    """Write down where the GPU is."""
    connection.execute(_gate().update().values(asdict(loan)))


def _digest(token: str) -> str:
    # Any text can be shown, also such that is no valid Unicode.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _any(held: Lock | None) -> Lock:
    if held is None:
        raise NotFound("nothing is reserved; a reservation that was not renewed has ended")
    return held


def _opened(held: Lock | None, token: str | None) -> Lock:
    lock = _any(held)
    if not lock.fits(token):
        raise Forbidden("the token is missing" if token is None else _WRONG)
    return lock


def _held(connection: Connection, now: datetime) -> Lock | None:
    """The reservation that holds; one whose time is over is written down as expired."""
    lock = _newest(connection)
    if lock is None or lock.expires_at > now:
        return lock
    _end(connection, lock, "expired", lock.expires_at)
    return None


def _end(connection: Connection, lock: Lock, kind: str, at: datetime) -> Lock:
    _set(connection, lock, ended_at=at)
    _tell(connection, lock, kind, at)
    return lock


# --------------------------------------------------------------------------------------- rows


def _newest(connection: Connection) -> Lock | None:
    """The lock that was not ended, expired or not; there is never more than one."""
    locks = _locks()
    row = connection.execute(locks.select().where(locks.c.ended_at.is_(None))).mappings().first()
    return _lock(row) if row is not None else None


def _insert(connection: Connection, lock: Lock) -> int:
    values = {name: value for name, value in asdict(lock).items() if name != "id"}
    insert = _locks().insert().values(values).returning(_locks().c.id)
    return int(connection.execute(insert).scalar_one())


def _set(connection: Connection, lock: Lock, **values: datetime) -> None:
    locks = _locks()
    connection.execute(locks.update().where(locks.c.id == lock.id).values(values))


def _tell(connection: Connection, lock: Lock, kind: str, at: datetime) -> None:
    connection.execute(_events().insert().values(lock=lock.id, kind=kind, at=at))


def _events_after(connection: Connection, cursor: int, limit: int) -> list[LockEvent]:
    import sqlalchemy as sa

    events, locks = _events(), _locks()
    columns = (events.c.id.label("event"), events.c.kind, events.c.at, *locks.c)
    query = sa.select(*columns).join_from(events, locks, events.c.lock == locks.c.id)
    query = query.where(events.c.id > cursor).order_by(events.c.id).limit(limit)
    rows = connection.execute(query).mappings()
    return [LockEvent(row["event"], row["kind"], aware(row["at"]), _lock(row)) for row in rows]


def _lock(row: Any) -> Lock:
    return Lock(
        id=row["id"],
        holder=row["holder"],
        reason=row["reason"],
        digest=row["digest"],
        release_gpu=bool(row["release_gpu"]),
        acquired_at=aware(row["acquired_at"]),
        expires_at=aware(row["expires_at"]),
    )


def _locks() -> TableClause:
    columns = ("id", "holder", "reason", "digest", "release_gpu")
    return table("locks", *columns, moments=("acquired_at", "expires_at", "ended_at"))


def _events() -> TableClause:
    return table("lock_events", "id", "lock", "kind", moments=("at",))


def _gate() -> TableClause:
    return table("gate", "id", "gpu", "lock", "error")
