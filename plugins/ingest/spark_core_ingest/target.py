"""The collection that a backfill fills: the one that is searched, or one to replace it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass

from spark_core import Progress
from spark_core.contracts.embedding import Embedder
from spark_core.contracts.records import RecordSource
from spark_core.contracts.vectors import CollectionInfo, CollectionSpec, VectorStore
from spark_core.errors import Conflict, NotFound

from .indexing import average_length
from .ledger import Ledger
from .settings import IngestSettings

__all__ = ["Target", "find"]


async def find(store: VectorStore, name: str) -> CollectionInfo | None:
    """The collection called *name*, if there is one."""
    try:
        return await store.collection(name).describe()
    except NotFound:
        return None


@dataclass
class Target:
    """Where a backfill writes. With ``recreate`` that is not what is searched meanwhile."""

    settings: IngestSettings
    source: RecordSource
    embedder: Embedder
    store: VectorStore
    ledger: Ledger
    recreate: bool

    @property
    def name(self) -> str:
        """What the collection is called while it is filled."""
        return self._building if self.recreate else self.searched

    @property
    def _building(self) -> str:
        return f"{self.settings.collection}__building"

    @property
    def searched(self) -> str:
        """What it is called in the end."""
        return self.settings.collection

    async def begun(self) -> str:
        """The generation of the build to go on with; empty where one must be made.

        :raises Conflict: what is there was built with another embedder, or by somebody else.
        """
        found, dimension = await asyncio.gather(
            find(self.store, self.name), self.embedder.dimension()
        )
        if found is None or not found.points:
            return ""
        if self.recreate:
            return found.generation if await self._is_ours_to_finish(found, dimension) else ""
        if not self._fits(found, dimension):
            raise Conflict(
                f"collection {self.name} was built with {found.spec.embedder} "
                f"({found.spec.dimension} numbers), not with {self.embedder.model} ({dimension})",
                hint="build it anew: spark ingest backfill --recreate",
            )
        if not await self.ledger.last_row(found.generation):
            raise Conflict(
                f"collection {self.name} was filled by somebody else, or the state was lost since",
                hint="choose another [plugins.ingest] collection, or replace this one: "
                "spark ingest backfill --recreate",
            )
        return found.generation

    def _fits(self, found: CollectionInfo, dimension: int) -> bool:
        return (found.spec.embedder, found.spec.dimension) == (self.embedder.model, dimension)

    async def _is_ours_to_finish(self, found: CollectionInfo, dimension: int) -> bool:
        """Whether a rebuild that was interrupted would be begun now as it was then."""
        same = await self.ledger.recipe(found.generation) == self._recipe()
        return same and not found.outdated and self._fits(found, dimension)

    def _recipe(self) -> bytes:
        """A hash of all that decides what the index is made of, beside model and source."""
        kinds = {name: kind.model_dump() for name, kind in self.settings.kinds.items()}
        encoded = json.dumps([self.settings.chunk_characters, kinds], sort_keys=True)
        return hashlib.blake2b(encoded.encode(), digest_size=16).digest()

    async def made(self, progress: Progress) -> str:
        """The generation of the build to go on with, which is there from now on.

        :raises Conflict: see :meth:`begun`.
        """
        return await self.begun() or await self._make(progress)

    async def _make(self, progress: Progress) -> str:
        """Make the collection, in place of one that is of no use; its generation.

        This reads the whole source, for the mean length of its texts.
        """
        if former := await find(self.store, self.name):
            await self._delete(former)
        size = self.settings.chunk_characters
        kinds = self.settings.kinds.values()
        metadata = {f"metadata.{column}" for kind in kinds for column in kind.metadata}
        spec = CollectionSpec(
            dimension=await self.embedder.dimension(),
            embedder=self.embedder.model,
            average_length=await average_length(self.source, self.store, size, progress),
            indexed=("kind", "record_id", "record", "origin", *sorted(metadata)),
        )
        created = await self.store.create(self.name, spec)
        await self.ledger.claim(created.generation, self._recipe())
        return created.generation

    async def _delete(self, found: CollectionInfo) -> None:
        await self.store.drop(found.name)
        await self.ledger.clear(found.generation)

    async def forget_rebuild(self) -> None:
        """Delete what an interrupted rebuild left, unless it is another program's."""
        left = await find(self.store, self._building)
        if left and await self.ledger.recipe(left.generation) is not None:
            await self._delete(left)

    async def finish(self) -> None:
        """Let what was built be what is searched."""
        if self.recreate:
            old = await find(self.store, self.searched)
            await self.store.replace(self.searched, by=self.name)
            if old:
                await self.ledger.clear(old.generation)
