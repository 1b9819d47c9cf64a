"""What lives as long as a worker: the background services, and whatever was opened."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from spark_core import Spark
from spark_core.background import running
from spark_core.errors import Unavailable
from spark_core.state import Leases

__all__ = ["Lifetime"]

Send = Callable[[dict[str, Any]], Awaitable[None]]

#: How long to wait before the state is tried again, in seconds.
PAUSE: Final = 5.0

#: How long a worker's start waits for what is being loaded, in seconds.
PRELOAD: Final = 20.0

log = logging.getLogger(__name__)


class Lifetime:
    """Falcon middleware that takes part in the server's start and stop."""

    def __init__(self, spark: Spark) -> None:
        self._spark = spark
        self._failure: Exception | None = None
        self._background: asyncio.Task[None] | None = None
        self._preloading: asyncio.Task[None] | None = None

    async def process_startup(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Load what is slow to load, and take part in running the background services.

        :raises SettingsError: the state's settings are wrong.
        """
        await self._preload()
        if not self._spark.plugins.background_services():
            return
        try:
            with suppress(Unavailable):  # the host starts all the same, and /ready says so
                await self._spark.resolver.get(Leases)
        except Exception as error:
            self._failure = error
            raise
        self._background = asyncio.create_task(self._take_part(), name="background services")

    async def _preload(self) -> None:
        """Requests are let in when it is done, or has taken long enough to go on beside them."""
        self._preloading = asyncio.create_task(self._spark.resolver.preload(), name="preload")
        done, _ = await asyncio.wait([self._preloading], timeout=PRELOAD)
        if done and (error := self._preloading.exception()):
            log.error("preloading failed: %s", type(error).__name__)

    async def _take_part(self) -> None:
        while True:
            with suppress(Unavailable):
                leases = await self._spark.resolver.get(Leases)
                break
            await asyncio.sleep(PAUSE)
        services = self._spark.plugins.background_services()
        async with running(services, self._spark.resolver, leases):
            await asyncio.get_running_loop().create_future()  # until it is cancelled

    async def process_shutdown(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Give the background services up, and close what was opened."""
        tasks = [task for task in (self._background, self._preloading) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._spark.resolver.aclose()

    def plainly(self, send: Send) -> Send:
        """*send*, but a failed start is told in the error's own words, not as a traceback."""

        async def told(event: dict[str, Any]) -> None:
            if event["type"] == "lifespan.startup.failed" and self._failure is not None:
                event = {**event, "message": str(self._failure) or repr(self._failure)}
            await send(event)

        return told
