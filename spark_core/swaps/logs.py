"""The launcher's log, on its way from the machine to whoever follows the swap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Final

from ..contracts.model_hosts import ModelHost
from ..errors import SparkError
from .catalog import CatalogModel
from .evidence import Watch
from .history import SwapHistory
from .models import Swap

__all__ = ["LaunchLog"]

#: Seconds until a log that cannot be read is tried again.
AGAIN: Final = 1.0

#: What is shorter than this stands in logs for many reasons, so it is not hidden there.
SECRET: Final = 6


class LaunchLog:
    """Reads a launch's log as it comes, and writes it down in batches, without secrets."""

    def __init__(
        self,
        host: ModelHost,
        history: SwapHistory,
        swap: Swap,
        pause: Callable[[float], Awaitable[None]],
    ) -> None:
        self._host = host
        self._history = history
        self._swap = swap
        self._pause = pause
        self._pending: list[str] = []

    @asynccontextmanager
    async def followed(self, watch: Watch, entry: CatalogModel) -> AsyncIterator[None]:
        """While the block runs, lines are read for *watch*; at its end all are written."""
        following = asyncio.create_task(self._follow(watch, entry), name="log of a launch")
        try:
            yield
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError, SparkError):
                await following
            with suppress(SparkError):
                await self.write()

    async def write(self) -> None:
        """Write down what was read."""
        if self._pending:
            lines, self._pending = self._pending, []
            await self._history.log(self._swap, lines)

    async def _follow(self, watch: Watch, entry: CatalogModel) -> None:
        values = (value.get_secret_value() for value in entry.env.values())
        secrets = [value for value in values if len(value) >= SECRET]
        while True:
            with suppress(SparkError):  # there is none yet, or its machine is away
                async with aclosing(self._host.log(self._swap.launch)) as lines:
                    async for line in lines:
                        for secret in secrets:
                            line = line.replace(secret, "***")
                        watch.add_log([line])
                        self._pending.append(line)
                return
            await self._pause(AGAIN)
