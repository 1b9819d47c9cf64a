"""The GPU on loan: while a reservation asks for that, no model is on it.

Nothing is started by the request itself. A background service looks at what is reserved and at
where the GPU is, and does what is missing. Where the GPU is, is written down before it is moved:
whoever takes over after a crash does the same again.
"""

from __future__ import annotations

import asyncio
import logging
from enum import StrEnum
from typing import TYPE_CHECKING

from spark_core.contracts.gpu import GpuRelease
from spark_core.errors import LeaseLost, NotConfigured, SparkError
from spark_core.state import Lease, Leases, State

from .locks import Lock, Locks, on_loan, pass_gate

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Gpu", "Loan", "lend_gpu", "required"]

#: Seconds between two looks, and after one that failed.
LOOK, AFTER_FAILURE = 1.0, 5.0

log = logging.getLogger(__name__)


class Gpu(StrEnum):
    """Where the GPU is."""

    HOME = "home"  #: with the models
    LEAVING = "leaving"  #: the model is being taken off
    AWAY = "away"  #: with whoever reserved it
    RETURNING = "returning"  #: the model is being brought back


class Loan:
    """Moves the GPU to where it should be; *lease* is that of the process that may do so."""

    def __init__(
        self, locks: Locks, state: State, leases: Leases, lease: Lease, gpu: GpuRelease
    ) -> None:
        self._locks = locks
        self._state = state
        self._leases = leases
        self._lease = lease
        self._gpu = gpu

    async def look(self) -> None:
        """Do what is missing, if anything is.

        :raises SparkError: it cannot be done now.
        """
        lock, gpu = await self._locks.current(), await self._locks.gpu()
        if lock is not None and lock.release_gpu:
            if gpu != Gpu.AWAY:
                await self._lend(lock)
        elif gpu != Gpu.HOME:
            await self._return()

    async def _lend(self, lock: Lock) -> None:
        await self._write(Gpu.LEAVING)
        await self._gpu.release(f"reserved by {lock}")
        await self._write(Gpu.AWAY)

    async def _return(self) -> None:
        await self._write(Gpu.RETURNING)
        await self._gpu.restore()
        await self._write(Gpu.HOME)

    async def _write(self, gpu: Gpu) -> None:
        def transaction(connection: Connection) -> None:
            self._leases.check(connection, self._lease)
            pass_gate(connection)
            on_loan(connection, gpu)

        await self._state.write(transaction)


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
    locks: Locks, state: State, leases: Leases, lease: Lease, gpu: GpuRelease | None
) -> None:
    """Keep the GPU where it should be, for ever."""
    loan = Loan(locks, state, leases, lease, required(gpu))
    while True:
        pause = LOOK
        try:
            await loan.look()
        except LeaseLost:
            raise
        except SparkError as error:
            log.warning("the GPU is not where it should be yet: %s", error.code)
            pause = AFTER_FAILURE
        await asyncio.sleep(pause)
