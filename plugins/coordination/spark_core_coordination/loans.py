"""The GPU on loan: while a reservation asks for that, no model is on it.

Nothing is started by the request itself. A background service looks at what is reserved and at
where the GPU is, and does what is missing. Where the GPU is, is written down before it is moved:
whoever takes over after a crash does the same again.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from spark_core.clock import Clock
from spark_core.contracts.gpu import GpuRelease
from spark_core.errors import LeaseLost, NotConfigured, SparkError
from spark_core.state import Lease, Leases, State

from .locks import Lock, Locks, OnLoan, on_loan, pass_gate

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Gpu", "Loan", "lend_gpu", "required", "seen_by"]

#: Seconds between two looks.
LOOK: Final = 1.0

#: Seconds after which what failed is tried again, and the most of them: each failure doubles them.
AGAIN: Final = 30.0
MOST: Final = 3600.0

log = logging.getLogger(__name__)


class Gpu(StrEnum):
    """Where the GPU is."""

    HOME = "home"  #: with the models
    LEAVING = "leaving"  #: the model is being taken off
    AWAY = "away"  #: with whoever reserved it
    RETURNING = "returning"  #: the model is being brought back


def seen_by(lock: Lock | None, loan: OnLoan, *, is_free: bool) -> Gpu:
    """Where the GPU is for *lock*: away for nobody else, and only while no model is on it."""
    if loan.gpu != Gpu.AWAY:
        return Gpu(loan.gpu)
    if lock is None or not lock.release_gpu:
        return Gpu.RETURNING
    if loan.lock != lock.id:
        return Gpu.LEAVING
    return Gpu.AWAY if is_free else Gpu.HOME


@dataclass(frozen=True)
class _Rest:
    """*failures* in a row on the way to *wanted*, a lock's id; it rests *until* then."""

    wanted: int | None
    failures: int
    until: datetime


class Loan:
    """Moves the GPU to where it should be; *lease* is that of the process that may do so."""

    def __init__(
        self,
        locks: Locks,
        state: State,
        leases: Leases,
        lease: Lease,
        gpu: GpuRelease,
        clock: Clock,
    ) -> None:
        self._locks = locks
        self._state = state
        self._leases = leases
        self._lease = lease
        self._gpu = gpu
        self._clock = clock
        self._rest: _Rest | None = None

    async def look(self) -> None:
        """Do what is missing, if anything is, and it was not in vain a short while ago.

        :raises SparkError: it cannot be done now.
        """
        lock, loan = await self._locks.current(), await self._locks.loan()
        if lock is not None and not lock.release_gpu:
            lock = None
        if _is_done(lock, loan) or await self._rests(lock):
            return
        try:
            await (self._lend(lock, loan) if lock is not None else self._return(loan))
        except LeaseLost:
            raise
        except SparkError as error:
            await self._failed(lock, error)
            raise
        self._rest = None

    async def _lend(self, lock: Lock, loan: OnLoan) -> None:
        error = loan.error if loan.lock == lock.id else ""
        await self._write(OnLoan(Gpu.LEAVING, lock.id, error))
        await self._gpu.release(f"reserved by {lock}")
        await self._write(OnLoan(Gpu.AWAY, lock.id))

    async def _return(self, loan: OnLoan) -> None:
        await self._write(replace(loan, gpu=Gpu.RETURNING))
        await self._gpu.restore()
        await self._write(OnLoan(Gpu.HOME))

    async def _rests(self, lock: Lock | None) -> bool:
        rest = self._rest
        if rest is None or rest.wanted != _id(lock) or self._clock.now() >= rest.until:
            return False
        # A model that somebody else loaded meanwhile has not to be brought back any more.
        return lock is not None or await self._gpu.is_free()

    async def _failed(self, lock: Lock | None, error: SparkError) -> None:
        before = self._rest
        same = before is not None and before.wanted == _id(lock)
        failures = before.failures + 1 if before is not None and same else 1
        pause: float = min(AGAIN * 2.0 ** (failures - 1), MOST)
        self._rest = _Rest(_id(lock), failures, self._clock.now() + timedelta(seconds=pause))
        log.warning(
            "the GPU is not where it should be yet; again in %.0f s: %s", pause, error.message
        )
        await self._write(replace(await self._locks.loan(), error=error.message))

    async def _write(self, loan: OnLoan) -> None:
        def transaction(connection: Connection) -> None:
            self._leases.check(connection, self._lease)
            pass_gate(connection)
            on_loan(connection, loan)

        await self._state.write(transaction)


def _is_done(lock: Lock | None, loan: OnLoan) -> bool:
    if lock is None:
        return loan.gpu == Gpu.HOME
    return loan.gpu == Gpu.AWAY and loan.lock == lock.id


def _id(lock: Lock | None) -> int | None:
    return lock.id if lock is not None else None


def required(gpu: GpuRelease | None) -> GpuRelease:
    """*gpu* itself.

    :raises NotConfigured: nothing installed can take a model off the GPU.
    """
    if gpu is None:
        raise NotConfigured(
            "nothing here can take the model off the GPU",
            hint="leave release_gpu out, or set up a model host",
        )
    return gpu


async def lend_gpu(
    locks: Locks,
    state: State,
    leases: Leases,
    lease: Lease,
    gpu: GpuRelease | None,
    clock: Clock,
) -> None:
    """Keep the GPU where it should be, for ever."""
    loan = Loan(locks, state, leases, lease, required(gpu), clock)
    while True:
        try:
            await loan.look()
        except LeaseLost:
            raise
        except SparkError:
            pass  # told, and tried again in time
        await asyncio.sleep(LOOK)
