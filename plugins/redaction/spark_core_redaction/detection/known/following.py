"""Keeps what is known as it is now, in every process for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

from spark_core.contracts.detection import KnownEntities, KnownEntity

from .index import KnownIndex

__all__ = ["Known"]


class Known:
    """The index of what all *sources* know, brought up to date before it is used.

    A name that somebody bears no longer is still looked for, until another entity is gone or
    merged: then everything is read anew.
    """

    def __init__(self, sources: Sequence[KnownEntities] = ()) -> None:
        self._sources = sources
        self._versions: list[str] = []
        self._learning = _Learning()
        self._following = asyncio.Lock()

    async def current(self) -> KnownIndex:
        """The index with everything in it that is known at this moment."""
        if self._sources and await self._told() != self._versions:
            async with self._following:
                versions = await self._told()
                if versions != self._versions:
                    await self._follow()
                    self._versions = versions
        return self._learning.index

    async def _told(self) -> list[str]:
        return [await source.version() for source in self._sources]

    async def _follow(self) -> None:
        if not await self._read(self._learning):
            anew = _Learning()
            await self._read(anew)
            self._learning = anew

    async def _read(self, learning: _Learning) -> bool:
        """Let *learning* take in all sources; whether all that it knew before is still there."""
        before, learning.ids = learning.ids, set()
        for source in self._sources:
            async with aclosing(source.entities()) as batches:
                async for batch in batches:
                    await asyncio.to_thread(learning.take, batch)
        return before <= learning.ids


class _Learning:
    """An index, and what was put into it."""

    def __init__(self) -> None:
        self.index = KnownIndex()
        self.ids: set[str] = set()
        self._seen: set[int] = set()

    def take(self, batch: Sequence[KnownEntity]) -> None:
        """Add those of *batch* that are not there, or not so."""
        self.ids.update(entity.id for entity in batch)
        fresh = [entity for entity in batch if hash(entity) not in self._seen]
        self._seen.update(map(hash, fresh))
        self.index.add(fresh)
