"""Runs background services: each in exactly one process of all that try, by lease, or in all."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from .containment import ENDINGS
from .declarations import BackgroundService
from .errors import NotConfigured, SparkError
from .references import resolved
from .resolution import Resolver
from .state import Lease, Leases

__all__ = ["running"]

Pause = Callable[[float], Awaitable[None]]

log = logging.getLogger(__name__)


@asynccontextmanager
async def running(
    services: list[BackgroundService],
    resolver: Resolver,
    leases: Leases,
    *,
    pause: Pause = asyncio.sleep,
) -> AsyncIterator[None]:
    """While the block runs, take part in running *services*; at its end give them up.

    Between two tries it waits for *pause*, which is given seconds.
    """
    tasks = [
        asyncio.create_task(_take_part(service, resolver, leases, pause), name=service.name)
        for service in services
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _take_part(
    service: BackgroundService, resolver: Resolver, leases: Leases, pause: Pause
) -> None:
    """Try for the lease for ever; run the service while it is held.

    Waiting a third of the time to live between tries, a standby takes over within it.
    """
    while service.everywhere:
        await _run(service, resolver, {})
        await pause(service.ttl / 3)
    while True:
        try:
            async with leases.hold(f"background:{service.name}", service.ttl * 2 / 3) as lease:
                await _run(service, resolver, {Lease: lease})
        except SparkError:
            pass  # another holds the lease, or the state is away: either way, try again
        except Exception as error:
            _log(service, error, "cannot take part; it tries again")
        await pause(service.ttl / 3)


async def _run(
    service: BackgroundService, resolver: Resolver, needs: Mapping[type, object]
) -> None:
    try:
        run = resolved(service.run)
        await run(**await resolver.fill(run, needs))
    except NotConfigured as error:
        log.debug("background service %s waits for its settings: %s", service.name, error)
    except ENDINGS:
        raise
    except BaseException as error:
        _log(service, error, "failed; it is started again")


def _log(service: BackgroundService, error: BaseException, what: str) -> None:
    """Log where *error* was raised and of what type it is: its text may quote a record."""
    trace = "".join(traceback.format_tb(error.__traceback__))
    kind = type(error).__name__
    log.error("background service %s %s (%s)\n%s", service.name, what, kind, trace)
