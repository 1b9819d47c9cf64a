"""Runs background services: each in exactly one process of all that try, by lease."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from .declarations import BackgroundService
from .errors import SparkError
from .resolution import Resolver
from .state import Lease, Leases

__all__ = ["running"]

log = logging.getLogger(__name__)


@asynccontextmanager
async def running(
    services: list[BackgroundService], resolver: Resolver, leases: Leases
) -> AsyncIterator[None]:
    """While the block runs, take part in running *services*; at its end give them up."""
    tasks = [asyncio.create_task(_take_part(s, resolver, leases), name=s.name) for s in services]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _take_part(service: BackgroundService, resolver: Resolver, leases: Leases) -> None:
    """Try for the lease for ever; run the service while it is held.

    Waiting a third of the time to live between tries, a standby takes over within it.
    """
    while True:
        # Another holds the lease, or the state is away: either way, try again.
        with suppress(SparkError):
            async with leases.hold(f"background:{service.name}", service.ttl * 2 / 3) as lease:
                await _run(service, resolver, lease)
        await asyncio.sleep(service.ttl / 3)


async def _run(service: BackgroundService, resolver: Resolver, lease: Lease) -> None:
    try:
        await service.run(**await resolver.fill(service.run, {Lease: lease}))
    except Exception:
        log.exception("background service %s failed; it is started again", service.name)
