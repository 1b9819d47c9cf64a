"""How far long work is, told to an agent that asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

__all__ = ["Reports", "reporting"]

#: Tells how far, of how much, and in words.
Tell = Callable[[float, float | None, str], Awaitable[None]]


class Reports:
    """The progress of a call. Only the latest is kept for an agent that is slow.

    What agents are told may never become less (the protocol asks for that), so each phase
    begins where the one before it was.
    """

    def __init__(self) -> None:
        self._phase = ""
        self._base = self._reached = 0
        self._latest: tuple[int, int | None, str] | None = None
        self._news = asyncio.Event()
        self._ended = False

    def update(
        self, phase: str, *, done: int = 0, total: int | None = None, unit: str = "items"
    ) -> None:
        """See :class:`spark_core.Progress`."""
        if phase != self._phase:
            self._base = self._reached + 1 if self._phase else 0
            self._phase = phase
        self._reached = max(self._reached, self._base + done)
        words = f"{phase}: {done}{'' if total is None else f' of {total}'} {unit}"
        self._latest = (self._reached, None if total is None else self._base + total, words)
        self._news.set()

    async def send(self, tell: Tell) -> None:
        """Tell what is new until the end was said."""
        told = -1
        while not self._ended or self._news.is_set():
            await self._news.wait()
            self._news.clear()
            if self._latest and self._latest[0] > told:
                told = self._latest[0]
                await tell(*self._latest)

    def end(self) -> None:
        """Say that nothing more will come."""
        self._ended = True
        self._news.set()


@asynccontextmanager
async def reporting(tell: Tell) -> AsyncIterator[Reports]:
    """While the block runs, tell *tell* what its progress is told; the last before its end."""
    reports = Reports()
    sending = asyncio.create_task(reports.send(tell), name="progress")
    try:
        yield reports
        reports.end()
        await sending
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
