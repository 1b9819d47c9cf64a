"""The one thing that requests of a backend wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

__all__ = ["Gpu"]


class Gpu:
    """Works on some requests at a time; the others wait in line. Used as ``async with gpu:``."""

    def __init__(self, slots: int) -> None:
        self.running = self.waiting = 0
        self.changed: Callable[[], None] = lambda: None  #: called when one of these has changed
        self._slots = asyncio.Semaphore(slots)
        self._released = asyncio.Event()

    async def __aenter__(self) -> None:
        self.waiting += 1
        self.changed()
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        self.changed()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.running -= 1
        self._slots.release()
        self._released.set()
        self.changed()

    async def between(self) -> None:
        """Wait until it works on nothing, or has just done with something."""
        if self.running:
            self._released.clear()
            await self._released.wait()
