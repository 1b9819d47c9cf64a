"""One run at a time, whatever became of the one before it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from spark_core import Progress
from spark_core.state import Leases

__all__ = ["LEASE", "alone"]

#: How long a run that was killed keeps the next one waiting at most, in seconds.
LEASE = 10.0

#: Time between two looks at the lease of another run, in seconds.
LOOK = 0.25


@asynccontextmanager
async def alone(leases: Leases, name: str, holder: str, progress: Progress) -> AsyncIterator[None]:
    """Hold the lease *name*; wait for that of a run that was killed, which nobody renews any more.

    *holder* is what is run and for whom, in words that the next one is told.

    :raises LeaseHeld: its holder lives.
    """
    found = await leases.current(name)
    for _ in range(round(LEASE / LOOK)):
        if found is None or await leases.current(name) != found:
            break
        progress.update(f"waiting for {found.holder}, which may have been killed")
        await asyncio.sleep(LOOK)
    else:
        # Whoever lives has renewed it by now. It is left where a clock was set back.
        if found:
            await leases.release(found)
    async with leases.hold(name, LEASE, holder=holder):
        yield
