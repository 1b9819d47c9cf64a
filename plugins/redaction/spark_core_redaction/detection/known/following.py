"""Keeps what is known as it is now, in every process for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

from spark_core.contracts.detection import FollowedEntities, KnownEntities

from .index import KnownIndex
from .knowledge import Knowledge, Told

__all__ = ["Known"]


class Known:
    """The index of what all *sources* know, brought up to date before it is used.

    It is brought up to date in a thread, for all who wait for it at once, and goes on where one
    of these gives up. Those who read a text meanwhile go on with the index that they were given,
    which never changes.
    """

    def __init__(self, sources: Sequence[KnownEntities] = ()) -> None:
        self._sources = sources
        self._following = asyncio.Lock()
        self._running: asyncio.Task[KnownIndex] | None = None
        self._begin()

    def _begin(self) -> None:
        self._knowledge = Knowledge()
        self._followed = [_Followed(source, self._knowledge) for source in self._sources]
        self._index: KnownIndex | None = None if self._sources else self._knowledge.index()

    async def current(self) -> KnownIndex:
        """The index of everything that is known at this moment."""
        if self._index is None or await self._changed():
            async with self._following:
                await self._finish()  # what somebody began who has given up
                if changed := await self._changed():
                    self._running = asyncio.create_task(self._follow(changed))
                    await self._finish()
                    return self._running.result()
        assert self._index is not None
        return self._index

    async def close(self) -> None:
        """Leave off whatever is being read."""
        if self._running:
            self._running.cancel()
            await self._finish()

    async def _finish(self) -> None:
        if self._running:
            await asyncio.wait([self._running])
            if not self._running.cancelled():
                self._running.exception()  # whoever waits for it is told, if anybody does

    async def _changed(self) -> list[tuple[_Followed, str]]:
        """The sources that know something new, and their versions."""
        told = [(each, await each.source.version()) for each in self._followed]
        return [(each, version) for each, version in told if version != each.version]

    async def _follow(self, changed: Sequence[tuple[_Followed, str]]) -> KnownIndex:
        try:
            reached = [(each, await each.follow() or version) for each, version in changed]
            index = await asyncio.to_thread(self._knowledge.index)
        except BaseException:
            self._begin()  # something may be known by halves
            raise
        for each, version in reached:  # not before: whoever finds it takes the index
            each.version = version
        self._index = index
        return index


class _Followed:
    """What one source knows, as of its version; before it was read that is ``None``."""

    def __init__(self, source: KnownEntities, knowledge: Knowledge) -> None:
        self.source = source
        self.version: str | None = None
        self._told = Told(knowledge)

    async def follow(self) -> str | None:
        """Take in what has changed; at which version, if anything but the whole was read."""
        changes = None
        if self.version is not None and isinstance(self.source, FollowedEntities):
            changes = await self.source.changes(self.version)
        if changes is None:
            await self._take_all()
            return None
        await asyncio.to_thread(self._told.put, changes.records)
        return changes.version

    async def _take_all(self) -> None:
        reading: dict[str, tuple[bytes, ...]] = {}
        async with aclosing(self.source.entities()) as batches:
            async for batch in batches:
                await asyncio.to_thread(self._told.take, batch, reading)
        await asyncio.to_thread(self._told.have_read, reading)
